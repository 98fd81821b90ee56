"""An encoder with a graph channel sees the graph in training, prediction and explanation."""

import pytest
import torch
from tiny import SMILES, tiny_model

from molae_pyg.models import MoleBlend, TransformerM, UniMol
from molae_pyg.tables.reading import Table
from molae_pyg.workflow import FitSettings, fit
from molae_pyg.workflow.features import make_features

SMILES = SMILES[:24]


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    weights = tmp_path_factory.mktemp("weights")
    torch.manual_seed(0)
    tiny = tiny_model(graph=True)
    torch.nn.init.normal_(tiny.encoder.embedding.weight)
    for parameter in tiny.encoder.graph_bias.parameters():
        torch.nn.init.normal_(parameter)
    tiny.save_pretrained(weights)
    y = torch.tensor([[float(len(smiles))] for smiles in SMILES])
    table = Table(SMILES, y, ["size"], ["regression"])
    settings = FitSettings(folds=2, split="random", weights=str(weights), features="none")
    return fit(table, tmp_path_factory.mktemp("model") / "m", settings)


@pytest.mark.parametrize(
    "weights",
    [UniMol.tiny(), UniMol.tiny(position=True), TransformerM.tiny(), MoleBlend.tiny()],
    ids=["uni-mol", "uni-mol-pe", "transformer-m", "mole-blend"],
)
def test_encoders_of_other_systems(tmp_path, weights):
    weights.save_pretrained(tmp_path / "weights")
    y = torch.tensor([[float(len(smiles))] for smiles in SMILES])
    table = Table(SMILES, y, ["size"], ["regression"])
    folder = str(tmp_path / "weights")
    settings = FitSettings(folds=2, split="random", weights=folder, features="none")
    fitted = fit(table, tmp_path / "m", settings)
    assert type(fitted.encoder) is type(weights.encoder)
    assert fitted.predict(["CCO", "CCCC"])["size_predicted"].notna().all()


def test_vectors_depend_on_the_graph(model):
    """The same atoms at the same places: only the graph tells the molecules apart."""
    from molae_pyg import checkpoint, from_smiles
    from molae_pyg.models import MolAEEncoder

    encoder = checkpoint.load(MolAEEncoder, model.folder / "encoder").eval()
    first = from_smiles("CCO", num_conformers=1)
    other = from_smiles("C=CO", num_conformers=1)
    other.conformers = first.conformers
    a, b = make_features(["encoder"], ["CCO", "C=CO"], [first, other], encoder)["encoder"]
    assert abs(a - b).max() > 1e-3


def test_training_and_prediction_see_the_same(model):
    predicted = model.fold_predict(model.smiles)
    for fold in range(2):
        rows = model.fold == fold
        known = model.predictions["molae"][rows]
        assert predicted[fold, rows] == pytest.approx(known, abs=0.02)


def test_an_explanation_starts_from_the_prediction(model):
    (found,) = model.explain(["CCNc1ccccc1"])
    whole = model.predict(["CCNc1ccccc1"]).loc[0, "size_predicted"]
    assert found.prediction[0] == pytest.approx(whole, abs=1e-3)
