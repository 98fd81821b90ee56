"""The values that a run logs: an append-only log while it trains, a table when it is finished."""

import json
import os
import zlib
from pathlib import Path
from typing import Any

import pandas as pd
from lightning.pytorch.loggers.logger import Logger
from lightning.pytorch.utilities import rank_zero_only

from molae_pyg.checkpoint import CheckpointError

LOG = "course.jsonl"
TABLE = "metrics.csv"


class Course:
    """An append-only log of a run, one JSON object per line.

    A checkpoint contains its :meth:`position` in the log. Resuming from the checkpoint removes the
    later rows (:meth:`rewind`), so that a killed run has the same log as an uninterrupted one.

    Args:
        file: Path of the log, which is made if absent.
    """

    def __init__(self, file: Path):
        self.path = file
        self._file = open(file, "ab")  # noqa: SIM115, open as long as the run
        self._length = self._crc = 0

    def append(self, row: dict[str, Any]) -> None:
        """Writes a row at the end."""
        line = json.dumps(row).encode() + b"\n"
        self._file.write(line)
        self._file.flush()
        self._length += len(line)
        self._crc = zlib.crc32(line, self._crc)

    def position(self) -> tuple[int, int]:
        """Writes the log to the disk and returns its length in bytes and its CRC-32."""
        self._file.flush()
        os.fsync(self._file.fileno())
        return self._length, self._crc

    def rewind(self, length: int = 0, crc: int = 0) -> None:
        """Removes all rows after a :meth:`position`.

        Raises:
            CheckpointError: The log is shorter than the position or has other rows before it.
        """
        with open(self.path, "rb") as file:
            kept = file.read(length)
        if len(kept) != length or zlib.crc32(kept) != crc:
            raise CheckpointError(
                f"{self.path} does not hold the {length} bytes that the checkpoint names: it was "
                "changed or damaged; delete the folder of the run to train again"
            )
        self._file.truncate(length)
        self._length, self._crc = length, crc

    def close(self) -> None:
        """Closes the file."""
        self._file.close()


class CourseLogger(Logger):
    """Writes what Lightning logs to the log of a run.

    Args:
        course: The log, or None in a process that does not write.
    """

    name, version = "course", 0  # all starts of a run write to one log

    def __init__(self, course: Course | None):
        super().__init__()
        self.course = course

    @rank_zero_only
    def log_metrics(self, metrics: dict[str, float], step: int | None = None) -> None:
        """Appends a row."""
        self.course.append({"step": step, **metrics})

    @rank_zero_only
    def log_hyperparams(self, *_: Any, **__: Any) -> None:
        """Does nothing: run.json has the settings."""


def read_metrics(folder: str | Path) -> pd.DataFrame:
    """Reads all logged values of a run, in the order in which they were written.

    An unfinished run has a log, ``course.jsonl``, whose last line is skipped if it is incomplete. A
    finished run has a table, ``metrics.csv``.

    Args:
        folder: Folder of the run.

    Returns:
        A table with ``step`` and a column for each logged name; NaN where a row lacks a value. If a
        step has several rows, the last one is valid.

    Raises:
        FileNotFoundError: The folder has neither file.
        ValueError: The file is empty, cannot be read or has no ``step``.
    """
    folder = Path(folder)
    if (folder / LOG).is_file():
        return _with_rows(folder / LOG, _read_log(folder / LOG))
    file = folder / TABLE
    if not file.is_file():
        raise FileNotFoundError(f"no {LOG} and no {TABLE} in {folder}: is it the folder of a run?")
    try:
        table = pd.read_csv(file)
    except pd.errors.EmptyDataError:
        table = pd.DataFrame()
    except (pd.errors.ParserError, UnicodeDecodeError) as error:
        raise ValueError(f"{file} is not a table: {error}") from None
    return _with_rows(file, table)


def write_table(log: Path) -> bytes:
    """Returns the content of ``metrics.csv``: one row per step with the last value of each name."""
    return _read_log(log).groupby("step").last().to_csv().encode()


def _read_log(file: Path) -> pd.DataFrame:
    rows = []
    complete = file.read_bytes().rpartition(b"\n")[0]
    for number, line in enumerate(complete.splitlines(), 1):
        try:
            rows.append(json.loads(line))
        except ValueError as error:
            raise ValueError(f"line {number} of {file} is damaged: {error}") from None
    return pd.DataFrame(rows)


def _with_rows(file: Path, table: pd.DataFrame) -> pd.DataFrame:
    if table.empty:
        raise ValueError(f"{file} is empty: nothing has been logged yet")
    if "step" not in table:
        raise ValueError(f"{file} has no column 'step'; it has {', '.join(table.columns)}")
    return table
