"""From a CSV file to SMILES and targets."""

import gzip
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from molae_pyg.metrics import TaskType

#: Names under which a SMILES column is looked for, in this order, whatever their case.
SMILES_NAMES = (
    *("smiles", "canonical_smiles", "isomeric_smiles", "smi"),
    *("mol", "molecule", "structure"),
)
MISSING = ("", "nan", "na", "n/a", "none", "null")  # what spreadsheets write for no value


class Table(NamedTuple):
    """Molecules and targets, row by row as in the source.

    Shapes:
        - **smiles:** :math:`n` strings
        - **y:** :math:`(n, T)` float32, NaN = missing
        - **task_names:** :math:`T` strings
    """

    smiles: list[str]
    y: Tensor
    task_names: list[str]


def read_table(
    path: str | Path,
    smiles_column: str | None = None,
    target_columns: Sequence[str] | str | None = None,
) -> Table:
    """Reads molecules and targets from a CSV file.

    The separator (comma, semicolon or tab) is read off the header; ``.gz`` files are fine.

    Args:
        path: The file.
        smiles_column: Column with the SMILES. (default: :obj:`None`, the first found of
            :data:`SMILES_NAMES`)
        target_columns: Columns with the targets. (default: :obj:`None`, every numeric column
            that does not merely count the rows)

    Raises:
        ValueError: If a column is missing, no column can be taken for SMILES or targets, or a
            target cell is no finite number. Empty cells (and NaN, NA, null ...) are missing
            labels, not errors.
    """
    cells = pd.read_csv(
        path,
        sep=_separator(Path(path)),
        dtype=str,
        keep_default_na=False,  # pandas would take a molecule called "NA" for a missing value
        index_col=False,
        encoding="utf-8-sig",
    )
    smiles_column = smiles_column or find_smiles_column(list(cells), path)
    _check_columns(cells, [smiles_column], path)
    if target_columns is None:
        target_columns = _numeric_columns(cells.drop(columns=smiles_column), path)
    elif isinstance(target_columns, str):
        target_columns = [target_columns]
    _check_columns(cells, target_columns, path)
    y = np.stack([_to_numbers(cells[name], path) for name in target_columns], axis=1)  # [n, T]
    return Table(
        smiles=cells[smiles_column].str.strip().tolist(),  # ESOL's end in a blank
        y=torch.from_numpy(y).float(),
        task_names=list(target_columns),
    )


def read_smiles(path: str | Path) -> list[str]:
    """Reads SMILES from a text file, one a line (the first word counts), or from a CSV file.

    Empty lines are passed over; ``.gz`` files are fine. A CSV file (``.csv``) must have a header
    with one of :data:`SMILES_NAMES`.

    Raises:
        ValueError: If a CSV file has no such column, or there is no SMILES at all.
    """
    path = Path(path)
    if ".csv" in path.suffixes:
        cells = pd.read_csv(path, sep=_separator(path), dtype=str, keep_default_na=False)
        smiles = cells[find_smiles_column(list(cells), path)].tolist()
    else:
        with gzip.open(path, "rt") if path.suffix == ".gz" else open(path) as lines:
            smiles = [line.split()[0] for line in lines if line.strip()]
    if not smiles:
        raise ValueError(f"{path} holds no SMILES")
    return smiles


def infer_task_type(y: Tensor) -> TaskType:
    """Returns ``"classification"`` if every label present is 0 or 1, else ``"regression"``."""
    labels = y[~y.isnan()]
    return "classification" if ((labels == 0) | (labels == 1)).all() else "regression"


def _separator(path: Path) -> str:
    opened = gzip.open if path.suffix == ".gz" else open
    with opened(path, "rt", encoding="utf-8-sig") as file:
        header = file.readline()
    return max(",;\t", key=header.count)


def find_smiles_column(columns: list[str], path: str | Path) -> str:
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
        f"{SMILES_NAMES[0]!r} in the file. Columns: {columns}"
    )


def _check_columns(cells: pd.DataFrame, names: Sequence[str], path: str | Path) -> None:
    missing = [name for name in names if name not in cells]
    if missing or not names:
        raise ValueError(
            f"{path}: no column {missing or 'given for the targets'}. Columns: {list(cells)}"
        )


def _numeric_columns(cells: pd.DataFrame, path: str | Path) -> list[str]:
    names = []
    for name in cells:
        values, bad = _parse(cells[name])
        num_numbers = int(np.isfinite(values).sum())
        if len(bad) and num_numbers > len(bad):  # ">10" among numbers is worth a word
            warnings.warn(
                f"{path}: column {name!r} is not taken as a target: row {bad[0]} reads "
                f"{cells[name].iloc[bad[0]]!r}",
                stacklevel=4,
            )
        elif num_numbers and not len(bad) and not _counts_rows(values):
            names.append(name)
    if not names:
        raise ValueError(
            f"{path}: found no numeric column; name the targets with target_columns. "
            f"Columns: {list(cells)}"
        )
    return names


def _counts_rows(values: np.ndarray) -> bool:
    """Whether a column holds 0, 1, 2 ... or 1, 2, 3 ...: an identifier, not a property."""
    return len(values) > 2 and values[0] in (0, 1) and bool((np.diff(values) == 1).all())


def _to_numbers(column: pd.Series, path: str | Path) -> np.ndarray:
    values, bad = _parse(column)
    if len(bad):
        raise ValueError(
            f"{path}: row {bad[0]} (the first below the header is 0), column {column.name!r}: "
            f"{column.iloc[bad[0]]!r} is not a number (such cells: {len(bad)})"
        )
    return values


def _parse(column: pd.Series) -> tuple[np.ndarray, np.ndarray]:
    """Numbers (NaN = missing) and the rows that hold something else."""
    values = pd.to_numeric(column, errors="coerce").to_numpy(np.float64)
    other = ~np.isfinite(values)
    # A table of millions of empty cells has few different ones: look at each of these once.
    different = pd.unique(column[other])
    bad = [text for text in different if text.strip().lower() not in MISSING]
    return values, np.flatnonzero(other & column.isin(bad).to_numpy())
