"""Linear probes on data with known answers."""

import numpy as np
import pytest
import torch
from torch_geometric.data import Data

from molae_pyg import MolAE
from molae_pyg.baselines.forest import ForestBaseline, ecfp4, forest_both
from molae_pyg.baselines.job import Job
from molae_pyg.baselines.probe import (
    PENALTIES,
    descriptors_linear,
    embed,
    frozen_ridge,
    probe,
    scaffold_folds,
)
from molae_pyg.chem.descriptors import NAMES, descriptors
from molae_pyg.datasets import MoleculeTable
from molae_pyg.splits import Split

NAN = float("nan")
ROWS = np.arange(80)
FOLDS = [(ROWS[fold != ROWS % 5], ROWS[fold == ROWS % 5]) for fold in range(5)]
TEST = np.arange(80, 100)


@pytest.fixture
def x() -> np.ndarray:
    return np.random.default_rng(0).normal(size=(100, 4)) * [1, 10, 100, 1000] + 5


def fit(x: np.ndarray, y: np.ndarray, task_type: str, metric: str):
    return probe({"cls": x}, y, FOLDS, TEST, task_type, metric)


def test_a_linear_target_is_found(x):
    y = x @ np.array([[1.0, 2.0], [0.1, 0.0], [0.01, 0.0], [0.001, 0.002]]) + 7
    found = fit(x, y, "regression", "rmse")
    assert found.penalty == min(PENALTIES["regression"])  # without noise the weakest is best
    assert found.predicted == pytest.approx(y[TEST], abs=0.05)
    assert found.cross_validated < 0.05


def test_noise_needs_a_strong_penalty():
    noise = np.random.default_rng(1)
    x, y = noise.normal(size=(100, 50)), noise.normal(size=(100, 1))
    assert fit(x, y, "regression", "mae").penalty >= 100


def test_separable_classes(x):
    y = np.stack([x[:, 0] > 5, x[:, 1] + x[:, 2] / 10 > 10], axis=1).astype(float)
    found = fit(x, y, "classification", "roc_auc")
    assert found.cross_validated > 0.99
    assert ((found.predicted > 0.5) == y[TEST]).mean() > 0.9


def test_the_informative_readout_is_chosen(x):
    noise = np.random.default_rng(3).normal(size=(100, 4))
    for metric, task_type in (("rmse", "regression"), ("roc_auc", "classification")):
        y = (x[:, :1] > 5).astype(float)
        found = probe({"noise": noise, "x": x}, y, FOLDS, TEST, task_type, metric)
        assert found.readout == "x"


def test_a_task_of_one_class_in_training(x):
    y = np.stack([x[:, 0] > 5, np.arange(100) >= 80], axis=1).astype(float)
    found = fit(x, y, "classification", "roc_auc")
    assert (found.predicted[:, 1] == 0).all()


def test_missing_labels_are_skipped(x):
    y = x[:, :1] + np.random.default_rng(2).normal(size=(100, 1))
    missing, wrong = y.copy(), y.copy()
    missing[:10], wrong[:10] = NAN, 1e6
    found = fit(x, missing, "regression", "rmse")
    assert np.abs(found.predicted - y[TEST]).mean() < 1.5
    assert np.abs(fit(x, wrong, "regression", "rmse").predicted).mean() > 100


def test_test_labels_and_features_are_not_used(x):
    y = x[:, :1] + np.random.default_rng(2).normal(size=(100, 1))
    found = fit(x, y, "regression", "rmse")
    x[TEST] = 1e9
    y[TEST] = NAN
    again = fit(x, y, "regression", "rmse")
    assert again[:3] == found[:3]


