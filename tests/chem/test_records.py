"""What a worker makes of one record; here in this process."""

import numpy as np
import pytest
from rdkit import Chem
from rdkit.Chem import rdDistGeom

from molae_pyg.chem import from_sdf, from_smiles, parsing
from molae_pyg.chem.conformers import Message, Request
from molae_pyg.chem.elements import MAX_Z
from molae_pyg.chem.options import DUMMY_Z
from molae_pyg.chem.parsing import Molecule, parse_smiles
from molae_pyg.chem.records import lay_out, pack, unpack, work, work_on_key, work_on_layout
from molae_pyg.chem.sdf import read_sdf


def block_of(smiles: str) -> bytes:
    mol = Chem.AddHs(Chem.MolFromSmiles(smiles))
    rdDistGeom.EmbedMolecule(mol, randomSeed=1)
    return f"{Chem.MolToMolBlock(mol)}$$$$\n".encode()


def test_dummy_number_is_outside_the_vocabulary():
    assert DUMMY_Z == MAX_Z  # written twice, as the vocabulary loads torch
    assert parse_smiles("*C").numbers.tolist()[:2] == [MAX_Z, 6]


def test_messages_of_a_smiles_are_those_of_from_smiles():
    atoms, *messages = work(parse_smiles, "OCC", Request(2, seed=3, layout=True))
    data = from_smiles("OCC", num_conformers=2, add_2d=True, seed=3, remove_hydrogens=False)
    assert (atoms.value.smiles, atoms.value.numbers.tolist()) == ("OCC", data.z.tolist())
    assert [message.kind for message in messages] == ["3d", "3d", "laying out", "2d"]
    frames = [message.value for message in messages if message.kind in ("3d", "2d")]
    assert np.array_equal(np.stack(frames, axis=1), data.conformers)


def test_coordinates_of_an_sdf_are_kept(tmp_path):
    block = block_of("OCC")
    (tmp_path / "one.sdf").write_bytes(block)
    (data,) = from_sdf(tmp_path / "one.sdf", 1, add_2d=True, remove_hydrogens=False)
    atoms, *messages = work(read_sdf, block, Request(1, layout=True))
    assert [message.kind for message in messages] == ["3d", "laying out", "2d"]
    assert atoms.value.numbers.tolist() == data.z.tolist()
    assert np.array_equal(np.stack([messages[0].value, messages[2].value], axis=1), data.conformers)


@pytest.mark.parametrize(
    ("read", "record", "reason"),
    [
        (parse_smiles, "C1CC", "unclosed ring"),
        (parse_smiles, "", "the string is empty"),
        (read_sdf, b"nonsense\n$$$$\n", "the record has no line 'M  END'"),
        (read_sdf, b"nonsense\nM  END\n$$$$\n", "RDKit cannot read it"),
        (read_sdf, b"\n$$$$\n", "the record is empty"),
    ],
)
def test_what_is_no_molecule_is_invalid(read, record, reason):
    for messages in (work(read, record, Request()), work_on_key(read, record)):
        (message,) = messages
        assert message.kind == "invalid"
        assert reason in message.value


def test_invariants_of_rdkit_are_reasons(monkeypatch):
    def broken(smiles):
        raise RuntimeError("\nInvariant Violation\nmore")

    monkeypatch.setattr(parsing, "sanitised", broken)
    assert [*work(parse_smiles, "CO", Request())] == [
        Message("invalid", "RDKit cannot handle it (Invariant Violation: more)")
    ]


@pytest.mark.parametrize(
    "others",
    [
        ("C[C@H](N)C(=O)O", "C[C@@H](N)C(=O)O", "OC(=O)C(C)N", "[2H]C(C)(N)C(=O)O"),
        ("C/C=C/C", "CC=CC", "C/C=C\\C", "[CH3:1]C=CC"),
    ],
)
def test_stereo_isotopes_and_labels_are_not_part_of_the_key(others):
    assert len({next(work_on_key(parse_smiles, smiles)).value for smiles in others}) == 1


def test_different_compounds_have_different_keys():
    smiles = ("CCO", "CC=O", "CC[O-]", "COC", "C1CO1")
    assert len({next(work_on_key(parse_smiles, s)).value for s in smiles}) == len(smiles)


def test_sdf_and_smiles_of_a_compound_are_the_same():
    (of_sdf,), (of_smiles,) = (
        work_on_key(read_sdf, block_of("OCC")),
        work_on_key(parse_smiles, "CCO"),
    )
    assert of_sdf == of_smiles


def test_a_layout_that_does_not_fit_is_reported():
    mol = Chem.MolFromSmiles("CCO")
    molecule = Molecule(np.array([6, 8]), "CCO", mol, given=(np.ones((2, 3)),))
    assert lay_out(molecule) == Message("note", "no 2D layout: the SMILES has other atoms")
    assert lay_out(molecule._replace(mol=None)).kind == "note"


def test_the_layout_alone():
    laying_out, layout = work_on_layout(parse_smiles, "CCO")
    assert (laying_out.kind, layout.kind) == ("laying out", "2d")
    assert not layout.value[:, 2].any()


def test_a_packed_molecule_gives_the_same_messages():
    request = Request(2, layout=True)
    for smiles in ("C/C=C/C(=O)N[C@H](C)CC", "[2H]O[2H]", "*C[Pt]"):
        direct = [*work(parse_smiles, smiles, request)]
        packed = [*work(unpack, pack(parse_smiles(smiles)), request)]
        assert [message.kind for message in direct] == [message.kind for message in packed]
        for one, other in zip(direct[1:], packed[1:], strict=True):
            assert np.array_equal(one.value, other.value)
