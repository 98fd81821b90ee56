"""SMILES and RDKit molecules made ready: hydrogens, atom order, coordinates that can be used.

This module needs RDKit and NumPy only: worker processes import it.
"""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from rdkit import Chem

from molae_pyg.chem.options import DUMMY_Z
from molae_pyg.chem.smiles import checked_smiles, rdkit_errors, sanitised

_ORDER = "_molae_order"  # atom property: place in the input

ONE_PLACE = "all atoms lie at one place"
TWO_AT_ONE_PLACE = "two atoms lie at one place"
FLAT = "the coordinates are a flat drawing that is tagged 3D"
_FLAT = 1e-3  # Å; files have three or four decimals
_SAME = 0.01  # Å; no two atoms of a molecule are that near
_ALIKE = 0.01  # relative; bonds of different kinds differ by more
_MAIN_GROUP = frozenset((5, 6, 7, 14, 15, 16))  # a metal with four neighbours may well be flat
_BONDS = (1.1, 1.65)  # Å; the mean bond between carbon, nitrogen and oxygen lies between


class Molecule(NamedTuple):
    """A molecule that has been read, before its conformers are made."""

    #: Atomic numbers ``[n]`` int64, in the atom order of the data.
    numbers: np.ndarray
    #: The SMILES as given; of another source, as RDKit writes it.
    smiles: str
    #: With explicit hydrogens unless coordinates are given; None if there is no structure.
    mol: Chem.Mol | None
    #: Place of every atom in the input, ``[n]`` int64; -1 for hydrogens the input does not hold.
    #: None for records whose atoms are their own input.
    atom_map: np.ndarray | None = None
    #: Equal keys mean equal molecules in equal atom order.
    key: str = ""
    #: The input's own 3D conformers, each ``[n, 3]`` float32 in Å. If there are some, no others are
    #: made.
    given: tuple[np.ndarray, ...] = ()
    #: The input's own 2D layout, ``[n, 3]`` float32.
    layout: np.ndarray | None = None
    #: What departs from the rule, such as coordinates of the input that are not used.
    note: str = ""
    #: Whether conformers are made if none are given.
    generate: bool = True


def parse_smiles(smiles: object, canonical: bool = True) -> Molecule:
    """Reads a SMILES string.

    Args:
        smiles: The string; anything else, such as None or NaN, is an error.
        canonical: Rebuild the molecule from its canonical isomeric SMILES, so that equivalent
            strings give the same atom order. False keeps the order of the string.

    Raises:
        ValueError: If it is no valid SMILES; the message is the reason alone. A blank inside the
            string is an error, unless an extension of CXSMILES, ``|...|``, follows.
    """
    checked = checked_smiles(smiles)
    with rdkit_errors():
        mol = sanitised(checked)
        if mol.GetNumAtoms() == 0:
            raise ValueError("the string holds no atom")
        return with_hydrogens(mol, smiles, canonical, key=checked)


def read_mol(mol: Chem.Mol | None, canonical: bool) -> Molecule:
    """Reads an RDKit molecule, with its 3D conformers if it has some that can be used.

    Conformers with two atoms at one place, or that are flat where the molecule cannot be, are
    left out, and ``note`` says so, see :func:`problem_of`.

    Args:
        mol: The molecule; it is not changed.
        canonical: Put the atoms into canonical order; given coordinates move with their atoms.

    Raises:
        ValueError: If it is None, has no atoms, has coordinates that are not finite, or has no
            coordinates and cannot be sanitised.
    """
    if mol is None:
        raise ValueError("there is no molecule (None): RDKit could not read it")
    if mol.GetNumAtoms() == 0:
        raise ValueError("the molecule has no atoms")
    mol = Chem.Mol(mol)
    with rdkit_errors():
        given, note = _usable(mol)
        if given:
            return with_coordinates(mol, given, canonical)._replace(note=note)
        try:
            Chem.SanitizeMol(mol)
        except ValueError as error:
            reason = f"{note}, and " if note else ""
            raise ValueError(f"{reason}RDKit cannot sanitise the molecule: {error}") from None
        return with_hydrogens(mol, _smiles_of(mol), canonical)._replace(note=note)


