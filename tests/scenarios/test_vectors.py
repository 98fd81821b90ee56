"""Vectors of molecules and atoms for the user's own models and plots."""

import numpy as np
import pytest
from rdkit import Chem
from tables_of_users import read_rows, write_rows

from molae_pyg import MolAEEncoder, from_smiles
from molae_pyg.inference import embed

SMILES = ["OCC", "c1ccccc1Cl", "CC(=O)N"]


@pytest.fixture
def table(tmp_path):
    return write_rows(tmp_path / "t.csv", ["id", "smiles"], enumerate(SMILES))


def test_vectors_of_a_file_are_those_of_python(molae, weights, table, tmp_path):
    assert molae("embed", table, tmp_path / "o.csv", "--weights", weights).code == 0
    rows = read_rows(tmp_path / "o.csv")
    assert [row["smiles"] for row in rows] == SMILES
    x = np.array([[float(row[f"x{i}"]) for i in range(32)] for row in rows])
    found = embed(MolAEEncoder.from_pretrained(weights), SMILES)
    assert np.allclose(x, found, atol=1e-4)


def test_vectors_of_a_trained_model(molae, model, table, tmp_path):
    said = molae("embed", table, tmp_path / "o.npz", "--weights", model)
    assert "3 of 3 rows embedded in 32 columns" in said.out
    assert np.load(tmp_path / "o.npz")["x"].shape == (3, 32)


def test_vectors_of_atoms_follow_the_atoms_of_rdkit(molae, weights, table, tmp_path):
    molae("embed", table, tmp_path / "o.csv", "--weights", weights, "--level", "atom")
    rows = read_rows(tmp_path / "o.csv")
    elements = [a.GetSymbol() for s in SMILES for a in Chem.MolFromSmiles(s).GetAtoms()]
    assert [row["element"] for row in rows] == elements
    assert [int(row["row"]) for row in rows] == [0] * 3 + [1] * 7 + [2] * 4


def test_coordinates_of_the_user(weights):
    """Atomic numbers and coordinates are enough: no SMILES, no RDKit."""
    encoder = MolAEEncoder.from_pretrained(weights).eval()
    data = from_smiles("CCO")
    (molecule, *_) = encoder.encode(data.z, data.pos)
    assert np.allclose(
        molecule.detach(), embed(encoder, [data], precision="32-true", readout="cls")
    )


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["o.xlsx"], "the name must end in"),
        (["o.csv", "--weights", "molae-large"], "molae-large"),
        (["o.csv", "--smiles", "structure"], "structure"),
    ],
)
def test_faults_are_one_line(molae, table, tmp_path, words, message):
    said = molae("embed", table, tmp_path / words[0], *words[1:])
    assert said.code == 1
    (line,) = said.err.splitlines()
    assert message in line
