"""Writing a store: order, interruption, errors."""

import errno
import json
import multiprocessing
import os
import random
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from stores import META, files, random_rows, write

from molae_pyg.datasets import ConformerStore, StoreError, StoreWriter

JOURNAL = {"journal.sqlite", "journal.sqlite-wal"}
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


KILLED = """
import multiprocessing, os, signal, sys, time
sys.path.insert(0, sys.argv[2])
from stores import META, random_rows
from molae_pyg.datasets import StoreWriter
writer = StoreWriter(sys.argv[1], META, 8)
child = multiprocessing.get_context("fork").Process(target=time.sleep, args=(60,))
child.start()
print(child.pid, flush=True)
for row in random_rows(21)[:13]:
    writer.add(*row)
os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs POSIX signals")
def test_resumes_after_kill(tmp_path, reference):
    command = [sys.executable, "-c", KILLED, str(tmp_path), str(Path(__file__).parents[1])]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as killed:
        worker = int(killed.stdout.readline())
        assert killed.wait() == -signal.SIGKILL
        try:  # a worker process that outlives its parent does not keep the folder
            os.kill(worker, 0)
            with StoreWriter(tmp_path, META, 8) as writer:
                assert [writer.is_done(row) for row in range(21)] == [True] * 13 + [False] * 8
                for row in ROWS[13:]:
                    writer.add(*row)
                writer.finish(21)
        finally:
            os.kill(worker, signal.SIGKILL)
    assert files(tmp_path) == reference


def write_and_report(folder: Path, added: int) -> None:
    """Writes what is missing of a store; every row that is added is written to a file."""
    with StoreWriter(folder, META, 8) as writer:
        for row in ROWS:
            if not writer.is_done(row.row):
                writer.add(*row)
                os.write(added, bytes([row.row]))
        writer.finish(21)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs POSIX signals")
def test_kills_at_random_moments_lose_no_row(tmp_path, reference):
    rng, log, num_killed = random.Random(0), tmp_path / "added", 0
    added = os.open(log, os.O_CREAT | os.O_WRONLY | os.O_APPEND)
    while num_killed < 20:
        folder = tmp_path / f"store-{num_killed}"
        longest, killed = 0.05, True
        while killed:
            child = multiprocessing.get_context("fork").Process(
                target=write_and_report, args=(folder, added)
            )
            child.start()
            child.join(rng.uniform(0, longest))
            longest *= 1.1  # so that a slow machine comes to the end
            child.kill()
            child.join()
            killed = child.exitcode != 0
            num_killed += killed
            if (folder / "store.json").exists():
                with StoreWriter(folder, META, 8) as writer:
                    assert all(writer.is_done(row) for row in log.read_bytes())
        assert files(folder) == reference
        log.write_bytes(b"")
    os.close(added)


def test_resumes_after_a_crash_between_the_steps_of_sealing(tmp_path, reference):
    with StoreWriter(tmp_path, META, 8) as writer:
        for row in ROWS[:7]:
            writer.add(*row)
        started = (tmp_path / "store.json").read_bytes()
        kept = {name: (tmp_path / name).read_bytes() for name in JOURNAL}
        writer.add(*ROWS[7])
        sealed = (tmp_path / "store.json").read_bytes()
    for manifest in (sealed, started):
        (tmp_path / "store.json").write_bytes(manifest)
        (tmp_path / "shard-00000.safetensors.tmp").write_bytes(b"half")
        for name, content in kept.items():
            (tmp_path / name).write_bytes(content)
        with StoreWriter(tmp_path, META, 8) as writer:
            done = manifest == sealed
            assert writer.is_done(7) is done
            assert writer.is_done(6)
            assert writer.num_done == (8 if done else 7)
    with StoreWriter(tmp_path, META, 8) as writer:
        for row in ROWS[7:]:
            writer.add(*row)
        writer.finish(21)
    assert files(tmp_path) == reference


def test_a_full_shard_is_sealed_on_opening(tmp_path, monkeypatch, reference):
    def full_disk(*_):
        raise OSError("no space left")

    writer = StoreWriter(tmp_path, META, 8)
    with monkeypatch.context() as patch:
        patch.setattr(StoreWriter, "_seal", full_disk)
        for row in ROWS[:7]:
            writer.add(*row)
        with pytest.raises(OSError, match="no space left"):
            writer.add(*ROWS[7])
    writer.close()
    with StoreWriter(tmp_path, META, 8) as writer:
        assert (tmp_path / "shard-00000.safetensors").exists()
        assert writer.num_done == 8
        for row in ROWS[8:]:
            writer.add(*row)
        writer.finish(21)
    assert files(tmp_path) == reference


def test_an_error_while_the_last_shards_are_written_leaves_the_store_open(
    tmp_path, monkeypatch, reference
):
    from molae_pyg import durable

    def full(_):
        raise OSError(errno.ENOSPC, "No space left on device")

    with StoreWriter(tmp_path, META, 8) as writer:
        for row in ROWS:
            writer.add(*row)
        with monkeypatch.context() as patch:
            patch.setattr(durable.os, "fsync", full)
            with pytest.raises(OSError, match="No space left on device"):
                writer.finish(21)
        assert not writer.complete
        writer.finish(21)
    assert files(tmp_path) == reference


@pytest.mark.skipif(os.name != "posix", reason="needs a limit on the size of files")
def test_a_full_disk_loses_no_row(tmp_path, reference):
    """No file may grow beyond 20 kB for a while: some pages of the log, or a row of a page."""
    import resource

    before, added = resource.getrlimit(resource.RLIMIT_FSIZE), []
    with StoreWriter(tmp_path, META, 8) as writer:
        resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, before[1]))
        try:
            for row in ROWS:
                writer.add(*row)
                added.append(row.row)
        except StoreError as error:
            assert "journal.sqlite cannot be read or written: free some space" in str(error)  # noqa: PT017
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert 0 < len(added) < len(ROWS)
    with StoreWriter(tmp_path, META, 8) as writer:
        assert [row.row for row in ROWS if writer.is_done(row.row)] == added
        for row in ROWS[len(added) :]:
            writer.add(*row)
        writer.finish(21)
    assert files(tmp_path) == reference


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
