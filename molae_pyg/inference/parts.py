"""Parts of a long result, kept beside it until it is whole: a killed run resumes from them."""

import json
import os
import shutil
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from molae_pyg.chem.options import InputError
from molae_pyg.durable import FolderLock, replacing, write_durably
from molae_pyg.fingerprint import differences
from molae_pyg.inference.vector_files import write_frame

_RUN, _COLUMNS, _ROWS = "run.json", "columns", "rows"


class Part(NamedTuple):
    """What some rows of the input became."""

    columns: dict[str, list[Any]]  #: Texts and numbers by name; as JSON keeps them.
    arrays: dict[str, np.ndarray]  #: Arrays by name.


def said_of_rows(rows: Counter[str], done: str, reasons: str = "molae_reason") -> str:
    """Returns a sentence such as ``2 of 3 rows predicted, 1 invalid: see molae_reason``.

    Args:
        rows: Number of rows by status: ``"ok"``, ``"invalid"``, ``"failed"``.
        done: What was done with those that are ok.
        reasons: Where the reasons of the others are.
    """
    parts = [f"{rows['ok']:,} of {rows.total():,} rows {done}"]
    parts += [f"{rows[status]:,} {status}" for status in ("invalid", "failed") if rows[status]]
    return ", ".join(parts) + (f": see {reasons}" if len(parts) > 1 else "")


class Parts:
    """The parts of an output, in the folder ``<name>.parts`` beside it.

    Part k, ``<k>.npz``, has the rows of the input from k times a fixed number on; parts may be
    added in any order. As a context manager it removes the folder when the block has ended, or
    when the input turned out to be at fault. After any other error, an interrupt or a kill the
    folder stays.

    Args:
        out: The output; its folder exists.
        identity: What makes a run the same, as JSON keeps it.

    Attributes:
        folder: The folder.
        done: Numbers of the parts that are there.

    Raises:
        InputError: If the folder has parts of another run; the message says what differs.
        BlockingIOError: If another process makes the parts.
    """

    def __init__(self, out: Path, identity: Mapping[str, Any]):
        self._out, self.folder = out, out.with_name(f"{out.name}.parts")
        self.folder.mkdir(exist_ok=True)
        self._lock = FolderLock(self.folder)
        try:
            self._check(dict(identity))
        except BaseException:
            self._lock.release()
            raise
        self.done = {int(file.stem) for file in self.folder.glob("*.npz")}

    def add(self, number: int, part: Part, frame: pd.DataFrame | None = None) -> None:
        """Writes a part; it is on the disk afterwards.

        Args:
            number: Its number.
            part: What is kept until the output is whole.
            frame: Rows of the output, if it is a folder of Parquet files.
        """
        if frame is not None:
            (self.folder / _ROWS).mkdir(exist_ok=True)
            write_frame(self.folder / _ROWS / f"part-{number:07}.parquet", frame)
        text = np.frombuffer(json.dumps(part.columns).encode(), np.uint8)
        with replacing(self.folder / f"{number:07}.npz") as file:
            np.savez(file, **{_COLUMNS: text}, **part.arrays)
        self.done.add(number)

    def publish(self) -> None:
        """Gives the folder with the rows of all parts the name of the output."""
        if (self.folder / _ROWS).is_dir():  # else a run was killed after this line
            os.rename(self.folder / _ROWS, self._out)

    def __contains__(self, number: int) -> bool:
        return number in self.done

    def __iter__(self) -> Iterator[Part]:
        for number in sorted(self.done):
            with np.load(self.folder / f"{number:07}.npz", allow_pickle=False) as found:
                arrays = {name: found[name] for name in found.files}
            yield Part(json.loads(arrays.pop(_COLUMNS).tobytes()), arrays)

    def __enter__(self) -> "Parts":
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        self._lock.release()
        if kind is None or issubclass(kind, InputError) or not self.done:
            shutil.rmtree(self.folder)

    def _check(self, identity: dict[str, Any]) -> None:
        file = self.folder / _RUN
        if not file.is_file():
            write_durably(file, json.dumps(identity).encode())
            return
        if lines := differences(json.loads(file.read_bytes()), identity):
            raise InputError(
                f"{self.folder} has parts of another run: {'; '.join(lines)}. Remove it, or give "
                "another output file"
            )
