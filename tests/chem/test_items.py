"""What a worker makes of one record; here in this process."""

import numpy as np
import pytest
from rdkit import Chem
from rdkit.Chem import rdDistGeom

from molae_pyg.chem import from_sdf, from_smiles, items
from molae_pyg.chem.conformers import Recipe, Step
from molae_pyg.chem.elements import MAX_Z
from molae_pyg.chem.items import Item, compare, lay_out, read_sdf_record, read_smiles_record, work
from molae_pyg.chem.options import DUMMY_Z


def block_of(smiles: str) -> bytes:
    mol = Chem.AddHs(Chem.MolFromSmiles(smiles))
    rdDistGeom.EmbedMolecule(mol, randomSeed=1)
    return f"{Chem.MolToMolBlock(mol)}$$$$\n".encode()


def test_dummy_number_is_outside_the_vocabulary():
    assert DUMMY_Z == MAX_Z  # written twice, as the vocabulary loads torch
    assert read_smiles_record("*C").numbers.tolist()[:2] == [MAX_Z, 6]


def test_steps_of_a_smiles_are_those_of_from_smiles():
    head, *steps = work(read_smiles_record, "OCC", Recipe(2, seed=3, layout=True))
    numbers, smiles = head.value
    data = from_smiles("OCC", num_conformers=2, add_2d=True, seed=3, remove_hydrogens=False)
    assert (smiles, numbers.tolist()) == ("OCC", data.z.tolist())
    assert [step.kind for step in steps] == ["3d", "3d", "laying out", "2d"]
    frames = [step.value for step in steps if step.kind in ("3d", "2d")]
    assert np.array_equal(np.stack(frames, axis=1), data.conformers)


def test_coordinates_of_an_sdf_are_kept(tmp_path):
    block = block_of("OCC")
    (tmp_path / "one.sdf").write_bytes(block)
    (data,) = from_sdf(tmp_path / "one.sdf", 1, add_2d=True, remove_hydrogens=False)
    head, *steps = work(read_sdf_record, block, Recipe(1, layout=True))
    assert [step.kind for step in steps] == ["3d", "laying out", "2d"]
    assert head.value[0].tolist() == data.z.tolist()
    assert np.array_equal(np.stack([steps[0].value, steps[2].value], axis=1), data.conformers)


@pytest.mark.parametrize(
    ("read", "record", "reason"),
    [
        (read_smiles_record, "C1CC", "unclosed ring"),
        (read_smiles_record, "", "the string is empty"),
        (read_sdf_record, b"nonsense\n$$$$\n", "the record has no line 'M  END'"),
        (read_sdf_record, b"nonsense\nM  END\n$$$$\n", "RDKit cannot read it"),
        (read_sdf_record, b"\n$$$$\n", "the record is empty"),
    ],
)
def test_what_is_no_molecule_is_invalid(read, record, reason):
    for steps in (work(read, record, Recipe()), compare(read, record)):
        (step,) = steps
        assert step.kind == "invalid"
        assert reason in step.value


def test_invariants_of_rdkit_are_reasons(monkeypatch):
    def broken(smiles):
        raise RuntimeError("\nInvariant Violation\nmore")

    monkeypatch.setattr(items, "parse_smiles", broken)
    assert [*work(read_smiles_record, "CO", Recipe())] == [
        Step("invalid", "RDKit cannot handle it (Invariant Violation: more)")
    ]


@pytest.mark.parametrize(
    "others",
    [
        ("C[C@H](N)C(=O)O", "C[C@@H](N)C(=O)O", "OC(=O)C(C)N", "[2H]C(C)(N)C(=O)O"),
        ("C/C=C/C", "CC=CC", "C/C=C\\C", "[CH3:1]C=CC"),
    ],
)
def test_stereo_isotopes_and_labels_do_not_tell_compounds_apart(others):
    assert len({next(compare(read_smiles_record, smiles)).value for smiles in others}) == 1


def test_different_compounds_are_told_apart():
    smiles = ("CCO", "CC=O", "CC[O-]", "COC", "C1CO1")
    assert len({next(compare(read_smiles_record, s)).value for s in smiles}) == len(smiles)


def test_sdf_and_smiles_of_a_compound_are_the_same():
    (of_sdf,), (of_smiles,) = (
        compare(read_sdf_record, block_of("OCC")),
        compare(read_smiles_record, "CCO"),
    )
    assert of_sdf == of_smiles


def test_a_layout_that_does_not_fit_is_told():
    item = Item(np.array([6, 8]), "CCO", Chem.MolFromSmiles("CCO"), (np.ones((2, 3)),))
    assert item.lay_out() == Step("note", "no 2D layout: the SMILES has other atoms")
    assert item._replace(mol=None).lay_out().kind == "note"


def test_the_layout_alone():
    laying_out, layout = lay_out(read_smiles_record, "CCO")
    assert (laying_out.kind, layout.kind) == ("laying out", "2d")
    assert not layout.value[:, 2].any()
