"""The report of a prepared store, its table of problems, and the repair of its rows."""

import csv
import io
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import numpy as np

from molae_pyg.durable import replacing
from molae_pyg.store.format import STATUSES, Manifest, StoreError
from molae_pyg.store.journal import Journal, delete_journal
from molae_pyg.store.shard import Shard
from molae_pyg.store.sources import MoleculeFile
from molae_pyg.store.writer import locked

PROBLEMS = "problems.csv"
T = TypeVar("T", int, np.ndarray)


@dataclass(frozen=True)
class PrepareReport:
    """The report of one :func:`~molae_pyg.datasets.prepare` run: every row has an outcome."""

    #: Folder of the store.
    folder: Path
    #: Number of input rows for each outcome: ``"3d"``, ``"2d"`` (the 2D layout only), ``"failed"``
    #: (no coordinates), ``"timed out"`` (no coordinates within the time limit), ``"invalid"`` (no
    #: molecule), ``"excluded"``. Only the first two have a molecule in the store.
    counts: dict[str, int]
    #: Number of rows in the table of problems.
    num_problems: int

    @property
    def num_rows(self) -> int:
        """Number of input rows."""
        return sum(self.counts.values())

    @property
    def problems(self) -> Path:
        """Table (row from 0, smiles, status, reason) of the rows with problems."""
        return self.folder / PROBLEMS

    def __str__(self) -> str:
        lines = [f"{number:12,}  {status}" for status, number in self.counts.items()]
        lines.append(f"{self.num_rows:12,}  rows")
        if self.num_problems:
            lines.append(f"{self.num_problems:,} rows have problems: {self.problems} lists them")
        return "\n".join(lines)


def report_on(folder: Path, file: MoleculeFile) -> PrepareReport:
    """Counts the outcomes of a complete store and writes its table of problems if it is absent.

    One shard at a time is in memory.
    """
    counts, num_problems = np.zeros(len(STATUSES), np.int64), 0
    for shard in _shards(folder):
        status = shard.statuses()
        counts += np.bincount(status, minlength=len(STATUSES))
        num_problems += int(_is_problem(status, np.diff(shard.read("reason_start"))).sum())
    report = PrepareReport(folder, dict(zip(STATUSES, counts.tolist(), strict=True)), num_problems)
    if not report.problems.exists():
        _write_problems(report.problems, folder, file)
    return report


def _write_problems(path: Path, folder: Path, file: MoleculeFile) -> None:
    with replacing(path) as whole:
        out = io.TextIOWrapper(whole, "utf-8", newline="")
        table = csv.writer(out, lineterminator="\n")
        table.writerow(["row", "smiles", "status", "reason"])
        # The store has no SMILES of rows without a molecule: the file is read once more.
        records = iter(file)
        for row, (code, reason) in enumerate(_rows(folder)):
            record = next(records, None)
            if record is None:
                raise StoreError(
                    f"{file.path} has {row} records, but {folder} was made from more: restore the "
                    "file, or prepare it into another folder"
                )
            if _is_problem(code, len(reason)):
                smiles = record if isinstance(record, str) else ""
                table.writerow([row, smiles, STATUSES[code], reason])
        out.flush()
        out.detach()  # closing it would close the file that is not on the disk yet


def _is_problem(code: T, length: T) -> T:
    """Whether a row with this status and length of reason has a problem; arrays or numbers.

    A 2D layout without a reason is what was asked for.
    """
    return (code != STATUSES.index("3d")) & ((code != STATUSES.index("2d")) | (length > 0))


def _rows(folder: Path) -> Iterator[tuple[int, str]]:
    """Yields status code and reason of every row in order."""
    for shard in _shards(folder):
        yield from zip(shard.statuses().tolist(), shard.texts("reason"), strict=True)


def _shards(folder: Path) -> Iterator[Shard]:
    # Unverified: they have just been written, and comparing checksums would read all molecules.
    for entry in Manifest.read(folder).entries():
        yield Shard(folder, entry, verify=False)


def reopen(folder: Path, is_wanted: Callable[[str], bool]) -> int:
    """Takes rows out of a complete store, so that they are made anew.

    The shards with such rows go back into the journal without them. The store is not complete
    afterwards, and a writer makes the rows as after an interruption. A kill loses no other row: a
    shard is deleted only after the journal and ``store.json`` are written.

    Args:
        folder: A complete store.
        is_wanted: Whether a row is to be made anew, by its reason. Excluded rows stay.

    Returns:
        Number of rows that were taken out.

    Raises:
        StoreError: If the store is damaged, or is being written.
    """
    num_taken, reopened = 0, {}
    with locked(folder):
        manifest = Manifest.read(folder)
        delete_journal(folder)  # of an attempt that was killed
        with closing(Journal(folder, manifest.shard_rows)) as journal:
            for number, entry in manifest.shards.items():
                shard = Shard(folder, entry, verify=True)
                texts = zip(shard.statuses().tolist(), shard.texts("reason"), strict=True)
                wanted = [STATUSES[code] != "excluded" and is_wanted(text) for code, text in texts]
                if any(wanted):
                    shard.verify()
                    records = shard.records(number * manifest.shard_rows)
                    journal.add(r for r, out in zip(records, wanted, strict=True) if not out)
                    num_taken, reopened[number] = num_taken + sum(wanted), entry
        if reopened:
            (folder / PROBLEMS).unlink(missing_ok=True)  # it lists the rows as they were
            manifest.shards = {n: e for n, e in manifest.shards.items() if n not in reopened}
            manifest.complete, manifest.num_rows = False, None
            manifest.write(folder)
            for entry in reopened.values():
                (folder / entry.name).unlink()
        else:
            delete_journal(folder)
    return num_taken
