"""Vectors of a whole file of molecules, in bounded memory: every row has vectors or a reason."""

import os
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple, get_args

import numpy as np
from rdkit import rdBase
from torch import nn

from molae_pyg._version import __version__
from molae_pyg.chem.options import InputError, Options
from molae_pyg.chem.recipes import DEFAULT_RECIPE
from molae_pyg.chem.records import Record
from molae_pyg.chem.workers import WorkerPool
from molae_pyg.durable import sha256_of
from molae_pyg.fingerprint import of_weights
from molae_pyg.inference.batches import Level, in_batches
from molae_pyg.inference.file_rows import Coordinates, FileRow, FileRows, counted, open_molecules
from molae_pyg.inference.part_jobs import Plan, make_parts
from molae_pyg.inference.parts import Part, Parts, said_of_rows
from molae_pyg.inference.precision import precision as hardware_precision
from molae_pyg.inference.readouts import (
    EmbedReadout,
    check_readout,
    vector_size,
    vectors_of,
)
from molae_pyg.inference.vector_files import WRITERS, Lines, check_output, frame_of, is_folder
from molae_pyg.models.encoding import sees_graph
from molae_pyg.nn.arguments import size
from molae_pyg.store.engines import check_engine
from molae_pyg.tables.formats import check_apart
from molae_pyg.tables.text_file import ending_of

_AT_ONCE = {"molecule": 512, "atom": 128}  # rows of a part, which are in memory together


class _Work(NamedTuple):
    """How vectors are computed; a job of :func:`~molae_pyg.inference.part_jobs.make_parts`."""

    rows: FileRows
    encoder: nn.Module
    level: Level
    readout: EmbedReadout
    batch_size: int
    precision: str

    def nothing(self, number: int) -> np.ndarray:
        """Returns vectors of NaN ``[number, C]``."""
        return np.full((number, vector_size(self.encoder, self.readout)), np.nan, np.float32)

    def vectors(self, chunk: list[FileRow]) -> np.ndarray:
        """Returns the vectors of the rows with a molecule, or of their atoms."""
        items = [row.data for row in chunk if row.data is not None]
        if not items:
            return self.nothing(0)
        function = vectors_of(self.encoder, "atoms" if self.level == "atom" else self.readout)
        sizes = [item.num_nodes for item in items]
        return in_batches(
            self.encoder, function, items, sizes, self.batch_size, self.precision, level=self.level
        )

    def start(self, pool: WorkerPool, first: int, records: list[Record]) -> Callable[[], Part]:
        """Starts to make conformers; the function that is returned makes the vectors."""
        wait = self.rows.start(pool, records)
        return lambda: self._part(first, wait())

    def _part(self, first: int, chunk: list[FileRow]) -> Part:
        part_of = _of_atoms if self.level == "atom" else _of_molecules
        columns, x = part_of(self, first, chunk)
        status, reason = [row.status for row in chunk], [row.reason for row in chunk]
        return Part(columns | {"status": status, "reason": reason}, {"x": x})


class EmbedReport(NamedTuple):
    """What :func:`embed_file` did with the rows of a file."""

    out: Path  #: The file with the vectors.
    rows: Counter[str]  #: Number of rows by status: ``"ok"``, ``"invalid"``, ``"failed"``.
    channels: int  #: Width C of the vectors.

    def __str__(self) -> str:
        return said_of_rows(self.rows, f"embedded in {self.channels} columns")


