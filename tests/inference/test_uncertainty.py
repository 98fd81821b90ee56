"""Conformal intervals and sets, calibration: formulas by hand, coverage on simulated data."""

import numpy as np
import pytest

from molae_pyg.inference.uncertainty import Calibration, ConformalInterval, ConformalSet


def test_interval_by_hand():
    y_true, y_pred, fold = np.array([1.0, 2, 3, 4]), np.array([1.5, 1, 3.25, 6]), [0, 0, 1, 1]
    interval = ConformalInterval(y_true, y_pred, np.array(fold))
    new = np.array([[10.0], [20.0]])  # two folds, one molecule
    # errors .5, 1 (fold 0), .25, 2 (fold 1): values + error = 10.5, 11, 20.25, 22
    low, high = interval(new, alpha=0.4)  # rank ceil(.6 * 5) = 3
    assert high == [20.25]
    # values - error = 9.5, 9, 19.75, 18: the 2nd smallest (floor(.4 * 5))
    assert low == [9.5]


def test_too_few_rows_give_an_infinite_interval():
    interval = ConformalInterval(np.zeros(8), np.ones(8), np.zeros(8, int))
    low, high = interval(np.zeros((1, 3)), alpha=0.1)
    assert np.isneginf(low).all()
    assert np.isposinf(high).all()
    low, high = interval(np.zeros((1, 3)), alpha=0.2)
    assert (low == -1).all()
    assert (high == 1).all()


def test_missing_labels_do_not_count():
    y_true = np.array([0.0, np.nan, 0, 0])
    interval = ConformalInterval(y_true, np.array([1.0, 99, 1, 1]), np.zeros(4, int))
    assert len(interval.residual) == 3
    with pytest.raises(ValueError, match="no row has a label"):
        ConformalInterval(np.full(3, np.nan), np.zeros(3), np.zeros(3, int))


@pytest.mark.parametrize("alpha", [0.05, 0.1, 0.3])
def test_coverage_of_an_ensemble(alpha):
    rng = np.random.default_rng(0)

    def data(n):
        x = rng.normal(size=(n, 5))
        return x, x @ np.arange(5) + rng.standard_t(3, size=n)

    x, y = data(400)
    fold = np.arange(400) % 5
    weights = [np.linalg.lstsq(x[fold != k], y[fold != k], rcond=None)[0] for k in range(5)]
    oof = np.array([x[i] @ weights[fold[i]] for i in range(400)])
    interval = ConformalInterval(y, oof, fold)
    new, truth = data(4000)
    low, high = interval(np.stack([new @ w for w in weights]), alpha)
    covered = np.mean((low <= truth) & (truth <= high))
    assert abs(covered - (1 - alpha)) < 0.035


def test_large_inputs_are_computed_in_parts(monkeypatch):
    rng = np.random.default_rng(0)
    interval = ConformalInterval(rng.normal(size=300), rng.normal(size=300), np.arange(300) % 3)
    new = rng.normal(size=(3, 101_000))
    low, high = interval(new)
    some = interval(new[:, -7:])
    assert (low[-7:] == some[0]).all()
    assert (high[-7:] == some[1]).all()


def test_wrong_arguments():
    interval = ConformalInterval(np.zeros(9), np.ones(9), np.arange(9) % 3)
    for alpha in (0, 1, -0.1, float("nan")):
        with pytest.raises(ValueError, match="alpha"):
            interval(np.zeros((3, 1)), alpha)
    with pytest.raises(ValueError, match="3 folds"):
        interval(np.zeros((2, 1)))
    with pytest.raises(ValueError, match="expected y_true"):
        ConformalInterval(np.zeros(3), np.zeros(2), np.zeros(3, int))


def test_calibration_undoes_overconfidence():
    rng = np.random.default_rng(0)
    logit = rng.normal(size=5000)
    y = (rng.random(5000) < 1 / (1 + np.exp(-logit))).astype(float)
    confident = 1 / (1 + np.exp(-4 * logit - 1))
    fixed = Calibration(y, confident)(confident)
    assert np.abs(fixed - 1 / (1 + np.exp(-logit))).max() < 0.06
    assert (np.argsort(fixed) == np.argsort(confident)).mean() > 0.99  # the order stays


def test_calibration_of_several_classes_keeps_missing_ones_at_zero():
    rng = np.random.default_rng(0)
    probability = rng.dirichlet(np.ones(4), size=600)
    y = np.array([rng.choice(4, p=p) for p in probability], float)
    y[y == 3] = np.nan  # class 3 has no label
    fixed = Calibration(y, probability)(probability)
    assert fixed.shape == (600, 4)
    assert (fixed[:, 3] == 0).all()
    assert np.allclose(fixed.sum(1), 1)
    with pytest.raises(ValueError, match="two classes"):
        Calibration(np.zeros(5), rng.random(5))


def test_sets_by_hand():
    y = np.array([0, 0, 0, 1.0])
    p = np.array([[0.9, 0.1], [0.8, 0.2], [0.4, 0.6], [0.3, 0.7]])
    sets = ConformalSet(y, p)
    values = sets.p_values(np.array([[0.85, 0.15], [0.2, 0.8]]))
    assert values.tolist() == [[3 / 4, 1 / 2], [1 / 4, 1]]
    assert sets(np.array([[0.85, 0.15]]), alpha=0.6).tolist() == [[True, False]]


def test_sets_cover_each_class():
    rng = np.random.default_rng(1)

    def data(n):
        y = (rng.random(n) < 0.1).astype(int)
        p1 = 1 / (1 + np.exp(-(rng.normal(size=n) + 2 * y - 2)))
        return y, np.stack([1 - p1, p1], 1)

    y, p = data(3000)
    sets = ConformalSet(y, p)
    y, p = data(20000)
    found = sets(p, alpha=0.1)
    for c in (0, 1):
        assert abs(found[y == c, c].mean() - 0.9) < 0.03


def test_calibration_never_turns_the_order_round():
    y = np.array([0, 0, 0, 1, 1, 1, 1.0])
    worse_than_chance = np.array([0.9, 0.8, 0.7, 0.3, 0.2, 0.1, 0.4])
    found = Calibration(y, worse_than_chance)(np.array([0.1, 0.9]))
    assert np.allclose(found, 4 / 7, atol=1e-3)
