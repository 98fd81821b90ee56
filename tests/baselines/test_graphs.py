"""Graph networks and SchNet: inputs, symmetries, and fitted models that are loaded again."""

import pytest
import torch
from torch_geometric.data import Batch

from molae_pyg.baselines import graphs, schnet
from molae_pyg.datasets import MoleculeTable
from molae_pyg.training import Finetuning, finetune, predict

SMILES = ["CCO", "c1ccccc1", "O=C=O", "C"]


@pytest.fixture(scope="module")
def dataset() -> MoleculeTable:
    y = [[0.5, 1.0], [1.0, 2.0], [2.0, float("nan")], [0.0, 1.0]]
    return MoleculeTable(SMILES, y, num_conformers=2, workers=1)


def test_graphs(dataset):
    found = graphs.graphs(dataset)
    assert [graph.z.tolist() for graph in found] == [[6, 6, 8], [6] * 6, [8, 6, 8], [6]]
    ethanol = found[0]
    assert ethanol.x.shape == (3, 177)
    assert (ethanol.x.sum(1) == 9).all()  # nine features, each has one value
    assert ethanol.x[:, :119].float().argmax(1).tolist() == [6, 6, 8]
    assert ethanol.edge_index.T.tolist() == [[0, 1], [1, 0], [1, 2], [2, 1]]
    assert (ethanol.edge_attr.sum(1) == 3).all()
    assert torch.equal(torch.cat([graph.y for graph in found]).isnan(), dataset.y.isnan())


@pytest.mark.parametrize("name", ["attentive_fp", "gin"])
def test_graph_networks_predict_in_real_units(dataset, name):
    settings = {"hidden_channels": 8, "num_layers": 2, "dropout": 0.0}
    if name == "attentive_fp":
        settings["num_timesteps"] = 1
    torch.manual_seed(0)
    model = graphs.GraphPredictor(name, settings, 2).eval()
    batch = Batch.from_data_list(graphs.graphs(dataset))
    before = model.predict_batch(batch)
    assert before.shape == (4, 2)
    model.set_scaling(dataset.y)
    after = model.predict_batch(batch)
    torch.testing.assert_close(after, before * model.std + model.mean)
    one = Batch.from_data_list(graphs.graphs(dataset)[1:2])
    torch.testing.assert_close(model.predict_batch(one), after[1:2])
    model.task_type = "classification"
    torch.testing.assert_close(model.predict_batch(batch), after.sigmoid())


@pytest.mark.parametrize("name", ["attentive_fp", "gin", "schnet"])
def test_a_trained_model_is_loaded_again(dataset, name, tmp_path):
    """The model that fine-tuning has saved predicts what the fitted model predicts."""
    settings = {"hidden_channels": 8, "num_layers": 2, "dropout": 0.1}
    types = ["regression", "classification"]
    torch.manual_seed(0)
    if name == "schnet":
        cls, molecules = schnet.SchNetPredictor, list(dataset)
        model = cls({"hidden_channels": 8, "num_filters": 8}, 2, ["a", "b"], types)
    else:
        cls, molecules = graphs.GraphPredictor, graphs.graphs(dataset)
        settings |= {"num_timesteps": 1} if name == "attentive_fp" else {}
        model = cls(name, settings, 2, ["a", "b"], types)
    for index, data in enumerate(molecules):
        data.y = torch.tensor([[index * 10.0, index % 2]])
    training = Finetuning(epochs=2, batch_size=2, precision="32-true")
    finetune(model, molecules, molecules, tmp_path, training)
    expected = predict(model, molecules, precision="32-true")
    assert expected.shape == (4, 2)
    assert 0 < expected[:, 1].min() <= expected[:, 1].max() < 1
    loaded = cls.from_pretrained(tmp_path / "model")
    assert loaded.task_types == types
    assert (predict(loaded, molecules, precision="32-true") == expected).all()


def test_unknown_architecture():
    with pytest.raises(ValueError, match="one of attentive_fp, gin: 'gcn'"):
        graphs.GraphPredictor("gcn", {}, 1)


def test_schnet_is_invariant_and_averages_conformers(dataset):
    torch.manual_seed(0)
    settings = {"hidden_channels": 8, "num_filters": 8, "num_interactions": 2, "readout": "mean"}
    model = schnet.SchNetPredictor(settings, 2, ["a", "b"], "regression").eval().double()
    batch = Batch.from_data_list(list(dataset)).to(torch.device("cpu"))
    first, second = batch.conformers.double()[:, 0], batch.conformers.double()[:, 1]
    out = model(batch.z, first, batch.batch)
    rotation, _ = torch.linalg.qr(torch.randn(3, 3, dtype=torch.double))
    moved = first @ rotation + torch.tensor([1.0, -2.0, 3.0])
    torch.testing.assert_close(model(batch.z, moved, batch.batch), out)
    alone = dataset[1]
    zero = torch.zeros(6, dtype=torch.long)
    torch.testing.assert_close(model(alone.z, alone.conformers[:, 0].double(), zero)[0], out[1])
    batch.conformers = torch.stack([first, second], dim=1)
    mean = (out + model(batch.z, second, batch.batch)) / 2
    torch.testing.assert_close(model.predict_batch(batch), mean)
    torch.testing.assert_close(
        model(batch.z * 0 + 118, first, batch.batch), model(batch.z * 0 + 99, first, batch.batch)
    )


def test_neighbours_by_hand():
    neighbours = schnet.Neighbours(cutoff=2.0)
    pos = torch.tensor([[0.0, 0, 0], [1.5, 0, 0], [3.0, 0, 0], [0.0, 0, 0], [0.0, 1, 0]])
    edges, distances = neighbours(pos, torch.tensor([0, 0, 0, 1, 1]))
    found = {(i, j): d for (i, j), d in zip(edges.T.tolist(), distances.tolist(), strict=True)}
    assert found == {
        (0, 1): 1.5, (1, 0): 1.5, (1, 2): 1.5, (2, 1): 1.5, (3, 4): 1.0, (4, 3): 1.0,
    }  # fmt: skip
