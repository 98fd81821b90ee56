"""One molecule, or one file, to PyG ``Data``: SMILES, RDKit molecules, SDF and PDB files."""

import math
import os
import warnings
from collections.abc import Iterator

import numpy as np
import torch
from rdkit import Chem, rdBase
from torch_geometric.data import Data

from molae_pyg.chem.elements import ELEMENTS
from molae_pyg.chem.options import Options
from molae_pyg.chem.parsing import ONE_PLACE, problem_of, read_mol, with_coordinates
from molae_pyg.chem.rows import Row, parse, row_of
from molae_pyg.chem.sdf import read_sdf, read_text, sdf_blocks, unpacked
from molae_pyg.chem.smiles import rdkit_errors

_FIELDS = ((30, 38), (38, 46), (46, 54))  # columns of x, y and z of an atom in a PDB file
_KNOWN = torch.tensor(sorted(ELEMENTS.values()))


def from_smiles(
    smiles: str,
    num_conformers: int | None = None,
    add_2d: bool = False,
    remove_hydrogens: bool = True,
    canonical: bool = True,
    max_atoms: int | None = None,
    seed: int = 0,
    time_limit: float = 30.0,
    recipe: str = "published",
) -> Data:
    """Turns a SMILES string into a 3D molecule.

    Hydrogens are added, conformers are made with ETKDGv3 (`Wang et al. 2020
    <https://doi.org/10.1021/acs.jcim.0c00025>`_) and minimised with MMFF94, and hydrogens are
    removed again: the recipe of Uni-Mol and Mol-AE. If the embedding fails, it starts again from
    random coordinates; if that fails too, the 2D layout is used, and ``status`` and ``reason`` say
    so. The fragments of a salt are made separately and all lie around the origin.

    Args:
        smiles: The molecule.
        num_conformers: None gives one conformer as ``pos``; an int K gives K of them as
            ``conformers``. Conformer k is made with ``seed + k + 1``. If fewer can be made, they
            are repeated in turn. 0 with ``add_2d`` gives the 2D layout alone.
        add_2d: Append RDKit's 2D layout (z = 0) as one more conformer; pre-training uses 10
            conformers and one layout.
        remove_hydrogens: Remove all hydrogens, deuterium too, after the coordinates are made. A
            molecule of hydrogens only keeps them, and ``reason`` says so.
        canonical: Rebuild the molecule from its canonical SMILES first, so that equivalent SMILES
            give equal atoms in equal order with equal coordinates. False keeps the given order.
        max_atoms: Crop larger molecules to this number of random atoms, in the same order. None:
            never.
        seed: Seed of coordinates and cropping.
        time_limit: Seconds for all conformers of the molecule together. They are made in a process
            that is killed when it overruns. Reading a SMILES of more than 1000 characters and
            making the 2D layout may each take as long again (the layout at most 60 s).
        recipe: ``"published"``: ETKDGv3 and at most 200 steps of MMFF94. ``"fast"``: plain distance
            geometry and fewer steps, in half the time; a model predicts best from the recipe of its
            training. ``"flat"``: the 2D layout alone. A version may follow: ``"fast-1"``.

    Returns:
        ``Data`` with n atoms and

        - ``z`` ``[n]`` int64, atomic numbers (a dummy atom ``*``, which has none, is 118, an
          element outside the vocabulary),
        - ``pos`` ``[n, 3]`` or ``conformers`` ``[n, K (+1), 3]``, float32, in Å,
        - ``smiles``, as given,
        - ``atom_map`` ``[n]`` int64, each atom's place in the input (in a SMILES string, explicit
          ``[H]`` counted); -1 for hydrogens that were added,
        - ``status`` ``"3d"`` or ``"2d"``, ``reason`` (what departed from the recipe, or empty),
        - ``num_distinct``, the number of different conformers before repetition, the appended
          layout not counted; those with equal coordinates (of a single atom, for example) count
          once, those that differ in place and orientation only (of a rigid molecule) all count,
        - ``num_unknown`` atoms outside the vocabulary, ``num_cropped`` atoms cropped.

    Raises:
        ValueError: If the string is no valid SMILES, an argument is out of range, or no
            coordinates at all could be made.
        KeyboardInterrupt: On Ctrl-C. An interrupt never changes coordinates.
    """
    options = Options(num_conformers, add_2d, remove_hydrogens, max_atoms, seed, time_limit, recipe)
    with rdBase.BlockLogs():
        try:
            molecule = parse(smiles, canonical, options.time_limit)
        except ValueError as error:
            raise ValueError(problem_message(Row("invalid", str(error), smiles))) from None
        return to_data(row_of(molecule, options), options)


