"""Prepares a conformer store from a file of molecules."""

import os
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

from tqdm.auto import tqdm

from molae_pyg.chem.options import InputError, Options, as_input_errors
from molae_pyg.chem.recipes import recipe_named
from molae_pyg.chem.records import Record
from molae_pyg.chem.rows import Exclusions, Row, compound_key_of, ended_early
from molae_pyg.chem.workers import WorkerPool
from molae_pyg.cores import available_cores
from molae_pyg.durable import sha256_of
from molae_pyg.fingerprint import differences
from molae_pyg.store.engines import RowSettings, check_engine, make_rows
from molae_pyg.store.format import StoreError
from molae_pyg.store.report import PrepareReport, reopen, report_on
from molae_pyg.store.sources import MoleculeFile
from molae_pyg.store.writer import StoreWriter
from molae_pyg.tables.text_file import ending_of

_LOOKS = 256  # number of records between two updates of the estimated total


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
    recipe: str = "published",
) -> PrepareReport:
    """Makes conformers of every molecule of a file and writes them to a conformer store.

    The file is read record by record and may be of any length. Every row has an outcome, also
    duplicates. A molecule is the one that :func:`~molae_pyg.chem.from_smiles` or
    :func:`~molae_pyg.chem.from_sdf` returns with these settings, to the 0.0005 Å that a store
    resolves. It depends neither on the number of workers nor on the engine, unless time runs out.

    Called again after any interruption with the same file and settings, it resumes with the rows
    that are not done; on a complete store it does nothing. Two files are the same if their ending
    and content are (the SHA-256 is computed before and after the work), whatever their name; the
    same settings include the versions of the recipe and of RDKit.

    Worker processes are started without the calling script. A process that exceeds the time limit
    is killed; one that dies is replaced, and its molecule is tried once more. After that, the
    molecule keeps the conformers made so far, or gets the 2D layout, or counts as timed out or
    failed, and its row has the reason. ``repair`` makes such rows anew.

    Args:
        source: SMILES (``.smi``, ``.txt``: one a line; ``.csv``, ``.tsv``: a column), SDF
            (``.sdf``, whose coordinates are kept), each also as ``.gz``, or an LMDB file of
            Uni-Mol or Mol-AE (``.lmdb``, whose conformers are kept).
        store: Folder of the store; made if absent.
        num_conformers: Number of conformers of a molecule. None: 10 as published, of SDF 1. If
            there are fewer, they are repeated in turn. 0: with ``add_2d``, the 2D layout alone,
            which is the default of the recipe ``"flat"``.
        add_2d: Append the 2D layout as one more conformer.
        remove_hydrogens: Remove all hydrogens once the coordinates are made.
        max_atoms: Crop larger molecules to this number of random atoms. None: never.
        seed: Seed of the coordinates and of cropping.
        time_limit: Seconds for all conformers of a molecule together.
        workers: Number of processes. None: one a core.
        engine: ``"local"``, or ``"ray"`` for the Ray cluster that is connected, else that of the
            environment variable ``RAY_ADDRESS``, else one that is started on this machine.
        exclude: File of molecules, of any kind above, to leave out of the store: those with the
            same canonical SMILES without stereochemistry and isotopes. None: none.
        shard_rows: Number of input rows in one file of the store.
        progress: Show a bar if stderr is a terminal.
        repair: Make those rows of a complete store anew whose reason is that time ran out or a
            process died. The store is not complete meanwhile; an interruption loses no other row,
            and the next call resumes.
        encoding: Encoding of lists and tables, such as ``"latin-1"``.
        recipe: How conformers are made, see :func:`~molae_pyg.chem.from_smiles`. A store has one
            recipe: it is not extended with another.

    Returns:
        The number of rows for each outcome.

    Raises:
        FileNotFoundError: If an input file is missing.
        InputError: A ValueError, if an argument is out of range, or a file is of an unknown kind,
            damaged, or without a molecule.
        StoreError: If the folder holds a store of another file or other settings, or other files;
            if the file changed while it was read (its rows stay, but the store is not completed);
            or if the disk is full.
        RecordRefused: If a record of an LMDB file names anything but plain data. It is not run.
        ModuleNotFoundError: If the file or the engine needs a package that is not installed.
        KeyboardInterrupt: On Ctrl-C, with the number of rows that are done.
    """
    check_engine(engine, workers)
    file = MoleculeFile(source, encoding)
    if next(iter(file), None) is None:
        raise InputError(f"{file.path} holds no molecule")
    excluded = None if exclude is None else MoleculeFile(exclude, encoding)
    if num_conformers is None:
        with as_input_errors():
            flat = recipe_named(recipe).is_flat
        num_conformers = int(not add_2d) if flat else file.num_conformers
    options = Options(num_conformers, add_2d, remove_hydrogens, max_atoms, seed, time_limit, recipe)
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
                settings = RowSettings(file.read, options, exclusions)
                num_rows = _write(file, writer, settings, engine, workers, progress)
                _check_unchanged(file, writer, "input", meta, progress)
                writer.finish(num_rows)
            except KeyboardInterrupt:
                raise KeyboardInterrupt(
                    f"stopped with {writer.num_done:,} rows done; the same call resumes from there"
                ) from None
    return report_on(writer.folder, file)


