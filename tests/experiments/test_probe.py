"""Linear probes on data whose answer is known."""

import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from torch_geometric.data import Data

from molae_pyg import MolAE
from molae_pyg.splits import Split

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT))  # the experiments are scripts beside the package, not part of it

from experiments.probe import PENALTIES, embed, probe  # noqa: E402

NAN = float("nan")
SPLIT = Split(np.arange(60), np.arange(60, 80), np.arange(80, 100))


@pytest.fixture
def x() -> np.ndarray:
    return np.random.default_rng(0).normal(size=(100, 4)) * [1, 10, 100, 1000] + 5


def test_a_linear_target_is_found(x):
    y = x @ np.array([[1.0, 2.0], [0.1, 0.0], [0.01, 0.0], [0.001, 0.002]]) + 7
    found = probe(x, y, SPLIT, "regression", "rmse")
    assert found.penalty == min(PENALTIES["regression"])  # without noise the weakest is best
    assert found.predicted == pytest.approx(y[SPLIT.test], abs=0.05)
    assert found.valid < 0.05


def test_noise_asks_for_a_strong_penalty():
    noise = np.random.default_rng(1)
    x, y = noise.normal(size=(100, 50)), noise.normal(size=(100, 1))
    assert probe(x, y, SPLIT, "regression", "mae").penalty >= 100


def test_separable_classes(x):
    y = np.stack([x[:, 0] > 5, x[:, 1] + x[:, 2] / 10 > 10], axis=1).astype(float)
    found = probe(x, y, SPLIT, "classification", "roc_auc")
    assert found.valid > 0.99
    assert ((found.predicted > 0.5) == y[SPLIT.test]).mean() > 0.9


def test_a_task_of_one_class_in_training(x):
    y = np.stack([x[:, 0] > 5, np.arange(100) >= 60], axis=1).astype(float)
    found = probe(x, y, SPLIT, "classification", "roc_auc")
    assert (found.predicted[:, 1] == 0).all()


def test_missing_labels_are_passed_over(x):
    y = x[:, :1] + np.random.default_rng(2).normal(size=(100, 1))
    missing, wrong = y.copy(), y.copy()
    missing[:10], wrong[:10] = NAN, 1e6
    found = probe(x, missing, SPLIT, "regression", "rmse")
    assert np.abs(found.predicted - y[SPLIT.test]).mean() < 1.5
    assert np.abs(probe(x, wrong, SPLIT, "regression", "rmse").predicted).mean() > 100


def test_test_labels_and_features_stay_out(x):
    y = x[:, :1] + np.random.default_rng(2).normal(size=(100, 1))
    found = probe(x, y, SPLIT, "regression", "rmse")
    x[SPLIT.test] = 1e9
    y[SPLIT.test] = NAN
    again = probe(x, y, SPLIT, "regression", "rmse")
    assert (again.valid, again.penalty) == (found.valid, found.penalty)


def test_embed():
    generator = torch.Generator().manual_seed(0)
    molecules = [
        Data(
            z=torch.full((n,), 6),
            conformers=torch.randn(n, 2, 3, generator=generator),
            num_nodes=n,
        )
        for n in (5, 2, 9)
    ]
    encoder = MolAE.tiny().encoder.train()
    found = embed(encoder, molecules, batch_size=2)
    assert encoder.training
    assert found.shape == (3, 128)
    encoder.eval()
    for data, row in zip(molecules, found, strict=True):
        with torch.no_grad():
            outs = [encoder(data.z, pos) for pos in data.conformers.unbind(1)]
        cls = sum(out.molecule[0] for out in outs) / 2
        atoms = sum(out.x.mean(dim=0) for out in outs) / 2
        assert row == pytest.approx(torch.cat([cls, atoms]).numpy(), abs=1e-5)
