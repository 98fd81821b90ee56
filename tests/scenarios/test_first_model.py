"""A chemist with a table trains a model, and predicts and scores other tables."""

import shutil

import pytest
from tables_of_users import read_rows, write_rows

NEW = ["CCc1ccc(C)cc1", "CCCO"]


def test_a_table_becomes_a_model_with_an_estimate(molae, solubility, model, quick):
    said = molae("train", solubility, model, "--targets", "logS,soluble", *quick)
    assert said.code == 0
    assert said.out.startswith("logS: regression, 36 labels; soluble: 2 classes (")
    for text in ("rmse of 36 labels", "roc_auc of 36 labels", "ecfp-forest", "molae is "):
        assert text in said.out
    assert {"model.json", "predictions.csv", "metrics.csv", "fold-0", "fold-1", "fold-2"} <= {
        path.name for path in model.iterdir()
    }


def test_every_row_of_the_table_has_a_prediction_by_a_model_that_did_not_see_it(model, solubility):
    given, found = read_rows(solubility), read_rows(model / "predictions.csv")
    assert [row["name"] for row in found] == [row["name"] for row in given]
    assert {row["molae_fold"] for row in found} == {"0", "1", "2"}
    assert all(row["logS_predicted"] and row["soluble_probability"] for row in found)


def test_new_molecules_keep_their_columns(molae, model, tmp_path):
    table = write_rows(tmp_path / "new.csv", ["id", "SMILES", "note"], [[7, NEW[0], "a, b"]])
    said = molae("predict", model, table, tmp_path / "out.csv")
    assert said.code == 0
    assert said.out.splitlines()[-1] == "1 of 1 rows predicted"
    (row,) = read_rows(tmp_path / "out.csv")
    assert (row["id"], row["SMILES"], row["note"]) == ("7", NEW[0], "a, b")
    assert float(row["logS_low"]) < float(row["logS_predicted"]) < float(row["logS_high"])
    assert row["soluble_predicted"] in ("no", "yes")


def test_a_test_set_in_a_file_of_its_own_is_scored(molae, model, solubility, tmp_path):
    rows = [list(row.values()) for row in read_rows(solubility)[:12]]
    columns = list(read_rows(solubility)[0])
    said = molae(
        "predict", model, write_rows(tmp_path / "t.csv", columns, rows), tmp_path / "o.csv"
    )
    assert "logS: rmse " in said.out
    assert "mae " in said.out
    assert "on 12 labels; intervals contain " in said.out
    assert "soluble: roc_auc " in said.out


def test_the_table_may_say_what_is_held_out_together(molae, solubility, quick, tmp_path):
    """A column such as train, valid, test, or a project: its parts are the folds."""
    flags = ["--targets", "logS", *quick, "--split", "column:batch"]
    assert molae("train", solubility, tmp_path / "m", *flags).code == 0
    found = read_rows(tmp_path / "m" / "predictions.csv")
    assert len({(row["batch"], row["molae_fold"]) for row in found}) == 3
    scores = read_rows(tmp_path / "m" / "metrics.csv")
    assert {row["fold"] for row in scores if row["model"] == "molae"} == {"all", "0", "1", "2"}


def test_rows_without_a_label_are_predicted_too(molae, solubility, quick, tmp_path):
    given = read_rows(solubility)
    rows = [[row["smiles"], "" if n % 4 == 0 else row["logS"]] for n, row in enumerate(given)]
    table = write_rows(tmp_path / "t.csv", ["smiles", "logS"], rows)
    said = molae("train", table, tmp_path / "m", *quick)
    assert "27 labels, 9 missing" in said.out
    assert all(row["logS_predicted"] for row in read_rows(tmp_path / "m" / "predictions.csv"))


def test_all_columns_that_can_be_targets(molae, solubility, quick, tmp_path):
    said = molae("train", solubility, tmp_path / "m", "--targets", "all", *quick)
    assert said.code == 0, said.err
    first = said.out.splitlines()[0]
    assert "logS: regression, 36 labels; soluble: 2 classes" in first
    assert "not targets: name (an identifier), batch (an identifier)" in first


def test_a_model_without_folds_predicts_without_intervals(molae, solubility, quick, tmp_path):
    flags = ["--targets", "logS", *quick, "--folds", 1]
    said = molae("train", solubility, tmp_path / "m", *flags)
    assert "there is no estimate" in said.out
    molae("predict", tmp_path / "m", solubility, tmp_path / "o.csv")
    assert {row["logS_low"] for row in read_rows(tmp_path / "o.csv")} == {""}


def test_a_model_can_be_moved(molae, model, solubility, tmp_path):
    shutil.copytree(model, tmp_path / "über uns" / "copy")
    for number, folder in enumerate((model, tmp_path / "über uns" / "copy")):
        assert molae("predict", folder, solubility, tmp_path / f"{number}.csv").code == 0
    assert (tmp_path / "0.csv").read_bytes() == (tmp_path / "1.csv").read_bytes()


@pytest.mark.parametrize("features", ["descriptors", "both"])
def test_descriptors_and_fingerprints_beside_the_encoder(
    molae, solubility, quick, tmp_path, features
):
    flags = ["--targets", "logS", *quick, "--features", features]
    said = molae("train", solubility, tmp_path / "m", *flags)
    assert f"Predicted from: encoder, descriptors{', ecfp' * (features == 'both')}" in said.out
    assert molae("predict", tmp_path / "m", solubility, tmp_path / "o.csv").code == 0


def test_equal_molecules_are_never_held_out_from_themselves(molae, solubility, quick, tmp_path):
    rows = [[row["smiles"], row["logS"]] for row in read_rows(solubility)]
    again = [[f"{smiles}", f"{float(value) + 0.1:.2f}"] for smiles, value in rows[:6]]
    table = write_rows(tmp_path / "t.csv", ["smiles", "logS"], rows + again)
    molae("train", table, tmp_path / "m", *quick)
    found = read_rows(tmp_path / "m" / "predictions.csv")
    assert [row["molae_fold"] for row in found[36:]] == [row["molae_fold"] for row in found[:6]]
