"""From a file of molecules to a conformer store."""

import os
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

from tqdm.auto import tqdm

from molae_pyg.chem.options import InputError, Options
from molae_pyg.chem.records import Record
from molae_pyg.chem.rows import Exclusions, Row, compound_key_of, ended_early
from molae_pyg.chem.workers import WorkerPool, available_cores
from molae_pyg.durable import sha256_of
from molae_pyg.fingerprint import differences
from molae_pyg.store.engines import ENGINES, Task, make_rows
from molae_pyg.store.format import StoreError
from molae_pyg.store.report import PrepareReport, reopen, report_on
from molae_pyg.store.sources import MoleculeFile
from molae_pyg.store.writer import StoreWriter
from molae_pyg.tables.text_file import ending_of

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
    repair: bool = False,
    encoding: str = "utf-8",
) -> PrepareReport:
    """Makes conformers of every molecule of a file and writes them to a conformer store.

    The file is read record by record and may be of any length. Every row ends up with an outcome;
    duplicates stay. What a row gets is what :func:`~molae_pyg.chem.from_smiles` or
    :func:`~molae_pyg.chem.from_sdf` with these settings returns, to the 0.0005 Å that a store
    resolves; it depends neither on the number of workers nor on the engine, unless time runs out.
    Called again after an interruption of any kind, with the same file and settings, it resumes
    with the rows that are not done; on a complete store it does nothing. The same file is one of
    the same kind and content (its SHA-256, for which it is read before and after the work),
    whatever its name; the same settings have the same version of the recipe and of RDKit.

    Worker processes are started afresh, without the calling script. A process that overruns the
    time limit is killed; one that dies is replaced and its molecule tried once more. After that
    the molecule keeps the conformers made so far, or gets the 2D layout, or counts as timed out or
    failed, and its row says why. ``repair`` makes such rows anew.

    Args:
        source: SMILES (``.smi``, ``.txt``: one a line; ``.csv``, ``.tsv``: a column), SDF
            (``.sdf``, whose coordinates are kept), each also as ``.gz``, or an LMDB file of
            Uni-Mol or Mol-AE (``.lmdb``, whose conformers are kept).
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
        progress: Show a bar if stderr is a terminal.
        repair: In a store that is complete, make those rows anew whose reason says that time ran
            out or a process died. The store is not complete meanwhile; an interruption loses no
            other row, and the next call resumes.
        encoding: Encoding of lists and tables, such as ``"latin-1"``.

    Returns:
        The number of rows for each outcome.

    Raises:
        FileNotFoundError: If an input file is missing.
        InputError: A ValueError, if an argument is out of range, a file is of no known kind or
            damaged, or holds no molecule.
        StoreError: If the folder holds a store of another file or other settings, or other files;
            or if the file changed while it was read: the rows stay, but the store is not
            completed.
        RecordRefused: If a record of an LMDB file asks for anything but plain data. It is not run.
        ModuleNotFoundError: If the file or the engine needs a package that is not installed.
        KeyboardInterrupt: On Ctrl-C, saying how many rows are done.
    """
    if engine not in ENGINES:
        raise InputError(f"engine must be one of {ENGINES}, got {engine!r}")
    if workers is not None and workers < 1:
        raise InputError(f"workers must be at least 1, got {workers}; None takes all cores")
    with _of_the_input():
        file = MoleculeFile(source, encoding)
        if next(iter(file), None) is None:
            raise InputError(f"{file.path} holds no molecule")
        excluded = None if exclude is None else MoleculeFile(exclude, encoding)
        chosen = file.num_conformers if num_conformers is None else num_conformers
    options = Options(chosen, add_2d, remove_hydrogens, max_atoms, seed, time_limit)
    meta = _meta(file, options, excluded, progress)
    if repair:
        _reopened(store, meta, shard_rows)
    with StoreWriter(store, meta, shard_rows) as writer:
        if not writer.complete:
            if engine == "local" and workers is None:
                workers = available_cores()
            try:
                exclusions = _exclusions(excluded, options.time_limit, workers, progress)
                _check_unchanged(excluded, writer, "excluded", meta, progress)
                task = Task(file.read, options, exclusions)
                num_rows = _write(file, writer, task, engine, workers, progress)
                _check_unchanged(file, writer, "input", meta, progress)
                writer.finish(num_rows)
            except KeyboardInterrupt:
                raise KeyboardInterrupt(
                    f"stopped with {writer.num_done:,} rows done; the same call resumes from there"
                ) from None
    return report_on(writer.folder, file)


