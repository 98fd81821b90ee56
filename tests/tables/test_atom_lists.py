"""Lists of values of atoms: what is a list, whose value each number is, what is refused."""

import numpy as np
import pytest
from rdkit import Chem

from molae_pyg.tables.atom_lists import (
    atoms_of_record,
    has_atom_lists,
    num_atoms_of,
    numbers_of,
    read_atom_table,
    read_records,
)
from molae_pyg.tables.formats import read_cells, smiles_of

NAN = np.nan


def written(tmp_path, content, name="a.csv"):
    path = tmp_path / name
    path.write_text(content)
    return path


@pytest.mark.parametrize(
    ("cell", "expected"),
    [
        ("[0.1, -0.2]", [0.1, -0.2]),
        ("[1;2 3,4]", [1, 2, 3, 4]),
        (" [1 2\n 3] ", [1, 2, 3]),
        ("[1, null, nan, , 5]", [1, NAN, NAN, NAN, 5]),
        ("[\u22121e-3]", [-0.001]),
        ("[]", []),
    ],
)
def test_lists(cell, expected):
    np.testing.assert_array_equal(numbers_of(cell), expected)


@pytest.mark.parametrize("cell", ["0.1", "[Na+].[Cl-]", "[a, b]", "[inf]", "(1, 2)", "[[1], [2]]"])
def test_other_cells(cell):
    assert numbers_of(cell) is None


def test_property_lists_of_rdkit():
    column = "atom.dprop.charge"
    np.testing.assert_array_equal(numbers_of("1 n/a\n3", column), [1, NAN, 3])
    np.testing.assert_array_equal(numbers_of("[?] 1 ? 3", column), [1, NAN, 3])
    np.testing.assert_array_equal(numbers_of("1 0", "atom.iprop.charge"), [1, 0])


def test_values_of_a_table(tmp_path):
    path = written(
        tmp_path,
        'mol,charge,shift\nCCO,"[1, 2, 3]","[4, null, 6]"\nC1CC,"[1, 2, 3]",\n[H]O,"[7, 8]",'
        "[9]\nC,[],n/a\n",
    )
    table = read_atom_table(path)
    assert table.task_names == ["charge", "shift"]
    expected = [[[1, 4], [2, NAN], [3, 6]], np.zeros((0, 2)), [[7, NAN], [8, 9]], [[NAN, NAN]]]
    for found, wanted in zip(table.values, expected, strict=True):
        np.testing.assert_array_equal(found, wanted)
    assert table.description == (
        "charge: atom regression, 4 values on 2 molecules; left out: 1 values on hydrogens, which "
        "the model does not see; shift: atom regression, 3 values on 2 molecules"
    )


@pytest.mark.parametrize(
    ("cell", "message"),
    [
        (
            '"[1, 2]"',
            r"a.csv, row 1 \(the first is 0\), column 'q': 2 values for 5 atoms, 4 of them",
        ),
        ("3.5", r"row 1.*'3.5' is no list of numbers: write"),
        ('"[1, 2, x, 4]"', r"row 1.*is no list of numbers"),
    ],
)
def test_lists_that_do_not_fit_are_refused(tmp_path, cell, message):
    path = written(tmp_path, f'smiles,q\nCCO,"[1, 2, 3]"\n[H]OCCC,{cell}\nC,[1]\n')
    with pytest.raises(ValueError, match=message):
        read_atom_table(path)


def test_molecules_and_atoms_are_two_models(tmp_path):
    path = written(tmp_path, 'smiles,q,logS\nCCO,"[1, 2, 3]",0.5\nCC,"[1, 2]",1.5\n')
    with pytest.raises(ValueError, match=r"q has values of atoms, logS does not.*train two models"):
        read_atom_table(path, target_columns=["q", "logS"])
    with pytest.raises(ValueError, match=r"no column 'charge'"):
        read_atom_table(path, target_columns="charge")
    cells = read_cells(path)
    assert has_atom_lists(cells, ["q"])
    assert has_atom_lists(cells, ["q", "logS"])
    assert not has_atom_lists(cells, ["logS"])
    assert not has_atom_lists(cells)  # logS can be the target


def test_lists_are_the_target_if_nothing_else_can_be(tmp_path):
    path = written(tmp_path, 'id,smiles,q\n1,CCO,"[1, 2, 3]"\n2,CC,"[1, 2]"\n')
    assert has_atom_lists(read_cells(path))
    assert not has_atom_lists(read_cells(written(tmp_path, "smiles,q\nCCO,1\nCC,2\n", "b.csv")))


@pytest.fixture
def sdf(tmp_path):
    """Records with hydrogens in shuffled order; the value of an atom is its index plus z / 100."""
    rng = np.random.default_rng(0)
    path = tmp_path / "a.sdf"
    with Chem.SDWriter(str(path)) as writer:
        for smiles in ("OCC", "O=C([O-])c1ccccc1C", "[2H]C", "[H][H]"):
            mol = Chem.AddHs(Chem.MolFromSmiles(smiles))
            mol = Chem.RenumberAtoms(mol, rng.permutation(mol.GetNumAtoms()).tolist())
            for atom in mol.GetAtoms():
                atom.SetDoubleProp("q", atom.GetIdx() + atom.GetAtomicNum() / 100)
            Chem.CreateAtomDoublePropertyList(mol, "q")
            writer.write(mol)
    path.write_text(path.read_text() + "damaged\n$$$$\n")
    return path


def test_values_of_an_sd_file_follow_the_atoms_of_the_record(sdf):
    table = read_atom_table(sdf, target_columns=["q"])
    assert table.task_names == ["q"]
    assert table.records.smiles == smiles_of(sdf) == [*smiles_of(sdf)[:4], ""]
    for row, values in enumerate(table.values[:4]):
        atoms = atoms_of_record(table.records, row)
        assert num_atoms_of(table.records, row) == len(atoms.z)
        np.testing.assert_allclose(values[:, 0], np.arange(len(atoms.z)) + atoms.z / 100)
    assert table.values[4].shape == (0, 1)
    assert "values on 4 molecules" in table.description
    for found, expected in zip(read_records(sdf).places, table.records.places, strict=True):
        np.testing.assert_array_equal(found, expected)
