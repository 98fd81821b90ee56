"""Fine-tuning of GROVER and MoleBLEND, and pre-training of GROVER on a store."""

import competitors
import numpy as np
import pytest
import torch
from goldens import assert_same_weights
from torch_geometric.data import Batch, Data
from torch_geometric.transforms import Compose

from molae_pyg.baselines import graph_heads
from molae_pyg.baselines.graph_heads import (
    GroverPredictor,
    MoleBlendPredictor,
    grover,
    mole_blend,
    pre_trained,
)
from molae_pyg.baselines.grover import Grover, GroverEncoder, grover_objective
from molae_pyg.baselines.job import Job
from molae_pyg.checkpoint import CheckpointError
from molae_pyg.chem.grover_graph import ChooseWords, GroverGraphs, Vocabulary, grover_graph
from molae_pyg.chem.ogb_graph import OgbGraphs
from molae_pyg.datasets import MoleculeTable
from molae_pyg.models import MolAE, MoleBlend
from molae_pyg.splits import Split
from molae_pyg.training import Finetuning, Pretraining, finetune, predict, pretrain

SMILES = ["CO", "CC", "CCO", "CCC", "CCCO", "CCCC", "CC(C)O", "CC(C)C", "CCCCO", "CCCCC"]


def molecules(graph_of) -> list[Data]:
    items = []
    for smiles in SMILES:
        items.append(graph_of(smiles))
        items[-1].y = torch.tensor([[float("O" in smiles)]])
    return items


CASES = {
    "grover": (lambda: GroverPredictor(GroverEncoder(16, 2, 3), 1), grover_graph),
    "mole-blend": (lambda: MoleBlendPredictor(MoleBlend.tiny().encoder, 1), OgbGraphs().graph),
}


@pytest.mark.parametrize("name", CASES)
def test_fine_tuned_saved_and_read(tmp_path, name):
    torch.manual_seed(0)
    build, graph_of = CASES[name]
    model, items = build(), molecules(graph_of)
    settings = Finetuning(epochs=30, batch_size=5, lr=2e-3, patience=1000)
    finetune(model, items, items, tmp_path / "run", settings)
    found = predict(model, items)[:, 0]
    alcohol = torch.tensor([item.y.item() for item in items]).bool().numpy()
    assert found[alcohol].min() > found[~alcohol].max()
    model.save_pretrained(tmp_path / "model")
    again = type(model).from_pretrained(tmp_path / "model")
    assert_same_weights(again, model)
    assert predict(again, items)[:, 0] == pytest.approx(found, abs=1e-5)


@pytest.mark.parametrize("name", CASES)
def test_inputs_are_not_changed(name):
    build, graph_of = CASES[name]
    batch = Batch.from_data_list(molecules(graph_of))
    before = batch.clone()
    build().on_batch(batch).sum().backward()
    assert competitors.same(batch, before)


@pytest.mark.parametrize("name", CASES)
def test_a_molecule_does_not_depend_on_its_batch(name):
    torch.manual_seed(0)
    build, graph_of = CASES[name]
    model, items = build().eval(), molecules(graph_of)
    with torch.no_grad():
        together = model.on_batch(Batch.from_data_list(items))
        alone = torch.cat([model.on_batch(Batch.from_data_list([item])) for item in items])
    torch.testing.assert_close(together, alone, atol=1e-5, rtol=0)


def test_mole_blend_computes_large_batches_in_parts(monkeypatch):
    torch.manual_seed(0)
    model = MoleBlendPredictor(MoleBlend.tiny().encoder, 1).double().eval()
    graphs = [OgbGraphs().graph(s) for s in ("C" * 30, "CCO", "C" * 20 + "O", "CCC", "c1ccccc1O")]
    batch = Batch.from_data_list(graphs)
    sizes = []
    model.encoder.register_forward_hook(lambda _, inputs, out: sizes.append(len(out.molecule)))
    found = {}
    for budget in (10**6, 600):
        monkeypatch.setattr(graph_heads, "PAIR_BUDGET", budget)
        model.zero_grad()
        y = model.on_batch(batch)
        y.square().sum().backward()
        gradients = [p.grad for p in model.parameters() if p.grad is not None]
        found[budget] = [y, *gradients]
    assert sizes == [5, 3, 1, 1]
    torch.testing.assert_close(found[600], found[10**6], atol=1e-12, rtol=1e-9)


