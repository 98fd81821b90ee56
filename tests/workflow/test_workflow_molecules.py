"""What a fit and a prediction read: SMILES, RDKit molecules, Data with coordinates."""

import numpy as np
import pandas as pd
import pytest
import torch
from rdkit import Chem
from rdkit.Chem import AllChem
from torch_geometric.data import Data

from molae_pyg import from_mol, from_smiles
from molae_pyg.chem.options import Options
from molae_pyg.datasets import MoleculeTable
from molae_pyg.workflow.molecules import Molecules
from molae_pyg.workflow.outcomes import outcomes_of

OPTIONS = Options(1)


def mol_of(smiles: str) -> Chem.Mol:
    """An RDKit molecule with hydrogens and a conformer, its atoms in another order."""
    mol = Chem.AddHs(Chem.MolFromSmiles(smiles))
    AllChem.EmbedMolecule(mol, randomSeed=1)
    return Chem.RenumberAtoms(mol, list(range(mol.GetNumAtoms()))[::-1])


def distances(data: Data) -> np.ndarray:
    return torch.cdist(data.conformers[:, 0], data.conformers[:, 0]).sort().values.numpy()


def test_smiles_are_made_as_ever():
    found = outcomes_of(Molecules.of(["CCO", "C1CC", "OCC"]), OPTIONS)
    assert found.status == ["ok", "invalid", "ok"]
    assert found.kept.tolist() == [0, 2]
    ethanol, same = found.molecules
    assert (ethanol.smiles, same.smiles) == ("CCO", "OCC")
    expected = from_smiles("CCO", num_conformers=1).conformers
    assert torch.allclose(ethanol.conformers, expected, atol=1e-3)
    assert torch.equal(ethanol.conformers, same.conformers)


def test_columns_and_data_sets():
    frame = pd.Series(["CCO", "CCN"], index=[7, 9])
    assert Molecules.of(frame).smiles == ["CCO", "CCN"]
    table = MoleculeTable(["CCO", "CCN"], [1.0, 2.0], num_conformers=1, add_2d=False)
    found = Molecules.of(table)
    assert found.source == "data"
    places = [row.atom_map.tolist() for row in found.given]  # table rows have no atom_map
    assert sorted(places[0]) == sorted(places[1]) == [0, 1, 2]


@pytest.mark.parametrize(
    "one", ["CCO", Chem.MolFromSmiles("CCO"), Data(z=torch.tensor([6]))], ids=["str", "mol", "data"]
)
def test_one_molecule_is_no_sequence(one):
    with pytest.raises(ValueError, match="a sequence of molecules is needed"):
        Molecules.of(one)


def test_conformers_of_an_rdkit_molecule_are_used_without_hydrogens():
    mol = mol_of("CC(=O)NC")
    found = outcomes_of(Molecules.of([mol]), OPTIONS).molecules[0]
    assert sorted(found.z.tolist()) == [6, 6, 6, 7, 8]
    heavy = from_mol(mol, num_conformers=1)
    assert np.allclose(np.sort(distances(found), 0), np.sort(distances(heavy), 0), atol=1e-4)
    atoms = Chem.MolFromSmiles(found.smiles).GetAtoms()
    numbers = [atom.GetAtomicNum() for atom in atoms]
    assert [numbers[place] for place in found.atom_map.tolist()] == found.z.tolist()


def test_an_rdkit_molecule_without_conformers_is_its_smiles():
    given = Molecules.of([Chem.MolFromSmiles("OCC"), None])
    assert given.smiles == ["CCO", ""]
    assert given.given[0] is None
    assert given.given[1].status == "invalid"


def test_conformers_are_taken_in_turn():
    data = from_smiles("CCO", num_conformers=2)
    rows = Molecules.of([data]).rows(Options(3))
    expected = data.conformers[:, [0, 1, 0]].numpy()
    assert np.array_equal(rows[0].conformers, expected)


def test_the_place_of_atoms_is_known_only_if_the_bonds_are_those_of_the_smiles():
    data = from_smiles("Cc1ccccc1")
    assert (Molecules.of([data]).given[0].atom_map >= 0).all()
    data.atom_map = data.atom_map.flip(0)  # all are carbon
    assert (Molecules.of([data]).given[0].atom_map == -1).all()
    del data.atom_map, data.smiles
    given = Molecules.of([data])
    assert (given.given[0].atom_map == -1).all()
    assert not given.has_smiles
    assert given.with_places().given[0].status == "invalid"


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (Data(z=torch.tensor([6])), "neither conformers .* nor pos"),
        (Data(z=torch.tensor([6.0]), pos=torch.zeros(1, 3)), "needs atomic numbers z"),
        (Data(z=torch.tensor([6]), pos=torch.full((1, 3), torch.nan)), "not finite"),
        (Data(z=torch.tensor([6]), pos=torch.zeros(1, 3), smiles="C1CC"), "ring"),
        (3.5, "a SMILES string is needed, not float"),
    ],
)
def test_what_is_no_molecule_has_a_reason(data, reason):
    found = outcomes_of(Molecules.of([data, "CCO"]), OPTIONS)
    assert found.status == ["invalid", "ok"]
    with pytest.raises(ValueError, match=reason):
        raise ValueError(found.reason[0])


def test_rows_without_smiles_where_they_are_needed():
    data = Data(z=torch.tensor([6, 8]), pos=torch.tensor([[0.0, 0, 0], [1.4, 0, 0]]))
    for with_coordinates in (True, False):
        found = outcomes_of(Molecules.of([data, "CCO"]), OPTIONS, None, with_coordinates, True)
        assert found.status == ["invalid", "ok"]
        assert found.reason[0].startswith("it has no smiles")


def test_what_makes_coordinates_the_same():
    data = from_smiles("CCO")
    same, other = from_smiles("CCO"), from_smiles("CCO")
    other.pos[0, 0] += 1
    prints = [Molecules.of([item]).fingerprint() for item in (data, same, other)]
    assert prints[0] == prints[1] != prints[2]
