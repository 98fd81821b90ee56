"""Reads molecules and targets from a table."""

import os
import warnings
from collections.abc import Mapping, Sequence
from itertools import islice
from pathlib import Path
from types import MappingProxyType
from typing import Literal, NamedTuple

import numpy as np
import torch
from torch import Tensor

from molae_pyg.kinds import KINDS, TaskType
from molae_pyg.tables.columns import Column, bounds_beside
from molae_pyg.tables.formats import open_table
from molae_pyg.tables.targets import (
    DeclaredTypes,
    Reading,
    candidates,
    describe,
    read_target,
    type_of,
)
from molae_pyg.tables.text_file import SMILES_NAMES, TableRows, read_smiles

__all__ = ["SMILES_NAMES", "Table", "columns_of", "infer_task_type", "read_smiles", "read_table"]


_BATCH = 20_000  # rows that are in memory as texts


class Table(NamedTuple):
    """Molecules and targets, row by row as in the source.

    Shapes:
        - **smiles:** :math:`n` strings
        - **y:** :math:`(n, T)` float32, NaN = missing; of several classes the index of the class
        - **bound:** :math:`(n, T)` int8: 0 = exact, 1 = the true value is at least y, as of
          ``>10``, -1 = it is at most y; None = all labels are exact
        - **task_names**, **task_types:** :math:`T` strings
    """

    smiles: list[str]
    y: Tensor
    task_names: list[str]
    #: ``"regression"``, ``"classification"`` (two classes) or ``"multiclass"`` of each target.
    task_types: list[TaskType]
    #: What each column is read as, and why the others are not targets.
    description: str = ""
    #: Names of the classes of each multiclass target, in the order of their indices.
    classes: Mapping[str, Sequence[str]] = MappingProxyType({})
    bound: Tensor | None = None


def read_table(
    path: str | Path,
    smiles_column: str | None = None,
    target_columns: Sequence[str] | str | None = None,
    task_type: DeclaredTypes = None,
    encoding: str = "utf-8",
    repeated: Literal["raise", "first"] = "raise",
) -> Table:
    """Reads molecules and targets from a table.

    The separator (comma, semicolon or tab) is found from the header. ``.gz`` is unpacked; SD files,
    Parquet and lists are read by :func:`~molae_pyg.tables.formats.open_table`. Labels are numbers,
    among which may be bounds (``>10``, ``<=0.5``); two classes: 0 and 1, -1 and 1, True and False,
    yes and no, active and inactive, or any other two words; or three to twenty classes, which are
    words. Empty cells, NaN, NA, n.d., ``-``, ``?`` and similar words are missing
    labels. ``Table.description`` lists what each column is read as; a reading that may be wrong,
    such as which of two unknown words is class 1, is also a warning.

    Args:
        path: The file.
        smiles_column: Column of the SMILES. (default: :obj:`None`, the first of
            :data:`~molae_pyg.tables.text_file.SMILES_NAMES` that is found)
        target_columns: Columns of the targets, or ``"all"`` that can be one. (default: :obj:`None`,
            the keys of :obj:`task_type`, else the one column that can be a target: not text, an
            identifier by its name, constant or empty)
        task_type: ``"regression"``, ``"classification"`` or ``"multiclass"`` for all targets, or a
            mapping from names of targets to these. In two declared classes of 0, 1 and -1, -1 is
            missing. (default: :obj:`None`, inferred for each target)
        encoding: Encoding of the text. (default: :obj:`"utf-8"`, with a byte order mark or not)
        repeated: ``"raise"`` makes a needed name that occurs twice an error, ``"first"`` takes the
            first such column. (default: :obj:`"raise"`)

    Raises:
        ValueError: If the file is empty, damaged or in another encoding, a quote is left open, a
            row has too many cells, a column is missing or its name occurs twice, several columns
            can be the target, or the target cannot be read: values such as ``~10``, decimal
            commas, bounds alone, more than twenty words, or small integers that may be classes and
            are not declared. The message names the file, what was found and the remedy.
    """
    types = _checked_types(task_type)
    if target_columns is None and isinstance(types, Mapping):
        target_columns = list(types)
    elif target_columns is not None:
        one = isinstance(target_columns, str)
        target_columns = [target_columns] if one else list(target_columns)
    with open_table(path, encoding, smiles_column) as rows:
        names, smiles_index = rows.columns, rows.smiles_index()
        several = target_columns == ["all"] and "all" not in names
        if target_columns is None or several:
            indices = [index for index in range(len(names)) if index != smiles_index]
        else:
            indices = rows.indices(target_columns, repeated)
        smiles, columns = _read(rows, smiles_index, indices)
    if not smiles:
        raise ValueError(f"{path} has a header and no rows")
    left_out: dict[str, str] = {}
    if warning := bounds_beside(columns):
        warnings.warn(f"{path}: {warning}", stacklevel=2)
    if target_columns is None or several:
        columns, left_out = candidates(columns, types, path, several)
    else:
        others = {name for i, name in enumerate(names) if i not in (smiles_index, *indices)}
        left_out = dict.fromkeys(sorted(others, key=names.index), "not named")
    targets = [column.name for column in columns]
    if isinstance(types, Mapping) and (extra := [name for name in types if name not in targets]):
        raise ValueError(f"{path}: task_type names {extra}, which are not targets")
    readings: dict[str, Reading] = {}
    y = np.empty((len(smiles), len(columns)), np.float32)  # [n, T]
    bound = np.zeros(y.shape, np.int8)
    for task, column in enumerate(columns):
        reading = _reading(column, type_of(column, types), path)
        y[:, task] = reading.y
        if reading.bound is not None:
            bound[:, task] = reading.bound
        readings[column.name] = reading._replace(y=None, bound=None)
        if reading.doubt:
            warnings.warn(f"{path}: {reading.doubt}", stacklevel=2)
    return Table(
        smiles=[text.strip() for text in smiles],  # ESOL's end in a blank
        y=torch.from_numpy(y),
        task_names=list(readings),
        task_types=[reading.task_type for reading in readings.values()],
        description=describe(readings, left_out),
        classes={name: list(found.classes) for name, found in readings.items() if found.classes},
        bound=torch.from_numpy(bound),
    )


def columns_of(path: str | Path, encoding: str = "utf-8") -> list[str]:
    """Returns the names in the header of a table."""
    with open_table(path, encoding) as rows:
        return rows.columns


def infer_task_type(y: Tensor) -> TaskType:
    """Returns ``"classification"`` if all labels are 0, 1 or NaN, else ``"regression"``."""
    labels = y[~y.isnan()]
    return "classification" if ((labels == 0) | (labels == 1)).all() else "regression"


def _read(
    rows: TableRows, smiles_index: int, indices: Sequence[int]
) -> tuple[list[str], list[Column]]:
    """Returns the SMILES and the other columns."""
    smiles: list[str] = []
    columns = [Column(rows.columns[index]) for index in indices]
    unread = iter(rows)
    while batch := list(islice(unread, _BATCH)):
        cells = list(zip(*batch, strict=True))
        smiles += cells[smiles_index]
        for column, index in zip(columns, indices, strict=True):
            column.extend(cells[index])
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
    if bad := [kind for kind in given if kind not in (*KINDS, None)]:
        raise ValueError(f"task_type must be one of {', '.join(KINDS)}, got {bad[0]!r}")
    return task_type
