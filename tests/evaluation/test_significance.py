"""Tukey's intervals and resampled scores agree with other ways to compute them."""

import numpy as np
import pytest
from scipy.stats import tukey_hsd as scipy_tukey
from sklearn.metrics import roc_auc_score

from molae_pyg.evaluation import significance
from molae_pyg.metrics import evaluate


def test_tukey_without_fold_effects_is_that_of_scipy():
    """If the residuals of all folds cancel, both analyses have the same error."""
    generator = np.random.default_rng(0)
    noise = generator.normal(size=(5000, 2))
    scores = noise + [0.0, 0.1]
    ours, theirs = significance.tukey_hsd(scores), scipy_tukey(*scores.T)
    assert ours.p_values[0, 1] == pytest.approx(theirs.pvalue[0, 1], rel=0.5)
    low, high = theirs.confidence_interval().low[0, 1], theirs.confidence_interval().high[0, 1]
    assert 2 * ours.half_width == pytest.approx((high - low) / 2, rel=0.05)


def test_the_difficulty_of_folds_is_subtracted():
    generator = np.random.default_rng(0)
    scores = generator.normal(0, 0.1, (25, 3)) + [0, 0, 0.2]
    harder = scores + generator.normal(0, 10, (25, 1))
    plain, with_folds = significance.tukey_hsd(scores), significance.tukey_hsd(harder)
    np.testing.assert_allclose(plain.p_values, with_folds.p_values, rtol=1e-6, atol=1e-12)
    assert plain.half_width == pytest.approx(with_folds.half_width)
    assert plain.p_values[0, 2] < 1e-3 < plain.p_values[0, 1]
    overlap = np.abs(plain.means[:, None] - plain.means) <= 2 * plain.half_width
    assert (overlap == (plain.p_values >= 0.05)).all()


def test_tukey_by_hand():
    # residuals +-1/2 about fold and model means: s^2 = 4 / 4 / 1, one degree of freedom
    found = significance.tukey_hsd(np.array([[0.0, 3.0], [1.0, 2.0]]))
    assert found.means.tolist() == [0.5, 2.5]
    # q of 0.95 for 2 groups and 1 degree of freedom is 17.97; s^2 / F = 1 / 2
    assert found.half_width == pytest.approx(17.97 * np.sqrt(0.5) / 2, rel=1e-3)
    with pytest.raises(ValueError, match="two of each"):
        significance.tukey_hsd(np.zeros((1, 3)))


def test_weighted_roc_auc():
    generator = np.random.default_rng(0)
    y = generator.integers(0, 2, 50)
    predicted = generator.integers(0, 6, 50) / 5  # many equal ones
    weights = generator.integers(0, 3, (4, 50)).astype(float)
    expected = [roc_auc_score(y, predicted, sample_weight=w) for w in weights]
    np.testing.assert_allclose(significance.weighted_roc_auc(y, predicted, weights), expected)
    assert np.isnan(significance.weighted_roc_auc(np.ones(3), np.arange(3.0), np.ones((1, 3)))[0])


@pytest.mark.parametrize("metric", ["rmse", "mae", "roc_auc"])
def test_resampled_scores_centre_on_the_score(metric):
    generator = np.random.default_rng(0)
    y = generator.normal(size=(300, 2))
    predicted = y + generator.normal(size=y.shape)
    if metric == "roc_auc":
        y = (y > 0).astype(float)
    y[:20, 1] = np.nan
    found = significance.resampled_scores(y, predicted, metric)
    kind = "classification" if metric == "roc_auc" else "regression"
    assert found.mean() == pytest.approx(evaluate(y, predicted, kind)[metric], rel=0.01)
    assert 0 < found.std() < 0.1 * found.mean()
    again = significance.resampled_scores(y, predicted, metric)
    assert np.array_equal(found, again)


def test_ties():
    generator = np.random.default_rng(0)
    y = generator.normal(size=(200, 1))
    close, far = (y + scale * generator.normal(size=y.shape) for scale in (0.51, 1.0))
    predictions = {"best": y + 0.5 * generator.normal(size=y.shape), "close": close, "far": far}
    scores = {k: significance.resampled_scores(y, p, "rmse") for k, p in predictions.items()}
    assert significance.tied_with_best(scores, "rmse") == {"best", "close"}


@pytest.mark.parametrize("metric", ["standardised_rmse", "standardised_mae", "mixed_error"])
def test_scores_without_a_unit_are_those_of_evaluate(metric):
    generator = np.random.default_rng(0)
    y = generator.normal(size=(40, 2)) * [1000.0, 1.0]
    predicted = y + generator.normal(size=y.shape) * [500.0, 1.0]
    types, scale = ["regression"] * 2, [900.0, 1.1]
    if metric == "mixed_error":
        y[:, 1], types = y[:, 1] > 0, ["regression", "classification"]
    y[3, 0] = np.nan
    found = significance.resampled_scores(y, predicted, metric, types, scale, times=5)
    weights = np.random.default_rng(0).multinomial(40, np.full(40, 1 / 40), size=5)
    for score, weight in zip(found, weights, strict=True):
        rows = np.repeat(np.arange(40), weight)
        assert score == pytest.approx(evaluate(y[rows], predicted[rows], types, scale)[metric])


def test_a_score_that_cannot_be_resampled_is_an_error():
    y = np.zeros((4, 1))
    for metric, said in (("spearman", "cannot be drawn"), ("standardised_rmse", "needs the scale")):
        with pytest.raises(ValueError, match=said):
            significance.resampled_scores(y, y, metric)
