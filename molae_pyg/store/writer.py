"""Writes a conformer store, row by row, in any order, in any number of runs."""

import contextlib
import json
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor

from molae_pyg.chem.options import InputError
from molae_pyg.durable import FolderLock
from molae_pyg.fingerprint import differences
from molae_pyg.store.format import (
    NAME,
    Manifest,
    StoreError,
    make_record,
    shard_name,
    to_arrays,
)
from molae_pyg.store.journal import Journal, delete_journal
from molae_pyg.store.shard import write_shard


class StoreWriter:
    """Writes a folder for :class:`~molae_pyg.datasets.ConformerStore`.

    Rows may come in any order. Each is committed to the journal when :meth:`add` returns, so that
    a killed process loses none; a loss of power can lose the last ones. Once all rows of a shard
    are there, the shard is sealed: written under another name, brought to the disk and moved in
    place. The files depend on the rows alone, neither on their order nor on interruptions.

    To resume after an interruption, open the same folder with the same :obj:`meta` and add the
    rows that are not :meth:`is_done`; then :meth:`finish`. Use it as a context manager or call
    :meth:`close`; leaving it without :meth:`finish` keeps what is there.

    Memory: a byte a row for each shard that is not sealed, and while one is being sealed about
    three times its size (a shard of 50,000 drug-like molecules with 11 conformers has 80 MB).

    Args:
        folder: Folder to write; made if absent.
        meta: Input and settings of the store, such as a checksum of the input; everything JSON
            can hold.
        shard_rows: Number of input rows in a shard. (default: :obj:`50_000`)

    Raises:
        StoreError: If the folder holds a store with other :obj:`meta` or :obj:`shard_rows`, rows
            of an earlier version, or other files; if another writer has it open; or if the journal
            is damaged.
    """

    def __init__(self, folder: str | Path, meta: dict[str, Any], shard_rows: int = 50_000) -> None:
        if shard_rows < 1:
            raise InputError(f"shard_rows must be at least 1, got {shard_rows}")
        self.folder = Path(folder).absolute()
        self._journal: Journal | None = None
        self._lock: FolderLock | None = None
        self._manifest = Manifest(json.loads(json.dumps(meta)), shard_rows)  # as it will be read
        if self._read() and self.complete:
            self._tidy()
            return
        self.folder.mkdir(parents=True, exist_ok=True)
        self._lock = locked(self.folder)
        try:
            self._open()
        except BaseException:
            self.close()
            raise

    @property
    def complete(self) -> bool:
        """Whether :meth:`finish` has been called, now or in an earlier run."""
        return self._manifest.complete

    @property
    def num_done(self) -> int:
        """Number of rows in the store."""
        sealed = sum(entry.rows for entry in self._manifest.shards.values())
        return sealed + (0 if self._journal is None else self._journal.num_rows)

    def is_done(self, row: int) -> bool:
        """Whether the row is in the store."""
        number, index = divmod(row, self._manifest.shard_rows)
        if (entry := self._manifest.shards.get(number)) is not None:
            return index < entry.rows
        return self._journal is not None and row in self._journal

    def add(
        self,
        row: int,
        status: str,
        reason: str = "",
        smiles: str = "",
        z: np.ndarray | Tensor | None = None,
        conformers: np.ndarray | Tensor | None = None,
    ) -> None:
        """Adds the outcome of an input row.

        Args:
            row: Its number, from 0.
            status: ``"3d"`` or ``"2d"`` with a molecule, ``"failed"``, ``"invalid"``,
                ``"timed out"`` or ``"excluded"`` without.
            reason: What departs from the recipe. (default: nothing)
            smiles: SMILES of the molecule. (default: none)
            z: Atomic numbers [n]. (default: :obj:`None`, for rows without a molecule)
            conformers: Coordinates in Å [n, K, 3], stored to 0.0005 Å and not centred.
                (default: :obj:`None`, for rows without a molecule)

        Raises:
            ValueError: If the row is in the store already or the arguments do not fit together.
            StoreError: If the store is complete or closed, or the row cannot be written.
        """
        if self._journal is None:
            state = "complete" if self.complete else "closed"
            raise StoreError(f"{self.folder}: row {row} cannot be added, the store is {state}")
        if row < 0 or self.is_done(row):
            raise ValueError(f"row {row} is " + ("negative" if row < 0 else "in the store already"))
        self._journal.add([make_record(row, status, reason, smiles, z, conformers)])
        number = row // self._manifest.shard_rows
        if self._journal.count(number) == self._manifest.shard_rows:
            self._seal([number])

    def finish(self, num_rows: int) -> None:
        """Seals the remaining shards and marks the store as complete.

        Args:
            num_rows: Number of input rows; each must have been added.

        Raises:
            StoreError: If rows are missing, which it names, or there are more than
                :obj:`num_rows`. Nothing is lost: the missing rows can still be added.
        """
        manifest = self._manifest
        if manifest.complete:
            if num_rows != manifest.num_rows:
                raise StoreError(
                    f"{self.folder} is complete with {manifest.num_rows} rows, not {num_rows}"
                )
            return
        if self._journal is None:
            raise StoreError(f"{self.folder} cannot be finished, the writer is closed")
        self._check_rows(num_rows)
        self._seal(sorted(self._journal.done), num_rows)
        self._journal.close()
        delete_journal(self.folder)
        self.close()

    def give_up(self, key: str, why: str) -> None:
        """Marks an incomplete store, so that nothing is added to it later.

        Its rows stay in the folder; :obj:`meta` of a later run differs in the entry ``key``.

        Args:
            key: Entry of :obj:`meta`, a mapping.
            why: The reason.
        """
        self._manifest.meta[key] = {**self._manifest.meta[key], "note": why}
        self._manifest.write(self.folder)

    def close(self) -> None:
        """Lets another writer open the folder. The rows that were added stay."""
        if self._journal is not None:
            self._journal.close()
            self._journal = None
        if self._lock is not None:
            self._lock.release()
            self._lock = None

    def __enter__(self) -> "StoreWriter":
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def __repr__(self) -> str:
        state = "complete" if self.complete else "not complete"
        return f"{type(self).__name__}({str(self.folder)!r}, {self.num_done} rows, {state})"

    def _read(self) -> bool:
        """Reads ``store.json`` if it exists; it must have the same meta and shard_rows."""
        if not (self.folder / NAME).exists():
            return False
        wanted, self._manifest = self._manifest, Manifest.read(self.folder)
        if lines := differences(_identity(self._manifest), _identity(wanted)):
            raise StoreError(
                f"{self.folder} holds another store ({'; '.join(lines)}): write to another "
                "folder, or delete this one"
            )
        return True

    def _tidy(self) -> None:
        """Removes what a kill in the last steps of :meth:`finish` has left in a complete store."""
        left = [*self.folder.glob("*.tmp"), *self.folder.glob("journal*")]
        if not left:
            return
        # The files do no harm: a folder that cannot be written, or is being written, keeps them.
        with contextlib.suppress(OSError), FolderLock(self.folder):
            for path in left:
                path.unlink(missing_ok=True)

    def _open(self) -> None:
        if not self._read():
            self._check_empty()
            self._manifest.write(self.folder)
        elif self.complete:  # another writer has just ended
            self.close()
            return
        self._check_no_old_journal()
        for path in self.folder.glob("*.tmp"):  # a crash while writing left them
            path.unlink()
        self._journal = Journal(self.folder, self._manifest.shard_rows)
        for number in set(self._journal.done) & set(self._manifest.shards):
            self._journal.remove(number)  # sealed just before a crash
        full = self._manifest.shard_rows
        if ready := [n for n in self._journal.done if self._journal.count(n) == full]:
            self._seal(ready)

    def _check_no_old_journal(self) -> None:
        if old := sorted(path.name for path in self.folder.glob("journal-*.bin")):
            raise StoreError(
                f"{self.folder} holds rows of an earlier molae_pyg ({', '.join(old[:3])}): "
                "complete the store with that version, or delete these files and run again, "
                "which makes their rows anew"
            )

    def _check_empty(self) -> None:
        others = {path.name for path in self.folder.iterdir()} - {"lock", f"{NAME}.tmp"}
        if others:
            raise StoreError(
                f"{self.folder} holds other files ({', '.join(sorted(others)[:3])}): "
                "write to a new or empty folder"
            )

    def _seal(self, numbers: Iterable[int], num_rows: int | None = None) -> None:
        """Turns rows of the journal into shards; with ``num_rows`` the store is complete."""
        sealed = {}
        for number in numbers:
            arrays = to_arrays(self._journal.records(number))
            sealed[number] = write_shard(self.folder / shard_name(number), arrays)
        manifest = replace(self._manifest, shards=self._manifest.shards | sealed)
        manifest.complete, manifest.num_rows = num_rows is not None, num_rows
        manifest.write(self.folder)
        self._manifest = manifest
        for number in () if manifest.complete else sealed:
            self._journal.remove(number)

    def _check_rows(self, num_rows: int) -> None:
        shard_rows, missing, num_missing = self._manifest.shard_rows, [], 0
        for number in sorted(set(range(-(-num_rows // shard_rows))) - set(self._manifest.shards)):
            size = min(shard_rows, num_rows - number * shard_rows)
            done = self._journal.done.get(number, np.zeros(size, bool))[:size]
            num_missing += size - np.count_nonzero(done)
            if len(missing) < 5:
                missing += (number * shard_rows + np.flatnonzero(~done)[:5]).tolist()
        if num_missing:
            raise StoreError(
                f"{self.folder}: {num_missing} of {num_rows} rows were not added, the first "
                f"are {missing[:5]}; add them, then finish"
            )
        if self.num_done > num_rows:
            raise StoreError(
                f"{self.folder}: {self.num_done} rows were added, more than the {num_rows} given"
            )


def locked(folder: Path) -> FolderLock:
    """Returns the lock of a store; a StoreError if another writer has it."""
    try:
        return FolderLock(folder)
    except BlockingIOError:
        raise StoreError(
            f"{folder} is being written by another process: wait until it ends, or write to "
            "another folder"
        ) from None


def _identity(manifest: Manifest) -> dict[str, Any]:
    meta = manifest.meta if isinstance(manifest.meta, dict) else {"meta": manifest.meta}
    return {**meta, "shard_rows": manifest.shard_rows}
