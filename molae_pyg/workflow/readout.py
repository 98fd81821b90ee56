r"""Read-out of frozen features: ridge regression with a Gaussian kernel.

Blocks of features :math:`b` (vectors of the encoder, descriptors, fingerprints) are standardised by
the training rows, clipped at ±6, and have the same weight whatever their number of columns
:math:`F_b`. With the squared distance

.. math::
    d(x, x') = \sum_b \frac{\lVert x_b - x'_b \rVert^2}{F_b}, \qquad
    k(x, x') = \exp\left(-\gamma \, \frac{d(x, x')}{\operatorname{median} d}\right), \qquad
    f(x) = \mu + \sum_i a_i \, k(x, x_i), \quad a = (K + \lambda n I)^{-1} (y - \mu)

is the mean of a Gaussian process. Classes are regressed as 0 and 1; a logistic curve turns scores
into probabilities. Cross-validation inside the training rows chooses the blocks, :math:`\gamma`
and, for each target, :math:`\lambda`, so that no held-out row has a part in any choice.
"""

from collections.abc import Mapping, Sequence
from itertools import product
from typing import NamedTuple

import numpy as np
from scipy.linalg import LinAlgError, cho_factor, cho_solve
from sklearn.linear_model import LogisticRegression

from molae_pyg.metrics import TaskType

#: Values of gamma that are tried.
WIDTHS = (0.2, 0.4)
#: Values of lambda that are tried.
PENALTIES = tuple(10.0 ** np.arange(-5, 2))
#: Largest number of training rows that the sum over i has; of more rows, some are drawn.
LANDMARKS = 1500

_CLIP = 6.0
_ROWS = 4096  # rows whose kernel is in memory at once, for predictions


class Scaler(NamedTuple):
    """Standardises a block of features by its training rows."""

    mean: np.ndarray  # [F]
    std: np.ndarray  # [F]

    @classmethod
    def of(cls, x: np.ndarray) -> "Scaler":
        std = x.std(0)
        return cls(x.mean(0), np.where(std > 1e-9, std, 1.0))

    def __call__(self, x: np.ndarray) -> np.ndarray:
        return np.clip((x - self.mean) / self.std, -_CLIP, _CLIP)


class Choice(NamedTuple):
    """What cross-validation chooses."""

    blocks: tuple[str, ...]
    width: float
    penalties: tuple[float, ...]  # of each target


class Readout:
    """A fitted read-out; :func:`fit_readout` makes it.

    Args:
        arrays: What :meth:`arrays` returns.
    """

    def __init__(self, arrays: Mapping[str, np.ndarray]):
        self._arrays = dict(arrays)
        self.blocks = [str(name) for name in arrays["blocks"]]
        self.width, self.median = float(arrays["width"]), float(arrays["median"])
        self.penalties = arrays["penalties"]  # [T]
        self.landmarks, self.weights = (
            arrays["landmarks"].astype(float),
            arrays["weights"],
        )  # [l, F], [l, T]
        self.mean, self.curve = arrays["mean"], arrays["curve"]  # [T], [T, 2], NaN for numbers
        self._scalers = {
            name: Scaler(arrays[f"mean_{name}"], arrays[f"std_{name}"]) for name in self.blocks
        }

    def arrays(self) -> dict[str, np.ndarray]:
        """Returns all numbers of the model, for a file."""
        return self._arrays

    def predict(self, features: Mapping[str, np.ndarray]) -> np.ndarray:
        """Returns values or probabilities of class 1 ``[m, T]`` from blocks ``[m, F_b]``."""
        x = _joined(features, self._scalers)
        scores = np.empty((len(x), len(self.mean)))
        for start in range(0, len(x), _ROWS):
            part = slice(start, start + _ROWS)
            squares = _squares(x[part], self.landmarks)
            kernel = np.exp(-self.width / self.median * squares)  # [m, l]
            scores[part] = self.mean + kernel @ self.weights
        is_class = ~np.isnan(self.curve[:, 0])
        slope, shift = np.where(is_class[:, None], self.curve, 0.0).T  # [T], [T]
        return np.where(is_class, 1 / (1 + np.exp(-(slope * scores + shift))), scores)


