"""Writing a store: order, interruption, errors."""

import json
import subprocess
import sys

import numpy as np
import pytest
import torch
from stores import JOURNAL, META, files, random_rows, write

from molae_pyg.datasets import ConformerStore, StoreError, StoreWriter

ROWS = random_rows(21)  # two shards of 8 rows and one of 5


@pytest.fixture(scope="module")
def reference(tmp_path_factory):
    return files(write(tmp_path_factory.mktemp("store"), ROWS))


def test_files(reference):
    assert list(reference) == ["lock", *(f"shard-0000{i}.safetensors" for i in range(3))] + [
        "store.json"
    ]
    content = json.loads(reference["store.json"])
    assert content["meta"] == META
    assert content["complete"] is True
    assert content["num_rows"] == 21
    assert [shard["rows"] for shard in content["shards"]] == [8, 8, 5]
    assert sum(shard["molecules"] for shard in content["shards"]) == 17


@pytest.mark.parametrize("seed", range(3))
def test_files_do_not_depend_on_the_order(tmp_path, reference, seed):
    order = np.random.default_rng(seed).permutation(21)
    assert files(write(tmp_path, [ROWS[i] for i in order])) == reference


def test_files_do_not_depend_on_interruptions(tmp_path, reference):
    for stop in (0, 3, 11, 12, 20, 21):
        with StoreWriter(tmp_path, META, 8) as writer:
            for row in reversed(ROWS[21 - stop :]):
                if not writer.is_done(row.row):
                    writer.add(*row)
            assert writer.num_done == stop
            assert [writer.is_done(row) for row in range(-1, 22)] == [
                False, *(row >= 21 - stop for row in range(21)), False
            ]  # fmt: skip
            assert not writer.complete
    with StoreWriter(tmp_path, META, 8) as writer:
        writer.finish(21)
    assert files(tmp_path) == reference


def test_a_sealed_shard_has_no_journal(tmp_path):
    with StoreWriter(tmp_path, META, 8) as writer:
        for row in ROWS[:10]:
            writer.add(*row)
        names = {path.name for path in tmp_path.iterdir()}
    assert names == {"lock", "store.json", "shard-00000.safetensors"} | JOURNAL


def test_rows_of_an_earlier_version_are_neither_mixed_nor_lost(tmp_path, reference):
    with StoreWriter(tmp_path, META, 8) as writer:
        for row in ROWS[:10]:
            writer.add(*row)
    (tmp_path / "journal-00001.bin").write_bytes(b"rows 8 and 9")
    message = r"rows of an earlier molae_pyg \(journal-00001\.bin\): complete the store with that"
    with pytest.raises(StoreError, match=message):
        StoreWriter(tmp_path, META, 8)
    (tmp_path / "journal-00001.bin").unlink()  # as the message says
    with StoreWriter(tmp_path, META, 8) as writer:
        for row in ROWS[10:]:
            writer.add(*row)
        writer.finish(21)
    assert files(tmp_path) == reference


def test_complete_store(tmp_path, reference):
    write(tmp_path, ROWS)
    with StoreWriter(tmp_path, META, 8) as writer:
        assert writer.complete
        assert all(writer.is_done(row) for row in range(21))
        assert not writer.is_done(21)
        writer.finish(21)
        with pytest.raises(StoreError, match="is complete with 21 rows, not 22"):
            writer.finish(22)
        with pytest.raises(StoreError, match="row 21 cannot be added, the store is complete"):
            writer.add(21, "failed")
    assert files(tmp_path) == reference
    assert repr(writer) == f"StoreWriter('{tmp_path}', 21 rows, complete)"


def test_other_meta(tmp_path):
    StoreWriter(tmp_path, META, 8).close()
    for meta, shard_rows, message in (
        (META | {"seed": 1}, 8, r"\(seed: 0 there, 1 now\): write to another folder, or delete"),
        (META, 9, r"\(shard_rows: 8 there, 9 now\)"),
        (
            {"input": "a.smi"},
            8,
            r"input: 'molecules.smi' there, 'a.smi' now; seed: 0 there, absent",
        ),
    ):
        with pytest.raises(StoreError, match=message):
            StoreWriter(tmp_path, meta, shard_rows)
    StoreWriter(tmp_path, {"seed": 0, "input": "molecules.smi"}, 8).close()


