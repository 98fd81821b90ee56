"""The read-out: what it learns, what it chooses, and that it comes back from its arrays."""

import numpy as np
import pytest

from molae_pyg.workflow import readout
from molae_pyg.workflow.labels import Labels
from molae_pyg.workflow.readout import Readout, fit_readout

N = 120


@pytest.fixture
def features():
    generator = np.random.default_rng(0)
    return {"a": generator.normal(size=(N, 3)), "b": generator.normal(size=(N, 5))}


@pytest.fixture
def y(features):
    """A number and a class that depend on block a only."""
    x = features["a"]
    return np.stack([100 + 10 * np.sin(x[:, 0]) + 5 * x[:, 1], x[:, 2] > 0.3], 1).astype(float)


FOLDS = np.arange(N) % 3
TYPES = ["regression", "classification"]
BOTH = [("a",), ("b",), ("a", "b")]


def test_it_learns_and_chooses_the_block_that_matters(features, y):
    fitted = fit_readout(features, Labels.of(y, TYPES), FOLDS, BOTH)
    assert fitted.blocks == ["a"]
    predicted = fitted.predict(features)
    assert np.std(predicted[:, 0] - y[:, 0]) < 0.2 * np.std(y[:, 0])
    assert ((predicted[:, 1] > 0.5) == y[:, 1]).mean() > 0.9
    assert (predicted[:, 1] >= 0).all()
    assert (predicted[:, 1] <= 1).all()


def test_the_arrays_are_the_model(features, y):
    fitted = fit_readout(features, Labels.of(y, TYPES), FOLDS, BOTH)
    again = Readout(fitted.arrays())
    assert np.array_equal(again.predict(features), fitted.predict(features))


def test_missing_labels_are_as_good_as_absent_rows(features, y):
    """The kernel's width and standardisation come from all rows, so those are repeated ones."""
    doubled = {name: np.tile(x, (2, 1)) for name, x in features.items()}
    labels = np.concatenate([y, np.full_like(y, np.nan)])
    fitted = fit_readout(doubled, Labels.of(labels, TYPES), np.tile(FOLDS, 2), [("a",)])
    plain = fit_readout(features, Labels.of(y, TYPES), FOLDS, [("a",)])
    assert np.allclose(fitted.predict(features), plain.predict(features), rtol=0.02, atol=0.05)


def test_each_target_has_a_penalty_of_its_own(features, y):
    noise = np.random.default_rng(1).normal(size=N)
    labels = np.stack([y[:, 0], noise], 1)
    fitted = fit_readout(features, Labels.of(labels, ["regression"] * 2), FOLDS, [("a",)])
    assert fitted.penalties[0] < fitted.penalties[1]


def test_one_class_only_gives_a_constant_probability(features):
    labels = np.zeros((N, 1))
    labels = Labels.of(labels, ["classification"])
    predicted = fit_readout(features, labels, FOLDS, [("a",)]).predict(features)
    assert np.allclose(predicted, 1 / (N + 2))


def test_landmarks_come_close_to_all_rows(features, y, monkeypatch):
    full = fit_readout(features, Labels.of(y, TYPES), FOLDS, [("a",)]).predict(features)
    monkeypatch.setattr(readout, "LANDMARKS", 70)
    some = fit_readout(features, Labels.of(y, TYPES), FOLDS, [("a",)])
    assert len(some.landmarks) == 70
    assert np.corrcoef(some.predict(features)[:, 0], full[:, 0])[0, 1] > 0.98


def test_the_scale_of_a_feature_and_of_a_label_does_not_matter(features, y):
    labels = Labels.of(y[:, :1], TYPES[:1])
    plain = fit_readout(features, labels, FOLDS, [("a",)]).predict(features)
    other = {"a": features["a"] * [1e3, 1e-3, 1] + 7}
    labels = Labels.of(1e6 * y[:, :1] - 5, TYPES[:1])
    scaled = fit_readout(other, labels, FOLDS, [("a",)]).predict(other)
    assert np.allclose(scaled, 1e6 * plain - 5, rtol=1e-6)


def test_far_features_are_clipped(features, y):
    fitted = fit_readout(features, Labels.of(y, TYPES), FOLDS, [("a",)])
    far, farther = ({"a": np.full((1, 3), value)} for value in (1e3, 1e9))
    assert np.array_equal(fitted.predict(far), fitted.predict(farther))