def embed_file(
    model: nn.Module,
    data: str | os.PathLike,
    out: str | os.PathLike,
    level: Level = "molecule",
    num_conformers: int | None = None,
    batch_size: int = 32,
    precision: str = "auto",
    workers: int | None = None,
    encoding: str = "utf-8",
    smiles_column: str | None = None,
    readout: EmbedReadout | None = None,
    coordinates: Coordinates | None = None,
    recipe: str | None = None,
    engine: str = "local",
    part_rows: int | None = None,
) -> EmbedReport:
    """Writes the vectors of every molecule of a file, or of every atom.

    The file is read row by row and may be of any length; memory does not grow with it (but for 20
    bytes a row in ``.npz``). Rows stay in their order, and each has a status: ``"ok"``,
    ``"invalid"`` (no molecule) or ``"failed"`` (no coordinates), with a reason.

    Vectors are kept part by part in ``<out>.parts``. After a kill the same call resumes there and
    writes the same file; ``out`` appears when it is whole, and the parts are removed. The engine
    and the number of workers may then be others.

    The vectors of molecules are those of :func:`~molae_pyg.inference.embed`; an encoder with a
    graph channel sees the graph. Columns are

    - ``level="molecule"``: ``row, smiles, molae_status, molae_reason, x0, x1, ...``, a line a row;
    - ``level="atom"``: ``row, molae_status, molae_reason, atom, element, x0, x1, ...``, a line an
      atom (a row without a molecule has one line). Atoms are numbered from 0 as in the SMILES
      (as ``Chem.MolFromSmiles`` numbers them) or in the record of an SD file, and in this order;
      hydrogens are removed if the recipe removes them.

    In ``.npz`` the vectors are one array ``x``, ``[n, 2 C]`` (``[n, C]`` for one readout) with NaN
    for rows without a molecule, or ``[N, C]`` beside ``row``, ``atom`` and ``element`` ``[N]``;
    ``status`` and ``reason`` are ``[n]``.

    Args:
        model: An encoder, or a model with an ``encoder``. Its ``recipe``, if it has one, says how
            molecules are made.
        data: SMILES (``.smi``, ``.txt``, ``.csv``, ``.tsv``) or SDF, each also as ``.gz``; or
            ``.parquet``, which is read at once.
        out: The file to write, ``.csv`` (also with ``.gz``), ``.npz`` or ``.parquet`` (needs
            pyarrow). A name that ends in a slash is a folder of Parquet files, one for each part,
            which takes no room twice.
        level: ``"molecule"`` or ``"atom"``.
        num_conformers: Number of conformers to average over. (default: that of the recipe, or 1)
        batch_size: Number of molecules of a forward pass.
        precision: As in :func:`~molae_pyg.inference.embed`.
        workers: Number of processes that make conformers, or of Ray tasks. (default: one a core)
        encoding: Encoding of lists and tables.
        smiles_column: Column of the SMILES in a table. (default: found by its name)
        readout: As in :func:`~molae_pyg.inference.embed`, of molecules. (default: ``"cls, mean"``)
        coordinates: ``"file"``: those of an SD file, whose records without any count as failed;
            ``"generated"``: those of its records are not used. (default: those of a record if it
            has some)
        recipe: How conformers are made, see :func:`~molae_pyg.chem.from_smiles`. (default: that of
            the model, or ``"fast"``)
        engine: ``"local"`` (default): processes make conformers, and this one runs the encoder; or
            ``"ray"``: each part is a task on a core of the Ray cluster that is connected, else of
            that of the environment variable ``RAY_ADDRESS``, else of one that is started here.
        part_rows: Number of rows of a part, which are in memory together and are sorted by size
            for the encoder. (default: 512, of atoms 128)

    Raises:
        FileNotFoundError: The file, or the folder of ``out``, does not exist.
        InputError: A ValueError, if an argument is out of range, or the file is of an unknown
            kind, damaged or without a molecule, or ``<out>.parts`` has parts of another run. The
            message names file and row, or what differs.
        ModuleNotFoundError: pyarrow or Ray is needed and not installed.
        ChildProcessError: A part has ended three Ray workers.
    """
    batch_size = size("batch_size", batch_size)
    if level not in get_args(Level):
        raise InputError(f"level must be one of {', '.join(get_args(Level))}, got {level!r}")
    if level == "atom" and readout is not None:
        raise InputError(f"readout {readout!r} is of molecules: atoms have vectors of their own")
    readout = "cls" if level == "atom" else readout or "cls, mean"  # atoms have C columns too
    check_readout(readout)
    check_engine(engine, workers)
    check_output(out)
    check_apart(data, out)
    file = open_molecules(data, encoding, smiles_column, coordinates)
    options = _options(getattr(model, "recipe", None), num_conformers, recipe)
    encoder = getattr(model, "encoder", model)
    made = FileRows(
        file, options, sees_graph(encoder), level == "atom", given=coordinates == "file"
    )
    work = _Work(made, encoder, level, readout, batch_size, hardware_precision(precision))
    part_rows = _AT_ONCE[level] if part_rows is None else size("part_rows", part_rows)
    identity = {
        "input": sha256_of(file.path),
        "encoding": encoding,
        "smiles_column": smiles_column,
        "recipe": options.to_dict(),
        "coordinates": coordinates,
        **_identity_of(work),
        "rows": part_rows,
        "folder": is_folder(out),
    }
    plan = Plan(part_rows, engine, workers, "embedding", counted(file))
    with Parts(Path(out), identity) as parts:
        make_parts(parts, work, file, plan, partial(_add, parts, is_folder(out)))
        rows = _written(parts, out)
    return EmbedReport(Path(out), rows, vector_size(encoder, readout))


