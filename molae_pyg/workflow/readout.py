r"""Read-out of frozen features: ridge regression with a Gaussian kernel.

Blocks of features :math:`b` (vectors of the encoder, descriptors, fingerprints) are standardised by
the training rows, clipped at ±6, and have the same weight whatever their number of columns
:math:`F_b`. With the squared distance

.. math::
    d(x, x') = \sum_b \frac{\lVert x_b - x'_b \rVert^2}{F_b}, \qquad
    k(x, x') = \exp\left(-\gamma \, \frac{d(x, x')}{\operatorname{median} d}\right), \qquad
    f(x) = \mu + \sum_i a_i \, k(x, x_i), \quad a = (K + \lambda n I)^{-1} (y - \mu)

is the mean of a Gaussian process. Bounds have a one-sided loss (:mod:`.ridge`). Classes are
regressed as 0 and 1, one column for each of several classes; a logistic curve turns scores into
probabilities (:mod:`.curves`). Cross-validation inside the training rows chooses the blocks,
:math:`\gamma` and, for each target, :math:`\lambda`, so that no held-out row has a part in any
choice.
"""

from collections.abc import Mapping, Sequence
from itertools import product
from typing import NamedTuple

import numpy as np

from molae_pyg.kinds import class_weights
from molae_pyg.workflow.curves import logistic, logistic_curve, softmax_curve, softmax_of
from molae_pyg.workflow.labels import Labels
from molae_pyg.workflow.ridge import Columns, ridge_weights

#: Values of gamma that are tried.
WIDTHS = (0.2, 0.4)
#: Values of lambda that are tried.
PENALTIES = tuple(10.0 ** np.arange(-5, 2))
#: Largest number of training rows that the sum over i has; of more rows, some are drawn.
LANDMARKS = 1500

_CLIP = 6.0
_SOFTMAX = "softmax_"  # start of the names of arrays: curves of several classes
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
    penalties: tuple[float, ...]  # of each column; those of one target are equal


class Readout:
    """A fitted read-out; :func:`fit_readout` makes it.

    Args:
        arrays: What :meth:`arrays` returns.
    """

    def __init__(self, arrays: Mapping[str, np.ndarray]):
        self._arrays = dict(arrays)
        self.blocks = [str(name) for name in arrays["blocks"]]
        self.width, self.median = float(arrays["width"]), float(arrays["median"])
        self.penalties = arrays["penalties"]  # [O]
        self.landmarks = arrays["landmarks"].astype(float)  # [l, F]
        self.weights, self.mean = arrays["weights"], arrays["mean"]  # [l, O], [O]
        self.curve = arrays["curve"]  # [O, 2] of two classes, else NaN
        # First column -> curve of several classes [C, C + 2].
        self._softmax = {
            int(name.removeprefix(_SOFTMAX)): array
            for name, array in arrays.items()
            if name.startswith(_SOFTMAX)
        }
        self._scalers = {
            name: Scaler(arrays[f"mean_{name}"], arrays[f"std_{name}"]) for name in self.blocks
        }

    def arrays(self) -> dict[str, np.ndarray]:
        """Returns all numbers of the model, for a file."""
        return self._arrays

    def predict(self, features: Mapping[str, np.ndarray]) -> np.ndarray:
        """Returns values or probabilities ``[m, O]`` from blocks ``[m, F_b]``."""
        x = _joined(features, self._scalers)
        scores = np.empty((len(x), len(self.mean)))
        for start in range(0, len(x), _ROWS):
            part = slice(start, start + _ROWS)
            squares = _squares(x[part], self.landmarks)
            kernel = np.exp(-self.width / self.median * squares)  # [m, l]
            scores[part] = self.mean + kernel @ self.weights
        for column in np.flatnonzero(~np.isnan(self.curve[:, 0])).tolist():
            scores[:, column] = logistic(self.curve[column], scores[:, column])
        for first, curve in self._softmax.items():
            columns = slice(first, first + len(curve))
            scores[:, columns] = softmax_of(curve, scores[:, columns])
        return scores


