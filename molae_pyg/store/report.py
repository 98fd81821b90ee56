"""The account of a conformer store that has been prepared, and its table of problems."""

import csv
import io
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import numpy as np

from molae_pyg.durable import replacing
from molae_pyg.store.manifest import Manifest
from molae_pyg.store.shard import STATUSES, Shard, StoreError
from molae_pyg.store.sources import MoleculeFile

PROBLEMS = "problems.csv"
T = TypeVar("T", int, np.ndarray)


@dataclass(frozen=True)
class PrepareReport:
    """The account of one :func:`~molae_pyg.datasets.prepare` run: every row has an outcome."""

    #: The store.
    folder: Path
    #: Number of input rows for each outcome: ``"3d"``, ``"2d"`` (the flat layout stands in),
    #: ``"failed"`` (no coordinates), ``"timed out"`` (the same, for want of time), ``"invalid"``
    #: (no molecule), ``"excluded"``. Only the first two have a molecule in the store.
    counts: dict[str, int]
    #: Number of rows in the table of problems.
    num_problems: int

    @property
    def num_rows(self) -> int:
        """Number of input rows."""
        return sum(self.counts.values())

    @property
    def problems(self) -> Path:
        """A table (row from 0, smiles, status, reason) of the rows with problems."""
        return self.folder / PROBLEMS

    def __str__(self) -> str:
        lines = [f"{number:12,}  {status}" for status, number in self.counts.items()]
        lines.append(f"{self.num_rows:12,}  rows")
        if self.num_problems:
            lines.append(f"{self.num_problems:,} rows have problems: {self.problems} says which")
        return "\n".join(lines)


def report_on(folder: Path, file: MoleculeFile) -> PrepareReport:
    """Counts the outcomes of a complete store and writes its table of problems, if it has none.

    Shard by shard, for a store of any size.
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
    """Writes the table under another name first, so that it is whole where it is."""
    with replacing(path) as whole:
        out = io.TextIOWrapper(whole, "utf-8", newline="")
        table = csv.writer(out, lineterminator="\n")
        table.writerow(["row", "smiles", "status", "reason"])
        # The store has no SMILES of rows without a molecule: the file is read once more.
        records = iter(file)
        for row, (code, reason) in enumerate(_rows(folder)):
            record = next(records, None)
            if record is None:
                raise StoreError(f"{file.path} has fewer than {row + 1} records: {folder} has them")
            if _is_problem(code, len(reason)):
                smiles = record if isinstance(record, str) else ""
                table.writerow([row, smiles, STATUSES[code], reason])
        out.flush()
        out.detach()  # closing it would close the file that is not on the disk yet


def _is_problem(code: T, length: T) -> T:
    """Whether a row of this status and length of reason has a problem; arrays or numbers.

    A flat layout without a remark is what was asked for.
    """
    return (code != STATUSES.index("3d")) & ((code != STATUSES.index("2d")) | (length > 0))


def _rows(folder: Path) -> Iterator[tuple[int, str]]:
    """Place of the status in :data:`STATUSES`, and reason, of every row in order."""
    for shard in _shards(folder):
        yield from zip(shard.statuses().tolist(), shard.texts("reason"), strict=True)


def _shards(folder: Path) -> Iterator[Shard]:
    # Unverified: they have just been written, and comparing checksums would read all molecules.
    for _, entry in sorted(Manifest.read(folder).shards.items()):
        yield Shard(folder, entry, verify=False)
