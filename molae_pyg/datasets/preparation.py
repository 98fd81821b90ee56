"""From a file of molecules to a conformer store."""

import os
import sys
from collections.abc import Iterator
from contextlib import closing
from dataclasses import asdict

from tqdm.auto import tqdm

from molae_pyg._version import __version__
from molae_pyg.chem.items import Record
from molae_pyg.chem.options import Options
from molae_pyg.chem.rows import Exclusions, Row, identity_of
from molae_pyg.chem.worker import GRACE
from molae_pyg.chem.workers import WorkerPool, available_cores
from molae_pyg.datasets.engines import ENGINES, Task, make_rows
from molae_pyg.datasets.molecule_file import MoleculeFile
from molae_pyg.datasets.prepare_report import PrepareReport, report_on
from molae_pyg.datasets.store_writer import StoreWriter

_LOOKS = 256  # records between two looks at how much of the file is read


def prepare(
    source: str | os.PathLike,
    store: str | os.PathLike,
    num_conformers: int | None = None,
    add_2d: bool = True,
    remove_hydrogens: bool = True,
    max_atoms: int | None = None,
    seed: int = 0,
    time_limit: float = 30.0,
    workers: int | None = None,
    engine: str = "local",
    exclude: str | os.PathLike | None = None,
    shard_rows: int = 50_000,
    progress: bool = True,
) -> PrepareReport:
    """Makes conformers of every molecule of a file and writes them to a conformer store.

    The file is read record by record and may be of any length. Every row ends up with an outcome;
    duplicates stay. What a row gets is what :func:`~molae_pyg.chem.from_smiles` or
    :func:`~molae_pyg.chem.from_sdf` with these settings returns, to the 0.0005 Å that a store
    resolves; it depends neither on the number of workers nor on the engine, unless time runs out.
    Called again after an interruption of any kind, with the same file and settings, it goes on
    with the rows that are not done; on a complete store it does nothing.

    Worker processes are started afresh, without the calling script. A process that overruns the
    time limit is killed, one that dies is replaced; the molecule at hand then keeps the conformers
    made so far, or gets the 2D layout, or counts as timed out or failed, and its row says why.

    Args:
        source: SMILES (``.smi``, ``.txt``: one a line; ``.csv``: a column), SDF (``.sdf``, whose
            coordinates are kept), each also as ``.gz``, or an LMDB file of Uni-Mol or Mol-AE
            (``.lmdb``, whose conformers are kept).
        store: Folder of the store; made if need be.
        num_conformers: Conformers of a molecule. None: 10 as published, of SDF 1. Where there
            are fewer they are repeated in turn. 0: with ``add_2d``, the 2D layout alone.
        add_2d: Append the 2D layout as one more conformer.
        remove_hydrogens: Remove all hydrogens once the coordinates are made.
        max_atoms: Crop larger molecules to this many random atoms. None: never.
        seed: For coordinates and cropping.
        time_limit: Seconds for all conformers of a molecule together.
        workers: Processes at work at once. None: one a core.
        engine: ``"local"``, or ``"ray"``: the Ray cluster that is connected or that the
            environment variable ``RAY_ADDRESS`` names, else one started on this machine.
        exclude: File of molecules, of any kind above, to leave out of the store: those with the
            same canonical SMILES without stereochemistry and isotopes. None: none.
        shard_rows: Input rows in one file of the store.
        progress: Show a bar.

    Returns:
        The number of rows for each outcome.

    Raises:
        FileNotFoundError: If an input file is missing.
        ValueError: If an argument is out of range, a file is of no known kind or damaged, or holds
            no molecule.
        StoreError: If the folder holds a store of another file or other settings, or other files.
        RecordRefused: If a record of an LMDB file asks for anything but plain data. It is not run.
        ModuleNotFoundError: If the file or the engine needs a package that is not installed.
        KeyboardInterrupt: On Ctrl-C, saying how many rows are done.
    """
    if engine not in ENGINES:
        raise ValueError(f"engine must be one of {ENGINES}, got {engine!r}")
    if workers is not None and workers < 1:
        raise ValueError(f"workers must be at least 1, got {workers}; None takes all cores")
    file = MoleculeFile(source)
    if next(iter(file), None) is None:
        raise ValueError(f"{file.path} holds no molecule")
    options = Options(
        file.num_conformers if num_conformers is None else num_conformers,
        add_2d,
        remove_hydrogens,
        max_atoms,
        seed,
        time_limit,
    )
    excluded = None if exclude is None else MoleculeFile(exclude)
    with StoreWriter(store, _meta(file, options, excluded), shard_rows) as writer:
        if not writer.complete:
            if engine == "local" and workers is None:
                workers = available_cores()
            exclusions = _exclusions(excluded, options.time_limit, workers, progress)
            task = Task(file.read, options, exclusions)
            try:
                num_rows = _write(file, writer, task, engine, workers, progress)
            except KeyboardInterrupt:
                raise KeyboardInterrupt(
                    f"stopped with {writer.num_done:,} rows done; the same call goes on from there"
                ) from None
            writer.finish(num_rows)
    return report_on(writer.folder, file)


def _meta(file: MoleculeFile, options: Options, excluded: MoleculeFile | None) -> dict:
    """What the content of the store depends on: nothing is added to one made with other things."""
    from rdkit import rdBase

    return {
        "input": file.fingerprint(),
        **asdict(options),
        "excluded": None if excluded is None else excluded.fingerprint(),
        "molae_pyg": __version__,
        "rdkit": rdBase.rdkitVersion,
    }


def _exclusions(
    file: MoleculeFile | None, time_limit: float, workers: int | None, progress: bool
) -> Exclusions | None:
    """Reads the molecules to leave out; those that cannot be read exclude nothing."""
    if file is None:
        return None
    identities, unread = set(), 0
    limit = time_limit + GRACE
    bar = tqdm(total=file.count(), desc="exclusions", unit="mol", delay=1.0, disable=not progress)
    with WorkerPool(workers or available_cores()) as pool, bar:
        for made in pool.map(identity_of, ((file.read, record, limit) for record in file)):
            if isinstance(made, Row):
                unread += 1
            else:
                identities.add(made)
            bar.update()
    if unread:
        told = f"{file.path}: {unread} molecules cannot be read and exclude nothing"
        bar.write(told, file=sys.stderr)
    return Exclusions(frozenset(identities), f"in {file.path.name}")


def _write(
    file: MoleculeFile,
    writer: StoreWriter,
    task: Task,
    engine: str,
    workers: int | None,
    progress: bool,
) -> int:
    """Makes and writes the rows that are not done; returns the number of rows of the file."""
    num_rows, total = 0, file.count()
    bar = tqdm(
        desc="conformers",
        total=total,
        initial=writer.num_done,
        unit="mol",
        dynamic_ncols=True,
        disable=not progress,
    )

    def to_do() -> Iterator[tuple[int, Record]]:
        nonlocal num_rows
        for record in file:
            if not writer.is_done(num_rows):
                yield num_rows, record
            num_rows += 1
            if total is None and num_rows % _LOOKS == 0:
                bar.total = int(num_rows / file.share)
        bar.total = num_rows

    with bar, closing(make_rows(to_do(), task, engine, workers)) as made:
        for number, row in made:
            writer.add(number, *row)
            bar.update()
    return num_rows
