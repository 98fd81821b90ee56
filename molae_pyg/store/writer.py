"""Writes a conformer store, row by row, in any order, over as many runs as it takes."""

import contextlib
import json
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor

from molae_pyg.chem.options import InputError
from molae_pyg.durable import FolderLock
from molae_pyg.fingerprint import differences
from molae_pyg.store.journal import Journal, make_record, to_arrays
from molae_pyg.store.manifest import NAME, Manifest, journal_name, shard_name
from molae_pyg.store.shard import StoreError, write_shard


def _identity(manifest: Manifest) -> dict[str, Any]:
    meta = manifest.meta if isinstance(manifest.meta, dict) else {"meta": manifest.meta}
    return {**meta, "shard_rows": manifest.shard_rows}


class StoreWriter:
    """Writes a folder for :class:`~molae_pyg.datasets.ConformerStore`.

    Rows may come in any order. Each is in the hands of the operating system when :meth:`add`
    returns, so that a killed process loses none; a loss of power can lose those of shards that
    are not sealed. Once all rows of a shard's range are there, the shard is sealed: written
    under another name, brought to the disk and moved in place. The files depend on the rows
    alone, not on their order nor on interruptions.

    To resume after an interruption, open the same folder with the same :obj:`meta` and add the
    rows that are not :meth:`is_done`; then :meth:`finish`. Use it as a context manager or call
    :meth:`close`; leaving it without :meth:`finish` keeps what is there.

    Memory: a byte a row for each shard that is not sealed, and while one is being sealed about
    three times its size (a shard of 50,000 drug-like molecules with 11 conformers has 80 MB).

    Args:
        folder: Where to write; made if need be.
        meta: What the store was made from and with, such as a hash of the input and the
            settings; everything JSON can hold.
        shard_rows: Input rows a shard covers. (default: :obj:`50_000`)

    Raises:
        StoreError: If the folder has a store with other :obj:`meta` or :obj:`shard_rows`, holds
            something else, or another writer has it open.
    """

    def __init__(self, folder: str | Path, meta: dict[str, Any], shard_rows: int = 50_000) -> None:
        if shard_rows < 1:
            raise InputError(f"shard_rows must be at least 1, got {shard_rows}")
        self.folder = Path(folder).absolute()
        self._journals: dict[int, Journal] = {}
        self._lock: FolderLock | None = None
        manifest = Manifest(json.loads(json.dumps(meta)), shard_rows)  # as it will be read
        if (self.folder / NAME).exists():
            self._manifest = Manifest.read(self.folder)
            self._check_same(manifest)
            if self._manifest.complete:
                self._tidy()
                return
        self.folder.mkdir(parents=True, exist_ok=True)
        self._lock = self._acquire()
        try:
            self._open(manifest)
        except BaseException:
            self.close()
            raise

    @property
    def complete(self) -> bool:
        """Whether :meth:`finish` has been called, now or in an earlier run."""
        return self._manifest.complete

    @property
    def num_done(self) -> int:
        """Number of rows that are in the store."""
        sealed = sum(entry.rows for entry in self._manifest.shards.values())
        return sealed + sum(journal.count for journal in self._journals.values())

    def is_done(self, row: int) -> bool:
        """Whether the row is in the store."""
        number, place = divmod(row, self._manifest.shard_rows)
        if (entry := self._manifest.shards.get(number)) is not None:
            return place < entry.rows
        journal = self._journals.get(number)
        return journal is not None and bool(journal.done[place])

    def add(
        self,
        row: int,
        status: str,
        reason: str = "",
        smiles: str = "",
        z: np.ndarray | Tensor | None = None,
        conformers: np.ndarray | Tensor | None = None,
    ) -> None:
        """Enters what became of an input row.

        Args:
            row: Its number, from 0.
            status: ``"3d"``, ``"2d"`` (both with a molecule), ``"failed"``, ``"invalid"``,
                ``"timed out"`` or ``"excluded"`` (without).
            reason: What did not go by the recipe. (default: none)
            smiles: Of the molecule. (default: none)
            z: Atomic numbers [n]. (default: :obj:`None`, for rows without a molecule)
            conformers: Coordinates in Å [n, K, 3], stored to 0.0005 Å and not centred.
                (default: :obj:`None`, for rows without a molecule)

        Raises:
            ValueError: If the row is there already or the arguments do not fit together.
            StoreError: If the store is complete or closed.
        """
        if self._lock is None:
            state = "complete" if self.complete else "closed"
            raise StoreError(f"{self.folder}: row {row} cannot be added, the store is {state}")
        if row < 0 or self.is_done(row):
            raise ValueError(f"row {row} is " + ("negative" if row < 0 else "in the store already"))
        record = make_record(row, status, reason, smiles, z, conformers)
        number = row // self._manifest.shard_rows
        journal = self._journal(number)
        journal.append(record)
        if journal.count == self._manifest.shard_rows:
            self._seal(number)
            self._save(self._manifest)

    def finish(self, num_rows: int) -> None:
        """Seals what is left and marks the store as complete.

        Args:
            num_rows: Number of input rows; each must have been added.

        Raises:
            StoreError: If rows are missing, or there are more; the message names them. Nothing
                is lost, the rows that are missing can still be added.
        """
        manifest = self._manifest
        if manifest.complete:
            if num_rows != manifest.num_rows:
                raise StoreError(
                    f"{self.folder} is complete with {manifest.num_rows} rows, not {num_rows}"
                )
            return
        if self._lock is None:
            raise StoreError(f"{self.folder}: the writer is closed")
        self._check_rows(num_rows)
        for number in list(self._journals):
            self._seal(number)
        manifest.complete, manifest.num_rows = True, num_rows
        self._save(manifest)
        self.close()

    def close(self) -> None:
        """Lets go of the folder; what was added is kept, and a later writer can go on."""
        for journal in self._journals.values():
            journal.close()
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

    def _check_same(self, wanted: Manifest) -> None:
        if lines := differences(_identity(self._manifest), _identity(wanted)):
            raise StoreError(
                f"{self.folder} has a store made otherwise ({'; '.join(lines)}): write to another "
                "folder, or delete this one"
            )

    def _tidy(self) -> None:
        """Removes what a kill in the last steps of :meth:`finish` has left in a complete store."""
        left = [*self.folder.glob("*.tmp"), *self.folder.glob("journal-*.bin")]
        if not left:
            return
        # The files do no harm: a folder that cannot be written, or is being written, keeps them.
        with contextlib.suppress(OSError), FolderLock(self.folder):
            for path in left:
                path.unlink(missing_ok=True)

    def give_up(self, key: str, why: str) -> None:
        """Marks a store that is not complete, so that nothing is added to it later.

        Its rows stay in the folder; :obj:`meta` of a later run differs in the entry ``key``.

        Args:
            key: Entry of :obj:`meta`, a mapping.
            why: What happened.
        """
        self._manifest.meta[key] = {**self._manifest.meta[key], "note": why}
        self._save(self._manifest)

    def _acquire(self) -> FolderLock:
        try:
            return FolderLock(self.folder)
        except BlockingIOError:
            raise StoreError(
                f"{self.folder} is being written by another process: wait until it ends, or "
                "write to another folder"
            ) from None

    def _open(self, manifest: Manifest) -> None:
        if (self.folder / NAME).exists():  # again, as another writer may just have ended
            self._manifest = Manifest.read(self.folder)
            self._check_same(manifest)
            if self._manifest.complete:
                self.close()
                return
        else:
            self._manifest = manifest
            self._check_empty()
            manifest.write(self.folder)
        for path in self.folder.glob("*.tmp"):  # a crash while writing left them
            path.unlink()
        for path in sorted(self.folder.glob("journal-*.bin")):
            number = int(path.stem.removeprefix("journal-"))
            if number in self._manifest.shards:  # sealed just before a crash
                path.unlink()
            else:
                self._journal(number)
        for number, journal in list(self._journals.items()):
            if journal.count == self._manifest.shard_rows:
                self._seal(number)
                self._save(self._manifest)

    def _check_empty(self) -> None:
        others = {path.name for path in self.folder.iterdir()} - {"lock", f"{NAME}.tmp"}
        if others:
            raise StoreError(
                f"{self.folder} holds other files ({', '.join(sorted(others)[:3])}): "
                "write to a new or empty folder"
            )

    def _journal(self, number: int) -> Journal:
        if number not in self._journals:
            shard_rows = self._manifest.shard_rows
            path = self.folder / journal_name(number)
            self._journals[number] = Journal(path, number * shard_rows, shard_rows)
        return self._journals[number]

    def _seal(self, number: int) -> None:
        """Turns a journal into a shard; :meth:`_save` has to follow."""
        journal = self._journals[number]
        records = journal.records()
        if len(records) != journal.count:
            raise StoreError(
                f"{journal.path} is damaged: run again, and its rows that are lost are made anew"
            )
        entry = write_shard(self.folder / shard_name(number), to_arrays(records))
        self._manifest.shards[number] = entry

    def _save(self, manifest: Manifest) -> None:
        """Writes ``store.json``, then deletes the journals that are no longer needed."""
        manifest.write(self.folder)
        for number in set(self._journals) & set(manifest.shards):
            self._journals.pop(number).delete()

    def _check_rows(self, num_rows: int) -> None:
        manifest, missing, num_missing = self._manifest, [], 0
        for first in range(0, num_rows, manifest.shard_rows):
            number, size = first // manifest.shard_rows, min(manifest.shard_rows, num_rows - first)
            if number in manifest.shards:
                continue
            journal = self._journals.get(number)
            done = np.zeros(size, bool) if journal is None else journal.done[:size]
            num_missing += size - int(done.sum())
            if len(missing) < 5:
                missing += (first + np.flatnonzero(~done)[:5]).tolist()
        if num_missing:
            raise StoreError(
                f"{self.folder}: {num_missing} of {num_rows} rows were not added, the first "
                f"are {missing[:5]}; add them, then finish"
            )
        if self.num_done > num_rows:
            raise StoreError(
                f"{self.folder}: {self.num_done} rows were added, more than the {num_rows} given"
            )
