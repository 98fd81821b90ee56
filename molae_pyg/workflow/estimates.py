"""What out-of-fold predictions say: errors, coverage by level, similarity to the other folds."""

from collections.abc import Sequence

import numpy as np

from molae_pyg.inference.uncertainty import ConformalSet
from molae_pyg.workflow.scores import intervals_out_of_fold

#: Nominal shares of labels in their intervals and sets that are compared with the measured ones.
LEVELS = (0.5, 0.8, 0.9, 0.95)
_AT_ONCE = 1024  # rows


def max_tanimoto(bits: np.ndarray, known: np.ndarray) -> np.ndarray:
    """Returns the largest Tanimoto similarity of each row of ``bits [m, F]`` to those of ``known``.

    Args:
        bits: Fingerprints, 0 or 1.
        known: Fingerprints ``[n, F]``, at least one.

    Returns:
        Similarities ``[m]``, 0 to 1.
    """
    found, sizes = np.empty(len(bits)), known.sum(1)
    for start in range(0, len(bits), _AT_ONCE):
        some = bits[start : start + _AT_ONCE]
        common = some @ known.T  # [_AT_ONCE, n]
        either = some.sum(1)[:, None] + sizes - common
        found[start : start + _AT_ONCE] = (common / np.maximum(either, 1)).max(1)
    return found


def similarity_to_other_folds(
    fingerprints: np.ndarray, fold: np.ndarray, rows: np.ndarray
) -> np.ndarray:
    """Returns the similarity of some rows to the nearest row of the other folds.

    Args:
        fingerprints: Fingerprints of all rows ``[n, F]``.
        fold: Fold of each row ``[n]``; there are at least two.
        rows: Indices of the rows ``[m]``.

    Returns:
        Tanimoto similarities ``[m]``.
    """
    found = np.empty(len(rows))
    for part in np.unique(fold[rows]):
        some = fold[rows] == part
        found[some] = max_tanimoto(fingerprints[rows[some]], fingerprints[fold != part])
    return found


def interval_coverage(
    y: np.ndarray, predicted: np.ndarray, fold: np.ndarray, levels: Sequence[float] = LEVELS
) -> list[tuple[float, float]]:
    """Returns the share of labels in their intervals, and half the median width, of each level.

    Args:
        y: Labels ``[n]``, NaN = missing.
        predicted: Out-of-fold predictions ``[n]``.
        fold: Fold of each row ``[n]``.
        levels: Nominal shares.
    """
    known, found = ~np.isnan(y), []
    for level in levels:
        low, high = intervals_out_of_fold(y, predicted, fold, 1 - level)
        inside = (low <= y) & (y <= high)
        found.append((float(inside[known].mean()), float(np.median(high - low) / 2)))
    return found


def sets_out_of_fold(
    y: np.ndarray, probability: np.ndarray, fold: np.ndarray, alpha: float
) -> np.ndarray:
    """Returns whether class c is in the conformal set of a row ``[n, C]``, from the other folds.

    Args:
        y: Classes ``[n]``, integers from 0; NaN = missing.
        probability: Out-of-fold probabilities ``[n, C]``.
        fold: Fold of each row ``[n]``.
        alpha: Share of labels that may be outside their sets.
    """
    found = np.empty(probability.shape, bool)
    for part in np.unique(fold):
        own = fold == part
        found[own] = ConformalSet(y[~own], probability[~own])(probability[own], alpha)
    return found
