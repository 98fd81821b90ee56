"""From a file of SMILES or a table to molecules and targets."""

import os
import re
import warnings
from collections.abc import Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import BinaryIO, Literal, NamedTuple

import numpy as np
import torch
from torch import Tensor

from molae_pyg.chem.sdf import unpacked
from molae_pyg.metrics import TaskType
from molae_pyg.tables.columns import Column, bounds_beside
from molae_pyg.tables.targets import (
    DeclaredTypes,
    Reading,
    candidates,
    describe,
    read_target,
    type_of,
)
from molae_pyg.tables.text_file import TableRows, lines_of_text

#: Names under which a SMILES column is looked for, in this order, whatever their case.
SMILES_NAMES = (
    *("smiles", "canonical_smiles", "isomeric_smiles", "smi"),
    *("mol", "molecule", "structure"),
)
#: Endings of tables and of lists, one SMILES a line; each also with ``.gz``, in any case.
TABLES, LISTS = (".csv", ".tsv"), (".smi", ".txt")
_TYPES = ("regression", "classification")
_BATCH = 20_000  # rows that are held as they are read
_LINE = re.compile(r"\s*(\S+)(\s+\|[^|]*\|(?=\s|$))?")  # a SMILES, and the extension of CXSMILES


class Table(NamedTuple):
    """Molecules and targets, row by row as in the source.

    Shapes:
        - **smiles:** :math:`n` strings
        - **y:** :math:`(n, T)` float32, NaN = missing
        - **task_names**, **task_types:** :math:`T` strings
    """

    smiles: list[str]
    y: Tensor
    task_names: list[str]
    #: ``"regression"`` or ``"classification"`` of each target.
    task_types: list[TaskType]
    #: What each column was taken for, and why those that are no targets are none.
    description: str = ""


def read_table(
    path: str | Path,
    smiles_column: str | None = None,
    target_columns: Sequence[str] | str | None = None,
    task_type: DeclaredTypes = None,
    encoding: str = "utf-8",
    repeated: Literal["raise", "first"] = "raise",
) -> Table:
    """Reads molecules and targets from a table.

    The header tells the separator: comma, semicolon or tab. ``.gz`` is unpacked. Labels are
    numbers, or two classes: 0 and 1, -1 and 1, True and False, yes and no, active and inactive,
    or any other two words. Empty cells, NaN, NA, n.d., ``-``, ``?`` and the like are missing
    labels. ``Table.description`` says what each column was taken for; what somebody could see in
    another way, such as which of two unknown words is class 1, is also a warning.

    Args:
        path: The file.
        smiles_column: Column with the SMILES. (default: :obj:`None`, the first found of
            :data:`SMILES_NAMES`)
        target_columns: Columns with the targets. (default: :obj:`None`, those that
            :obj:`task_type` names, else the one column that can be a target: not text, an
            identifier by its name, constant or empty)
        task_type: ``"regression"`` or ``"classification"`` for all targets, or a mapping from
            names of targets to these. Declared classes of 0, 1 and -1 have -1 for missing.
            (default: :obj:`None`, found out for each)
        encoding: Encoding of the text. (default: :obj:`"utf-8"`, with a byte order mark or not)
        repeated: Whether a name that is needed and occurs twice is an error, or stands for the
            first such column. (default: :obj:`"raise"`)

    Raises:
        ValueError: If the file is empty, damaged or in another encoding, a quote is left open, a
            row has too many cells, a column is missing or its name occurs twice, several columns
            can be the target, or the target cannot be read: bounds such as ``>10``, decimal
            commas, several classes, 0, 1 and -1 of which nothing is declared. Each names the
            file, what was found and the remedy.
    """
    types = _checked_types(task_type)
    if target_columns is None and isinstance(types, Mapping):
        target_columns = list(types)
    elif target_columns is not None:
        one = isinstance(target_columns, str)
        target_columns = [target_columns] if one else list(target_columns)
    with unpacked(path) as (file, _):
        rows = _table_rows(file, path, encoding, smiles_column)
        names = rows.columns
        smiles_place = _place(names, smiles_column or find_smiles_column(names, path), path)
        if target_columns is None:
            places = [place for place in range(len(names)) if place != smiles_place]
        else:
            places = _places(names, target_columns, path, repeated)
        smiles, columns = _read(rows, smiles_place, places)
    if not smiles:
        raise ValueError(f"{path} has a header and no rows")
    left_out: dict[str, str] = {}
    if told := bounds_beside(columns):
        warnings.warn(f"{path}: {told}", stacklevel=2)
    if target_columns is None:
        columns, left_out = candidates(columns, types, path)
    else:
        others = {name for place, name in enumerate(names) if place not in (smiles_place, *places)}
        left_out = dict.fromkeys(sorted(others, key=names.index), "not named")
    if isinstance(types, Mapping) and (extra := [t for t in types if t not in _names(columns)]):
        raise ValueError(f"{path}: task_type names {extra}, which are no targets")
    readings: dict[str, Reading] = {}
    y = np.empty((len(smiles), len(columns)), np.float32)  # [n, T]
    for task, column in enumerate(columns):
        reading = _reading(column, type_of(column, types), path)
        y[:, task] = reading.y
        readings[column.name] = reading._replace(y=None)
        if reading.doubt:
            warnings.warn(f"{path}: {reading.doubt}", stacklevel=2)
    return Table(
        smiles=[text.strip() for text in smiles],  # ESOL's end in a blank
        y=torch.from_numpy(y),
        task_names=list(readings),
        task_types=[reading.task_type for reading in readings.values()],
        description=describe(readings, left_out),
    )


