"""Whether coordinates that a file calls 3D can be those of its molecule."""

from collections.abc import Iterator

import numpy as np
from rdkit import Chem

ONE_PLACE = "all atoms lie at one place"
TWO_AT_ONE_PLACE = "two atoms lie at one place"
FLAT = "the coordinates are a flat drawing that is tagged 3D"
_FLAT = 1e-3  # Å; files have three or four decimals
_SAME = 0.01  # Å; no two atoms of a molecule are that near
_ALIKE = 0.01  # relative; bonds of different kinds differ by more
_MAIN_GROUP = frozenset((5, 6, 7, 14, 15, 16))  # a metal with four neighbours may well be flat
_BONDS = (1.1, 1.65)  # Å; the mean bond between carbon, nitrogen and oxygen lies between


def problem_of(mol: Chem.Mol, positions: np.ndarray) -> str:
    """Returns why coordinates are not those of a molecule; empty if nothing speaks against it.

    Flat coordinates (one z for all atoms) are a drawing if the molecule cannot be flat, that is,
    if an atom with four bonds, implicit hydrogens counted, has three or more neighbours in the
    plane or a ring of six and more has three such atoms; or if they are drawn: bonds of different
    kinds are equally long, or bonds between C, N and O have lengths that such bonds do not have.
    Benzene and the zigzag of butane are honestly flat.

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
    Chem.SanitizeMol(mol, catchErrors=True)  # for rings and hybridisation, as far as it comes
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
    """The bonds between heavy atoms: both atoms, their numbers, and the order of the bond."""
    for bond in mol.GetBonds():
        first, second = bond.GetBeginAtom(), bond.GetEndAtom()
        numbers = tuple(sorted((first.GetAtomicNum(), second.GetAtomicNum())))
        if numbers[0] > 1:
            yield first.GetIdx(), second.GetIdx(), numbers, str(bond.GetBondType())
