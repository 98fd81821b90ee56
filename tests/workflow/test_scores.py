"""Verdicts, and intervals and probabilities of rows from the other folds."""

import numpy as np
import pytest

from molae_pyg.workflow.labels import Labels
from molae_pyg.workflow.scores import (
    BASELINES,
    calibrated_out_of_fold,
    intervals_out_of_fold,
    verdicts,
)

N = 200
GENERATOR = np.random.default_rng(0)
Y = GENERATOR.normal(size=(N, 1))
LABELS = Labels.of(Y, ["regression"])
FOLD = np.arange(N) % 5


def verdict(error_of_model, errors_of_baselines):
    """The sentence if errors have these sizes."""
    noise = np.random.default_rng(1).normal(size=(N, 4))
    predictions = {"molae": Y + error_of_model * noise[:, :1]}
    for place, (name, error) in enumerate(zip(BASELINES, errors_of_baselines, strict=True), 1):
        predictions[name] = Y + error * noise[:, place : place + 1]
    return verdicts(LABELS, predictions, ["y"])["y"]


def test_better():
    found = verdict(0.5, (3.0, 1.0, 2.0))
    assert found.baseline == "ecfp-forest"
    assert found.sentence == "better than the ECFP4 forest (in 100% of 1,000 resampled test sets)"


def test_worse():
    found = verdict(1.0, (3.0, 2.0, 0.5))
    assert found.sentence.startswith("worse than the descriptors alone (better in only 0%")


def test_not_clear():
    assert verdict(1.0, (3.0, 1.0, 2.0)).sentence.startswith("not clearly better than the ECFP4")


def test_equal_predictions_are_a_tie():
    predictions = {"molae": Y + 1, "mean": Y + 9, "ecfp-forest": Y + 9, "descriptors": Y + 1}
    found = verdicts(LABELS, predictions, ["y"])["y"]
    assert found.share == 0.5


def test_intervals_of_a_fold_come_from_the_others():
    y, predicted = Y[:, 0], np.zeros(N)
    low, high = intervals_out_of_fold(y, predicted, FOLD, 0.2)
    changed = np.where(FOLD == 0, 1e6, y)  # errors of fold 0 only
    again, _ = intervals_out_of_fold(changed, predicted, FOLD, 0.2)
    assert np.array_equal(again[FOLD == 0], low[FOLD == 0])
    assert not np.array_equal(again[FOLD == 1], low[FOLD == 1])
    assert np.mean((low <= y) & (y <= high)) == pytest.approx(0.8, abs=0.05)


def test_too_few_labels_have_infinite_intervals():
    low, high = intervals_out_of_fold(np.zeros(6), np.zeros(6), np.arange(6) % 3, 0.1)
    assert np.isinf(low).all()
    assert np.isinf(high).all()


def test_probabilities_of_a_fold_are_calibrated_by_the_others():
    y = (GENERATOR.random(2000) < 0.3).astype(float)
    overconfident = np.where(y == 1, 0.99, 0.9)  # classes are told apart, probabilities are not
    fold = np.arange(2000) % 5
    found = calibrated_out_of_fold(y, overconfident, fold)
    assert found[y == 0].max() < 0.05
    flipped = np.where(fold == 0, 1 - y, y)
    again = calibrated_out_of_fold(flipped, overconfident, fold)
    assert np.array_equal(again[fold == 0], found[fold == 0])


def test_one_class_in_the_other_folds_leaves_probabilities_as_they_are():
    probability = np.array([0.2, 0.7, 0.4])
    found = calibrated_out_of_fold(np.array([0.0, 1.0, 0.0]), probability, np.array([0, 1, 0]))
    assert found[1] == 0.7
