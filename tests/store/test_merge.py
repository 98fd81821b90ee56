"""Merging stores."""

from pathlib import Path

import numpy as np
import pytest

from molae_pyg.chem.options import InputError
from molae_pyg.cli import main
from molae_pyg.store import ConformerStore, StoreError, StoreWriter
from molae_pyg.store.merge import merge


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


def test_all_rows_are_merged(tmp_path, capsys):
    write(tmp_path / "one", [3, 0, 5], 1)
    write(tmp_path / "two", [0, 4], 2)
    folders = [str(tmp_path / name) for name in ("one", "two", "both")]
    assert main(["merge", *folders]) == 0
    assert f"3 molecules of 5 rows written to {folders[-1]}\n" in capsys.readouterr().out
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
    both = merge([tmp_path / "one", tmp_path / "two"], tmp_path / "both", tmp_path / "out.smi")
    assert [row.status for row in both.rows()] == ["3d", "excluded", "excluded"]
    assert [data.smiles for data in both] == ["CCO"]
    assert [row.reason for row in both.rows()][1:] == [f"in {tmp_path / 'out.smi'}"] * 2


def test_an_interrupted_merge_resumes(tmp_path, monkeypatch):
    write(tmp_path / "one", [3, 0, 5], 1)
    write(tmp_path / "two", [0, 4], 2)
    stores = [tmp_path / "one", tmp_path / "two"]
    merge(stores, tmp_path / "whole")
    add, added = StoreWriter.add, []

    def stop_once(self, row, *rest):
        added.append(row)
        if len(added) == 4:
            raise KeyboardInterrupt
        add(self, row, *rest)

    monkeypatch.setattr(StoreWriter, "add", stop_once)
    with pytest.raises(KeyboardInterrupt):
        merge(stores, tmp_path / "both")
    merge(stores, tmp_path / "both")
    assert added == [0, 1, 2, 3, 3, 4]
    for path in (tmp_path / "whole").iterdir():
        assert (tmp_path / "both" / path.name).read_bytes() == path.read_bytes()


def test_errors(tmp_path, capsys):
    write(tmp_path / "one", [3], 1)
    with pytest.raises(StoreError, match="holds another store"):
        merge([tmp_path / "one"], tmp_path / "one")
    with pytest.raises(InputError, match="no store to merge"):
        merge([], tmp_path / "both")
    (tmp_path / "out.csv").write_text("a,b\n1,2\n")
    words = ["merge", str(tmp_path / "one"), str(tmp_path / "both"), "--exclude"]
    for name, message in (("out.csv", "found no SMILES column"), ("none.smi", "No such file")):
        assert main([*words, str(tmp_path / name)]) == 1
        assert message in capsys.readouterr().err
    assert not (tmp_path / "both").exists()
