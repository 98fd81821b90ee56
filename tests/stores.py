"""Small conformer stores."""

from pathlib import Path
from typing import NamedTuple

import numpy as np

from molae_pyg.datasets import StoreWriter

META = {"input": "molecules.smi", "seed": 0}
JOURNAL = {"journal.sqlite", "journal.sqlite-wal"}  # files of a shard that is not full yet


class Row(NamedTuple):
    """Arguments of ``StoreWriter.add``."""

    row: int
    status: str
    reason: str = ""
    smiles: str = ""
    z: np.ndarray | None = None
    conformers: np.ndarray | None = None


def random_rows(num_rows: int, seed: int = 0) -> list[Row]:
    """Molecules of 1 to 12 atoms and 1 to 4 conformers, every fifth row without one."""
    rng = np.random.default_rng(seed)
    rows = []
    for row in range(num_rows):
        if row % 5 == 3:
            rows.append(Row(row, "failed" if row % 2 else "timed out", f"reason {row % 3} Å"))
            continue
        n, k = int(rng.integers(1, 13)), int(rng.integers(1, 5))
        z, conformers = rng.integers(1, 54, n), rng.normal(0, 3, (n, k, 3))
        rows.append(Row(row, "2d" if row % 7 == 6 else "3d", "", f"C{row}", z, conformers))
    return rows


def with_molecule(rows: list[Row]) -> list[Row]:
    return [row for row in rows if row.z is not None]


def write(folder: Path, rows: list[Row], shard_rows: int = 8, meta: dict = META) -> Path:
    with StoreWriter(folder, meta, shard_rows) as writer:
        for row in rows:
            writer.add(*row)
        writer.finish(len(rows))
    return folder


def num_journalled(folder: Path) -> int:
    """Number of rows in the log of a store that a writer may have open.

    Each takes a page or more; the tables and indices take the first ones.
    """
    logs = [path.stat().st_size for path in folder.glob("journal.sqlite-wal")]
    return max(0, sum(logs) // 4096 - 4)


def files(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}