@contextmanager
def _of_the_input() -> Iterator[None]:
    """Makes errors of reading a file the caller's; a ValueError elsewhere is a defect of ours."""
    try:
        yield
    except InputError:
        raise
    except ValueError as error:
        raise InputError(str(error)).with_traceback(error.__traceback__) from None


def _records(file: MoleculeFile) -> Iterator[Record]:
    records = iter(file)
    while True:
        with _of_the_input():
            record = next(records, None)
        if record is None:
            return
        yield record


def _meta(
    file: MoleculeFile, options: Options, excluded: MoleculeFile | None, progress: bool
) -> dict[str, Any]:
    """What the content of the store depends on: nothing is added to one made with other things."""
    from rdkit import rdBase

    return {
        "input": _content(file, progress),
        **options.to_dict(),
        "excluded": None if excluded is None else _content(excluded, progress),
        "rdkit": rdBase.rdkitVersion,
    }


def _content(file: MoleculeFile, progress: bool) -> dict[str, str | int]:
    """What tells one input from another: how it is read, and every byte of it."""
    kind = ending_of(file.path)
    path = file.path / "data.mdb" if file.path.is_dir() else file.path
    size, disable = path.stat().st_size, None if progress else True  # None: without a terminal
    bar = tqdm(
        desc=f"checksum of {path.name}",
        total=size,
        unit="B",
        unit_scale=True,
        delay=1.0,
        disable=disable,
    )
    with bar:
        found = {"kind": kind, "bytes": size, "sha256": sha256_of(path, bar.update)}
    return found if file.encoding == "utf-8" else found | {"encoding": file.encoding}


def _check_unchanged(
    file: MoleculeFile | None, writer: StoreWriter, key: str, meta: dict[str, Any], progress: bool
) -> None:
    """Makes an error of a file that was cut, grew or was replaced while it was read."""
    if file is None:
        return
    if lines := differences(meta[key], _content(file, progress)):
        # Rows of both contents may be there: a later call must not resume with them.
        writer.give_up(key, "changed while it was read")
        raise StoreError(
            f"{file.path} changed while it was read ({'; '.join(lines)}): its rows stay in "
            f"{writer.folder}, which is not complete. When the file no longer changes, prepare it "
            "into another folder, or delete this one and run the same call again"
        )


def _reopened(store: str | os.PathLike, meta: dict[str, Any], shard_rows: int) -> None:
    """Takes the rows that ended early out of a store if it is there and complete."""
    if not Path(store).exists():
        return
    with StoreWriter(store, meta, shard_rows) as writer:  # refuses another file or other settings
        complete = writer.complete
    if complete:
        reopen(writer.folder, ended_early)


def _exclusions(
    file: MoleculeFile | None, time_limit: float, workers: int | None, progress: bool
) -> Exclusions | None:
    """Reads the molecules to leave out; those that cannot be read exclude nothing."""
    if file is None:
        return None
    compounds, unread = set(), 0
    disable = None if progress else True
    with _of_the_input():
        total = file.count()
    bar = tqdm(total=total, desc="exclusions", unit="mol", delay=1.0, disable=disable)
    with WorkerPool(workers or available_cores()) as pool, bar:
        jobs = ((file.read, record, time_limit) for record in _records(file))
        for made in pool.map(compound_key_of, jobs):
            if isinstance(made, Row):
                unread += 1
            else:
                compounds.add(made)
            bar.update()
    if unread:
        message = f"{file.path}: {unread} molecules cannot be read and exclude nothing"
        bar.write(message, file=sys.stderr)
    return Exclusions(frozenset(compounds), f"in {file.path.name}")


def _write(
    file: MoleculeFile,
    writer: StoreWriter,
    task: Task,
    engine: str,
    workers: int | None,
    progress: bool,
) -> int:
    """Makes and writes the rows that are not done; returns the number of rows of the file."""
    num_rows = 0
    with _of_the_input():
        total = file.count()
    bar = tqdm(
        desc="conformers",
        total=total,
        initial=writer.num_done,
        unit="mol",
        dynamic_ncols=True,
        disable=None if progress else True,
    )

    def to_do() -> Iterator[tuple[int, Record]]:
        nonlocal num_rows
        for record in _records(file):
            if not writer.is_done(num_rows):
                yield num_rows, record
            num_rows += 1
            if total is None and num_rows % _LOOKS == 0:
                bar.total = int(num_rows / file.share)
        bar.total = num_rows

    with bar, closing(make_rows(to_do(), task, engine, workers)) as made:
        for number, row in made:
            writer.add(number, *row.stored())
            bar.update()
    return num_rows
