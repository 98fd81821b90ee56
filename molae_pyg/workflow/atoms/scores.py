r"""Scores, baselines and intervals of atom targets.

Atoms of one molecule are alike, so molecules, not atoms, are drawn for a verdict, and the intervals
are those of exchangeable molecules (`Lee, Barber and Willett 2023
<https://arxiv.org/abs/2306.06342>`_): with the out-of-fold errors :math:`R_{ki}` of the
:math:`n_k` atoms of an element in molecule k of K,

.. math::
    q = \mathrm{quantile}_{1 - \alpha} \left\{ \sum_k \sum_i
        \frac{1}{(K + 1) \, n_k} \, \delta_{R_{ki}} + \frac{1}{K + 1} \, \delta_\infty \right\}

is an error that an atom of this element, drawn from a new molecule, does not exceed with a
probability of at least :math:`1 - \alpha`.
"""

from collections.abc import Mapping, Sequence

import numpy as np

from molae_pyg.baselines.forest import ForestBaseline
from molae_pyg.workflow.scores import MODEL, TIMES, Verdict, sentence_of

#: Baselines in the order of the tables, and how a sentence names them.
ATOM_BASELINES = {
    "element-mean": "the mean of the element",
    "environment-forest": "the forest on atom environments",
}
_TREES = 100
_ENOUGH = 20  # molecules that an element needs for intervals of its own


def fit_atom_baselines(
    environment: np.ndarray,
    z: np.ndarray,
    y: np.ndarray,
    train: np.ndarray,
    test: np.ndarray,
    seed: int,
) -> dict[str, np.ndarray]:
    """Fits the baselines on the training atoms of a fold.

    Args:
        environment: Bits of all atoms ``[N, F]``.
        z: Their elements ``[N]``.
        y: Their values ``[N, T]``, NaN = missing.
        train: Atoms to fit.
        test: Atoms to predict ``[m]``.
        seed: Seed of the forest.

    Returns:
        Predictions ``[m, T]`` by name.
    """
    seen = environment[train].any(0)  # a bit that is never set cannot divide
    bits = environment[:, seen]
    forest = ForestBaseline(["regression"] * y.shape[1], num_trees=_TREES, seed=seed)
    forest.fit_features(bits[train], y[train])
    mean = np.tile(np.nanmean(y[train], axis=0), (len(test), 1))
    for element in np.unique(z[test]):
        of_element = y[train][z[train] == element]
        known = ~np.isnan(of_element).all(0) if len(of_element) else np.zeros(y.shape[1], bool)
        if known.any():
            means = np.nanmean(of_element[:, known], axis=0)
            mean[np.ix_(z[test] == element, known)] = means
    return {"element-mean": mean, "environment-forest": forest.predict_features(bits[test])}


def atom_verdicts(
    y: np.ndarray, predictions: Mapping[str, np.ndarray], molecule: np.ndarray, names: Sequence[str]
) -> dict[str, Verdict]:
    """Compares the RMSE of the model with that of the best baseline on resampled molecules.

    Args:
        y: Values ``[N, T]``, NaN = missing.
        predictions: Out-of-fold predictions ``[N, T]`` by model.
        molecule: Molecule of each atom ``[N]``.
        names: Names of the targets.
    """
    found = {}
    rng = np.random.default_rng(0)
    for task, name in enumerate(names):
        known = ~np.isnan(y[:, task])
        of = np.unique(molecule[known], return_inverse=True)[1]
        number = np.bincount(of)  # [n]
        drawn = rng.multinomial(len(number), np.full(len(number), 1 / len(number)), TIMES)
        rmse = {}
        for model, predicted in predictions.items():
            squares = np.bincount(of, (predicted[known, task] - y[known, task]) ** 2)  # [n]
            rmse[model] = np.sqrt(drawn @ squares / (drawn @ number))  # [times]
        best = min(ATOM_BASELINES, key=lambda model, rmse=rmse: rmse[model].mean())
        won, tied = rmse[MODEL] < rmse[best], rmse[MODEL] == rmse[best]
        share = float((won + tied / 2).mean())
        found[name] = Verdict(best, share, sentence_of(ATOM_BASELINES[best], share))
    return found


class AtomIntervals:
    """Half widths of intervals, element by element.

    An element with values in fewer than 20 molecules has the errors of all atoms.

    Args:
        error: Absolute out-of-fold errors ``[N]``, NaN = no value.
        z: Elements ``[N]``.
        molecule: Molecule of each atom ``[N]``.
    """

    def __init__(self, error: np.ndarray, z: np.ndarray, molecule: np.ndarray):
        known = ~np.isnan(error)
        error, z, molecule = error[known], z[known], molecule[known]
        self._all = error, molecule
        self._of = {}
        for element in np.unique(z).tolist():
            some = z == element
            if len(np.unique(molecule[some])) >= _ENOUGH:
                self._of[element] = error[some], molecule[some]

    def __call__(self, z: np.ndarray, alpha: float = 0.1) -> np.ndarray:
        """Returns the half width of each atom's interval ``[m]``; infinite: too few molecules.

        Args:
            z: Elements ``[m]``.
            alpha: Share of values that may be outside. default: 0.1.
        """
        half = np.empty(len(z))
        for element in np.unique(z).tolist():
            half[z == element] = _quantile(*self._of.get(element, self._all), alpha)
        return half


def _quantile(error: np.ndarray, molecule: np.ndarray, alpha: float) -> float:
    """The quantile of the module's formula."""
    _, of, number = np.unique(molecule, return_inverse=True, return_counts=True)
    order = np.argsort(error)
    weight = 1 / ((len(number) + 1) * number[of[order]])
    place = int(np.searchsorted(weight.cumsum(), 1 - alpha - 1e-12))
    return float(error[order[place]]) if place < len(error) else np.inf


def intervals_out_of_fold(
    error: np.ndarray, z: np.ndarray, molecule: np.ndarray, fold: np.ndarray, alpha: float
) -> np.ndarray:
    """Returns half widths ``[N]``, those of each fold from the errors of the others.

    Args:
        error: Absolute out-of-fold errors ``[N]``, NaN = no value.
        z: Elements ``[N]``.
        molecule: Molecule of each atom ``[N]``.
        fold: Fold of each atom ``[N]``.
        alpha: Share of values that may be outside.
    """
    half = np.empty(len(z))
    for part in np.unique(fold):
        others, own = fold != part, fold == part
        intervals = AtomIntervals(error[others], z[others], molecule[others])
        half[own] = intervals(z[own], alpha)
    return half