def columns_of(path: str | Path, encoding: str = "utf-8") -> list[str]:
    """Returns the names in the header of a table."""
    with unpacked(path) as (file, _):
        return _table_rows(file, path, encoding, None).columns


def read_smiles(path: str | Path, encoding: str = "utf-8") -> list[str]:
    """Reads SMILES from a text file, one a line, or from a table, as ``molae prepare`` does.

    Of a line the first word counts, with an extension of CXSMILES (``|...|``) that follows; what
    comes then is a name. Blank lines are skipped. A table (``.csv``, ``.tsv``) has a header with
    one of :data:`SMILES_NAMES`. ``.gz`` is unpacked.

    Raises:
        ValueError: If the file cannot be read, see :func:`read_table`, or holds no SMILES.
    """
    kind = ending_of(path)
    if kind not in TABLES + LISTS:
        raise ValueError(f"{path}: the name must end in {', '.join(TABLES + LISTS)} (or .gz)")
    cells = smiles_of_table if kind in TABLES else smiles_of_lines
    with unpacked(path) as (file, _):
        smiles = list(cells(file, path, encoding))
    if not smiles:
        raise ValueError(f"{path} holds no SMILES")
    return smiles


def ending_of(path: str | os.PathLike) -> str:
    """The ending of a name in lower case, without ``.gz``: ``".csv"``."""
    name = os.path.basename(os.fspath(path)).lower().removesuffix(".gz")
    return os.path.splitext(name)[1]


def smiles_of_lines(file: BinaryIO, path: str | os.PathLike, encoding: str) -> Iterator[str]:
    """Yields the SMILES of an opened list, see :func:`read_smiles`."""
    for line in lines_of_text(file, path, encoding):
        if found := _LINE.match(line):
            yield " ".join(part.strip() for part in found.groups() if part)


def smiles_of_table(file: BinaryIO, path: str | os.PathLike, encoding: str) -> Iterator[str]:
    """Yields the SMILES of an opened table, without blanks around them; of every row one."""
    rows = _table_rows(file, path, encoding, None)
    place = _place(rows.columns, find_smiles_column(rows.columns, path), path)
    return (cells[place].strip() for cells in rows)


def find_smiles_column(columns: Sequence[str], path: str | os.PathLike) -> str:
    """Returns the first of the columns that is called as in :data:`SMILES_NAMES`.

    Raises:
        ValueError: If there is none.
    """
    by_lower_case = {name.strip().lower(): name for name in reversed(columns)}
    for name in SMILES_NAMES:
        if name in by_lower_case:
            return by_lower_case[name]
    raise ValueError(
        f"{path}: found no SMILES column; name it with smiles_column, or call it "
        f"{SMILES_NAMES[0]!r} in the file. Columns: {list(columns)}"
    )


def infer_task_type(y: Tensor) -> TaskType:
    """Returns ``"classification"`` if every label present is 0 or 1, else ``"regression"``."""
    labels = y[~y.isnan()]
    return "classification" if ((labels == 0) | (labels == 1)).all() else "regression"


def _table_rows(
    file: BinaryIO, path: str | os.PathLike, encoding: str, smiles_column: str | None
) -> TableRows:
    names = SMILES_NAMES if smiles_column is None else (smiles_column.strip().lower(),)
    return TableRows(lines_of_text(file, path, encoding), path, names)


def _place(columns: Sequence[str], name: str, path: str | os.PathLike) -> int:
    (place,) = _places(columns, [name], path)
    return place


def _places(
    columns: Sequence[str],
    names: Sequence[str],
    path: str | os.PathLike,
    repeated: str = "raise",
) -> list[int]:
    stripped = [str(name).strip() for name in names]
    absent = [name for name in stripped if name not in columns]
    if absent or not names:
        raise ValueError(
            f"{path}: no column {absent or 'given for the targets'}. Columns: {list(columns)}"
        )
    twice = [name for name in stripped if stripped.count(name) > 1]
    if repeated == "raise":
        twice += [name for name in stripped if columns.count(name) > 1]
    if twice:
        raise ValueError(f"{path}: column {twice[0]!r} occurs twice; give each its own name")
    return [columns.index(name) for name in stripped]


def _read(
    rows: TableRows, smiles_place: int, places: Sequence[int]
) -> tuple[list[str], list[Column]]:
    """The SMILES, and the other columns asked for."""
    smiles: list[str] = []
    columns = [Column(rows.columns[place]) for place in places]
    unread = iter(rows)
    while batch := list(islice(unread, _BATCH)):
        cells = list(zip(*batch, strict=True))
        smiles += cells[smiles_place]
        for column, place in zip(columns, places, strict=True):
            column.extend(cells[place])
    return smiles, columns


def _reading(column: Column, task_type: TaskType | None, path: str | os.PathLike) -> Reading:
    reading = read_target(column, task_type)
    if reading.problem:
        raise ValueError(
            f"{path}, column {column.name!r}: {reading.problem} (the first row below the header "
            "is 0)"
        )
    return reading


def _checked_types(task_type: DeclaredTypes) -> DeclaredTypes:
    given = task_type.values() if isinstance(task_type, Mapping) else [task_type]
    if bad := [kind for kind in given if kind not in (*_TYPES, None)]:
        raise ValueError(f"task_type must be regression or classification, got {bad[0]!r}")
    return task_type


def _names(columns: Sequence[Column]) -> list[str]:
    return [column.name for column in columns]
