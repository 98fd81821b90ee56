"""SD files: how they are cut into records and read, for ``from_sdf`` and for stores.

All files of molecules are unpacked here. This module needs RDKit and NumPy only: workers import it.
"""

import gzip
import os
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

import numpy as np
from rdkit import Chem

from molae_pyg.chem.parsing import Molecule, read_mol, written_order
from molae_pyg.chem.smiles import rdkit_errors

_BLOCK = 2**16  # bytes read at once
_PLACE = "_molae_place"  # atom property: place in the record
_END_OF_RECORD, _END_OF_MOLECULE = b"$$$$", b"M  END"


def is_packed(path: str | os.PathLike) -> bool:
    """Returns whether the name ends in ``.gz``, in any case."""
    return os.fspath(path).lower().endswith(".gz")


@contextmanager
def unpacked(path: str | os.PathLike) -> Iterator[tuple[BinaryIO, BinaryIO]]:
    """Opens a file for reading and unpacks ``.gz``.

    Yields:
        The content, and the file as it is on the disk; its ``tell`` is what has been read.

    Raises:
        ValueError: If the file is found to be damaged or cut while it is read.
    """
    with open(path, "rb") as raw:
        try:
            yield (gzip.GzipFile(fileobj=raw) if is_packed(path) else raw), raw
        except (EOFError, gzip.BadGzipFile, zlib.error) as error:
            raise ValueError(
                f"{os.fspath(path)} is damaged or not complete: {error}. Copy or download it again."
            ) from None


def lines_of(file: BinaryIO) -> Iterator[bytes]:
    r"""Yields the lines of a file, each with its end: ``\n``, ``\r\n`` or ``\r``."""
    rest = b""
    while block := file.read(_BLOCK):
        *lines, rest = (rest + block).splitlines(keepends=True)
        yield from lines
    if rest:
        yield from rest.splitlines(keepends=True)  # it may end in a carriage return


def sdf_blocks(file: BinaryIO, path: str | os.PathLike) -> Iterator[bytes]:
    """Yields the records of an SD file unchanged, each with the line that ends it.

    A record ends at a line ``$$$$``, which blanks may follow, or at the end of the file. Blank
    lines after the last record are no record; between two ends they are an empty record.

    Raises:
        ValueError: If the file has no record: it is empty, or is no SD file.
    """
    lines: list[bytes] = []
    found = False
    for line in lines_of(file):
        lines.append(line)
        if line.rstrip() == _END_OF_RECORD:
            found = True
            yield b"".join(lines)
            lines = []
    if any(line.strip() for line in lines):
        if not found and not any(line.rstrip() == _END_OF_MOLECULE for line in lines):
            raise ValueError(
                f"{os.fspath(path)} holds no molecule: it has neither a line 'M  END' nor a line "
                "'$$$$' and is no SD file"
            )
        found = True
        yield b"".join(lines)
    if not found:
        raise ValueError(f"{os.fspath(path)} holds no molecule: it is empty")


def read_block(block: bytes) -> Chem.Mol:
    """Reads the molecule of one record, with all its hydrogens; properties are ignored.

    Raises:
        ValueError: If the record is empty, has no line ``M  END``, holds a second molecule, or
            RDKit cannot read it.
    """
    lines = plain_text(block).split("\n")
    if all(not line.strip() or line.rstrip() == "$$$$" for line in lines):
        raise ValueError("the record is empty")
    ends = [place for place, line in enumerate(lines) if line.rstrip() == "M  END"]
    if not ends:
        raise ValueError("the record has no line 'M  END'")
    if any(line.rstrip().endswith(("V2000", "V3000")) for line in lines[ends[0] :]):
        # RDKit would read the first only and ignore the others silently.
        raise ValueError("the record holds a second molecule: a line '$$$$' is missing before it")
    with rdkit_errors():
        mol = Chem.MolFromMolBlock("\n".join([*lines[: ends[0] + 1], ""]), removeHs=False)
    if mol is None:
        raise ValueError("RDKit cannot read it")
    return mol


def smiles_of_record(block: bytes) -> tuple[str, np.ndarray]:
    """Returns the SMILES of a record without hydrogens, and where its atoms are in it.

    Args:
        block: The record.

    Returns:
        The SMILES, and for each atom of the record its place in the SMILES ``[m]``; -1: a hydrogen
        that the SMILES does not hold.

    Raises:
        ValueError: As :func:`read_block`, or RDKit cannot write the SMILES.
    """
    mol = read_block(block)
    for atom in mol.GetAtoms():
        atom.SetIntProp(_PLACE, atom.GetIdx())
    with rdkit_errors():
        bare = Chem.RemoveHs(mol)
        smiles = Chem.MolToSmiles(bare)
        order = [bare.GetAtomWithIdx(index).GetIntProp(_PLACE) for index in written_order(bare)]
    place = np.full(mol.GetNumAtoms(), -1)
    place[order] = np.arange(len(order))
    return smiles, place


def read_sdf(block: bytes, canonical: bool = False) -> Molecule:
    """Reads one record with its coordinates; ``note`` says so if none of them can be used.

    Args:
        block: The record.
        canonical: Put the atoms into canonical order.

    Raises:
        ValueError: As :func:`read_block` and :func:`~molae_pyg.chem.parsing.read_mol`.
    """
    molecule = read_mol(read_block(block), canonical)
    if molecule.given or molecule.note:
        return molecule
    return molecule._replace(note="the record has no 3D coordinates: generated")


def plain_text(content: bytes) -> str:
    r"""Decodes a structure file, in which only ASCII characters have a meaning.

    Each other character becomes one ``?``, so that the columns of the file stay in place.
    Every line ends in ``\n``.
    """
    content = b"\n".join(content.splitlines())
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError:
        text = content.decode("latin-1")
    return text.encode("ascii", "replace").decode("ascii")


def read_text(path: str | os.PathLike) -> str:
    """Reads a whole structure file, packed or not, see :func:`plain_text`."""
    with unpacked(Path(path)) as (file, _):
        return plain_text(file.read())
