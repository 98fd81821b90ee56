"""Descriptors: values of RDKit on a logarithmic scale, the same from any number of processes."""

import numpy as np
import pytest
from rdkit import Chem
from rdkit.Chem import Descriptors

from molae_pyg.chem.descriptors import NAMES, descriptors

SMILES = ["CCO", "c1ccccc1C(=O)O", "[Na+].[Cl-]", "C" * 40, "*CC"]


def test_values_are_those_of_rdkit():
    found, _ = descriptors(SMILES, workers=1)
    assert found.shape == (5, 217)
    for row, smiles in enumerate(SMILES):
        mol = Chem.MolFromSmiles(smiles)
        weight, log_p = Descriptors.MolWt(mol), Descriptors.MolLogP(mol)
        assert found[row, NAMES.index("MolWt")] == pytest.approx(np.log1p(weight))
        signed = np.sign(log_p) * np.log1p(abs(log_p))
        assert found[row, NAMES.index("MolLogP")] == pytest.approx(signed)


def test_undefined_values_are_zero_and_counted():
    found, undefined = descriptors(["[Na+].[Cl-]", "*"], workers=1)
    assert np.isfinite(found).all()
    assert undefined > 0


def test_the_number_of_processes_does_not_matter():
    many = SMILES * 20
    one, count = descriptors(many, workers=1)
    two, again = descriptors(many, workers=2)
    assert np.array_equal(one, two)
    assert count == again


def test_no_molecule_is_an_error_with_its_row():
    with pytest.raises(ValueError, match=r"row 1: 'C1CC'"):
        descriptors(["CCO", "C1CC"], workers=1)


def test_none():
    found, undefined = descriptors([])
    assert found.shape == (0, 217)
    assert undefined == 0
