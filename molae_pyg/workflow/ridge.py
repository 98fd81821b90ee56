r"""Kernel ridge regression with missing labels, bounds and weights of rows.

With the kernel :math:`K`, labels :math:`y_i`, weights :math:`w_i` and a penalty :math:`\lambda`,

.. math::
    \min_a \sum_i w_i \, r_i^2 + \lambda n \, a^\top K a, \qquad r_i = \mu + (K a)_i - y_i

A bound has no residual while the prediction is on its side: :math:`r_i = \min(0, \dots)` of a lower
bound (``>10``), :math:`r_i = \max(0, \dots)` of an upper bound (``<10``). This one-sided squared
loss is convex, and quadratic while the set of bounds that are missed (the active set) stays the
same, so that solving for a set and finding the set are repeated until nothing changes.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from scipy.linalg import LinAlgError, cho_factor, cho_solve

#: Largest number of active sets that are tried; a few are enough.
ROUNDS = 30


class Columns(NamedTuple):
    """What is regressed: one column for each output.

    Shapes:
        - **y:** :math:`(n, O)`, NaN = missing
        - **bound:** :math:`(n, O)`: 1 lower bound, -1 upper bound, 0 exact
        - **weight:** :math:`(n, O)` of mean 1, or None: all weights are 1
    """

    y: np.ndarray
    bound: np.ndarray
    weight: np.ndarray | None = None

    def take(self, rows: np.ndarray) -> "Columns":
        """Returns some rows."""
        weight = None if self.weight is None else self.weight[rows]
        return Columns(self.y[rows], self.bound[rows], weight)

    def residual(self, predicted: np.ndarray) -> np.ndarray:
        """Returns predictions minus labels ``[..., n, O]``, 0 for bounds that are satisfied."""
        missed = predicted - self.y
        return np.where(self.bound * missed > 0, 0.0, missed)


def ridge_weights(
    kernel: np.ndarray,
    landmarks: np.ndarray,
    columns: Columns,
    penalties: Sequence[Sequence[float]],
    fitted: np.ndarray | None = None,
) -> tuple[np.ndarray, np.ndarray]:
    """Solves for the weights of each row of ``penalties [P, O]``.

    Args:
        kernel: Kernel of all rows with the landmarks ``[n, l]``.
        landmarks: Rows of the landmarks ``[l]``.
        columns: What is regressed.
        penalties: A penalty for each column, several times.
        fitted: Rows to fit; default: all.

    Returns:
        Weights ``[P, l, O]`` and means of the exact labels ``[O]``.
    """
    fitted = np.arange(len(kernel)) if fitted is None else fitted
    among = kernel[landmarks]  # [l, l]
    of_rows = among if len(landmarks) == len(fitted) else kernel[fitted]
    columns = columns.take(fitted)
    y, known = columns.y, ~np.isnan(columns.y)
    weights = np.zeros((len(penalties), len(landmarks), y.shape[1]))
    mean = _means(columns)
    for tasks in _together(columns):
        mask = known[:, tasks[0]]
        if not mask.any():
            continue
        rest = y[:, tasks] - mean[tasks]  # [m, t]
        side = columns.bound[:, tasks[0]]
        weight = None if columns.weight is None else columns.weight[:, tasks[0]]
        active, grams = None, {}
        for number, of_tasks in enumerate(penalties):
            for penalty in dict.fromkeys(np.take(of_tasks, tasks)):
                some = np.take(of_tasks, tasks) == penalty
                system = _System(of_rows, among, penalty * mask.sum(), weight, grams)
                found, active = _active_set(system, rest[:, some], mask, side, active)
                weights[number][:, tasks[some]] = found
    return weights, mean


def _means(columns: Columns) -> np.ndarray:
    """Returns the means of the exact labels ``[O]``, 0 without one."""
    exact = ~np.isnan(columns.y) & (columns.bound == 0)
    weight = exact.astype(float) if columns.weight is None else exact * columns.weight
    total = weight.sum(0)
    return (weight * np.where(exact, columns.y, 0)).sum(0) / np.where(total > 0, total, 1)


def _together(columns: Columns) -> list[np.ndarray]:
    """Returns columns that have the same system: equal labelled rows, no bounds, equal weights."""
    known = ~np.isnan(columns.y)
    parts = [known] if columns.weight is None else [known, columns.weight]
    _, group = np.unique(np.concatenate(parts), axis=1, return_inverse=True)
    has_bound = (known & (columns.bound != 0)).any(0)
    group = np.where(has_bound, group.max() + 1 + np.arange(len(has_bound)), group.ravel())
    return [np.flatnonzero(group == number) for number in np.unique(group)]


class _System(NamedTuple):
    """The equations of one penalty: kernels of the rows, and the penalty times n."""

    of_rows: np.ndarray  # [m, l]
    among: np.ndarray  # [l, l]
    penalty: float
    weight: np.ndarray | None  # [m]
    grams: dict[bytes, np.ndarray]  # that of the last mask [l, l], which all penalties share

    def solve(self, mask: np.ndarray, y: np.ndarray) -> np.ndarray:
        """Returns the weights of the landmarks ``[l, t]`` for the rows of a mask ``[m]``."""
        weight = np.ones(len(mask)) if self.weight is None else self.weight
        weight, y = weight[mask], y[mask]
        found = np.zeros((self.of_rows.shape[1], y.shape[1]))
        if self.of_rows is self.among:  # each row is a landmark: those not in the mask have 0
            system = self.among[np.ix_(mask, mask)]
            system[np.diag_indices(len(y))] += self.penalty / weight
            found[mask] = cho_solve(cho_factor(system, lower=True), y)
            return found
        some = self.of_rows[mask]
        weighted = some if self.weight is None else some * weight[:, None]
        if (key := mask.tobytes()) not in self.grams:
            self.grams.clear()
            self.grams[key] = weighted.T @ some
        system = self.grams[key] + self.penalty * self.among
        jitter = 1e-9 * np.trace(system) / len(system)
        while True:
            try:
                factor = cho_factor(system + jitter * np.eye(len(system)), lower=True)
            except LinAlgError:
                jitter *= 10
                continue
            return cho_solve(factor, weighted.T @ y)


def _active_set(
    system: _System,
    y: np.ndarray,
    mask: np.ndarray,
    side: np.ndarray,
    active: np.ndarray | None,
) -> tuple[np.ndarray, np.ndarray]:
    """Solves until the active set stays the same, or for :data:`ROUNDS` sets.

    Args:
        system: The equations.
        y: Centred labels ``[m, t]``; t = 1 if there are bounds.
        mask: Rows with a label ``[m]``.
        side: Sides of the bounds ``[m]``.
        active: Set to begin with ``[m]``; default: the exact labels.

    Returns:
        Weights ``[l, t]`` and the set.
    """
    bounds = mask & (side != 0)
    if not bounds.any():
        return system.solve(mask, y), mask
    active = mask & ~bounds if active is None else active
    for _ in range(ROUNDS):
        weights = system.solve(active, y)
        missed = (system.of_rows @ weights - y)[:, 0] * side < 0
        found = mask & (~bounds | missed)
        if np.array_equal(found, active):
            break
        active = found
    return weights, active
