"""Kernel ridge regression: its optimum, bounds, weights of rows, and landmarks."""

import numpy as np
import pytest
from scipy.optimize import minimize

from molae_pyg.workflow import ridge
from molae_pyg.workflow.ridge import Columns, ridge_weights

N = 40
GENERATOR = np.random.default_rng(0)
X = GENERATOR.normal(size=(N, 2))
KERNEL = np.exp(-((X[:, None] - X) ** 2).sum(-1) / 2)
Y = (np.sin(X[:, :1]) + 0.3 * GENERATOR.normal(size=(N, 1))) * 3 + 10
ALL = np.arange(N)


def bounded(share: float, seed: int = 0) -> Columns:
    """Labels of which a share are bounds, most of them true ones."""
    generator = np.random.default_rng(seed)
    side = np.where(generator.random((N, 1)) < share, generator.choice([-1, 1], (N, 1)), 0)
    return Columns(Y - side * generator.gamma(1, 2, (N, 1)) + 0.1 * side, side)


def objective(a: np.ndarray, columns: Columns, penalty: float, mean: float) -> float:
    """The sum of the docstring, for one column."""
    missed = mean + KERNEL @ a - columns.y[:, 0]
    side = columns.bound[:, 0]
    loss = np.where(side == 1, np.minimum(missed, 0), missed)
    loss = np.where(side == -1, np.maximum(missed, 0), loss)
    weight = 1 if columns.weight is None else columns.weight[:, 0]
    return (weight * loss**2).sum() + penalty * N * a @ KERNEL @ a


@pytest.mark.parametrize("share", [0.0, 0.2, 0.7])
@pytest.mark.parametrize("penalty", [1e-3, 1e-1])
def test_the_optimum_is_that_of_a_general_minimiser(share, penalty):
    columns = bounded(share)
    weights, mean = ridge_weights(KERNEL, ALL, columns, [(penalty,)])
    found = weights[0, :, 0]
    start = np.zeros(N)
    best = minimize(objective, start, (columns, penalty, mean[0]), options={"maxiter": 2000})
    assert objective(found, columns, penalty, mean[0]) <= best.fun * (1 + 1e-6)
    assert np.allclose(KERNEL @ found, KERNEL @ best.x, atol=2e-2)


@pytest.mark.parametrize("seed", range(20))
@pytest.mark.parametrize("penalty", [1e-5, 1e-3, 1.0])
def test_the_active_set_settles(seed, penalty):
    """The conditions of the optimum: penalty n a = -residual, zero for satisfied bounds."""
    columns = bounded(0.5, seed)
    weights, mean = ridge_weights(KERNEL, ALL, columns, [(penalty,)])
    residual = columns.residual(mean + KERNEL @ weights[0])
    assert np.allclose(penalty * N * weights[0], -residual, atol=1e-7)
    assert (residual[columns.bound == 1] <= 0).all()
    assert (residual[columns.bound == -1] >= 0).all()


def test_penalties_begin_with_the_set_before(monkeypatch):
    columns, several = bounded(0.5), [(0.001,), (0.01,), (0.1,)]
    together, _ = ridge_weights(KERNEL, ALL, columns, several)
    alone = [ridge_weights(KERNEL, ALL, columns, [one])[0][0] for one in several]
    assert np.allclose(together, np.stack(alone))
    monkeypatch.setattr(ridge, "ROUNDS", 1)  # it stops, with the labels that are exact
    first, mean = ridge_weights(KERNEL, ALL, columns, several[:1])
    exact = columns._replace(
        y=np.where(columns.bound == 0, columns.y, np.nan), bound=columns.bound * 0
    )
    rest, _ = ridge_weights(KERNEL, ALL, exact, [(0.001 * N / (columns.bound == 0).sum(),)])
    assert mean == pytest.approx(np.nanmean(exact.y))
    assert np.allclose(first, rest)


def test_bounds_that_are_satisfied_change_nothing_but_the_penalty():
    far = bounded(0.3)
    columns = far._replace(y=np.where(far.bound == 0, Y, Y - 100 * far.bound))
    weights, _ = ridge_weights(KERNEL, ALL, columns, [(0.01,)])
    assert (weights[0][columns.bound != 0] == 0).all()


def test_bounds_leave_other_columns_as_they_are():
    columns = bounded(0.5)
    both = Columns(np.hstack([columns.y, Y]), np.hstack([columns.bound, 0 * columns.bound]))
    together, mean = ridge_weights(KERNEL, ALL, both, [(0.01, 0.1)])
    first, _ = ridge_weights(KERNEL, ALL, columns, [(0.01,)])
    second, _ = ridge_weights(KERNEL, ALL, Columns(Y, 0 * columns.bound), [(0.1,)])
    assert np.allclose(together, np.concatenate([first, second], axis=2))
    assert mean[1] == pytest.approx(Y.mean())


@pytest.mark.parametrize("share", [0.0, 0.5])
def test_a_weight_of_two_is_a_row_twice(share):
    columns = bounded(share)
    weight = np.where(np.arange(N) % 3 == 0, 2.0, 1.0)[:, None]
    scaled = columns._replace(weight=weight / weight.mean())
    rows = np.repeat(ALL, weight[:, 0].astype(int))
    repeated = columns.take(rows)
    found, mean = ridge_weights(KERNEL, ALL, scaled, [(0.01,)])
    # As landmarks the rows themselves, so that repeated ones are no trouble.
    kernel = KERNEL[rows]
    landmarks = np.array([np.flatnonzero(rows == row)[0] for row in ALL])
    wanted, other = ridge_weights(kernel, landmarks, repeated, [(0.01,)])
    assert mean == pytest.approx(other)
    assert np.allclose(KERNEL @ found[0], KERNEL @ wanted[0], atol=1e-4)


def test_all_rows_as_landmarks_of_others_give_the_same():
    """The two systems: each row is a landmark, or some rows are the landmarks of all."""
    columns = bounded(0.5)
    kernel = np.vstack([KERNEL, KERNEL])
    twice = Columns(np.vstack([columns.y] * 2), np.vstack([columns.bound] * 2))
    dense, _ = ridge_weights(KERNEL, ALL, columns, [(0.01,)])
    some, _ = ridge_weights(kernel, ALL, twice, [(0.01,)])
    assert np.allclose(KERNEL @ some[0], KERNEL @ dense[0], atol=1e-4)


def test_a_column_without_labels_is_zero():
    columns = Columns(np.full((N, 1), np.nan), np.zeros((N, 1), int))
    weights, mean = ridge_weights(KERNEL, ALL, columns, [(0.1,)])
    assert (weights == 0).all()
    assert mean == 0
