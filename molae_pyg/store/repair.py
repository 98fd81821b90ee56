"""Takes rows out of a complete store, so that they are made anew."""

from collections.abc import Callable
from pathlib import Path

from molae_pyg.durable import FolderLock, replacing
from molae_pyg.store.journal import pack, records_of
from molae_pyg.store.manifest import Manifest, journal_name
from molae_pyg.store.report import PROBLEMS
from molae_pyg.store.shard import STATUSES, Shard, StoreError


def reopen(folder: Path, is_wanted: Callable[[str], bool]) -> int:
    """Turns the shards with certain rows back into journals that lack these rows.

    The store is not complete afterwards, and a writer makes the rows as after an interruption. A
    kill on the way loses no other row: the journals are whole before ``store.json`` names them.

    Args:
        folder: A complete store.
        is_wanted: Whether a row is to be made anew, by its reason. Rows that are excluded stay.

    Returns:
        Number of rows that were taken out.

    Raises:
        StoreError: If the store is damaged, or is being written.
    """
    try:
        lock = FolderLock(folder)
    except BlockingIOError:
        raise StoreError(f"{folder} is being written by another process: wait until it ends") from (
            None
        )
    with lock:
        manifest = Manifest.read(folder)
        taken = {}
        for number, entry in sorted(manifest.shards.items()):
            if rows := _take_out(folder, manifest, number, is_wanted):
                taken[entry.name] = rows
        if taken:
            (folder / PROBLEMS).unlink(missing_ok=True)  # it counts the rows as they were
            manifest.shards = {
                number: entry
                for number, entry in manifest.shards.items()
                if entry.name not in taken
            }
            manifest.complete, manifest.num_rows = False, None
            manifest.write(folder)
            for name in taken:
                (folder / name).unlink()
    return sum(taken.values())


def _take_out(
    folder: Path, manifest: Manifest, number: int, is_wanted: Callable[[str], bool]
) -> int:
    """Writes the journal of a shard without the rows that are wanted; returns their number."""
    shard = Shard(folder, manifest.shards[number], verify=True)
    reasons = shard.texts("reason")
    codes = shard.read("status").tolist()
    wanted = [
        STATUSES[code] != "excluded" and is_wanted(reason)
        for code, reason in zip(codes, reasons, strict=True)
    ]
    if any(wanted):
        shard.verify()
        records = records_of(shard, number * manifest.shard_rows)
        with replacing(folder / journal_name(number)) as journal:
            for record, out in zip(records, wanted, strict=True):
                if not out:
                    journal.write(pack(record))
    return sum(wanted)
