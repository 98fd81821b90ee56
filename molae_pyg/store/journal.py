"""Rows of a conformer store whose shards are not sealed yet: an SQLite database.

A row is committed when :meth:`Journal.add` returns. A process that is killed at any moment loses
no such row, and a write that fails, as on a full disk, leaves no part of a row.
"""

import sqlite3
import zlib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from molae_pyg.store.format import Record, StoreError

NAME = "journal.sqlite"
# Write-ahead log: a commit goes to the operating system without waiting for the disk. The lock of
# the folder admits one process, so that no memory is shared with others (network file systems).
_SETTINGS = "locking_mode = EXCLUSIVE", "journal_mode = WAL", "synchronous = NORMAL"
_TABLE = """
CREATE TABLE IF NOT EXISTS rows (
    row INTEGER PRIMARY KEY, status INTEGER, reason BLOB, smiles BLOB, scale REAL, z BLOB, pos BLOB,
    num_conformers INTEGER, crc32 INTEGER
)"""
_DAMAGED = (sqlite3.SQLITE_ERROR, sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)

Stored = tuple[int, int, bytes, bytes, float, bytes, bytes, int]


class Journal:
    """The rows that are not in a shard yet; those that were damaged are removed on opening.

    Args:
        folder: The store; the caller holds its lock.
        shard_rows: Number of input rows in a shard.

    Attributes:
        done: Shard number -> which of its rows are here, bool [shard_rows].

    Raises:
        StoreError: If the database is damaged, or cannot be read or written.
    """

    def __init__(self, folder: Path, shard_rows: int) -> None:
        self.path = folder / NAME
        self.shard_rows = shard_rows
        self.done: dict[int, np.ndarray] = {}
        with self._explained():
            self._database = sqlite3.connect(self.path)
            for setting in _SETTINGS:
                self._database.execute(f"PRAGMA {setting}")
            self._database.execute(_TABLE)
            damaged = []
            for *stored, crc32 in self._database.execute("SELECT * FROM rows"):
                if _checksum(tuple(stored)) == crc32:
                    self._mark(stored[0])
                else:
                    damaged.append(stored[:1])
            with self._database:
                self._database.executemany("DELETE FROM rows WHERE row = ?", damaged)

    def add(self, records: Iterable[Record]) -> None:
        """Adds rows, all of them or none.

        Raises:
            StoreError: If they cannot be written. The rows added before are safe.
        """
        records = list(records)
        with self._explained(), self._database:
            self._database.executemany(
                "INSERT OR REPLACE INTO rows VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
                [(*stored, _checksum(stored)) for stored in map(_stored, records)],
            )
        for record in records:
            self._mark(record.row)

    @property
    def num_rows(self) -> int:
        """Number of rows that are here."""
        return sum(map(self.count, self.done))

    def count(self, number: int) -> int:
        """Returns how many rows of a shard are here."""
        return np.count_nonzero(self.done[number]) if number in self.done else 0

    def __contains__(self, row: int) -> bool:
        number, index = divmod(row, self.shard_rows)
        return number in self.done and bool(self.done[number][index])

    def records(self, number: int) -> list[Record]:
        """Returns the rows of a shard that are here, in order.

        Raises:
            StoreError: If some have been damaged since they were added.
        """
        with self._explained():
            found = self._database.execute(
                "SELECT * FROM rows WHERE row >= ? AND row < ? ORDER BY row", self._range(number)
            ).fetchall()
        rows = [tuple(stored) for *stored, crc32 in found if _checksum(tuple(stored)) == crc32]
        if len(rows) != self.count(number):
            raise StoreError(f"{self.path} is damaged: run again, which makes the lost rows anew")
        return [_record(stored) for stored in rows]

    def remove(self, number: int) -> None:
        """Removes the rows of a shard."""
        with self._explained(), self._database:
            self._database.execute(
                "DELETE FROM rows WHERE row >= ? AND row < ?", self._range(number)
            )
        del self.done[number]

    def close(self) -> None:
        self._database.close()

    def _mark(self, row: int) -> None:
        number, index = divmod(row, self.shard_rows)
        if number not in self.done:
            self.done[number] = np.zeros(self.shard_rows, bool)
        self.done[number][index] = True

    def _range(self, number: int) -> tuple[int, int]:
        return number * self.shard_rows, (number + 1) * self.shard_rows

    @contextmanager
    def _explained(self) -> Iterator[None]:
        try:
            yield
        except (sqlite3.DatabaseError, UnicodeDecodeError) as error:  # a damaged name of a column
            if getattr(error, "sqlite_errorcode", sqlite3.SQLITE_ERROR) & 0xFF in _DAMAGED:
                remedy = "is damaged: delete it and run again, which makes the rows in it anew"
            else:
                remedy = (
                    "cannot be read or written: free some space or check the disk, then run "
                    "again; no row that was added is lost"
                )
            raise StoreError(f"{self.path} {remedy} (SQLite: {error})") from error


def delete_journal(folder: Path) -> None:
    """Deletes a journal that nobody has open, also what a kill has left of one."""
    for path in folder.glob(f"{NAME}*"):
        path.unlink(missing_ok=True)


def _stored(record: Record) -> Stored:
    """The columns of a row, without its checksum."""
    row, status, reason, smiles, scale, z, pos, num_conformers = record
    coordinates = pos.astype("<i2", copy=False).tobytes()
    return row, status, reason, smiles, scale, z.tobytes(), coordinates, num_conformers


def _record(stored: Stored) -> Record:
    row, status, reason, smiles, scale, z, pos, num_conformers = stored
    coordinates = np.frombuffer(pos, "<i2").reshape(-1, 3)  # [k n, 3]
    z = np.frombuffer(z, np.uint8)
    return Record(row, status, reason, smiles, scale, z, coordinates, num_conformers)


def _checksum(stored: Stored) -> int:
    """CRC-32 of the columns of a row: SQLite does not notice a byte that changes on the disk."""
    numbers = repr([value for value in stored if not isinstance(value, bytes)])
    texts = b"\0".join(value for value in stored if isinstance(value, bytes))
    return zlib.crc32(texts, zlib.crc32(numbers.encode()))
