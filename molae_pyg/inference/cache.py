"""A cache of embeddings on the disk. No call fails because of it."""

import hashlib
import os
import sqlite3
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from molae_pyg.fingerprint import digest

_AT_ONCE = 500  # largest number of values of one SQL statement
_WAIT = 5.0  # seconds to wait for another process that writes
_CHECK = 8  # bytes of a checksum
_TABLES = """
CREATE TABLE IF NOT EXISTS names (reader TEXT, smiles TEXT, molecule TEXT, checksum BLOB,
    PRIMARY KEY (reader, smiles)) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS vectors (settings TEXT, molecule TEXT, vector BLOB, checksum BLOB,
    PRIMARY KEY (settings, molecule)) WITHOUT ROWID;
"""

Result = TypeVar("Result")


def cache_folder() -> Path:
    """Returns ``$MOLAE_CACHE``, or ``molae_pyg`` in the user's folder for caches."""
    if folder := os.environ.get("MOLAE_CACHE"):
        return Path(folder)
    caches = os.environ.get("XDG_CACHE_HOME") or os.path.join(os.path.expanduser("~"), ".cache")
    return Path(caches) / "molae_pyg"


class EmbeddingCache:
    """Vectors by canonical SMILES and settings, in an SQLite file that processes may share.

    If the file or its folder cannot be used, a warning says so and the cache stays empty. Each
    entry has a checksum; a damaged entry is ignored, with a warning.

    Args:
        folder: Folder of ``embeddings.sqlite``.
        reader: Library and version that make SMILES canonical.
        settings: Everything except the molecule that a vector depends on.
    """

    def __init__(self, folder: Path, reader: str, settings: Mapping[str, object]) -> None:
        self.file = folder / "embeddings.sqlite"
        self.reader = reader
        self.settings = digest(dict(settings))
        self._works = True

        def prepare() -> None:
            folder.mkdir(parents=True, exist_ok=True)
            with self._open() as database:
                database.executescript(_TABLES)

        self._attempt(prepare, None)

    @contextmanager
    def _open(self) -> Iterator[sqlite3.Connection]:
        """Opens a connection for one transaction, which waits while another process writes."""
        with closing(sqlite3.connect(self.file, timeout=_WAIT)) as database, database:
            yield database

    def _attempt(self, work: Callable[[], Result], otherwise: Result) -> Result:
        """Returns the result of ``work``. After an error warns, and then returns ``otherwise``."""
        if not self._works:
            return otherwise
        try:
            return work()
        except (OSError, sqlite3.Error) as error:
            self._works = False
            warnings.warn(
                f"the cache of embeddings {self.file} cannot be used ({error}); embeddings are "
                "computed without it. Make its folder writable or set MOLAE_CACHE to another, "
                "delete the file if it is damaged, or pass cache=False",
                stacklevel=2,
            )
            return otherwise

    def molecules(self, smiles: Sequence[str]) -> dict[str, str]:
        """Returns the canonical SMILES of the strings that were read before."""
        return self._select("names", ("reader", "smiles", "molecule"), self.reader, smiles)

    def vectors(self, molecules: Sequence[str]) -> dict[str, np.ndarray]:
        """Returns the vectors ``[C]`` float32 of the canonical SMILES that have one."""
        found = self.contents(molecules)
        return {molecule: np.frombuffer(vector, "<f4") for molecule, vector in found.items()}

    def contents(self, molecules: Sequence[str]) -> dict[str, bytes]:
        """Returns the entries of the molecules that have one."""
        return self._select("vectors", ("settings", "molecule", "vector"), self.settings, molecules)

    def keep(self, molecules: Mapping[str, str], vectors: Mapping[str, np.ndarray]) -> None:
        """Saves canonical SMILES by SMILES, and vectors ``[C]`` float32 by canonical SMILES."""
        self.keep_contents(molecules, {k: v.astype("<f4").tobytes() for k, v in vectors.items()})

    def keep_contents(self, molecules: Mapping[str, str], contents: Mapping[str, bytes]) -> None:
        """Saves canonical SMILES by SMILES, and entries by molecule."""
        names = [(self.reader, *item) for item in molecules.items()]
        rows = [(self.settings, *item) for item in contents.items()]

        def write() -> None:
            with self._open() as database:
                for table, values in (("names", names), ("vectors", rows)):
                    checked = [(*row, _checksum(row)) for row in values]
                    database.executemany(
                        f"INSERT OR REPLACE INTO {table} VALUES (?,?,?,?)", checked
                    )

        self._attempt(write, None)

    def _select(
        self, table: str, columns: tuple[str, str, str], group: str, keys: Sequence[str]
    ) -> dict[str, Any]:
        """Returns the values of a group by key, if their checksum is right."""
        of_group, of_key, value = columns
        query = f"SELECT {of_key}, {value}, checksum FROM {table} WHERE {of_group} = ? AND {of_key}"

        def read() -> list[tuple]:
            rows = []
            with self._open() as database:
                for start in range(0, len(keys), _AT_ONCE):
                    some = keys[start : start + _AT_ONCE]
                    marks = ",".join("?" * len(some))
                    rows += database.execute(f"{query} IN ({marks})", (group, *some))
            return rows

        rows = self._attempt(read, [])
        found = {k: v for k, v, checksum in rows if checksum == _checksum((group, k, v))}
        if len(found) < len(rows):
            warnings.warn(
                f"{len(rows) - len(found)} entries of the cache of embeddings {self.file} are "
                "damaged: they are computed again and replaced. If this happens again, delete the "
                "file and check the disk",
                stacklevel=2,
            )
        return found


def _checksum(row: tuple) -> bytes:
    """Returns the checksum of a row, with the type and length of each value."""
    found = hashlib.sha256()
    for value in row:
        content = value if isinstance(value, bytes) else str(value).encode("utf-8", "surrogatepass")
        found.update(f"{type(value).__name__} {len(content)} ".encode() + content)
    return found.digest()[:_CHECK]
