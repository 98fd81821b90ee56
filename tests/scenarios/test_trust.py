"""How far to trust a prediction: intervals, sets, the members of the ensemble, similarity."""

import numpy as np
import pytest
from tables_of_users import read_rows, write_rows

from molae_pyg.workflow import FittedModel

FAR = "OC1C(O)C(O)C(O)C(O)C1O"  # nothing like it is in the table


@pytest.fixture
def predict(molae, model, tmp_path):
    table = write_rows(tmp_path / "t.csv", ["smiles"], [["CCc1ccc(C)cc1"], [FAR], ["CCO"]])

    def run(*flags):
        assert molae("predict", model, table, tmp_path / "o.csv", *flags).code == 0
        return read_rows(tmp_path / "o.csv")

    return run


def test_intervals_of_any_level(predict):
    wide, narrow = predict("--alpha", 0.1), predict("--alpha", 0.5)
    for a, b in zip(wide, narrow, strict=True):
        assert a["logS_predicted"] == b["logS_predicted"]
        assert float(a["logS_low"]) < float(b["logS_low"]) <= float(b["logS_high"])
        assert float(b["logS_high"]) < float(a["logS_high"])


def test_probabilities_and_the_classes_that_remain_possible(predict):
    for row in predict():
        assert 0 < float(row["soluble_probability"]) < 1
        assert row["soluble_predicted"] == (
            "yes" if float(row["soluble_probability"]) >= 0.5 else "no"
        )
        assert row["soluble_set"] in ("", "no", "yes", "no|yes")


def test_similarity_says_where_the_table_had_nothing_alike(predict):
    near, far, _ = (float(row["molae_similarity"]) for row in predict())
    assert far < 0.3 < near


def test_the_estimate_is_of_rows_that_were_held_out(model):
    for row in read_rows(model / "predictions.csv"):
        assert float(row["logS_low"]) <= float(row["logS_predicted"]) <= float(row["logS_high"])
    scores = read_rows(model / "metrics.csv")
    (whole,) = (
        s for s in scores if s["model"] == "molae" and s["fold"] == "all" and s["coverage_90"]
    )
    assert 0.75 <= float(whole["coverage_90"]) <= 1


def test_the_members_of_the_ensemble(model):
    """Their spread is an uncertainty of its own; their mean is the prediction."""
    fitted = FittedModel.load(model)
    members = fitted.fold_predict([FAR, "CCO"])  # [folds, n, T]
    assert members.shape == (3, 2, 2)
    assert (members[:, :, 0].std(0) > 0).all()
    predicted = fitted.predict([FAR, "CCO"])
    assert np.allclose(members[:, :, 0].mean(0), predicted["logS_predicted"])


def test_atoms_that_a_prediction_comes_from(molae, model, tmp_path):
    table = write_rows(tmp_path / "t.csv", ["smiles"], [["CCO"], ["c1ccccc1Cl"]])
    said = molae("explain", model, table, tmp_path / "page.html")
    assert "2 of 2 rows explained" in said.out
    atoms = read_rows(tmp_path / "page.csv")
    assert [atom["element"] for atom in atoms] == ["C", "C", "O", *"CCCCCC", "Cl"]
    assert {"logS", "soluble"} <= set(atoms[0])
    assert "<svg" in (tmp_path / "page.html").read_text()


@pytest.mark.parametrize("alpha", [0, 1, -1, "nan"])
def test_a_level_that_is_none(molae, model, solubility, tmp_path, alpha):
    said = molae("predict", model, solubility, tmp_path / "o.csv", "--alpha", alpha)
    assert said.code == 1
    assert "--alpha must be between 0 and 1" in said.err
