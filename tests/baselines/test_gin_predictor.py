"""Fine-tuning of pre-trained graph networks, and the recorded head of MolCLR."""

import competitors
import numpy as np
import pytest
import torch
from goldens import assert_same_weights
from torch_geometric.data import Batch

from molae_pyg.baselines.gin_predictor import EdgeGINPredictor, graph_network, labelled_graphs
from molae_pyg.baselines.gin_predictor import edge_gin as fit_edge_gin
from molae_pyg.baselines.graph_mvp import GraphMVP
from molae_pyg.baselines.job import Job, digest_of
from molae_pyg.baselines.mol_clr import MolCLR
from molae_pyg.baselines.official_gnn import edge_gin, edge_gin_to_official
from molae_pyg.baselines.pretrain_gnn import AttributeMasking, ContextPrediction
from molae_pyg.checkpoint import CheckpointError
from molae_pyg.datasets import MoleculeTable
from molae_pyg.fingerprint import of_weights
from molae_pyg.models import MolAE
from molae_pyg.official_file import OfficialFile
from molae_pyg.splits import Split
from molae_pyg.training import Finetuning, finetune, predict


def test_recorded_prediction_of_mol_clr():
    recorded, meta = competitors.arrays("molclr"), competitors.meta("molclr")
    weights = competitors.by_rule(meta["ginet_finetune_shapes"])
    encoder, rest = edge_gin(OfficialFile("molclr", weights, {}))
    model = EdgeGINPredictor(encoder, 2, head="mol-clr").eval()
    names = {"feat_lin": "0", "pred_head.0": "1", "pred_head.2": "3", "pred_head.4": "5"}
    model.head.load_state_dict(
        {
            f"{ours}.{leaf}": rest.weights[f"{theirs}.{leaf}"]
            for theirs, ours in names.items()
            for leaf in ("weight", "bias")
        }
    )
    with torch.no_grad():
        found = model(*(recorded[f"h_{key}"] for key in ("x", "edge_index", "edge_attr", "batch")))
    assert competitors.off(found, recorded["finetune_pred"]) < 1e-5


@pytest.mark.parametrize(
    "model",
    [ContextPrediction(8, 2, 1), AttributeMasking(8, 2), GraphMVP(8, 2, 8, 1), MolCLR(8, 2, 512)],
)
def test_a_predictor_keeps_the_pre_trained_weights(tmp_path, model):
    model.save_pretrained(tmp_path)
    predictor = EdgeGINPredictor.from_pretraining(tmp_path, 3)
    assert_same_weights(predictor.encoder, model.encoder)
    assert predictor.encoder.config["dropout"] == 0.5
    is_mol_clr = isinstance(model, MolCLR)
    assert predictor.config["head"] == ("mol-clr" if is_mol_clr else "linear")
    if is_mol_clr:
        assert torch.equal(predictor.head[0].weight, model.feature.weight)


def test_an_official_mol_clr_keeps_its_vector(tmp_path):
    weights = competitors.by_rule(competitors.meta("molclr")["ginet_molclr_shapes"])
    torch.save(weights, tmp_path / "model.pth")
    predictor = EdgeGINPredictor.from_pretraining(tmp_path / "model.pth", 1)
    assert torch.equal(predictor.head[0].weight, weights["feat_lin.weight"])
    small = MolCLR(8, 2, 32)
    small.save_pretrained(tmp_path / "small")
    predictor = EdgeGINPredictor.from_pretraining(tmp_path / "small", 1)
    assert torch.equal(predictor.head[0].weight, small.feature.weight)
    predictor.save_pretrained(tmp_path / "predictor")
    assert_same_weights(EdgeGINPredictor.from_pretrained(tmp_path / "predictor"), predictor)