def _usable(mol: Chem.Mol) -> tuple[list[np.ndarray], str]:
    """Returns the 3D conformers, each ``[n, 3]`` in Å, and what is wrong with the others."""
    tagged = [conformer.GetPositions() for conformer in mol.GetConformers() if conformer.Is3D()]
    for number, positions in enumerate(tagged):
        if not np.isfinite(positions).all():
            atom = int(np.flatnonzero(~np.isfinite(positions).all(axis=1))[0])
            raise ValueError(f"conformer {number}: the coordinates of atom {atom} are not finite")
    problems = [problem_of(mol, positions) for positions in tagged]
    given = [positions for positions, problem in zip(tagged, problems, strict=True) if not problem]
    found = list(dict.fromkeys(filter(None, problems)))
    if not found:
        return given, ""
    if given:
        num_bad = len(tagged) - len(given)
        return given, f"{num_bad} of {len(tagged)} conformers left out: {'; '.join(found)}"
    return [], f"{'; '.join(found)}: coordinates generated"


def with_coordinates(mol: Chem.Mol, given: list[np.ndarray], canonical: bool) -> Molecule:
    """Returns a molecule with the given coordinates ``[n, 3]`` in Å; ``mol`` is changed."""
    mol.UpdatePropertyCache(strict=False)  # a molecule with coordinates may lack sanitisation
    smiles = _smiles_of(mol)
    order = np.arange(mol.GetNumAtoms())
    if canonical:
        order = np.array(canonical_order(mol))
        mol = Chem.RenumberAtoms(mol, order.tolist())
    conformers = tuple(coordinates[order].astype(np.float32) for coordinates in given)
    return Molecule(atomic_numbers(mol), smiles, mol, order, smiles, conformers)


def _smiles_of(mol: Chem.Mol) -> str:
    return Chem.MolToSmiles(Chem.RemoveHs(mol, sanitize=False))


def atomic_numbers(mol: Chem.Mol) -> np.ndarray:
    """Returns the atomic numbers, ``[n]`` int64; a dummy atom, which has none, is 118."""
    return np.array([atom.GetAtomicNum() or DUMMY_Z for atom in mol.GetAtoms()], dtype=np.int64)


def compound_key(mol: Chem.Mol) -> str:
    """Returns the canonical SMILES without stereochemistry, isotopes and atom labels.

    Records of the same compound have the same key, however each was written.

    Raises:
        ValueError: If RDKit cannot write it.
    """
    mol = Chem.Mol(mol)
    with rdkit_errors():
        Chem.RemoveStereochemistry(mol)
        for atom in mol.GetAtoms():
            atom.SetIsotope(0)
        return _canonical(mol)[1]


def with_hydrogens(mol: Chem.Mol, smiles: str, canonical: bool, key: str = "") -> Molecule:
    """Adds hydrogens to a sanitised molecule, in canonical atom order if ``canonical``."""
    mol = _numbered(mol)
    mol.RemoveAllConformers()
    if canonical:
        mol, key = _canonical(mol)
    mol = Chem.AddHs(mol)
    places = [a.GetIntProp(_ORDER) if a.HasProp(_ORDER) else -1 for a in mol.GetAtoms()]
    atom_map = np.array(places, dtype=np.int64)
    return Molecule(atomic_numbers(mol), smiles, mol, atom_map, key)


def canonical_order(mol: Chem.Mol) -> list[int]:
    """Returns the atom indices of ``mol`` in canonical order, explicit hydrogens last."""
    bare = Chem.RemoveHs(_numbered(mol), sanitize=False)
    order = [bare.GetAtomWithIdx(index).GetIntProp(_ORDER) for index in written_order(bare)]
    return order + sorted(set(range(mol.GetNumAtoms())) - set(order))


def canonical_rows(mol: Chem.Mol) -> tuple[Chem.Mol, list[int]]:
    """Returns the molecule in canonical order, hydrogens removed, and each atom's place in ``mol``.

    Chiral tags, which depend on the order of the atoms, are those of the canonical SMILES.
    """
    with rdkit_errors():
        found = _canonical(_numbered(mol))[0]
    return found, [atom.GetIntProp(_ORDER) for atom in found.GetAtoms()]


def _numbered(mol: Chem.Mol) -> Chem.Mol:
    """Returns a copy whose atoms know their place."""
    mol = Chem.Mol(mol)
    for atom in mol.GetAtoms():
        atom.SetIntProp(_ORDER, atom.GetIdx())
    return mol


def written_order(mol: Chem.Mol) -> list[int]:
    """Returns the atom indices of ``mol`` in the order of its canonical SMILES."""
    Chem.MolToSmiles(mol)
    computed = mol.GetPropsAsDict(includePrivate=True, includeComputed=True)
    return [int(index) for index in computed["_smilesAtomOutputOrder"]]


