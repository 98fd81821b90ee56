"""Several classes, bounds and values of atoms, as they are in tables."""

import json

import pytest
from rdkit import Chem
from tables_of_users import read_rows, write_rows


@pytest.fixture
def train(molae, solubility, quick, tmp_path):
    """Returns a function that trains on a column made from each row."""

    def run(value, name, *flags):
        rows = [[row["smiles"], value(row)] for row in read_rows(solubility)]
        table = write_rows(tmp_path / "t.csv", ["smiles", name], rows)
        said = molae("train", table, tmp_path / "m", "--targets", name, *quick, *flags)
        assert said.code == 0, said.err
        return said, read_rows(tmp_path / "m" / "predictions.csv")

    return run


def test_several_classes(train, molae, tmp_path):
    def grade(row):
        y = float(row["logS"])
        return "high" if y > -1 else "medium" if y > -2.4 else "low"

    said, rows = train(grade, "solubility")
    assert "3 classes" in said.out.splitlines()[0]
    names = ("high", "low", "medium")
    for row in rows:
        of_class = [float(row[f"solubility_probability_{name}"]) for name in names]
        assert sum(of_class) == pytest.approx(1, abs=1e-3)
        assert row["solubility_predicted"] in names
    (tmp_path / "new.smi").write_text("CCO\nCCCCCCCC\n")
    assert molae("predict", tmp_path / "m", tmp_path / "new.smi", tmp_path / "o.csv").code == 0
    ethanol, _ = read_rows(tmp_path / "o.csv")
    assert set(ethanol["solubility_set"].split("|")) <= {*names, ""}
    assert molae("explain", tmp_path / "m", tmp_path / "new.smi", tmp_path / "atoms.html").code == 0


def test_bounds_among_the_numbers(train):
    """Values beyond the range of an assay are bounds: a prediction beyond them is no error."""
    said, rows = train(lambda row: "<-3" if float(row["logS"]) < -3 else row["logS"], "logS")
    assert "bounds" in said.out.splitlines()[0]
    assert all(row["logS_predicted"] for row in rows)


def test_values_of_atoms(train, molae, tmp_path):
    """A list in each cell: one value an atom, in the order of the SMILES."""

    def electronegative(row):
        mol = Chem.MolFromSmiles(row["smiles"])
        return json.dumps([1.0 if atom.GetSymbol() in ("O", "N", "F", "Cl", "Br") else 0.0
                           for atom in mol.GetAtoms()])  # fmt: skip

    _, rows = train(electronegative, "negative")
    (tmp_path / "new.smi").write_text("OCC\n")
    assert molae("predict", tmp_path / "m", tmp_path / "new.smi", tmp_path / "o.csv").code == 0
    (new,) = read_rows(tmp_path / "o.csv")
    oxygen, first, second = json.loads(new["negative_predicted"])
    assert oxygen > max(first, second)
    assert len(json.loads(rows[0]["negative_predicted"])) == 6
