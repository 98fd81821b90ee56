"""Fine-tuning of GROVER and MoleBLEND, and pre-training of GROVER on a store."""

import competitors
import pytest
import torch
from goldens import assert_same_weights
from torch_geometric.data import Batch, Data
from torch_geometric.transforms import Compose

from molae_pyg.baselines.gin_predictor import labelled_graphs
from molae_pyg.baselines.graph_heads import GroverPredictor, MoleBlendPredictor
from molae_pyg.baselines.grover import Grover, GroverEncoder, grover_objective
from molae_pyg.chem.grover_graph import ChooseWords, GroverGraphs, Vocabulary, grover_graph
from molae_pyg.chem.ogb_graph import OgbGraphs
from molae_pyg.models import MoleBlend
from molae_pyg.training import Finetuning, Pretraining, finetune, predict, pretrain

SMILES = ["CO", "CC", "CCO", "CCC", "CCCO", "CCCC", "CC(C)O", "CC(C)C", "CCCCO", "CCCCC"]


def molecules(graph_of) -> list[Data]:
    items = [Data(smiles=s, y=torch.tensor([[float("O" in s)]])) for s in SMILES]
    return labelled_graphs(items, graph_of)


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
def test_a_molecule_does_not_depend_on_its_batch(name):
    torch.manual_seed(0)
    build, graph_of = CASES[name]
    model, items = build().eval(), molecules(graph_of)
    with torch.no_grad():
        together = model.on_batch(Batch.from_data_list(items))
        alone = torch.cat([model.on_batch(Batch.from_data_list([item])) for item in items])
    torch.testing.assert_close(together, alone, atol=1e-5, rtol=0)


def test_classes_are_probabilities():
    items = molecules(grover_graph)
    model = GroverPredictor(GroverEncoder(16, 2, 3), 2, task_type="classification").eval()
    assert model.config["task_type"] == "classification"
    with torch.no_grad():
        found = model.predict_batch(Batch.from_data_list(items))
    assert found.shape == (10, 2)
    assert ((found > 0) & (found < 1)).all()


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
