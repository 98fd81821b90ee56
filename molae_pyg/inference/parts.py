"""Parts of a long result, kept beside it until it is whole: a killed run resumes from them."""

import json
import shutil
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from molae_pyg.chem.options import InputError
from molae_pyg.durable import FolderLock, replacing, write_durably
from molae_pyg.fingerprint import differences

_RUN, _COLUMNS = "run.json", "columns"


class Part(NamedTuple):
    """What some rows of the input became."""

    columns: dict[str, list[Any]]  #: Texts and numbers by name; as JSON keeps them.
    arrays: dict[str, np.ndarray]  #: Arrays by name.


class Parts:
    """The parts of an output file, in the folder ``<name>.parts`` beside it.

    Part k, ``<k>.npz``, has the rows of the input from k times a fixed number on. As a context
    manager it removes the folder when the block has ended, or when the input turned out to be at
    fault. After any other error, an interrupt or a kill the folder stays.

    Args:
        out: The output file; its folder exists.
        identity: What makes a run the same, as JSON keeps it.

    Attributes:
        folder: The folder.
        number: Number of parts that are there, counted from the first without a gap.

    Raises:
        InputError: If the folder has parts of another run; the message says what differs.
        BlockingIOError: If another process makes the parts.
    """

    def __init__(self, out: Path, identity: Mapping[str, Any]):
        self.folder = out.with_name(f"{out.name}.parts")
        self.folder.mkdir(exist_ok=True)
        self._lock = FolderLock(self.folder)
        try:
            self._check(dict(identity))
        except BaseException:
            self._lock.release()
            raise
        self.number = 0
        while self._file(self.number).is_file():
            self.number += 1

    def add(self, columns: Mapping[str, Sequence[Any]], **arrays: np.ndarray) -> None:
        """Writes the next part; it is on the disk afterwards.

        Args:
            columns: Texts and numbers by name.
            arrays: Arrays by name.
        """
        lists = {name: np.asarray(values, object).tolist() for name, values in columns.items()}
        text = np.frombuffer(json.dumps(lists).encode(), np.uint8)
        with replacing(self._file(self.number)) as file:
            np.savez(file, **{_COLUMNS: text}, **arrays)
        self.number += 1

    def __iter__(self) -> Iterator[Part]:
        for number in range(self.number):
            with np.load(self._file(number), allow_pickle=False) as found:
                arrays = {name: found[name] for name in found.files}
            yield Part(json.loads(arrays.pop(_COLUMNS).tobytes()), arrays)

    def __enter__(self) -> "Parts":
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        self._lock.release()
        if kind is None or issubclass(kind, InputError) or not self.number:
            shutil.rmtree(self.folder)

    def _file(self, number: int) -> Path:
        return self.folder / f"{number:07}.npz"

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
