import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rdkit import Chem, rdBase

from molae_pyg.chem import parsing
from molae_pyg.chem.parsing import parse_smiles, with_hydrogens

SMILES = [
    "CC(=O)Oc1ccccc1C(=O)O",
    "CC(C)C[C@@H](C(=O)O)N",  # a stereo centre
    "C/C=C/C(=O)N/N=C\\C",  # double bond stereo
    "C[C@H]1CC[C@@H](C)CC1",  # centres that depend on each other
    "CC(=O)[O-].[Na+]",
    "[2H]C([2H])([2H])O",
    "c1ccc2c(c1)[nH]c1ccccc12",
    "O=S(=O)(N)c1cc(Cl)c(F)cc1Br",
    "C1CC2CCC1C2",
    "*CCN",
]


@settings(max_examples=60, deadline=None)
@given(st.sampled_from(SMILES), st.integers(0, 2**31 - 1))
def test_equivalent_smiles_give_the_same_molecule(smiles, seed):
    mol = Chem.MolFromSmiles(smiles)
    other = Chem.MolToRandomSmilesVect(mol, 1, randomSeed=seed)[0]
    first, second = parse_smiles(smiles), parse_smiles(other)
    assert first.key == second.key
    assert symbols(first.mol) == symbols(second.mol)
    assert bonds(first.mol) == bonds(second.mol)


def syntax(reason: str) -> str:
    """Older RDKit keeps its reason to itself."""
    return reason if hasattr(rdBase, "CaptureErrorLog") else "RDKit cannot read the string"


def symbols(mol: Chem.Mol) -> list[str]:
    return [atom.GetSymbol() for atom in mol.GetAtoms()]


def bonds(mol: Chem.Mol) -> list[tuple]:
    return [(b.GetBeginAtomIdx(), b.GetEndAtomIdx(), b.GetBondType()) for b in mol.GetBonds()]


@settings(max_examples=30, deadline=None)
@given(st.sampled_from(SMILES), st.booleans())
def test_atom_map_leads_back_to_the_input(smiles, canonical):
    """Neighbours in the molecule are neighbours in the string's own atom order."""
    params = Chem.SmilesParserParams()
    params.removeHs = False
    source = Chem.MolFromSmiles(smiles, params)
    molecule = parse_smiles(smiles, canonical)
    place = molecule.atom_map
    kept = place[place >= 0]
    assert sorted(kept) == list(range(source.GetNumAtoms()))
    for atom, origin in zip(molecule.mol.GetAtoms(), place, strict=True):
        assert origin >= 0 or atom.GetSymbol() == "H"
        if origin >= 0:
            assert source.GetAtomWithIdx(int(origin)).GetSymbol() == atom.GetSymbol()
    for a, b, _ in bonds(molecule.mol):
        if min(place[a], place[b]) >= 0:
            assert source.GetBondBetweenAtoms(int(place[a]), int(place[b])) is not None


@pytest.mark.parametrize(
    ("smiles", "canonical", "expected"),
    [
        ("OCC", True, [2, 1, 0]),
        ("OCC", False, [0, 1, 2]),
        ("[H]OC", True, [2, 1]),  # explicit hydrogens count
        ("[H]OC", False, [0, 1, 2]),
        ("[CH3:7][OH:1]", True, [0, 1]),  # reaction labels do not
        ("[OH:1][CH3:7]", True, [1, 0]),
    ],
)
def test_atom_map_by_hand(smiles, canonical, expected):
    place = parse_smiles(smiles, canonical).atom_map
    assert place[place >= 0].tolist() == expected


def test_keys():
    assert parse_smiles("OCC").key == parse_smiles(" C(O)C ").key == "CCO"
    assert parse_smiles("OCC", canonical=False).key == "OCC"


def test_nitro_groups_are_put_in_order_as_rdkit_does():
    assert parse_smiles("CN(=O)=O").key == parse_smiles("C[N+](=O)[O-]").key


def test_canonical_smiles_that_never_settle(monkeypatch):
    """Of a cycle of strings the smallest is taken, wherever the walk enters it."""
    following = {"OCC": "C(C)O", "C(C)O": "OCC", "CCO": "OCC"}

    def rewrite(mol):
        smiles = following[mol.GetProp("written")]
        rebuilt = Chem.MolFromSmiles(smiles)
        rebuilt.SetProp("written", smiles)
        return smiles, rebuilt

    monkeypatch.setattr(parsing, "_rewrite", rewrite)
    for start in following:
        mol = Chem.MolFromSmiles(start)
        mol.SetProp("written", start)
        assert parsing._canonical(mol)[1] == "C(C)O"


def test_canonical_smiles_that_rdkit_cannot_read(monkeypatch):
    mol = Chem.MolFromSmiles("OCC")

    def unreadable(smiles):
        raise ValueError("no")

    monkeypatch.setattr(parsing, "sanitised", unreadable)
    molecule = with_hydrogens(mol, "OCC", canonical=True)
    assert molecule.atom_map[:3].tolist() == [2, 1, 0]
    assert symbols(molecule.mol)[:3] == ["C", "C", "O"]


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        ("C1CC", syntax("unclosed ring")),
        ("CC[", syntax("syntax error; check for mistakes around position 3")),
        ("CC(C", syntax("extra open parentheses; check for mistakes around position 3")),
        ("C(C)(C)(C)(C)C", "Explicit valence for atom # 0 C, 5, is greater than permitted"),
        ("c1ccnc1", "Can't kekulize mol"),
        ("", "the string is empty"),
        (" \t", "the string is empty"),
        (None, "a SMILES string is needed, not NoneType"),
        (math.nan, "a SMILES string is needed, not float"),
    ],
)
def test_invalid(value, reason):
    with rdBase.BlockLogs(), pytest.raises(ValueError) as error:
        parse_smiles(value)
    assert str(error.value).startswith(reason)


def test_invalid_without_the_log_capture_of_recent_rdkit(monkeypatch):
    monkeypatch.delattr(rdBase, "CaptureErrorLog", raising=False)
    with rdBase.BlockLogs(), pytest.raises(ValueError, match="RDKit cannot read the string"):
        parse_smiles("C1CC")


def test_no_atoms(monkeypatch):
    monkeypatch.setattr(parsing, "sanitised", lambda smiles: Chem.Mol())
    with pytest.raises(ValueError, match="the string holds no atom"):
        parse_smiles("|$a$|")


def test_the_input_is_not_changed():
    mol = Chem.MolFromSmiles("OCC")
    molecule = with_hydrogens(mol, "OCC", canonical=False)
    assert mol.GetNumAtoms() == 3
    assert not mol.GetAtomWithIdx(0).HasProp(parsing._ORDER)
    np.testing.assert_array_equal(molecule.atom_map, [0, 1, 2] + [-1] * 6)