def test_official_files_and_others(tmp_path):
    model = ContextPrediction(8, 2, 1)
    torch.save(dict(edge_gin_to_official(model.encoder)), tmp_path / "contextpred.pth")
    predictor = EdgeGINPredictor.from_pretraining(tmp_path / "contextpred.pth", 1)
    assert_same_weights(predictor.encoder, model.encoder)
    MolAE.tiny().save_pretrained(tmp_path / "molae")
    with pytest.raises(CheckpointError, match="is no folder of a saved AttributeMasking, "):
        EdgeGINPredictor.from_pretraining(tmp_path / "molae", 1)
    assert graph_network(tmp_path / "molae") is None
    assert graph_network("random") is None
    with pytest.raises(ValueError, match="head must be 'linear' or 'mol-clr', got 'mlp'"):
        EdgeGINPredictor(model.encoder, 1, head="mlp")


def test_fine_tuned_saved_and_read(tmp_path):
    """A class that the graph shows is learned; the saved model predicts the same."""
    smiles = ("CO", "CCO", "CCCO", "CC(C)O", "CC", "CCC", "CCCC", "CC(C)C")
    graphs = labelled_graphs(smiles, torch.tensor([1.0] * 4 + [0.0] * 4)[:, None])
    torch.manual_seed(0)
    AttributeMasking(16, 2).save_pretrained(tmp_path / "pre")
    model = EdgeGINPredictor.from_pretraining(
        tmp_path / "pre", 1, ["alcohol"], "classification", dropout=0.0
    )
    settings = Finetuning(epochs=20, batch_size=8, lr=1e-2, precision="32-true")
    best = finetune(model, graphs, graphs, tmp_path / "run", settings)
    assert best["val_roc_auc"] == 1
    found = predict(model, graphs, precision="32-true")
    assert found.shape == (8, 1)
    again = EdgeGINPredictor.from_pretrained(tmp_path / "run" / "model")
    assert (predict(again, graphs, precision="32-true") == found).all()
    with torch.no_grad():
        alone = again.predict_batch(Batch.from_data_list(graphs[2:3]))
    assert alone.item() == pytest.approx(found[2, 0], abs=1e-6)


def test_a_network_without_its_pre_training(tmp_path):
    torch.manual_seed(0)
    MolCLR(16, 2).save_pretrained(tmp_path)
    found = []
    for pretrained in (True, False, False):
        torch.manual_seed(1)
        found.append(EdgeGINPredictor.from_pretraining(tmp_path, 1, pretrained=pretrained))
    assert found[0].config == found[1].config
    source = MolCLR.from_pretrained(tmp_path)
    for name, own, of in (("encoder", "encoder", "encoder"), ("feature", "head.0", "feature")):
        mine = [next(model.get_submodule(own).parameters()) for model in found]
        theirs = next(source.get_submodule(of).parameters())
        assert torch.equal(mine[0], theirs), name
        assert not torch.equal(mine[1], theirs), name
        assert torch.equal(mine[1], mine[2]), name  # of the seed alone


@pytest.mark.parametrize("weights", ["random", "folder"])
def test_a_row_of_a_comparison(tmp_path, weights):
    smiles = ["CO", "CCO", "CCCO", "CC(C)O", "CC", "CCC", "CCCC", "CC(C)C"]
    dataset = MoleculeTable(smiles, [[1.0]] * 4 + [[0.0]] * 4, num_conformers=1, workers=1)
    rows = np.arange(8)
    settings = {"weights": weights}
    if weights == "random":
        settings["model"] = {"hidden_channels": 16, "num_layers": 2}
    settings |= {"dropout": 0.0, "training": {"epochs": 20, "batch_size": 8, "lr": 1e-2}}
    if weights == "folder":
        torch.manual_seed(0)
        model = MolCLR(16, 2)
        model.save_pretrained(tmp_path / "pre")
        settings["weights"] = str(tmp_path / "pre")
        assert digest_of(settings) == of_weights(model)
    job = Job(dataset, Split(rows, rows, rows), settings, 0, tmp_path / "run")
    fitted = fit_edge_gin(job)
    assert fitted.test.shape == (8, 1)
    assert fitted.test[:4].min() > fitted.test[4:].max()
    again = EdgeGINPredictor.from_pretrained(tmp_path / "run" / "model")
    assert again.config["head"] == ("linear" if weights == "random" else "mol-clr")
