"""Vectors of a whole file of molecules, in bounded memory: every row has vectors or a reason."""

import os
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import fields, replace
from itertools import islice
from pathlib import Path
from typing import NamedTuple, get_args

import numpy as np
import torch
from rdkit import rdBase
from torch import Tensor, nn
from torch_geometric.data import Data
from tqdm.auto import tqdm

from molae_pyg.chem.options import InputError, Options, as_input_errors
from molae_pyg.chem.parsing import parse_smiles
from molae_pyg.chem.rows import Row, make_row
from molae_pyg.chem.workers import WorkerPool, available_cores
from molae_pyg.inference.batches import Level, in_batches, mean_over_conformers
from molae_pyg.inference.explain import atoms_of, element_of
from molae_pyg.inference.vector_files import WRITERS, Part
from molae_pyg.nn.arguments import size
from molae_pyg.store.sources import MoleculeFile
from molae_pyg.tables.formats import open_table
from molae_pyg.tables.text_file import TABLES, ending_of

_AT_ONCE = {"molecule": 512, "atom": 128}  # rows that are in memory, and sorted by size


class _TableFile:
    """The SMILES of a table; what :class:`~molae_pyg.store.sources.MoleculeFile` is for others."""

    read = staticmethod(parse_smiles)

    def __init__(self, path: str | os.PathLike, encoding: str, smiles_column: str | None):
        self.path, self.encoding, self.smiles_column = Path(path), encoding, smiles_column
        if not self.path.exists():
            raise FileNotFoundError(f"there is no file {path}")

    def __iter__(self) -> Iterator[str]:
        with as_input_errors(), open_table(self.path, self.encoding, self.smiles_column) as rows:
            index = rows.smiles_index()
            for cells in rows:
                yield cells[index].strip()

    def count(self) -> None:
        return None


class _Work(NamedTuple):
    """What the vectors of a file's rows depend on."""

    encoder: nn.Module
    file: MoleculeFile | _TableFile
    options: Options
    batch_size: int
    precision: str

    def nothing(self, number: int) -> np.ndarray:
        """Returns vectors of NaN ``[number, C]``."""
        return np.full((number, self.encoder.config["hidden_channels"]), np.nan, np.float32)

    def mean(
        self, chunk: list[Row], function: Callable[..., Tensor], level: Level = "molecule"
    ) -> np.ndarray:
        """Returns a function's means over conformers, for the rows with a molecule (or atoms)."""
        items = [
            Data(
                z=torch.from_numpy(row.z),
                conformers=torch.from_numpy(row.conformers),
                num_nodes=len(row.z),
            )
            for row in chunk
            if row.z is not None
        ]
        if not items:
            return self.nothing(0)
        sizes = [item.num_nodes for item in items]
        function = mean_over_conformers(function)
        return in_batches(
            self.encoder, function, items, sizes, self.batch_size, self.precision, level=level
        )


class EmbedReport(NamedTuple):
    """What :func:`embed_file` did with the rows of a file."""

    out: Path  #: The file with the vectors.
    rows: Counter[str]  #: Number of rows by status: ``"ok"``, ``"invalid"``, ``"failed"``.
    channels: int  #: Width C of the vectors.

    def __str__(self) -> str:
        total, bad = self.rows.total(), {k: n for k, n in self.rows.items() if k != "ok" and n}
        why = ", ".join(f"{number:,} {status}" for status, number in bad.items())
        text = f"{self.rows['ok']:,} of {total:,} rows embedded in {self.channels} columns"
        return f"{text}, {why}: see molae_reason" if bad else text


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
) -> EmbedReport:
    """Writes the vectors of every molecule of a file, or of every atom.

    The file is read row by row and may be of any length; memory does not grow with it (but for 20
    bytes a row in ``.npz``). Rows stay in their order, and each has a status: ``"ok"``,
    ``"invalid"`` (no molecule) or ``"failed"`` (no coordinates), with a reason. The output is
    written beside its name and takes it when it is whole.

    The vectors of molecules are those of :func:`~molae_pyg.inference.embed`. Columns are

    - ``level="molecule"``: ``row, smiles, molae_status, molae_reason, x0, x1, ...``, a line a row;
    - ``level="atom"``: ``row, molae_status, molae_reason, atom, element, x0, x1, ...``, a line an
      atom (a row without a molecule has one line). Atoms are numbered from 0 as in the SMILES
      (as ``Chem.MolFromSmiles`` numbers them) or in the record of an SD file, and in this order;
      hydrogens are removed if the recipe removes them.

    In ``.npz`` the vectors are one array ``x``, ``[n, C]`` with NaN for rows without a molecule, or
    ``[N, C]`` beside ``row``, ``atom`` and ``element`` ``[N]``; ``status`` and ``reason`` are
    ``[n]``.

    Args:
        model: An encoder, or a model with an ``encoder``. Its ``recipe``, if it has one, says how
            molecules are made.
        data: SMILES (``.smi``, ``.txt``, ``.csv``, ``.tsv``) or SDF, each also as ``.gz``; or
            ``.parquet``, which is read at once.
        out: The file to write, ``.csv``, ``.npz`` or ``.parquet`` (needs pyarrow).
        level: ``"molecule"`` or ``"atom"``.
        num_conformers: Number of conformers to average over. (default: that of the recipe, or 1)
        batch_size: Number of molecules of a forward pass.
        precision: As in :func:`~molae_pyg.inference.embed`.
        workers: Number of processes that make conformers. (default: one a core)
        encoding: Encoding of lists and tables.
        smiles_column: Column of the SMILES in a table. (default: found by its name)

    Raises:
        FileNotFoundError: The file, or the folder of ``out``, does not exist.
        InputError: A ValueError, if an argument is out of range, or the file is of an unknown
            kind, damaged or without a molecule. The message names file and row.
        ModuleNotFoundError: pyarrow is needed and not installed.
    """
    out, batch_size = Path(out), size("batch_size", batch_size)
    if level not in get_args(Level):
        raise InputError(f"level must be one of {', '.join(get_args(Level))}, got {level!r}")
    if out.suffix.lower() not in WRITERS:
        raise InputError(f"{out}: the name must end in {', '.join(WRITERS)}")
    if not out.parent.is_dir():
        raise FileNotFoundError(f"there is no folder {out.parent} to write {out.name} to")
    is_table = ending_of(data) in (*TABLES, ".parquet")
    if smiles_column is not None and not is_table:
        raise InputError(f"{data} has no columns: smiles_column is for tables")
    file = _TableFile(data, encoding, smiles_column) if is_table else MoleculeFile(data, encoding)
    if next(iter(file), None) is None:
        raise InputError(f"{file.path} holds no molecule")
    options = _options(getattr(model, "recipe", None), num_conformers)
    encoder = getattr(model, "encoder", model)
    work = _Work(encoder, file, options, batch_size, precision)
    part_of = _of_atoms if level == "atom" else _of_molecules
    rows: Counter[str] = Counter()
    with WRITERS[out.suffix.lower()](out) as write, rdBase.BlockLogs():
        for first, chunk in _chunks(file, options, workers, _AT_ONCE[level]):
            rows.update(_status(row) for row in chunk)
            write(part_of(work, first, chunk))
    return EmbedReport(out, rows, encoder.config["hidden_channels"])