def test_vectors_of_bonds_can_be_left_out():
    torch.manual_seed(0)
    encoder = GroverEncoder(16, 2, 3).eval()
    batch = Batch.from_data_list(molecules(grover_graph))
    graph = batch.x, batch.edge_index, batch.edge_attr
    whole, atoms = encoder(*graph), encoder(*graph, of_bonds=False)
    assert torch.equal(atoms.atom_from_atom, whole.atom_from_atom)
    assert torch.equal(atoms.atom_from_bond, whole.atom_from_bond)
    assert whole.bond_from_atom.shape == whole.bond_from_bond.shape == (len(batch.edge_attr), 16)
    assert atoms.bond_from_atom is atoms.bond_from_bond is None


def test_classes_are_probabilities():
    items = molecules(grover_graph)
    model = GroverPredictor(GroverEncoder(16, 2, 3), 2, task_type="classification").eval()
    assert model.config["task_type"] == "classification"
    with torch.no_grad():
        found = model.predict_batch(Batch.from_data_list(items))
    assert found.shape == (10, 2)
    assert ((found > 0) & (found < 1)).all()


@pytest.mark.parametrize(
    ("fit", "model", "settings"),
    [
        (grover, Grover(5, 5, 16, 2, 3), {"hidden_channels": 16, "heads": 2, "depth": 3}),
        (mole_blend, MoleBlend.tiny(), MoleBlend.tiny().encoder.config),
    ],
)
def test_jobs(tmp_path, fit, model, settings):
    y = [[float("O" in s)] for s in SMILES]
    table = MoleculeTable(SMILES, y, num_conformers=1, workers=1)
    split = Split(np.arange(6), np.arange(6, 8), np.arange(8, 10))
    model.save_pretrained(tmp_path / "model")
    MolAE.tiny().save_pretrained(tmp_path / "other")
    training = {"epochs": 1, "batch_size": 3, "lr": 1e-3}
    for weights in ("random", str(tmp_path / "model")):
        work = {"weights": weights, "training": training}
        work |= {"model": settings} if weights == "random" else {}
        fitted = fit(Job(table, split, work, 0, tmp_path / f"run-{len(weights)}"))
        assert fitted.valid.shape == fitted.test.shape == (2, 1)
        assert np.isfinite(fitted.test).all()
    assert_same_weights(pre_trained(str(tmp_path / "model")), model)
    assert pre_trained(str(tmp_path / "other")) is None
    assert pre_trained("random") is None
    work["weights"] = str(tmp_path / "other")
    with pytest.raises(CheckpointError, match="is no folder of a saved model with a"):
        fit(Job(table, split, work, 0, tmp_path / "run"))


def test_grover_is_pre_trained_on_a_store(tmp_path):
    train, valid = competitors.stores(tmp_path / "store")
    vocabulary = Vocabulary.of(competitors.SMILES, least=1)
    transform = Compose([GroverGraphs(vocabulary), ChooseWords()])
    model = Grover(*vocabulary.sizes, 16, 2, 3)
    settings = Pretraining(steps=4, warmup_steps=1, pair_budget=2000)
    scores = pretrain(model, grover_objective, train, valid, tmp_path / "run", settings, transform)
    assert scores.keys() >= {"val_atom", "val_bond", "val_motif"}
    other = Vocabulary.of(competitors.SMILES[:1], least=1)
    assert repr(GroverGraphs(other)) != repr(GroverGraphs(vocabulary))
    assert repr(GroverGraphs(Vocabulary(*vocabulary))) == repr(GroverGraphs(vocabulary))
