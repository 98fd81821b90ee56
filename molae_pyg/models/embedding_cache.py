"""Embeddings on disk, so that no molecule is embedded twice."""

import hashlib
import json
import os
import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import TypeVar

import numpy as np

_AT_ONCE = 500  # values of one SQL statement
_TABLES = """
CREATE TABLE IF NOT EXISTS molecules (reader TEXT, smiles TEXT, molecule TEXT,
    PRIMARY KEY (reader, smiles)) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS embeddings (settings TEXT, molecule TEXT, vector BLOB,
    PRIMARY KEY (settings, molecule)) WITHOUT ROWID;
"""

Value = TypeVar("Value", str, bytes)


def cache_folder() -> Path:
    """``$MOLAE_CACHE``, or ``molae_pyg`` in the user's folder for caches."""
    if folder := os.environ.get("MOLAE_CACHE"):
        return Path(folder)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "molae_pyg"


class EmbeddingCache:
    """Vectors by canonical SMILES and settings, in an SQLite file that processes may share.

    Args:
        folder: Gets ``embeddings.sqlite``.
        reader: What turns a SMILES into a canonical one: library and version.
        settings: Everything besides the molecule that a vector depends on.
    """

    def __init__(self, folder: Path, reader: str, settings: Mapping[str, object]) -> None:
        self.file = folder / "embeddings.sqlite"
        self.reader = reader
        text = json.dumps(settings, sort_keys=True)
        self.settings = hashlib.sha256(text.encode()).hexdigest()
        folder.mkdir(parents=True, exist_ok=True)
        with self._open() as database:
            database.executescript(_TABLES)

    @contextmanager
    def _open(self) -> Iterator[sqlite3.Connection]:
        """A connection for one transaction; waits while another process writes."""
        with closing(sqlite3.connect(self.file, timeout=60)) as database, database:
            yield database

    def molecules(self, smiles: Sequence[str]) -> dict[str, str]:
        """The canonical SMILES of those strings that were read before."""
        return self._select("molecules", "reader", "smiles", "molecule", self.reader, smiles)

    def vectors(self, molecules: Sequence[str]) -> dict[str, np.ndarray]:
        """The vectors ``[C]`` float32 of those canonical SMILES that have one."""
        found = self._select(
            "embeddings", "settings", "molecule", "vector", self.settings, molecules
        )
        return {molecule: np.frombuffer(vector, "<f4") for molecule, vector in found.items()}

    def keep(self, molecules: Mapping[str, str], vectors: Mapping[str, np.ndarray]) -> None:
        """Keeps canonical SMILES by SMILES, and vectors ``[C]`` float32 by canonical SMILES."""
        names = [(self.reader, *item) for item in molecules.items()]
        rows = [(self.settings, key, v.astype("<f4").tobytes()) for key, v in vectors.items()]
        with self._open() as database:
            database.executemany("INSERT OR REPLACE INTO molecules VALUES (?, ?, ?)", names)
            database.executemany("INSERT OR REPLACE INTO embeddings VALUES (?, ?, ?)", rows)

    def _select(
        self, table: str, group: str, key: str, value: str, name: str, keys: Sequence[str]
    ) -> dict[str, Value]:
        found: dict[str, Value] = {}
        with self._open() as database:
            for start in range(0, len(keys), _AT_ONCE):
                some = keys[start : start + _AT_ONCE]
                marks = ",".join("?" * len(some))
                query = f"SELECT {key}, {value} FROM {table} WHERE {group} = ? AND {key} IN"
                found.update(database.execute(f"{query} ({marks})", (name, *some)))
        return found