def fit_readout(
    features: Mapping[str, np.ndarray],
    y: np.ndarray,
    types: Sequence[TaskType],
    folds: np.ndarray,
    candidates: Sequence[tuple[str, ...]],
    seed: int = 0,
) -> Readout:
    """Chooses and fits a read-out.

    Args:
        features: Blocks of the training rows ``[n, F_b]`` by name.
        y: Labels ``[n, T]``, NaN = missing.
        types: Type of each target.
        folds: Fold of each training row in the inner cross-validation ``[n]``.
        candidates: Names of the blocks that are tried together.
        seed: Seed of the rows that are drawn if there are more than :data:`LANDMARKS`.
    """
    choice = _choose(features, y, folds, candidates, seed)
    curve = np.full((y.shape[1], 2), np.nan)
    if "classification" in types:
        held_out = _held_out(features, y, folds, choice, seed)
        for task, kind in enumerate(types):
            if kind == "classification":
                curve[task] = _logistic_curve(y[:, task], held_out[:, task])
    design = _Design(features, choice.blocks, np.arange(len(y)), seed)
    kernel, median = design.kernel(choice.blocks, choice.width)
    weights, mean = _weights(kernel, design.rows, y, [choice.penalties])
    arrays = {"blocks": np.array(choice.blocks), "width": np.array(choice.width)}
    arrays |= {"median": np.array(median), "penalties": np.array(choice.penalties)}
    arrays |= {"weights": weights[0], "mean": mean, "curve": curve}
    scalers = {name: design.scalers[name] for name in choice.blocks}
    landmarks = {name: features[name][design.rows] for name in choice.blocks}
    arrays["landmarks"] = _joined(landmarks, scalers).astype(np.float32)
    for name, scaler in scalers.items():
        arrays |= {f"mean_{name}": scaler.mean, f"std_{name}": scaler.std}
    return Readout(arrays)


class _Design:
    """Squared distances of all rows to the landmarks, block by block.

    Args:
        features: Blocks ``[n, F_b]``.
        names: Names of the blocks that are needed.
        fitted: Rows that standardise the blocks and give the landmarks.
        seed: Seed of the landmarks.
    """

    def __init__(
        self,
        features: Mapping[str, np.ndarray],
        names: Sequence[str],
        fitted: np.ndarray,
        seed: int,
    ) -> None:
        self.rows = fitted
        if len(fitted) > LANDMARKS:
            drawn = np.random.default_rng(seed).choice(len(fitted), LANDMARKS, replace=False)
            self.rows = fitted[np.sort(drawn)]
        self.scalers = {name: Scaler.of(features[name][fitted]) for name in names}
        self._squares = {}
        for name in names:
            x = _joined(features, {name: self.scalers[name]})
            self._squares[name] = _squares(x, x[self.rows])  # [n, l]

    def kernel(self, blocks: Sequence[str], width: float) -> tuple[np.ndarray, float]:
        """Returns the kernel of all rows with the landmarks ``[n, l]``, and the median of d."""
        squares = sum(self._squares[name] for name in blocks)
        median = float(np.median(squares[self.rows])) or 1.0
        return np.exp(-width / median * squares), median


def _choose(
    features: Mapping[str, np.ndarray],
    y: np.ndarray,
    folds: np.ndarray,
    candidates: Sequence[tuple[str, ...]],
    seed: int,
) -> Choice:
    """Returns the choice with the smallest squared error over the variance of each target."""
    names = list(dict.fromkeys(name for blocks in candidates for name in blocks))
    penalties = [(penalty,) * y.shape[1] for penalty in PENALTIES]
    errors = {key: np.zeros((len(PENALTIES), y.shape[1])) for key in product(candidates, WIDTHS)}
    for fold in np.unique(folds):
        fitted, held_out = np.flatnonzero(folds != fold), np.flatnonzero(folds == fold)
        design = _Design(features, names, fitted, seed)
        for (blocks, width), sums in errors.items():
            kernel, _ = design.kernel(blocks, width)
            weights, mean = _weights(kernel, design.rows, y, penalties, fitted)
            missed = mean + kernel[held_out] @ weights - y[held_out]  # [P, m, T]
            sums += np.nansum(missed**2, axis=1)
    scale = np.nansum((y - np.nanmean(y, axis=0)) ** 2, axis=0)  # [T]
    scale[scale == 0] = 1.0
    blocks, width = min(errors, key=lambda key: (errors[key] / scale).min(0).mean())
    chosen = errors[blocks, width].argmin(0)  # [T]
    return Choice(blocks, width, tuple(PENALTIES[place] for place in chosen))


