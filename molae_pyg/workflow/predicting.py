"""Predictions for a file of any number of rows, part by part: a killed run resumes."""

import os
from collections import Counter
from collections.abc import Callable
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from rdkit import rdBase

from molae_pyg._version import __version__
from molae_pyg.chem.options import InputError
from molae_pyg.chem.workers import WorkerPool
from molae_pyg.durable import sha256_of
from molae_pyg.inference.part_jobs import Plan, make_parts
from molae_pyg.inference.parts import Part, Parts, said_of_rows
from molae_pyg.inference.vector_files import check_output, is_folder, parquet_writer
from molae_pyg.nn.arguments import size
from molae_pyg.store.engines import check_engine
from molae_pyg.tables.atom_lists import short_name
from molae_pyg.tables.formats import check_apart
from molae_pyg.tables.text_file import ending_of
from molae_pyg.workflow.atoms.model import AtomModel
from molae_pyg.workflow.atoms.output import as_texts
from molae_pyg.workflow.file_molecules import FileRow, Layout, given_of, rows_of_file
from molae_pyg.workflow.model import FittedModel
from molae_pyg.workflow.output import beside_writer, named_beside

#: Endings of the files that predictions are written to.
ENDINGS = (".csv", ".tsv", ".parquet")

_AT_ONCE = 2048  # rows of a part


class PredictReport(NamedTuple):
    """What :func:`predict_file` did with the rows of a file."""

    rows: Counter[str]  #: Number of rows by status: ``"ok"``, ``"invalid"``, ``"failed"``.
    renamed: list[str]  #: Columns of the file that were renamed.
    #: Predictions of the targets that have a column in the file, in which they may be labelled.
    labelled: pd.DataFrame

    def __str__(self) -> str:
        return said_of_rows(self.rows, "predicted")


def predict_file(
    model: FittedModel | AtomModel,
    data: str | os.PathLike,
    out: str | os.PathLike,
    alpha: float = 0.1,
    encoding: str = "utf-8",
    smiles_column: str | None = None,
    engine: str = "local",
    workers: int | None = None,
    part_rows: int | None = None,
) -> PredictReport:
    """Predicts the molecules of a file and writes the predictions beside its cells.

    The file is read row by row and may be of any length; memory grows with it only if it has
    columns of labels (the predictions of their targets are kept to be scored), or is ``.parquet``,
    which is read at once. Predictions are kept part by part in ``<out>.parts``. After a kill the
    same call resumes there; ``out`` appears when it is whole.

    Args:
        model: The model.
        data: The file, see :func:`~molae_pyg.tables.formats.open_table`.
        out: The file to write, ``.csv``, ``.tsv`` (each also with ``.gz``) or ``.parquet``; or a
            folder of Parquet files, as in :func:`~molae_pyg.inference.embed_file`.
        alpha: See :meth:`FittedModel.predict`.
        encoding: Encoding of lists and tables.
        smiles_column: Column of the SMILES. default: found by its name.
        engine: As in :func:`~molae_pyg.inference.embed_file`. Machines of a Ray cluster read the
            folder of the model.
        workers: Number of processes that make conformers, or of Ray tasks. default: one a core.
        part_rows: Number of rows of a part. default: 2,048.

    Raises:
        FileNotFoundError: The file, or the folder of ``out``, does not exist.
        InputError: An argument is out of range, or the file is damaged, lacks a column or has no
            rows, or ``<out>.parts`` has parts of another run.
        ModuleNotFoundError: pyarrow or Ray is needed and not installed.
        ChildProcessError: A part has ended three Ray workers.
    """
    check_engine(engine, workers)
    check_output(out, ENDINGS)
    check_apart(data, out)
    part_rows = _AT_ONCE if part_rows is None else size("part_rows", part_rows)
    in_folder = is_folder(out)
    identity = {
        "input": sha256_of(data),
        "encoding": encoding,
        "smiles_column": smiles_column,
        "model": {**model.info["identity"], "tuned": model.info.get("tuned", [])},
        "alpha": alpha,
        "rows": part_rows,
        "folder": in_folder,
        "versions": f"molae_pyg {__version__}, rdkit {rdBase.rdkitVersion}",
    }
    if model.recipe is not None:
        identity["recipe"] = model.recipe
    total = None
    if ending_of(data) not in (".sdf", ".parquet"):  # a damaged row is found before the work
        total = sum(1 for _ in rows_of_file(model, data, encoding, smiles_column)) - 1
    reader = closing(rows_of_file(model, data, encoding, smiles_column))
    with Parts(Path(out), identity) as parts, reader as rows:
        layout = next(rows)
        if in_folder or ending_of(out) == ".parquet":
            _check_different(layout.columns, data)
        labelled = _labelled(model, layout.columns)
        make_parts(
            parts,
            _Job(model, layout, alpha, 1 if engine == "ray" else workers),
            rows,
            Plan(part_rows, engine, workers, "predicting", total),
            partial(_add, parts, layout.columns if in_folder else None, labelled),
        )
        if not parts.done:
            raise InputError(f"{data} has no rows")
        return _written(parts, out, layout.columns, labelled)


