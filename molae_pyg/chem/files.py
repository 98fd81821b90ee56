"""Structure files, whose 3D coordinates are kept: SDF and PDB."""

import gzip
import os
import warnings

from rdkit import Chem, rdBase
from torch_geometric.data import Data

from molae_pyg.chem.molecules import convert
from molae_pyg.chem.options import Options


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

    Records that hold no 3D coordinates get generated ones, and ``reason`` says so.

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
        ValueError: If a record cannot be used; the message names it.
    """
    if on_error not in ("raise", "skip"):
        raise ValueError(f"on_error must be 'raise' or 'skip', got {on_error!r}")
    options = Options(num_conformers, add_2d, remove_hydrogens, max_atoms, seed, time_limit)
    records, problems = [], []
    opener = gzip.open if os.fspath(path).endswith(".gz") else open
    with opener(path, "rb") as stream, rdBase.BlockLogs():
        for record, mol in enumerate(Chem.ForwardSDMolSupplier(stream, removeHs=False)):
            try:
                data = _from_record(mol, canonical, options)
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


def _from_record(mol: Chem.Mol | None, canonical: bool, options: Options) -> Data:
    if mol is None:
        raise ValueError("RDKit cannot read it")
    data = convert(mol, canonical, options)
    if not any(conformer.Is3D() for conformer in mol.GetConformers()):
        note = "the record has no 3D coordinates: generated"
        data.reason = "; ".join(filter(None, [note, data.reason]))
    return data


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
        ``Data`` as from :func:`~molae_pyg.chem.from_mol`, atoms in file order.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If the file holds no atoms.
    """
    options = Options(
        num_conformers, remove_hydrogens=remove_hydrogens, max_atoms=max_atoms, seed=seed
    )
    opener = gzip.open if os.fspath(path).endswith(".gz") else open
    with opener(path, "rt") as stream:
        block = stream.read()
    # Coordinates are given, so that bonds RDKit guesses wrongly need not stop the reading.
    with rdBase.BlockLogs():
        mol = Chem.MolFromPDBBlock(block, sanitize=False, removeHs=False)
    if mol is None or mol.GetNumAtoms() == 0:
        raise ValueError(f"{os.fspath(path)} holds no atoms that RDKit can read")
    with rdBase.BlockLogs():
        Chem.SanitizeMol(mol, catchErrors=True)
    for conformer in mol.GetConformers():
        conformer.Set3D(True)  # a flat molecule is still where the file says
    return convert(mol, canonical=False, options=options)