def _held_out(
    features: Mapping[str, np.ndarray], y: np.ndarray, folds: np.ndarray, choice: Choice, seed: int
) -> np.ndarray:
    """Returns scores ``[n, T]`` of rows held out in the inner folds."""
    scores = np.empty(y.shape)
    for fold in np.unique(folds):
        fitted, held_out = np.flatnonzero(folds != fold), np.flatnonzero(folds == fold)
        design = _Design(features, choice.blocks, fitted, seed)
        kernel, _ = design.kernel(choice.blocks, choice.width)
        weights, mean = _weights(kernel, design.rows, y, [choice.penalties], fitted)
        scores[held_out] = mean + kernel[held_out] @ weights[0]
    return scores


def _weights(
    kernel: np.ndarray,
    landmarks: np.ndarray,
    y: np.ndarray,
    penalties: Sequence[Sequence[float]],
    fitted: np.ndarray | None = None,
) -> tuple[np.ndarray, np.ndarray]:
    """Solves for the weights of each row of ``penalties [P, T]``.

    Args:
        kernel: Kernel of all rows with the landmarks ``[n, l]``.
        landmarks: Rows of the landmarks ``[l]``.
        y: Labels ``[n, T]``.
        penalties: A penalty for each target, several times.
        fitted: Rows to fit; default: all.

    Returns:
        Weights ``[P, l, T]`` and means ``[T]``.
    """
    fitted = np.arange(len(y)) if fitted is None else fitted
    among = kernel[landmarks]  # [l, l]
    of_rows = among if len(landmarks) == len(fitted) else kernel[fitted]
    y = y[fitted]
    weights = np.zeros((len(penalties), len(landmarks), y.shape[1]))
    mean = np.zeros(y.shape[1])
    known = ~np.isnan(y)
    for mask in np.unique(known, axis=1).T:  # targets with the same labelled rows together
        tasks = np.flatnonzero((known == mask[:, None]).all(0))
        if not mask.any():
            continue
        mean[tasks] = y[np.ix_(mask, tasks)].mean(0)
        rest = y[np.ix_(mask, tasks)] - mean[tasks]  # [m, t]
        for number, of_tasks in enumerate(penalties):
            for penalty in set(np.take(of_tasks, tasks)):
                some = np.take(of_tasks, tasks) == penalty
                found = _solve(of_rows, among, mask, rest[:, some], penalty)
                weights[number][:, tasks[some]] = found
    return weights, mean


def _solve(
    kernel: np.ndarray, among: np.ndarray, mask: np.ndarray, y: np.ndarray, penalty: float
) -> np.ndarray:
    """Returns the weights of the landmarks ``[l, t]`` for the rows of a mask ``[n]``."""
    n = int(mask.sum())
    weights = np.zeros((kernel.shape[1], y.shape[1]))
    if kernel is among:  # each row is a landmark: those without a label have the weight 0
        system = among[np.ix_(mask, mask)]
        system[np.diag_indices(n)] += penalty * n
        weights[mask] = cho_solve(cho_factor(system, lower=True), y)
        return weights
    some = kernel[mask]
    system = some.T @ some + penalty * n * among
    jitter = 1e-9 * np.trace(system) / len(system)
    while True:
        try:
            factor = cho_factor(system + jitter * np.eye(len(system)), lower=True)
        except LinAlgError:
            jitter *= 10
            continue
        return cho_solve(factor, some.T @ y)


def _logistic_curve(y: np.ndarray, scores: np.ndarray) -> tuple[float, float]:
    """Returns slope and shift of the logits; of one class only, its probability is constant."""
    known = ~np.isnan(y) & ~np.isnan(scores)
    if len(np.unique(y[known])) < 2:
        share = (np.nansum(y) + 1) / (np.count_nonzero(~np.isnan(y)) + 2)
        return 0.0, float(np.log(share / (1 - share)))
    model = LogisticRegression(C=1e3, max_iter=1000).fit(scores[known, None], y[known].astype(int))
    return float(model.coef_[0, 0]), float(model.intercept_[0])


def _joined(features: Mapping[str, np.ndarray], scalers: Mapping[str, Scaler]) -> np.ndarray:
    """Returns all blocks beside each other ``[n, F]``, each with the same weight."""
    blocks = [scale(features[name]) / len(scale.mean) ** 0.5 for name, scale in scalers.items()]
    return np.concatenate(blocks, axis=1)


def _squares(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Returns squared distances ``[n, m]``."""
    found = (a**2).sum(1)[:, None] + (b**2).sum(1) - 2 * (a @ b.T)
    return np.maximum(found, 0)
