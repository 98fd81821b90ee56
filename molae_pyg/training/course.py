"""The course of a training run: an append-only log while it runs, a table when it is done."""

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
    """An append-only log of a run, one JSON object a line.

    A checkpoint keeps the :meth:`position` in the log that belongs to it. Resuming from the
    checkpoint removes what came later (:meth:`rewind`), so that a run that was killed has the log
    of one that was not.

    Args:
        file: The log; it is made if absent.
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
        """Length in bytes and CRC-32 of the log, which is on the disk when this returns."""
        self._file.flush()
        os.fsync(self._file.fileno())
        return self._length, self._crc

    def rewind(self, length: int = 0, crc: int = 0) -> None:
        """Removes what was written after a :meth:`position`.

        Raises:
            CheckpointError: The log is shorter or holds other rows than it did then.
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
    """Writes what Lightning logs into the course of a run.

    Args:
        course: None in a process that writes nothing.
    """

    def __init__(self, course: Course | None):
        super().__init__()
        self.course = course

    @property
    def name(self) -> str:
        """The name of the log."""
        return "course"

    @property
    def version(self) -> int:
        """There is one log, whatever the number of starts."""
        return 0

    @rank_zero_only
    def log_metrics(self, metrics: dict[str, float], step: int | None = None) -> None:
        """Appends a row."""
        self.course.append({"step": step, **metrics})

    @rank_zero_only
    def log_hyperparams(self, *_: Any, **__: Any) -> None:
        """Does nothing: run.json has the settings."""


def read_metrics(folder: str | Path) -> pd.DataFrame:
    """Reads everything a run has logged, in the order in which it was written.

    While the run is in progress this is its log, ``course.jsonl``, whose last line may be
    incomplete and is skipped then; a finished run has a table, ``metrics.csv``.

    Args:
        folder: Of the run.

    Returns:
        A table with ``step`` and whatever else was logged; NaN where a row lacks a value. Where
        a step has several rows, the later one is valid.

    Raises:
        FileNotFoundError: There is no such file.
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
    """Returns the content of ``metrics.csv``: a row a step, of all that the log has of it."""
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