def test_meta_is_compared_as_it_is_stored(tmp_path):
    for _ in range(2):
        StoreWriter(tmp_path, {"sizes": (1, 2), "nested": {"a": None}}).close()


def test_missing_rows(tmp_path):
    with StoreWriter(tmp_path, META, 8) as writer:
        for row in ROWS:
            if row.row not in (3, 9, 20):
                writer.add(*row)
        with pytest.raises(StoreError, match=r"3 of 21 rows were not added.* \[3, 9, 20\]"):
            writer.finish(21)
        with pytest.raises(StoreError, match=r"32 of 50 rows .* \[3, 9, 20, 21, 22\]; add them"):
            writer.finish(50)
        for row in (3, 9, 20):
            writer.add(*ROWS[row])
        with pytest.raises(StoreError, match="21 rows were added, more than the 20 given"):
            writer.finish(20)
        writer.finish(21)


SECOND = """
import sys
from molae_pyg.datasets import StoreWriter
StoreWriter(sys.argv[1], {})
"""


def test_second_writer(tmp_path):
    with StoreWriter(tmp_path, {}):
        with pytest.raises(StoreError, match="is being written by another process: wait"):
            StoreWriter(tmp_path, {})
        command = [sys.executable, "-c", SECOND, str(tmp_path)]
        other = subprocess.run(command, capture_output=True, text=True)
        assert "is being written by another process" in other.stderr
    StoreWriter(tmp_path, {}).close()


def test_folder_with_something_else(tmp_path):
    (tmp_path / "thesis.tex").write_text("")
    with pytest.raises(StoreError, match=r"holds other files \(thesis.tex\)"):
        StoreWriter(tmp_path, META)
    (tmp_path / "store.json").write_text('{"name": "groceries"}')
    with pytest.raises(StoreError, match="is damaged or belongs to something else"):
        StoreWriter(tmp_path, META)


def test_bad_arguments(tmp_path):
    z, conformers = np.array([6, 1]), np.zeros((2, 1, 3))
    with StoreWriter(tmp_path, META, 8) as writer:
        for arguments, message in (
            ((0, "lost"), "status must be one of"),
            ((-1, "failed"), "row -1 is negative"),
            ((0, "3d"), "row 0: a row with status '3d' needs z and conformers"),
            ((0, "invalid", "", "C", z, conformers), "'invalid' has no molecule"),
            ((0, "3d", "", "C", z, conformers[:, 0]), r"expected z \[n\] and conformers \[n, K"),
            ((0, "3d", "", "C", z[:1], conformers), r"got \[1\] and \[2, 1, 3\]"),
            ((0, "3d", "", "C", z[:0], conformers[:0]), "no atoms or no conformers"),
            ((0, "3d", "", "C", z, conformers[:, :0]), "no atoms or no conformers"),
            ((0, "3d", "", "C", z + 250, conformers), "from 1 to 118"),
            ((0, "3d", "", "C", z, conformers + np.nan), "coordinates are not finite"),
        ):
            with pytest.raises(ValueError, match=message):
                writer.add(*arguments)
        assert writer.num_done == 0
        writer.add(0, "failed")
        with pytest.raises(ValueError, match="row 0 is in the store already"):
            writer.add(0, "failed")
    with pytest.raises(StoreError, match="row 1 cannot be added, the store is closed"):
        writer.add(1, "failed")
    with pytest.raises(StoreError, match="cannot be finished, the writer is closed"):
        writer.finish(1)
    with pytest.raises(ValueError, match="shard_rows must be at least 1"):
        StoreWriter(tmp_path, META, 0)


def test_tensors_and_odd_text(tmp_path):
    conformers = torch.randn(3, 2, 3)
    with StoreWriter(tmp_path, META) as writer:
        writer.add(0, "3d", "é \ud800", "C\n", torch.tensor([6, 7, 8]), conformers)
        writer.finish(1)
    store = ConformerStore(tmp_path)
    assert store[0].smiles == "C\n"
    assert next(store.rows()).reason == "é \\ud800"
    assert torch.allclose(store[0].conformers, conformers, atol=5.1e-4, rtol=0)


def test_no_rows_at_all(tmp_path):
    write(tmp_path, [])
    store = ConformerStore(tmp_path)
    assert len(store) == store.num_rows == 0
    assert list(store.rows()) == []
