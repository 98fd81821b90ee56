"""A table of computed charges, as molae train reads it."""

import numpy as np
from rdkit import Chem
from scripts import printed_by

from molae_pyg.tables.atom_lists import read_atom_table


def test_charges_of_the_atoms_of_each_molecule(tmp_path):
    (tmp_path / "a.csv").write_text("smiles\nOCC\nC1CC\n[Na+].[Cl-]\nc1ccccc1Cl\n")
    out = printed_by(tmp_path, "atom_charges.py", "a.csv", "b.csv")
    assert "the charges of 3 molecules" in out
    table = read_atom_table(tmp_path / "b.csv")
    assert table.records.smiles == ["OCC", "[Na+].[Cl-]", "c1ccccc1Cl"]
    for smiles, values in zip(table.records.smiles, table.values, strict=True):
        assert len(values) == Chem.MolFromSmiles(smiles).GetNumAtoms()
    ethanol = table.values[0][:, 0]
    assert ethanol.argmin() == 0  # oxygen
    assert np.isfinite(ethanol).all()