def from_mol(
    mol: Chem.Mol,
    num_conformers: int | None = None,
    add_2d: bool = False,
    remove_hydrogens: bool = True,
    canonical: bool = False,
    max_atoms: int | None = None,
    seed: int = 0,
    time_limit: float = 30.0,
    recipe: str = "published",
) -> Data:
    """Turns an RDKit molecule into a 3D molecule.

    If ``mol`` has 3D conformers they are used as they are, and no hydrogen is added; otherwise
    they are made as by :func:`from_smiles`. Conformers that cannot be those of the molecule (two
    atoms at one place; a flat drawing that is tagged 3D) are not used, and ``reason`` says so.

    Args:
        mol: The molecule; it is not changed.
        num_conformers: None takes the first conformer as ``pos``; an int K takes the first K as
            ``conformers``, repeated in turn if there are fewer.
        add_2d, remove_hydrogens: As in :func:`from_smiles`.
        canonical: False (the default here) keeps the atom order of ``mol``. True puts the atoms
            into canonical order; given coordinates move with their atoms.
        max_atoms, seed, time_limit: As in :func:`from_smiles`.
        recipe: As in :func:`from_smiles`, if conformers are made. ``"flat"`` replaces given ones.

    Returns:
        ``Data`` as from :func:`from_smiles`; ``smiles`` is written by RDKit, ``atom_map`` holds
        atom indices of ``mol``.

    Raises:
        ValueError: If ``mol`` is None, has no atoms, has coordinates that are not finite or cannot
            be sanitised, an argument is out of range, or no coordinates at all could be made.
    """
    options = Options(num_conformers, add_2d, remove_hydrogens, max_atoms, seed, time_limit, recipe)
    with rdBase.BlockLogs():
        return to_data(row_of(read_mol(mol, canonical), options), options)


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
    recipe: str = "published",
) -> list[Data]:
    """Reads the molecules of an SD file, ``.sdf`` or ``.sdf.gz``, with their 3D coordinates.

    A record ends at a line ``$$$$``, or at the end of the file. If a record has no 3D coordinates,
    or coordinates that cannot be those of the molecule (two atoms at one place; a flat drawing
    that is tagged 3D), they are generated, and ``reason`` says so.

    Args:
        path: The file.
        num_conformers: As in :func:`~molae_pyg.chem.from_mol`, as are all arguments down to
            ``time_limit``.
        on_error: ``"raise"`` stops at a record that cannot be used; ``"skip"`` leaves it out, and
            one warning gives the number of records left out.
        recipe: As in :func:`~molae_pyg.chem.from_mol`.

    Returns:
        One ``Data`` per record, as from :func:`~molae_pyg.chem.from_mol`, with its number in the
        file, from 0, as ``record``.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If a record cannot be used; the message names it. Also, with either
            ``on_error``, if the file holds no record, is no SD file, or is damaged.
    """
    if on_error not in ("raise", "skip"):
        raise ValueError(f"on_error must be 'raise' or 'skip', got {on_error!r}")
    options = Options(num_conformers, add_2d, remove_hydrogens, max_atoms, seed, time_limit, recipe)
    records, problems = [], []
    with unpacked(path) as (file, _), rdBase.BlockLogs():
        for record, block in enumerate(sdf_blocks(file, path)):
            try:
                data = to_data(row_of(read_sdf(block, canonical), options), options)
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
        num_conformers: None takes the first model as ``pos``; an int K takes the first K models as
            ``conformers``, repeated in turn if there are fewer.
        remove_hydrogens: Remove all hydrogens.
        max_atoms: Crop to this number of random atoms, in the same order. None: never.
        seed: Seed of cropping.

    Returns:
        ``Data`` as from :func:`~molae_pyg.chem.from_mol`, atoms in the order of the file. The
        coordinates are always those of the file; ``reason`` says what is wrong with them, such as
        two atoms at one place.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If the file holds no atoms, is damaged, or an atom has no coordinates.
    """
    options = Options(
        num_conformers, remove_hydrogens=remove_hydrogens, max_atoms=max_atoms, seed=seed
    )
    block = read_text(path)
    _check_coordinates(block, path)
    # The coordinates are given, so bonds that RDKit guesses wrongly are no reason to stop.
    with rdBase.BlockLogs(), rdkit_errors():
        mol = Chem.MolFromPDBBlock(block, sanitize=False, removeHs=False)
        if mol is None or mol.GetNumAtoms() == 0 or mol.GetNumConformers() == 0:
            raise ValueError(f"{os.fspath(path)} holds no atoms that RDKit can read")
        Chem.SanitizeMol(mol, catchErrors=True)
        given = [conformer.GetPositions() for conformer in mol.GetConformers()]
        odd = list(dict.fromkeys(filter(None, _problems(mol, given, path))))
        molecule = with_coordinates(mol, given, canonical=False)
        return to_data(row_of(molecule._replace(note="; ".join(odd)), options), options)


def _check_coordinates(block: str, path: str | os.PathLike) -> None:
    """Checks the coordinates line by line, because RDKit reads blanks as 0."""
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


def to_data(row: Row, options: Options) -> Data:
    """Returns the ``Data`` of a row with a molecule, as :func:`from_smiles` describes it.

    Raises a ValueError with the reason if the row has none.
    """
    if row.z is None:
        raise ValueError(problem_message(row))
    data = Data(z=torch.from_numpy(row.z))
    conformers = torch.from_numpy(row.conformers)  # [n, K (+1), 3]
    if options.num_conformers is None:
        data.pos = conformers[:, 0].contiguous()  # [n, 3]
    else:
        data.conformers = conformers
        data.num_nodes = len(row.z)  # PyG infers it from `pos` only
    data.smiles = row.smiles
    data.atom_map = torch.from_numpy(row.atom_map)
    data.status, data.reason = row.status, row.reason
    data.num_distinct = row.num_distinct
    data.num_unknown = num_unknown(data.z)
    data.num_cropped = row.num_cropped
    return data


def num_unknown(z: torch.Tensor) -> int:
    """Returns the number of atoms outside the vocabulary."""
    return int((~torch.isin(z, _KNOWN)).sum())


def problem_message(row: Row) -> str:
    """Returns what is wrong with a row that has no molecule, and the remedy."""
    if row.status == "invalid":
        return (
            f"cannot read SMILES {row.smiles!r}: {row.reason}. Correct the string, or leave the "
            "molecule out (featurize does so, and counts it, with on_error='skip')."
        )
    return (
        f"no coordinates for {row.smiles!r}: {row.reason}. Leave the molecule out, or pass one "
        "that has 3D coordinates to from_mol."
    )