def _options(kept: dict | None, num_conformers: int | None, recipe: str | None) -> Options:
    kept = {"recipe": DEFAULT_RECIPE} if kept is None else kept
    options = Options.of(kept).with_recipe(recipe)
    if num_conformers is None:
        num_conformers = options.num_conformers or 1
    return replace(options, num_conformers=num_conformers)


def _identity_of(work: _Work) -> dict[str, Any]:
    """Returns what the vectors of a molecule with coordinates depend on."""
    return {
        "weights": of_weights(work.encoder),
        "level": work.level,
        "readout": work.readout,
        "batch_size": work.batch_size,
        "precision": work.precision,
        "device": next(work.encoder.parameters()).device.type,
        "versions": f"molae_pyg {__version__}, rdkit {rdBase.rdkitVersion}",
    }


def _add(parts: Parts, in_folder: bool, number: int, part: Part) -> None:
    if in_folder:
        parts.add(number, Part({"status": part.columns["status"]}, {}), frame_of(_lines(part)))
    else:
        parts.add(number, part)


def _lines(part: Part) -> Lines:
    columns = dict(part.columns)
    status, reason = columns.pop("status"), columns.pop("reason")
    return Lines(columns, part.arrays["x"], status, reason)


def _written(parts: Parts, out: str | os.PathLike) -> Counter[str]:
    """Writes the output; returns the number of rows by status."""
    rows: Counter[str] = Counter()
    if is_folder(out):
        for part in parts:
            rows.update(part.columns["status"])
        parts.publish()
        return rows
    with WRITERS[ending_of(out)](Path(out)) as write:
        for part in parts:
            rows.update(part.columns["status"])
            write(_lines(part))
    return rows


def _of_molecules(
    work: _Work, first: int, chunk: list[FileRow]
) -> tuple[dict[str, list[Any]], np.ndarray]:
    """Returns a line a row, with its vector; NaN without a molecule."""
    x = work.nothing(len(chunk))
    x[[row.data is not None for row in chunk]] = work.vectors(chunk)
    columns = {
        "row": list(range(first, first + len(chunk))),
        "smiles": [row.smiles for row in chunk],
        "molae_status": [row.status for row in chunk],
        "molae_reason": [row.reason for row in chunk],
    }
    return columns, x


def _of_atoms(
    work: _Work, first: int, chunk: list[FileRow]
) -> tuple[dict[str, list[Any]], np.ndarray]:
    """Returns a line an atom, with its vector, and a line for each row without a molecule."""
    x = work.vectors(chunk)  # [N, C]
    columns = {key: [] for key in ("row", "molae_status", "molae_reason", "atom", "element")}
    vectors = []
    for number, row in enumerate(chunk, first):
        atoms, vector = [(None, "")], work.nothing(1)
        if row.data is not None:
            atoms, vector = row.atoms, x[: row.data.num_nodes][row.order]
            x = x[row.data.num_nodes :]
        columns["row"] += [number] * len(atoms)
        columns["molae_status"] += [row.status] * len(atoms)
        columns["molae_reason"] += [row.reason] * len(atoms)
        columns["atom"] += [atom for atom, _ in atoms]
        columns["element"] += [element for _, element in atoms]
        vectors.append(vector)
    return columns, np.concatenate(vectors)