def _options(recipe: dict | None, num_conformers: int | None) -> Options:
    known = {f.name: recipe[f.name] for f in fields(Options) if f.name in (recipe or {})}
    options = Options(**known)
    if num_conformers is None:
        num_conformers = options.num_conformers or 1
    return replace(options, num_conformers=num_conformers)


def _chunks(
    file: MoleculeFile | _TableFile, options: Options, workers: int | None, number: int
) -> Iterator[tuple[int, list[Row]]]:
    """Yields rows in the order of the file, some at a time, and the number of the first."""
    bar = tqdm(desc="embedding", total=file.count(), unit="mol", delay=1.0, disable=None)
    with bar, WorkerPool(workers or available_cores()) as pool:
        made = pool.map(make_row, ((file.read, record, options) for record in file))
        first = 0
        while chunk := list(islice(made, number)):
            yield first, chunk
            first += len(chunk)
            bar.update(len(chunk))


def _status(row: Row) -> str:
    return "ok" if row.z is not None else "invalid" if row.status == "invalid" else "failed"


def _of_molecules(work: _Work, first: int, chunk: list[Row]) -> Part:
    """Returns a line a row, with its vector; NaN without a molecule."""
    x = work.nothing(len(chunk))
    found = work.mean(chunk, lambda z, pos, batch: work.encoder(z, pos, batch).molecule)
    x[[row.z is not None for row in chunk]] = found
    status, reason = [_status(row) for row in chunk], [row.reason for row in chunk]
    columns = {
        "row": np.arange(first, first + len(chunk)),
        "smiles": [row.smiles for row in chunk],
        "molae_status": status,
        "molae_reason": reason,
    }
    return Part(columns, x, status, reason)


def _of_atoms(work: _Work, first: int, chunk: list[Row]) -> Part:
    """Returns a line an atom, with its vector, and a line for each row without a molecule."""
    x = work.mean(chunk, lambda z, pos, batch: work.encoder(z, pos, batch).x, "atom")  # [N, C]
    columns = {key: [] for key in ("row", "molae_status", "molae_reason", "atom", "element")}
    vectors = []
    for number, row in enumerate(chunk, first):
        if row.z is None:
            atoms, vector = [(None, "")], work.nothing(1)
        else:
            atoms, order = _named_atoms(work, row)
            vector, x = x[: len(row.z)][order], x[len(row.z) :]
        columns["row"] += [number] * len(atoms)
        columns["molae_status"] += [_status(row)] * len(atoms)
        columns["molae_reason"] += [row.reason] * len(atoms)
        columns["atom"] += [atom for atom, _ in atoms]
        columns["element"] += [element for _, element in atoms]
        vectors.append(vector)
    status, reason = [_status(row) for row in chunk], [row.reason for row in chunk]
    return Part(columns, np.concatenate(vectors), status, reason)


def _named_atoms(work: _Work, row: Row) -> tuple[list[tuple[int, str]], np.ndarray]:
    """Returns number and element of each atom in the input's order, and where it is in the row."""
    if row.atom_map is None:
        raise InputError(f"{work.file.path}: its records do not number atoms: use level='molecule'")
    places = row.atom_map
    if work.file.read is parse_smiles:
        _, places = atoms_of(row.smiles, row.atom_map, not work.options.remove_hydrogens)
    order = np.argsort(places, kind="stable")
    symbols = [element_of(z) for z in row.z[order].tolist()]
    return list(zip(places[order].tolist(), symbols, strict=True)), order
