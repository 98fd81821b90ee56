"""Curves from scores to probabilities: two and several classes, and classes that are absent."""

import numpy as np
import pytest

from molae_pyg.workflow.curves import logistic, logistic_curve, softmax_curve, softmax_of

GENERATOR = np.random.default_rng(0)
N = 3000


def test_two_classes_are_calibrated():
    scores = GENERATOR.normal(size=N)
    y = (GENERATOR.random(N) < 1 / (1 + np.exp(-(2 * scores - 1)))).astype(float)
    curve = logistic_curve(y, scores)
    assert curve == pytest.approx((2, -1), abs=0.3)
    p = logistic(np.array(curve), scores)
    assert p.mean() == pytest.approx(y.mean(), abs=1e-3)


def test_a_curve_never_turns_the_order_of_scores_round():
    """Scores that are the mean of the other folds: the more positives, the lower."""
    y = np.repeat([1.0, 0.0, 1.0, 0.0], [6, 4, 2, 8])
    scores = np.repeat([0.1, 0.3], [10, 10])
    p = logistic(np.array(logistic_curve(y, scores)), np.array([0.0, 0.5, 1.0]))
    assert p == pytest.approx([0.119, 0.5, 0.881], abs=1e-3)


def test_several_classes_are_calibrated():
    true = GENERATOR.dirichlet(np.ones(3), N)
    y = (true.cumsum(1) > GENERATOR.random((N, 1))).argmax(1).astype(float)
    y[:100] = np.nan
    curve = softmax_curve(y, np.log(true) * 5 + 3)  # a wrong scale and shift
    p = softmax_of(curve, np.log(true) * 5 + 3)
    assert curve.shape == (3, 5)
    assert np.allclose(p.sum(1), 1)
    assert np.abs(p - true).mean() < 0.03
    assert (curve[:, -1] == 0).all()


@pytest.mark.parametrize("present", [[0], [2], [0, 2], [1, 2], [0, 1, 3]])
def test_classes_without_a_row_have_the_share_of_one_more_row(present):
    scores = GENERATOR.normal(size=(60, 4))
    y = np.array(present, float)[np.arange(60) % len(present)]
    p = softmax_of(softmax_curve(y, scores), scores)
    absent = np.setdiff1d(range(4), present)
    assert np.isfinite(p).all()
    assert np.allclose(p.sum(1), 1)
    assert np.allclose(p[:, absent], 1 / 64)
    assert (p[:, present] > 0).all()


def test_two_of_three_classes_are_told_apart():
    y = np.arange(60) % 2 + 1.0  # classes 1 and 2
    scores = np.stack([np.zeros(60), y == 1, y == 2], 1) + 0.01 * GENERATOR.normal(size=(60, 3))
    assert (softmax_of(softmax_curve(y, scores), scores).argmax(1) == y).all()
