"""What of a string RDKit reads, and its own errors as ValueErrors."""

import contextlib
import itertools
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rdkit import Chem, rdBase

from molae_pyg.chem import featurize, from_smiles
from molae_pyg.chem.parsing import parse_smiles
from molae_pyg.chem.smiles import checked_smiles, listed, plain_mol, rdkit_errors

CASES = Path(__file__).parent.parent / "data" / "cases"
SYMBOLS = [Chem.GetPeriodicTable().GetElementSymbol(z) for z in range(1, 119)]


@pytest.mark.parametrize(
    ("smiles", "reason"),
    [
        ("CC(=O)Oc1ccccc1 C(=O)O", "'C(=O)O' follows a blank after 'CC(=O)Oc1ccccc1'"),
        ("CCO ethanol", "'ethanol' follows a blank after 'CCO'"),
        ("CCO\tethanol", "'ethanol' follows a blank"),
        ("CC\nO", "'O' follows a blank"),
        ("CCO |$a;b;c$| ethanol", "'|$a;b;c$| ethanol' follows a blank"),
        ("CCO |$a;b;c$", "follows a blank"),
        ("C\xe9C", "character 'é' at position 2 is no SMILES"),
        ("C\u2013C", "character '\u2013' at position 2"),
        ("C\0C", "character '\\x00' at position 2"),
        ("[C+300]", "'[C+300]' has a charge or an isotope that is too large"),
        ("C[70000CH3]", "'[70000CH3]' has a charge or an isotope"),
        ("C[#119]", "RDKit cannot handle it (Pre-condition Violation"),
        ("[CH255]", "RDKit"),
    ],
)
def test_what_rdkit_would_skip_is_an_error(smiles, reason):
    for read in (parse_smiles, plain_mol, from_smiles):
        with rdBase.BlockLogs(), pytest.raises(ValueError) as error:
            read(smiles)
        assert reason in str(error.value) or (smiles == "C[#119]" and "RDKit" in str(error.value))
    data, report = featurize(["CCO", smiles, "CC"], workers=1, on_error="skip", progress=False)
    assert [d.smiles for d in data] == ["CCO", "CC"]
    assert report.outcomes == ["3d", "invalid", "3d"]


@pytest.mark.parametrize("smiles", [" CCO", "CCO\n", "CCO |$a;b;c$|", " CCO  |$a b;;$| "])
def test_blanks_around_and_extensions_are_fine(smiles):
    assert parse_smiles(smiles).key == "CCO"
    assert plain_mol(smiles).GetNumAtoms() == 3


@pytest.mark.parametrize("part", range(4))
def test_systematic_atoms_are_read_or_are_value_errors(part):
    atoms = itertools.product(
        ("", "2", "300"), SYMBOLS, ("", "H", "H4", "H9", "H255"), ("", "+", "-4", "+15")
    )
    with rdBase.BlockLogs():
        for isotope, symbol, hydrogens, charge in itertools.islice(atoms, part, None, 4):
            for read in (parse_smiles, plain_mol):
                with contextlib.suppress(ValueError):  # no other error
                    read(f"[{isotope}{symbol}{hydrogens}{charge}]")


@settings(max_examples=300, deadline=None)
@given(st.text("CNOcno[]()=#+-1234%@H*. |$\\/é\0\n", max_size=12))
def test_any_string_is_a_molecule_or_a_value_error(text):
    with rdBase.BlockLogs(), contextlib.suppress(ValueError):  # no other error
        assert parse_smiles(text).mol.GetNumAtoms() > 0
        assert checked_smiles(text) == text.strip()


def test_a_file_with_an_element_that_does_not_exist():
    lines = (CASES / "element119.smi").read_text().split()
    data, report = featurize(lines, on_error="skip", workers=1, progress=False)
    assert ([d.smiles for d in data], report.outcomes[1]) == (["CCO", "CC"], "invalid")
    with pytest.raises(ValueError, match=r"cannot read SMILES 'C\[#119\]'"):
        from_smiles("C[#119]")


def test_errors_of_rdkit():
    message = r"cannot handle it \(Invariant Violation: more\)"
    with pytest.raises(ValueError, match=message), rdkit_errors():
        raise RuntimeError("\nInvariant Violation\n\tmore\nand more")
    with pytest.raises(KeyboardInterrupt), rdkit_errors():
        raise KeyboardInterrupt


def test_what_is_a_sequence():
    assert listed(smiles for smiles in ("C", "CC")) == ["C", "CC"]
    assert listed(map(str.strip, [" C"])) == ["C"]
    for one in ("CCO", b"CCO"):
        with pytest.raises(ValueError, match="a sequence of SMILES is needed, not one string"):
            listed(one)
    for unordered in ({"C", "CC"}, {"C": 1}):
        with pytest.raises(ValueError, match="has no order"):
            listed(unordered)
