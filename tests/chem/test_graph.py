"""Integer features of atoms and bonds."""

import pytest
from rdkit import Chem

from molae_pyg import from_smiles
from molae_pyg.chem.graph import ATOM_FEATURES, BOND_TYPES, add_graph, mol_graph
from molae_pyg.nn.graph_bias import ATOM_SIZES, NUM_BOND_TYPES


def rows(smiles: str) -> list[list[int]]:
    return mol_graph(Chem.MolFromSmiles(smiles)).atom.tolist()


def test_sizes_are_those_of_the_embeddings():
    assert tuple(ATOM_FEATURES.values()) == ATOM_SIZES
    assert max(BOND_TYPES.values()) == NUM_BOND_TYPES - 1


def test_charge_hydrogens_degree():
    assert [row[:3] for row in rows("C[NH2+]C")] == [[4, 4, 2], [5, 3, 3], [4, 4, 2]]


def test_aromatic_and_ring():
    assert [row[3:5] for row in rows("c1ccccc1C")] == [[2, 5]] * 6 + [[1, 1]]


@pytest.mark.parametrize(("smiles", "code"), [("N[C@@H](C)O", 2), ("N[C@H](C)O", 3), ("NC(C)O", 1)])
def test_chirality_is_that_of_cip(smiles, code):
    mol = Chem.MolFromSmiles(smiles)
    label = {"R": 2, "S": 3}.get(
        dict(Chem.FindMolChiralCenters(mol, useLegacyImplementation=True)).get(1), 1
    )
    assert rows(smiles)[1][5] == label
    assert (rows(smiles)[1][5] == 1) == (code == 1)


def test_features_do_not_depend_on_the_order_of_the_atoms():
    mol = Chem.MolFromSmiles("C[C@H](N)C(=O)[O-]")
    order = [3, 5, 0, 4, 1, 2]
    renumbered = Chem.RenumberAtoms(mol, order)
    Chem.AssignStereochemistry(renumbered, force=True, cleanIt=True)
    assert mol_graph(renumbered).atom.tolist() == mol_graph(mol).atom[order].tolist()


def test_values_out_of_range_are_clipped():
    assert rows("[C+4]")[0][0] == 7
    assert rows("[Fe-4]")[0][0] == 1


def test_single_atom_has_no_bond():
    graph = mol_graph(Chem.MolFromSmiles("C"))
    assert graph.atom.shape == (1, 6)
    assert graph.bond_index.shape == (2, 0)


def test_add_graph_follows_the_atoms_of_the_data():
    """The SMILES of the data is not canonical, its atoms are in canonical order."""
    data = add_graph(from_smiles("[O-]C(=O)C[N+](C)(C)C"))
    charge = {int(z): set() for z in data.z}
    for z, row in zip(data.z.tolist(), data.atom.tolist(), strict=True):
        charge[z].add(row[0])
    assert charge == {6: {4}, 7: {5}, 8: {3, 4}}
    lengths = (data.pos[data.edge_index[0]] - data.pos[data.edge_index[1]]).norm(dim=1)
    assert lengths.max() < 1.7
    assert data.bond_type.tolist().count(2) == 2  # the double bond, in both directions


def test_explicit_hydrogens_of_the_smiles_count_as_hydrogens():
    data = add_graph(from_smiles("[H]C([H])([H])O"))
    assert data.atom[:, 1:3].tolist() == [[4, 2], [2, 2]]


def test_other_atoms_are_refused():
    data = from_smiles("CCO")
    data.smiles = "CCN"
    with pytest.raises(ValueError, match="are not those of z"):
        add_graph(data)