class _Job(NamedTuple):
    """Predicts the rows of a part; a job of :func:`~molae_pyg.inference.part_jobs.make_parts`."""

    model: FittedModel | AtomModel
    layout: Layout
    alpha: float
    workers: int | None

    def start(self, pool: WorkerPool, first: int, records: list[FileRow]) -> Callable[[], Part]:
        """Starts nothing: :meth:`FittedModel.predict` makes conformers if it needs them."""

        def part() -> Part:
            self.model.workers = self.workers
            found = self.model.predict(given_of(self.model, self.layout, records), self.alpha)
            columns = {name: found[name].map(_plain).tolist() for name in found}
            return Part({"cells": [cells for cells, _ in records], **columns}, {})

        return part


def _add(
    parts: Parts, columns: list[str] | None, labelled: list[str], number: int, part: Part
) -> None:
    """Keeps a part; of a folder of Parquet files, with these columns, only what is reported."""
    if columns is None:
        parts.add(number, part)
        return
    cells, found = _tables(part)
    kept = {name: part.columns[name] for name in ["molae_status", *_of_targets(found, labelled)]}
    parts.add(number, Part({**kept, "names": list(found)}, {}), _frame(columns, cells, found))


def _tables(part: Part) -> tuple[list[list[str]], pd.DataFrame]:
    """Returns the cells of a part and its predictions."""
    columns = dict(part.columns)
    cells = columns.pop("cells")
    return cells, pd.DataFrame(columns).map(_array)


def _frame(columns: list[str], cells: list[list[str]], found: pd.DataFrame) -> pd.DataFrame:
    given = pd.DataFrame(cells, columns=named_beside(columns, found), dtype=object)
    return pd.concat([given, found], axis=1)


def _written(
    parts: Parts, out: str | os.PathLike, columns: list[str], labelled: list[str]
) -> PredictReport:
    """Writes the output and returns the report."""
    rows: Counter[str] = Counter()
    kept, names = [], []
    if is_folder(out):
        for part in parts:
            names = part.columns.pop("names")
            rows.update(part.columns.pop("molae_status"))
            if labelled:
                kept.append(pd.DataFrame(part.columns).map(_array))
        parts.publish()
    else:
        is_parquet = ending_of(out) == ".parquet"
        writer = parquet_writer(Path(out)) if is_parquet else beside_writer(Path(out), columns)
        with writer as write:
            for part in parts:
                cells, found = _tables(part)
                names = list(found)
                rows.update(found["molae_status"])
                if labelled:
                    kept.append(found[_of_targets(found, labelled)])
                if is_parquet:
                    write(_frame(columns, cells, found))
                else:
                    write(cells, as_texts(found))
    renamed = [name for name in columns if name in names]
    return PredictReport(
        rows, renamed, pd.concat(kept, ignore_index=True) if kept else pd.DataFrame()
    )


def _labelled(model: FittedModel, columns: list[str]) -> list[str]:
    """Returns the targets of which a file has a column."""
    of_atoms = isinstance(model, AtomModel)
    there = [short_name(name) for name in columns] if of_atoms else columns
    return [target.name for target in model.targets if there.count(target.name) == 1]


def _of_targets(found: pd.DataFrame, targets: list[str]) -> list[str]:
    """Returns the columns of predictions of these targets."""
    return [name for name in found if name.startswith(tuple(f"{target}_" for target in targets))]


def _check_different(columns: list[str], data: str | os.PathLike) -> None:
    if twice := [name for name, number in Counter(columns).items() if number > 1]:
        raise InputError(
            f"{data}: column {twice[0]!r} occurs twice, which Parquet does not allow: rename it, "
            "or write .csv"
        )


def _plain(value: Any) -> Any:
    """Returns a list for the array of a molecule's atoms."""
    return value.tolist() if isinstance(value, np.ndarray) else value


def _array(value: Any) -> Any:
    return np.array(value, float) if isinstance(value, list) else value
