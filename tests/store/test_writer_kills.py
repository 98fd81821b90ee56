"""Writing a store: kills, crashes and full disks lose no row."""

import errno
import multiprocessing
import os
import random
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from stores import JOURNAL, META, files, random_rows, write

from molae_pyg.datasets import StoreError, StoreWriter

ROWS = random_rows(21)  # two shards of 8 rows and one of 5


@pytest.fixture(scope="module")
def reference(tmp_path_factory):
    return files(write(tmp_path_factory.mktemp("store"), ROWS))


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
