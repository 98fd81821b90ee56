"""SMILES strings: checks before RDKit reads them, and RDKit's errors as ValueErrors.

This module needs RDKit only: workers import it.
"""

import re
from collections.abc import Iterable, Iterator, Mapping, Set
from contextlib import contextmanager

from rdkit import Chem, rdBase

#: What may follow a SMILES after a blank: the extension of CXSMILES, ``|...|``.
_EXTENSION = re.compile(r"\|[^|]*\|")
# RDKit stores a charge in 8 bits and an isotope in 16 and silently changes larger ones.
_OVERFLOW = re.compile(r"\[(?:0*\d{5,}|[^\]]*[+-]\d{3,})[^\]]*\]")
_REACTION = re.compile(r"(?<!-)>.*(?<!-)>")  # a dative bond is written ->


@contextmanager
def rdkit_errors() -> Iterator[None]:
    """Turns errors of RDKit that are no ValueErrors, such as violated invariants, into ValueErrors.

    Every call of RDKit with input of a user is made inside this context.
    """
    try:
        yield
    except RuntimeError as error:
        lines = [line.strip() for line in str(error).splitlines() if line.strip()]
        message = ": ".join(lines[:2]) or "no message"
        raise ValueError(f"RDKit cannot handle it ({message})") from None


def plain_mol(smiles: str) -> Chem.Mol:
    """Reads a SMILES as RDKit does by default, hydrogens removed.

    For fingerprints, fragments and scaffolds, which need no conformers.

    Raises:
        ValueError: If it is no valid SMILES, or holds no atom, with the reason.
    """
    checked = checked_smiles(smiles)
    with rdkit_errors():
        mol = Chem.MolFromSmiles(checked)
        if mol is None:
            sanitised(checked)  # raises with the reason
            raise ValueError("RDKit cannot read the string")
    if mol.GetNumAtoms() == 0:
        raise ValueError("the string holds no atom")
    return mol


def canonical_mol(smiles: str) -> Chem.Mol:
    """Reads a SMILES as :func:`plain_mol` does, with the atoms in canonical order.

    For graphs: chiral tags and directions of bonds depend on the order of the atoms, and implicit
    valences on which hydrogens are written. Here they are the same for all ways of writing.

    Raises:
        ValueError: If it is no valid SMILES, or holds no atom, with the reason.
    """
    return plain_mol(Chem.MolToSmiles(plain_mol(smiles)))


def listed(smiles: Iterable[object]) -> list:
    """Returns the molecules as a list; an iterator is read to its end.

    Raises:
        ValueError: If it is a single string, whose letters would be the items, or has no order.
    """
    if isinstance(smiles, str | bytes | bytearray):
        raise ValueError(f"a sequence of SMILES is needed, not one string: write [{smiles!r:.60}]")
    if isinstance(smiles, Set | Mapping):
        raise ValueError(f"a sequence of SMILES is needed; a {type(smiles).__name__} has no order")
    return list(smiles)


def checked_smiles(smiles: object) -> str:
    """Returns the string without blanks around it, if RDKit reads all of it.

    RDKit stops at a blank or a character that is not ASCII and silently ignores the rest.

    Raises:
        ValueError: If it is no string, is empty, is an InChI or a reaction, or has a part that
            RDKit ignores.
    """
    if not isinstance(smiles, str):
        raise ValueError(f"a SMILES string is needed, not {type(smiles).__name__}")
    stripped = smiles.strip()
    if not stripped:
        raise ValueError("the string is empty")
    first, *others = stripped.split(None, 1)
    if others and not _EXTENSION.fullmatch(others[0]):
        raise ValueError(f"{_short(others[0])} follows a blank after {_short(first)}")
    if first.startswith("InChI="):
        raise ValueError("an InChI, not a SMILES: convert it")
    if _REACTION.search(first):
        raise ValueError("a reaction (with >), not a molecule")
    for place, character in enumerate(first):
        if not "!" <= character <= "~":
            raise ValueError(f"character {character!r} at position {place + 1} is no SMILES")
    if found := _OVERFLOW.search(first):
        raise ValueError(f"{_short(found[0])} has a charge or an isotope that is too large")
    return stripped


def _short(text: str) -> str:
    return repr(text if len(text) <= 40 else f"{text[:37]}...")


def sanitised(smiles: str) -> Chem.Mol:
    """Reads a SMILES with explicit hydrogens kept; raises a ValueError with RDKit's reason."""
    params = Chem.SmilesParserParams()
    params.removeHs = False  # explicit hydrogens count in the atom order
    mol = Chem.MolFromSmiles(smiles, params)
    if mol is None:
        raise ValueError(_why_invalid(smiles, params))
    return mol


def _why_invalid(smiles: str, params: Chem.SmilesParserParams) -> str:
    """Returns the reason; it parses in two steps, because the second raises one with a message."""
    params.sanitize = False
    mol = Chem.MolFromSmiles(smiles, params)
    if mol is None:
        return _syntax_error(smiles, params)
    try:
        Chem.SanitizeMol(mol)
    except ValueError as error:  # MolSanitizeException and its subclasses
        return str(error).strip()
    return "RDKit cannot read the string"


def _syntax_error(smiles: str, params: Chem.SmilesParserParams) -> str:
    """Returns RDKit's message, which is in its log and not in an exception."""
    if not hasattr(rdBase, "CaptureErrorLog"):
        return "RDKit cannot read the string"
    with rdBase.CaptureErrorLog() as log:
        Chem.MolFromSmiles(smiles, params)
    lines = [line.split("Parse Error: ")[-1] for line in log.messages.splitlines()]
    found = [line.split(" for input:")[0].split(" while parsing:")[0] for line in lines]
    what = [line for line in found if "error" in line or "unclosed" in line or "open" in line]
    where = [line.rstrip(":") for line in found if line.startswith("check for mistakes")]
    return "; ".join([*what[:1], *where[:1]]) or "RDKit cannot read the string"