def fit_readout(
    features: Mapping[str, np.ndarray],
    labels: Labels,
    folds: np.ndarray,
    candidates: Sequence[tuple[str, ...]],
    seed: int = 0,
    is_weighted: bool = False,
) -> Readout:
    """Chooses and fits a read-out.

    Args:
        features: Blocks of the training rows ``[n, F_b]`` by name.
        labels: Labels of these rows.
        folds: Fold of each training row in the inner cross-validation ``[n]``.
        candidates: Names of the blocks that are tried together.
        seed: Seed of the rows that are drawn if there are more than :data:`LANDMARKS`.
        is_weighted: Whether all classes of a target have the same weight in the fit; the
            probabilities are calibrated without weights. default: False.
    """
    columns = _columns(labels, is_weighted)
    choice = _choose(features, columns, labels.slices, folds, candidates, seed)
    curve = np.full((columns.y.shape[1], 2), np.nan)
    softmax = {}
    if {"classification", "multiclass"}.intersection(labels.types):
        held_out = _held_out(features, columns, folds, choice, seed)
        for y, kind, place in zip(labels.y.T, labels.types, labels.slices, strict=True):
            if kind == "classification":
                curve[place] = logistic_curve(y, held_out[:, place.start])
            elif kind == "multiclass":
                softmax[f"{_SOFTMAX}{place.start}"] = softmax_curve(y, held_out[:, place])
    design = _Design(features, choice.blocks, np.arange(len(columns.y)), seed)
    kernel, median = design.kernel(choice.blocks, choice.width)
    weights, mean = ridge_weights(kernel, design.rows, columns, [choice.penalties])
    arrays = {"blocks": np.array(choice.blocks), "width": np.array(choice.width)}
    arrays |= {"median": np.array(median), "penalties": np.array(choice.penalties)}
    arrays |= {"weights": weights[0], "mean": mean, "curve": curve, **softmax}
    scalers = {name: design.scalers[name] for name in choice.blocks}
    landmarks = {name: features[name][design.rows] for name in choice.blocks}
    arrays["landmarks"] = _joined(landmarks, scalers).astype(np.float32)
    for name, scaler in scalers.items():
        arrays |= {f"mean_{name}": scaler.mean, f"std_{name}": scaler.std}
    return Readout(arrays)


def _columns(labels: Labels, is_weighted: bool) -> Columns:
    """Returns what is regressed: a column for each output."""
    y, weight = labels.outputs, None
    if is_weighted:
        weight = np.ones(y.shape)
        for of_task, kind, place in zip(labels.y.T, labels.types, labels.slices, strict=True):
            if kind != "regression":
                of_classes = class_weights(of_task, max(2, place.stop - place.start))
                weight[:, place] = of_classes[np.nan_to_num(of_task).astype(int)][:, None]
    return Columns(y, np.repeat(labels.bound, labels.num_outputs, axis=1), weight)


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
    columns: Columns,
    slices: Sequence[slice],
    folds: np.ndarray,
    candidates: Sequence[tuple[str, ...]],
    seed: int,
) -> Choice:
    """Returns the choice with the smallest loss over the variance of each target."""
    names = list(dict.fromkeys(name for blocks in candidates for name in blocks))
    first = [place.start for place in slices]  # first column of each target
    width = columns.y.shape[1]
    penalties = [(penalty,) * width for penalty in PENALTIES]
    errors = {key: np.zeros((len(PENALTIES), width)) for key in product(candidates, WIDTHS)}
    for fold in np.unique(folds):
        fitted, held_out = np.flatnonzero(folds != fold), np.flatnonzero(folds == fold)
        design, wanted = _Design(features, names, fitted, seed), columns.take(held_out)
        for (blocks, gamma), sums in errors.items():
            kernel, _ = design.kernel(blocks, gamma)
            weights, mean = ridge_weights(kernel, design.rows, columns, penalties, fitted)
            loss = wanted.residual(mean + kernel[held_out] @ weights) ** 2  # [P, m, O]
            sums += np.nansum(loss if wanted.weight is None else loss * wanted.weight, axis=1)
    exact = np.where(columns.bound == 0, columns.y, np.nan)
    scale = np.nansum((exact - np.nanmean(exact, axis=0)) ** 2, axis=0)  # [O]
    scale = np.add.reduceat(scale, first)  # [T]
    scale[scale == 0] = 1.0
    of_targets = {key: np.add.reduceat(e, first, axis=1) / scale for key, e in errors.items()}
    blocks, gamma = min(of_targets, key=lambda key: of_targets[key].min(0).mean())
    chosen = of_targets[blocks, gamma].argmin(0)  # [T]
    sizes = [place.stop - place.start for place in slices]
    return Choice(blocks, gamma, tuple(PENALTIES[i] for i in np.repeat(chosen, sizes)))


def _held_out(
    features: Mapping[str, np.ndarray],
    columns: Columns,
    folds: np.ndarray,
    choice: Choice,
    seed: int,
) -> np.ndarray:
    """Returns scores ``[n, O]`` of rows held out in the inner folds."""
    scores = np.empty(columns.y.shape)
    for fold in np.unique(folds):
        fitted, held_out = np.flatnonzero(folds != fold), np.flatnonzero(folds == fold)
        design = _Design(features, choice.blocks, fitted, seed)
        kernel, _ = design.kernel(choice.blocks, choice.width)
        weights, mean = ridge_weights(kernel, design.rows, columns, [choice.penalties], fitted)
        scores[held_out] = mean + kernel[held_out] @ weights[0]
    return scores


def _joined(features: Mapping[str, np.ndarray], scalers: Mapping[str, Scaler]) -> np.ndarray:
    """Returns all blocks beside each other ``[n, F]``, each with the same weight."""
    blocks = [scale(features[name]) / len(scale.mean) ** 0.5 for name, scale in scalers.items()]
    return np.concatenate(blocks, axis=1)


def _squares(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Returns squared distances ``[n, m]``."""
    found = (a**2).sum(1)[:, None] + (b**2).sum(1) - 2 * (a @ b.T)
    return np.maximum(found, 0)
