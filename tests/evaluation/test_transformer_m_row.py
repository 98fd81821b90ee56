"""Transformer-M in comparisons: it sees graphs and conformers, also of cropped molecules."""

import numpy as np
import pytest
import torch

from molae_pyg.baselines.job import Job
from molae_pyg.datasets.table import MoleculeTable
from molae_pyg.evaluation import models
from molae_pyg.models import TransformerM
from molae_pyg.splits import Split

SMILES = ["CO", "CCO", "CCCO", "CC(C)O", "CC", "CCC", "CCCC", "CC(C)CCCCN"]


@pytest.mark.parametrize("pretrained", [True, False])
def test_the_predictor_sees_the_graph(tmp_path, monkeypatch, pretrained):
    torch.manual_seed(0)
    TransformerM(16, 16, 2, 1, 4, tokens=True).save_pretrained(tmp_path / "pre")
    y = [[float("O" in smiles)] for smiles in SMILES]
    table = MoleculeTable(SMILES, y, num_conformers=1, max_atoms=5, workers=1)
    rows = np.arange(8)
    training = {"epochs": 1, "batch_size": 4, "lr": 1e-3, "pool": 2, "pair_budget": 60}
    settings = {"weights": str(tmp_path / "pre"), "pretrained": pretrained, "head": {}}
    settings["training"] = training
    seen = []
    monkeypatch.setattr(
        models.MolAEPredictor, "forward",
        lambda self, *given, graph=None, old=models.MolAEPredictor.forward, **more:
        (seen.append((given[0], graph)), old(self, *given, graph=graph, **more))[1],
    )  # fmt: skip
    job = Job(table, Split(rows, rows, rows), settings, 0, tmp_path / "run")
    assert models.MODELS["transformer-m"].fit(job).test.shape == (8, 1)
    assert len(seen) > 3
    for z, graph in seen:
        assert torch.equal(graph.atom[:, 0] + 1, z)
        assert graph.edge_index.max() < len(z)
