"""Two stores become one."""

from pathlib import Path

import numpy as np
from scripts import printed_by

from molae_pyg.store import ConformerStore, StoreWriter


def write(folder: Path, sizes: list[int], conformers: int) -> None:
    """A store with a molecule of each size; 0 is a row without one."""
    rng = np.random.default_rng(len(sizes))
    with StoreWriter(folder, {"source": folder.name}) as writer:
        for row, n in enumerate(sizes):
            if n == 0:
                writer.add(row, "failed", f"no {folder.name}")
            else:
                z, pos = rng.integers(6, 9, n), rng.normal(size=(n, conformers, 3))
                writer.add(row, "3d", "", f"m{n}", z, pos.astype(np.float32))
        writer.finish(len(sizes))


def test_all_rows_come_along(tmp_path):
    write(tmp_path / "one", [3, 0, 5], 1)
    write(tmp_path / "two", [0, 4], 2)
    printed = printed_by(tmp_path, "merge_stores.py", "one", "two", "both")
    assert "3 molecules of 5 rows" in printed
    both = ConformerStore(tmp_path / "both")
    assert [row.reason for row in both.rows()] == ["", "no one", "", "no two", ""]
    parts = [*ConformerStore(tmp_path / "one"), *ConformerStore(tmp_path / "two")]
    assert [int(data.row) for data in both] == [0, 2, 4]
    for merged, part in zip(both, parts, strict=True):
        assert merged.smiles == part.smiles
        assert (merged.z == part.z).all()
        assert (merged.conformers == part.conformers).all()
    assert [part["source"] for part in both.meta["merged"]] == ["one", "two"]


def test_excluded_molecules_are_counted(tmp_path):
    for name, all_smiles in (("one", ["CCO", "CCN"]), ("two", ["C[C@H](F)Cl"])):
        with StoreWriter(tmp_path / name, {}) as writer:
            for row, smiles in enumerate(all_smiles):
                z = np.array([6, 6, 8])
                writer.add(row, "3d", "", smiles, z, np.ones((3, 1, 3), np.float32))
            writer.finish(len(all_smiles))
    (tmp_path / "out.smi").write_text("NCC\nC[C@@H](F)Cl\n")
    printed_by(tmp_path, "merge_stores.py", "one", "two", "both", "--exclude", "out.smi")
    both = ConformerStore(tmp_path / "both")
    assert [row.status for row in both.rows()] == ["3d", "excluded", "excluded"]
    assert [data.smiles for data in both] == ["CCO"]