def _meta(
    file: MoleculeFile, options: Options, excluded: MoleculeFile | None, progress: bool
) -> dict[str, Any]:
    """Returns what the content of the store depends on."""
    from rdkit import rdBase

    return {
        "input": _content(file, progress),
        **options.to_dict(),
        "excluded": None if excluded is None else _content(excluded, progress),
        "rdkit": rdBase.rdkitVersion,
    }


def _content(file: MoleculeFile, progress: bool) -> dict[str, str | int]:
    """Returns the identity of a file: how it is read, and a checksum of every byte."""
    kind = ending_of(file.path)
    path = file.path / "data.mdb" if file.path.is_dir() else file.path
    size, disable = path.stat().st_size, None if progress else True  # None: without a terminal
    text = f"checksum of {path.name}"
    with tqdm(None, text, size, unit="B", unit_scale=True, delay=1.0, disable=disable) as bar:
        found = {"kind": kind, "bytes": size, "sha256": sha256_of(path, bar.update)}
    return found if file.encoding == "utf-8" else found | {"encoding": file.encoding}


def _check_unchanged(
    file: MoleculeFile | None, writer: StoreWriter, key: str, meta: dict[str, Any], progress: bool
) -> None:
    """Raises a StoreError if the file was cut, extended or replaced while it was read."""
    if file is None:
        return
    if lines := differences(meta[key], _content(file, progress)):
        # The store may hold rows of both contents: no later call may resume with them.
        writer.give_up(key, "changed while it was read")
        raise StoreError(
            f"{file.path} changed while it was read ({'; '.join(lines)}): its rows stay in "
            f"{writer.folder}, which is not complete. When the file no longer changes, prepare it "
            "into another folder, or delete this one and run the same call again"
        )


def _reopened(store: str | os.PathLike, meta: dict[str, Any], shard_rows: int) -> None:
    """Takes the rows that ended early out of a store if it exists and is complete."""
    if not Path(store).exists():
        return
    with StoreWriter(store, meta, shard_rows) as writer:  # refuses another file or other settings
        complete = writer.complete
    if complete:
        reopen(writer.folder, ended_early)


def _exclusions(
    file: MoleculeFile | None, time_limit: float, workers: int | None, progress: bool
) -> Exclusions | None:
    """Reads the molecules to leave out; unreadable ones exclude nothing."""
    if file is None:
        return None
    compounds, unread = set(), 0
    disable = None if progress else True
    bar = tqdm(total=file.count(), desc="exclusions", unit="mol", delay=1.0, disable=disable)
    with WorkerPool(workers or available_cores()) as pool, bar:
        jobs = ((file.read, record, time_limit) for record in file)
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
    settings: RowSettings,
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
        disable=None if progress else True,
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

    with bar, closing(make_rows(to_do(), settings, engine, workers)) as made:
        for number, row in made:
            writer.add(number, *row.stored())
            bar.update()
    return num_rows
