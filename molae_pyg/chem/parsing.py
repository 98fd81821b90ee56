"""SMILES and RDKit molecules, made ready: hydrogens, canonical or given atom order."""

from typing import NamedTuple

import numpy as np
from rdkit import Chem

from molae_pyg.chem.coordinates import problem_of
from molae_pyg.chem.options import DUMMY_Z
from molae_pyg.chem.smiles import checked_smiles, rdkit_errors, sanitised

_ORDER = "_molae_order"  # atom property: place in the input


class Molecule(NamedTuple):
    """A molecule ready for embedding."""

    #: With explicit hydrogens; its atom order is that of the data.
    mol: Chem.Mol
    #: Place of every atom in the input, ``[n]`` int64; -1 for hydrogens the input does not hold.
    atom_map: np.ndarray
    #: The SMILES as given (of a Mol: as RDKit writes it).
    smiles: str
    #: Equal keys mean equal molecules in equal atom order.
    key: str
    #: The input's own 3D conformers, each ``[n, 3]`` float32, in Å. Where there are some, no
    #: hydrogen has been added to ``mol``.
    given: tuple[np.ndarray, ...] = ()
    #: What is wrong with coordinates of the input that are not used.
    note: str = ""


def parse_smiles(smiles: object, canonical: bool = True) -> Molecule:
    """Reads a SMILES string.

    Args:
        smiles: The string; anything else, such as None or NaN, is an error.
        canonical: Rebuild the molecule from its canonical isomeric SMILES, so that equivalent
            strings give the same atom order. False keeps the order of the string.

    Raises:
        ValueError: If it is no valid SMILES; the message is the reason alone. A blank within it
            is an error, unless an extension of CXSMILES, ``|...|``, follows.
    """
    checked = checked_smiles(smiles)
    with rdkit_errors():
        mol = sanitised(checked)
        if mol.GetNumAtoms() == 0:
            raise ValueError("the string holds no atom")
        return prepare(mol, smiles, canonical, key=checked)


def read_mol(mol: Chem.Mol | None, canonical: bool) -> Molecule:
    """Reads an RDKit molecule, with its 3D conformers if it has some that can be used.

    Conformers with two atoms at one place, or that are flat where the molecule cannot be, are
    left out, and ``note`` says so, see :func:`~molae_pyg.chem.coordinates.problem_of`.

    Args:
        mol: The molecule; left unchanged.
        canonical: Put the atoms into canonical order; given coordinates move along.

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
        return prepare(mol, _smiles_of(mol), canonical)._replace(note=note)


def _usable(mol: Chem.Mol) -> tuple[list[np.ndarray], str]:
    """The 3D conformers of a molecule, each ``[n, 3]`` in Å, and what is wrong with the others."""
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
    """Takes coordinates ``[n, 3]`` in Å as they are; ``mol`` is changed."""
    mol.UpdatePropertyCache(strict=False)  # a molecule with coordinates may lack sanitisation
    smiles = _smiles_of(mol)
    order = np.arange(mol.GetNumAtoms())
    if canonical:
        order = np.array(canonical_order(mol))
        mol = Chem.RenumberAtoms(mol, order.tolist())
    conformers = tuple(coordinates[order].astype(np.float32) for coordinates in given)
    return Molecule(mol, order, smiles, smiles, conformers)


def _smiles_of(mol: Chem.Mol) -> str:
    return Chem.MolToSmiles(Chem.RemoveHs(mol, sanitize=False))


def atomic_numbers(mol: Chem.Mol) -> np.ndarray:
    """Returns the atomic numbers, ``[n]`` int64; of a dummy atom, which has none, 118."""
    return np.array([atom.GetAtomicNum() or DUMMY_Z for atom in mol.GetAtoms()], dtype=np.int64)


def identity(mol: Chem.Mol) -> str:
    """Returns the canonical SMILES without stereochemistry, isotopes and atom labels.

    Records of the same compound have the same one, however each was written.

    Raises:
        ValueError: If RDKit cannot write it.
    """
    mol = Chem.Mol(mol)
    with rdkit_errors():
        Chem.RemoveStereochemistry(mol)
        for atom in mol.GetAtoms():
            atom.SetIsotope(0)
        return _canonical(mol)[1]


def prepare(mol: Chem.Mol, smiles: str, canonical: bool, key: str = "") -> Molecule:
    """Adds hydrogens to a sanitised molecule, in canonical atom order if asked for."""
    mol = Chem.Mol(mol)
    mol.RemoveAllConformers()
    for atom in mol.GetAtoms():
        atom.SetIntProp(_ORDER, atom.GetIdx())
    if canonical:
        mol, key = _canonical(mol)
    mol = Chem.AddHs(mol)
    atom_map = [a.GetIntProp(_ORDER) if a.HasProp(_ORDER) else -1 for a in mol.GetAtoms()]
    return Molecule(mol, np.array(atom_map, dtype=np.int64), smiles, key)


def canonical_order(mol: Chem.Mol) -> list[int]:
    """Returns the atom indices of ``mol`` in canonical order, explicit hydrogens last."""
    mol = Chem.Mol(mol)
    for atom in mol.GetAtoms():
        atom.SetIntProp(_ORDER, atom.GetIdx())
    bare = Chem.RemoveHs(mol, sanitize=False)
    order = [bare.GetAtomWithIdx(index).GetIntProp(_ORDER) for index in _written_order(bare)]
    return order + sorted(set(range(mol.GetNumAtoms())) - set(order))


def _written_order(mol: Chem.Mol) -> list[int]:
    """Returns the atom indices of ``mol`` in the order of its canonical SMILES."""
    Chem.MolToSmiles(mol)
    computed = mol.GetPropsAsDict(includePrivate=True, includeComputed=True)
    return [int(index) for index in computed["_smilesAtomOutputOrder"]]


def _canonical(mol: Chem.Mol) -> tuple[Chem.Mol, str]:
    """Rebuilds a molecule from its canonical SMILES; returns it and that SMILES.

    Now and then RDKit writes its own canonical SMILES differently after reading it back. The
    string is therefore written and read until it repeats, and the smallest of the cycle is taken.
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
    """Writes the canonical SMILES and reads it back, carrying the input's atom order along."""
    smiles = Chem.MolToSmiles(mol)
    order = _written_order(mol)
    try:
        rebuilt = sanitised(smiles)
    except ValueError:  # RDKit cannot read some of what it writes: reorder the atoms instead
        return smiles, Chem.RenumberAtoms(mol, order)
    for atom, source in zip(rebuilt.GetAtoms(), order, strict=True):
        if mol.GetAtomWithIdx(source).HasProp(_ORDER):
            atom.SetIntProp(_ORDER, mol.GetAtomWithIdx(source).GetIntProp(_ORDER))
    return smiles, rebuilt
