"""Structure files, whose 3D coordinates are kept: SDF and PDB."""

import math
import os
import warnings
from collections.abc import Iterator

import numpy as np
from rdkit import Chem, rdBase
from torch_geometric.data import Data

from molae_pyg.chem.coordinates import ONE_PLACE, problem_of
from molae_pyg.chem.molecules import convert
from molae_pyg.chem.options import Options
from molae_pyg.chem.parsing import with_coordinates
from molae_pyg.chem.sdf import read_sdf, read_text, sdf_blocks, unpacked
from molae_pyg.chem.smiles import rdkit_errors

_FIELDS = ((30, 38), (38, 46), (46, 54))  # columns of x, y and z of an atom in a PDB file


def from_sdf(
    path: str | os.PathLike,
    num_conformers: int | None = None,
    add_2d: bool = False,
    remove_hydrogens: bool = True,
    canonical: bool = False,
    max_atoms: int | None = None,
    seed: int = 0,
    time_limit: float = 30.0,
    on_error: str = "raise",
) -> list[Data]:
    """Reads the molecules of an SD file, ``.sdf`` or ``.sdf.gz``, with their 3D coordinates.

    A record ends at a line ``$$$$``, or at the end of the file. Records that hold no 3D
    coordinates, or such as cannot be those of the molecule (two atoms at one place; a flat drawing
    that is tagged 3D), get generated ones, and ``reason`` says so.

    Args:
        path: The file.
        num_conformers: As in :func:`~molae_pyg.chem.from_mol`, as are all arguments down to
            ``time_limit``.
        on_error: ``"raise"`` stops at a record that cannot be used; ``"skip"`` leaves it out and
            warns once how many were left out.

    Returns:
        One ``Data`` a record, as from :func:`~molae_pyg.chem.from_mol`, with its number in the
        file, from 0, as ``record``.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If a record cannot be used; the message names it. With either ``on_error``:
            if the file holds no record, is no SD file, or is damaged.
    """
    if on_error not in ("raise", "skip"):
        raise ValueError(f"on_error must be 'raise' or 'skip', got {on_error!r}")
    options = Options(num_conformers, add_2d, remove_hydrogens, max_atoms, seed, time_limit)
    records, problems = [], []
    with unpacked(path) as (file, _), rdBase.BlockLogs():
        for record, block in enumerate(sdf_blocks(file, path)):
            try:
                data = convert(read_sdf(block, canonical), options)
            except ValueError as error:
                problem = f"record {record} of {os.fspath(path)}: {error}"
                if on_error == "raise":
                    raise ValueError(
                        f"{problem}. Repair the record, or pass on_error='skip' to leave it out."
                    ) from None
                problems.append(problem)
                continue
            data.record = record
            records.append(data)
    if problems:
        total = len(records) + len(problems)
        warnings.warn(
            f"{len(problems)} of {total} records left out; the first: {problems[0]}", stacklevel=2
        )
    return records


def from_pdb(
    path: str | os.PathLike,
    num_conformers: int | None = None,
    remove_hydrogens: bool = True,
    max_atoms: int | None = None,
    seed: int = 0,
) -> Data:
    """Reads a PDB file with its coordinates, all chains, ligands and waters together.

    Args:
        path: The file, ``.pdb`` or ``.pdb.gz``; several models become conformers.
        num_conformers: None takes the first model as ``pos``; an int K takes the first K models,
            repeated in turn where there are fewer, as ``conformers``.
        remove_hydrogens: Remove all hydrogens.
        max_atoms: Crop to this many random atoms, their order kept. None: never.
        seed: For cropping.

    Returns:
        ``Data`` as from :func:`~molae_pyg.chem.from_mol`, atoms in file order. Coordinates are
        always those of the file; ``reason`` says what is odd about them, such as two atoms at one
        place.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If the file holds no atoms, is damaged, or an atom has no coordinates.
    """
    options = Options(
        num_conformers, remove_hydrogens=remove_hydrogens, max_atoms=max_atoms, seed=seed
    )
    block = read_text(path)
    _check_coordinates(block, path)
    # Coordinates are given, so that bonds RDKit guesses wrongly need not stop the reading.
    with rdBase.BlockLogs(), rdkit_errors():
        mol = Chem.MolFromPDBBlock(block, sanitize=False, removeHs=False)
        if mol is None or mol.GetNumAtoms() == 0 or mol.GetNumConformers() == 0:
            raise ValueError(f"{os.fspath(path)} holds no atoms that RDKit can read")
        Chem.SanitizeMol(mol, catchErrors=True)
        given = [conformer.GetPositions() for conformer in mol.GetConformers()]
        odd = list(dict.fromkeys(filter(None, _problems(mol, given, path))))
        molecule = with_coordinates(mol, given, canonical=False)
        return convert(molecule._replace(note="; ".join(odd)), options)


def _check_coordinates(block: str, path: str | os.PathLike) -> None:
    """Looks for them line by line: RDKit takes blanks for 0."""
    for number, line in enumerate(block.split("\n"), start=1):
        if line.startswith(("ATOM  ", "HETATM")):
            fields = [line[first:last].strip() for first, last in _FIELDS]
            try:
                finite = all(math.isfinite(float(field)) for field in fields)
            except ValueError:
                finite = False
            if not finite:
                raise ValueError(
                    f"{os.fspath(path)}, line {number}: the atom has no coordinates in columns 31 "
                    f"to 54, but {line[30:54].strip()!r}. Repair the file, or read the molecule "
                    "from its SMILES."
                )


def _problems(mol: Chem.Mol, given: list[np.ndarray], path: str | os.PathLike) -> Iterator[str]:
    for positions in given:
        problem = problem_of(mol, positions)
        if problem == ONE_PLACE:
            raise ValueError(f"{os.fspath(path)} has no coordinates: {problem}")
        yield problem
