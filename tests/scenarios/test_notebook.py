"""What a user of Python does: frames, lists, arrays, missing rows, and models of their own."""

import numpy as np
import pandas as pd
import pytest
from rdkit import Chem
from sklearn.linear_model import Ridge
from sklearn.model_selection import KFold, cross_val_predict
from tables_of_users import read_rows

from molae_pyg import MolAEEncoder
from molae_pyg.inference import embed
from molae_pyg.tables.reading import read_table
from molae_pyg.workflow import FitSettings, FittedModel, fit


@pytest.fixture
def fitted(model):
    return FittedModel.load(model)


def test_predictions_of_a_list_are_those_of_the_command(molae, fitted, model, tmp_path):
    (tmp_path / "t.smi").write_text("CCO\nCCCCl\n")
    molae("predict", model, tmp_path / "t.smi", tmp_path / "o.csv")
    found = fitted.predict(["CCO", "CCCCl"])
    for name in ("logS_predicted", "logS_low", "soluble_probability", "molae_similarity"):
        wanted = [float(row[name]) for row in read_rows(tmp_path / "o.csv")]
        assert found[name].to_list() == pytest.approx(wanted, rel=1e-4)


@pytest.mark.parametrize("kind", [list, tuple, np.array, pd.Series])
def test_whatever_holds_smiles(fitted, kind):
    found = fitted.predict(kind(["CCO", "c1ccccc1", "nonsense"]))
    assert found["molae_status"].to_list() == ["ok", "ok", "invalid"]
    assert found["logS_predicted"].isna().to_list() == [False, False, True]


def test_predictions_beside_a_frame(fitted):
    frame = pd.DataFrame({"id": [7, 8], "smiles": ["CCO", "CCCl"]}, index=["a", "b"])
    found = fitted.predict(frame["smiles"])
    joined = pd.concat([frame.reset_index(), found], axis=1)
    assert joined["id"].to_list() == [7, 8]
    assert joined["logS_predicted"].notna().all()


def test_a_table_is_learned_in_python(solubility, weights, tmp_path):
    settings = FitSettings(folds=2, split="random", features="none", weights=str(weights))
    fitted = fit(read_table(solubility, target_columns=["logS"]), tmp_path / "m", settings)
    assert fitted.oof["logS_predicted"].notna().all()
    assert FittedModel.load(tmp_path / "m").predict(["CCO"]).equals(fitted.predict(["CCO"]))


def test_shipped_vectors_for_a_model_of_ones_own(solubility):
    rows = read_rows(solubility)
    x = embed(MolAEEncoder.from_pretrained(), [row["smiles"] for row in rows])
    y = np.array([float(row["logS"]) for row in rows])
    found = cross_val_predict(Ridge(), x, y, cv=KFold(6, shuffle=True, random_state=0))
    assert np.corrcoef(found, y)[0, 1] > 0.7


def test_rows_without_a_molecule_stay_in_an_array_of_vectors(weights):
    with pytest.warns(UserWarning, match="1 of 3"):
        x = embed(MolAEEncoder.from_pretrained(weights), ["CCO", "C1CC", "O"], on_error="nan")
    assert np.isnan(x).any(1).tolist() == [False, True, False]


def test_vectors_of_the_encoder_of_a_trained_model(model, weights):
    """A folder of ``molae train`` is a name of weights."""
    mine, theirs = (embed(MolAEEncoder.from_pretrained(name), ["CCO"]) for name in (model, weights))
    assert np.allclose(mine, theirs)


def test_an_explanation_is_aligned_with_rdkit(fitted):
    (found,) = fitted.explain(["OCc1ccccc1"])
    mol = Chem.MolFromSmiles("OCc1ccccc1")
    assert found.elements == [atom.GetSymbol() for atom in mol.GetAtoms()]
    assert found.values.shape == (8, 2)
    assert np.isfinite(found.values).all()