def _canonical(mol: Chem.Mol) -> tuple[Chem.Mol, str]:
    """Rebuilds a molecule from its canonical SMILES; returns it and that SMILES.

    RDKit sometimes writes its own canonical SMILES differently after reading it back. The string
    is therefore written and read until it repeats, and the smallest of the cycle is taken.
    """
    mol = Chem.RemoveHs(mol)
    for atom in mol.GetAtoms():
        atom.SetAtomMapNum(0)  # labels of a reaction, not of the molecule
    seen: dict[str, Chem.Mol] = {}
    smiles = ""
    while True:
        smiles, rebuilt = _rewrite(mol)
        if smiles in seen:
            break
        seen[smiles] = mol = rebuilt
    strings = list(seen)
    smallest = min(strings[strings.index(smiles) :])
    return seen[smallest], smallest


def _rewrite(mol: Chem.Mol) -> tuple[str, Chem.Mol]:
    """Writes the canonical SMILES and reads it back; atoms keep their place in the input."""
    smiles = Chem.MolToSmiles(mol)
    order = written_order(mol)
    try:
        rebuilt = sanitised(smiles)
    except ValueError:  # RDKit cannot read some of what it writes: reorder the atoms instead
        return smiles, Chem.RenumberAtoms(mol, order)
    for atom, source in zip(rebuilt.GetAtoms(), order, strict=True):
        if mol.GetAtomWithIdx(source).HasProp(_ORDER):
            atom.SetIntProp(_ORDER, mol.GetAtomWithIdx(source).GetIntProp(_ORDER))
    return smiles, rebuilt


def problem_of(mol: Chem.Mol, positions: np.ndarray) -> str:
    """Returns why coordinates cannot be those of the molecule; an empty string if they can be.

    Flat coordinates (one z for all atoms) are a drawing if the molecule cannot be flat: an atom
    with four bonds, implicit hydrogens counted, has three or more neighbours in the plane, or a
    ring of six or more has three such atoms. They are also a drawing if bonds of different kinds
    are equally long, or if bonds between C, N and O have lengths that such bonds do not have.
    Benzene and the zigzag of butane can be flat.

    Args:
        mol: The molecule.
        positions: Coordinates in Å, ``[n, 3]``, finite.
    """
    if len(positions) < 2:
        return ""
    if (np.ptp(positions, axis=0) < _SAME).all():
        return ONE_PLACE
    if len(np.unique(np.round(positions / _SAME), axis=0)) < len(positions):
        return TWO_AT_ONE_PLACE
    if np.ptp(positions[:, 2]) > _FLAT:
        return ""
    mol = Chem.Mol(mol)
    Chem.SanitizeMol(mol, catchErrors=True)  # for rings and hybridisation, as far as possible
    return FLAT if _cannot_be_flat(mol) or _is_drawn(mol, positions) else ""


def _cannot_be_flat(mol: Chem.Mol) -> bool:
    tetrahedral = {atom.GetIdx() for atom in mol.GetAtoms() if _is_tetrahedral(atom)}
    if any(mol.GetAtomWithIdx(index).GetDegree() >= 3 for index in tetrahedral):
        return True
    if not tetrahedral:
        return False
    rings = mol.GetRingInfo().AtomRings()
    return any(len(ring) >= 6 and len(tetrahedral.intersection(ring)) >= 3 for ring in rings)


def _is_tetrahedral(atom: Chem.Atom) -> bool:
    if atom.GetAtomicNum() not in _MAIN_GROUP:
        return False
    if atom.GetHybridization() != Chem.HybridizationType.SP3:
        return False
    return atom.GetDegree() >= 4 or atom.GetTotalDegree() == 4


def _is_drawn(mol: Chem.Mol, positions: np.ndarray) -> bool:
    bonds = list(_bonds(mol))
    if not bonds:
        return False
    pairs = np.array([bond[:2] for bond in bonds])
    lengths = np.linalg.norm(positions[pairs[:, 0]] - positions[pairs[:, 1]], axis=1)
    common = np.array([set(bond[2]) <= {6, 7, 8} for bond in bonds])
    if common.any() and not _BONDS[0] < lengths[common].mean() < _BONDS[1]:
        return True
    kinds = {bond[2:] for bond in bonds}
    return len(bonds) >= 3 and len(kinds) >= 2 and np.ptp(lengths) < _ALIKE * lengths.mean()


def _bonds(mol: Chem.Mol) -> Iterator[tuple[int, int, tuple[int, ...], str]]:
    """Yields the bonds between heavy atoms: both atoms, their numbers, and the bond type."""
    for bond in mol.GetBonds():
        first, second = bond.GetBeginAtom(), bond.GetEndAtom()
        numbers = tuple(sorted((first.GetAtomicNum(), second.GetAtomicNum())))
        if numbers[0] > 1:
            yield first.GetIdx(), second.GetIdx(), numbers, str(bond.GetBondType())