def test_folds_share_no_scaffold():
    rings = ["c1ccccc1", "C1CCCCC1", "c1ccncc1", "C1CCOC1", "c1ccoc1", "c1ccsc1", "C1CC1"]
    smiles = [ring + "C" * n for n in range(4) for ring in rings]
    rows = np.arange(2, 26)
    folds = scaffold_folds(smiles, rows)
    assert np.sort(np.concatenate([held_out for _, held_out in folds])).tolist() == rows.tolist()
    for fitted, held_out in folds:
        assert {*fitted, *held_out} == {*rows}
        assert not {row % len(rings) for row in fitted} & {row % len(rings) for row in held_out}


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
    assert {name: x.shape for name, x in found.items()} == {
        "cls": (3, 64),
        "mean": (3, 64),
        "cls, mean": (3, 128),
    }
    encoder.eval()
    for data, row in zip(molecules, found["cls, mean"], strict=True):
        with torch.no_grad():
            outs = [encoder(data.z, pos) for pos in data.conformers.unbind(1)]
        cls = sum(out.molecule[0] for out in outs) / 2
        atoms = sum(out.x.mean(dim=0) for out in outs) / 2
        assert row == pytest.approx(torch.cat([cls, atoms]).numpy(), abs=1e-5)
    assert (np.concatenate([found["cls"], found["mean"]], axis=1) == found["cls, mean"]).all()


@pytest.fixture(scope="module")
def table() -> MoleculeTable:
    """Chains whose target is a descriptor: the number of their oxygens."""
    rings = ["c1ccccc1", "C1CCCCC1", "c1ccncc1", "C1CCOC1", "c1ccoc1", "C1CC1"]
    smiles = [f"{'C' * n}{'O' * (n % 2)}{ring}" for ring in rings for n in range(1, 9)]
    y = [float(text.upper().count("O")) for text in smiles]
    return MoleculeTable(smiles, y, num_conformers=0, task_type="regression", workers=1)


SPLIT = Split(np.arange(0, 36), np.arange(36, 42), np.arange(42, 48))


def job(table: MoleculeTable, **settings) -> Job:
    return Job(table, SPLIT, settings, 0, None)


def test_descriptors_alone_find_what_is_a_descriptor(table):
    fitted = descriptors_linear(job(table))
    assert fitted.facts["readout"] == "descriptors"
    assert np.abs(fitted.test - table.y[SPLIT.test].numpy()).max() < 0.4


@pytest.mark.parametrize("graph", [False, True])
def test_frozen_vectors_and_vectors_joined_with_descriptors(table, tmp_path, graph):
    torch.manual_seed(0)
    sizes = {"ffn_channels": 16, "heads": 4, "num_layers": 1, "num_gaussians": 8}
    MolAE(16, **sizes, gaussian_init="intended", graph=graph).save_pretrained(tmp_path / "weights")
    weights = str(tmp_path / "weights")
    alone = frozen_ridge(job(table, weights=weights, readout="cls, mean"))
    assert alone.facts["readout"] == "cls, mean"
    assert frozen_ridge(job(table, weights=weights)).facts["readout"] in (
        "cls",
        "mean",
        "cls, mean",
    )
    both = frozen_ridge(job(table, weights=weights, readout="cls, mean", descriptors=True))
    assert both.facts["readout"] == "cls, mean, descriptors"
    assert both.test.shape == (6, 1)
    assert not np.allclose(both.test, alone.test)
    with pytest.raises(ValueError, match="readout must be one of cls, mean, cls, mean, got 'sum'"):
        frozen_ridge(job(table, weights=weights, readout="sum"))


def test_large_values_are_cut(x):
    y = x[:, :1].copy()
    x[TEST[0]] += [1e6, 0, 0, 0]
    free = probe({"x": x}, y, FOLDS, TEST, "regression", "rmse").predicted
    cut = probe({"x": x}, y, FOLDS, TEST, "regression", "rmse", 6.0).predicted
    assert free[0, 0] > 1e5
    assert cut[0, 0] == pytest.approx(x[ROWS, 0].mean() + 6 * x[ROWS, 0].std(), rel=0.05)
    np.testing.assert_allclose(cut[1:], free[1:])


def test_forest_on_fingerprints_and_descriptors(table):
    found = forest_both(job(table, num_trees=5))
    x = np.hstack([ecfp4(table.smiles), descriptors(table.smiles, 1)[0].astype(np.float32)])
    assert x.shape == (48, 2048 + len(NAMES))
    forest = ForestBaseline("regression", num_trees=5).fit_features(x[:36], table.y.numpy()[:36])
    np.testing.assert_allclose(found.test, forest.predict_features(x[SPLIT.test]))
