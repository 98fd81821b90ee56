"""The course of a training run, as its logs have it."""

from pathlib import Path

import pandas as pd


def read_metrics(folder: str | Path) -> pd.DataFrame:
    """Everything a run has logged, in the order in which it was written.

    Reads ``logs/version_*/metrics.csv``, one file for each start, so that a run can be looked at
    while it goes on; without these ``metrics.csv``, which a run leaves when it is done.

    Args:
        folder: Of the run.

    Returns:
        A table with ``step`` and whatever else was logged; NaN where a row lacks a value.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: A file is empty or has no ``step``.
    """
    folder = Path(folder)
    files = sorted(
        folder.glob("logs/version_*/metrics.csv"),
        key=lambda file: (len(file.parent.name), file.parent.name),  # 9 before 10
    )
    files = files or [file for file in [folder / "metrics.csv"] if file.is_file()]
    if not files:
        raise FileNotFoundError(
            f"no metrics.csv in {folder}, nor in its logs/version_*: is it the folder of a run?"
        )
    metrics = pd.concat([_read(file) for file in files], ignore_index=True)
    if metrics.empty:
        raise ValueError(f"{files[-1]} is empty: nothing has been logged yet")
    return metrics


def _read(file: Path) -> pd.DataFrame:
    try:
        table = pd.read_csv(file)
    except pd.errors.EmptyDataError:  # a start that was killed before it logged anything
        return pd.DataFrame({"step": pd.Series(dtype=int)})
    if "step" not in table:
        raise ValueError(f"{file} has no column 'step'; it has {', '.join(table.columns)}")
    return table
