"""Measurements that depend on more than one molecule: temperature, solvent, assay."""

import numpy as np
import pytest
from tables_of_users import read_rows, write_rows

from molae_pyg.workflow import FittedModel

SOLVENTS = {"O": 0.0, "CO": 1.0, "ClC(Cl)Cl": 2.0}


def measured(rows):
    """Solubilities that depend on temperature and solvent by a known rule."""
    solvents = list(SOLVENTS)
    for number, row in enumerate(rows):
        temperature, solvent = 10 + 10 * (number % 5), solvents[number % 3]
        y = 0.2 * float(row["logS"]) + 0.05 * temperature + SOLVENTS[solvent]
        yield [row["smiles"], temperature, solvent, "ab"[number % 2], f"{y:.3f}"]


COLUMNS = ["smiles", "temperature", "solvent", "assay", "y"]


@pytest.fixture(scope="module")
def table(solubility, tmp_path_factory):
    path = tmp_path_factory.mktemp("extra") / "t.csv"
    return write_rows(path, COLUMNS, measured(read_rows(solubility)))


@pytest.fixture(scope="module")
def trained(table, quick, tmp_path_factory):
    from molae_pyg.cli import main

    folder = tmp_path_factory.mktemp("extra") / "m"
    words = ["train", table, folder, "--targets", "y", *quick, "--extra", "temperature, solvent"]
    assert main([str(word) for word in words]) == 0
    return folder


@pytest.fixture
def predict(molae, trained, tmp_path):
    def run(columns, rows, code=0):
        table = write_rows(tmp_path / "new.csv", columns, rows)
        said = molae("predict", trained, table, tmp_path / "o.csv")
        assert said.code == code, said.err
        return read_rows(tmp_path / "o.csv") if code == 0 else said.err

    return run


def test_what_columns_are_read_as_is_printed(molae, table, trained, quick):
    flags = ["--targets", "y", *quick, "--extra", "temperature,solvent"]
    said = molae("train", table, trained, *flags)
    assert "beside the molecule: temperature: a number; solvent: molecules" in said.out
    assert "Predicted from: encoder, extra, partner1 (3 folds)" in said.out


def test_the_columns_are_learned(trained):
    scores = {
        row["model"]: float(row["rmse"])
        for row in read_rows(trained / "metrics.csv")
        if row["fold"] == "all"
    }
    assert scores["molae"] < 0.7 * scores["mean"]
    assert scores["descriptors"] < 0.7 * scores["mean"]  # the baselines have them too


def test_the_same_molecule_at_another_temperature_or_in_another_solvent(predict):
    names = ["smiles", "temperature", "solvent"]
    cold, warm, apolar = predict(
        names, [["CCCO", 10, "O"], ["CCCO", 50, "O"], ["CCCO", 10, "ClC(Cl)Cl"]]
    )
    first = float(cold["y_predicted"])
    assert float(warm["y_predicted"]) > first + 0.5
    assert float(apolar["y_predicted"]) > first + 0.5


def test_a_row_without_a_value_has_a_reason(predict):
    rows = predict(
        ["smiles", "temperature", "solvent"],
        [["CCCO", "", "O"], ["CCCO", "25", "O"], ["CCCO", "25", "C1CC"], ["C1CC", "25", "O"]],
    )
    assert [row["molae_status"] for row in rows] == ["invalid", "ok", "invalid", "invalid"]
    assert [row["molae_reason"] for row in rows] == [
        "no value in column 'temperature'",
        "",
        "solvent: unclosed ring",
        "unclosed ring",
    ]


def test_a_table_without_the_columns_is_refused(predict):
    assert "needs the columns 'temperature', 'solvent'" in predict(["smiles"], [["CCO"]], code=1)


def test_python(trained, predict):
    fitted = FittedModel.load(trained)
    extra = {"temperature": [10, 50.0], "solvent": ["O", "CO"]}
    found = fitted.predict(["CCCO", "CCCO"], extra=extra)
    rows = predict(
        ["smiles", "temperature", "solvent"], [["CCCO", "10", "O"], ["CCCO", "50", "CO"]]
    )
    assert np.allclose(found["y_predicted"], [float(row["y_predicted"]) for row in rows], 1e-4)
    with pytest.raises(ValueError, match="needs the columns 'temperature', 'solvent'"):
        fitted.predict(["CCO"])


def test_atoms_are_explained_at_the_given_conditions(molae, trained, tmp_path):
    columns = ["smiles", "temperature", "solvent"]
    table = write_rows(tmp_path / "t.csv", columns, [["CCO", 25, "O"], ["CCO", "", "O"]])
    said = molae("explain", trained, table, tmp_path / "p.html")
    assert "1 of 2 rows explained, 1 invalid" in said.out
    assert len(read_rows(tmp_path / "p.csv")) == 3


def test_training_rows_without_a_value_are_left_out_with_a_reason(
    molae, solubility, quick, tmp_path
):
    rows = list(measured(read_rows(solubility)))
    rows[5][1] = ""
    table = write_rows(tmp_path / "t.csv", COLUMNS, rows)
    flags = ["--targets", "y", *quick, "--extra", "temperature,assay"]
    said = molae("train", table, tmp_path / "m", *flags)
    assert said.code == 0, said.err
    assert "1 of 36 rows" in said.out
    bad = read_rows(tmp_path / "m" / "predictions.csv")[5]
    assert (bad["molae_status"], bad["molae_reason"]) == (
        "invalid",
        "no value in column 'temperature'",
    )


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--extra", "pressure"], "needs the column 'pressure'"),
        (["--extra", "y"], "column 'y' of --extra is a target"),
        (["--extra", "temperature", "--finetune"], "only the read-out of a frozen encoder"),
    ],
)
def test_faults_are_one_line(molae, table, quick, tmp_path, flags, message):
    said = molae("train", table, tmp_path / "m", "--targets", "y", *quick, *flags)
    assert said.code == 1
    assert message in said.err.splitlines()[-1]


def test_a_second_molecule_that_is_not_used_is_mentioned(molae, table, quick, tmp_path):
    said = molae("train", table, tmp_path / "m", "--targets", "y", *quick)
    assert "column 'solvent' holds molecules too: --extra solvent would use them" in said.err
