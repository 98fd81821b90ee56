"""Files are replaced as a whole, and a folder has one writer."""

import errno
import os
import subprocess
import sys

import pytest

from molae_pyg.durable import FolderLock, replacing, sha256_of, write_durably


def test_a_file_is_replaced(tmp_path):
    file = tmp_path / "a.json"
    write_durably(file, b"old")
    write_durably(file, b"ne", memoryview(b"w"))
    assert file.read_bytes() == b"new"
    assert [path.name for path in tmp_path.iterdir()] == ["a.json"]


def test_a_failed_write_leaves_the_old_file_and_names_it(tmp_path, monkeypatch):
    file = tmp_path / "a.json"
    write_durably(file, b"old")

    def full(_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match=r"No space left on device.*a\.json"):
        write_durably(file, b"new")
    assert file.read_bytes() == b"old"
    assert [path.name for path in tmp_path.iterdir()] == ["a.json"]


def test_a_folder_that_cannot_be_brought_to_the_disk_is_named(tmp_path, monkeypatch):
    real, calls = os.fsync, []

    def second_fails(number):
        calls.append(number)
        if len(calls) == 2:
            raise OSError(errno.EIO, "Input/output error")
        real(number)

    monkeypatch.setattr(os, "fsync", second_fails)
    with pytest.raises(OSError, match=f"Input/output error: '{tmp_path}'"):
        write_durably(tmp_path / "a.json", b"new")


def test_an_error_in_the_block_leaves_the_old_file(tmp_path):
    file = tmp_path / "a.csv"
    write_durably(file, b"old")
    for error in (KeyboardInterrupt, ValueError):
        with pytest.raises(error), replacing(file) as new:  # noqa: PT012
            new.write(b"half")
            raise error
    assert file.read_bytes() == b"old"
    assert [path.name for path in tmp_path.iterdir()] == ["a.csv"]


def test_an_error_that_names_another_file_keeps_its_name(tmp_path):
    with (
        pytest.raises(FileNotFoundError, match="elsewhere"),
        replacing(tmp_path / "a.csv"),
        open(tmp_path / "elsewhere"),
    ):
        pass


def test_a_folder_that_is_not_there_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match="nowhere"):
        write_durably(tmp_path / "nowhere" / "a.json", b"")


def test_progress_of_a_checksum(tmp_path):
    (tmp_path / "a").write_bytes(bytes(3 << 20))
    seen = []
    assert sha256_of(tmp_path / "a", seen.append) == sha256_of(tmp_path / "a")
    assert sum(seen) == 3 << 20


def test_checksum_of_a_file(tmp_path):
    (tmp_path / "a").write_bytes(b"abc")
    expected = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"  # of FIPS 180-2
    assert sha256_of(tmp_path / "a") == expected


def test_a_folder_is_taken_once(tmp_path):
    with FolderLock(tmp_path), pytest.raises(BlockingIOError, match="by this process"):
        FolderLock(tmp_path)
    with FolderLock(tmp_path):  # released, it can be taken again
        pass


def test_another_process_holds_the_lock_until_it_is_killed(tmp_path):
    code = (
        "import sys; from pathlib import Path; from molae_pyg.durable import FolderLock; "
        "lock = FolderLock(Path(sys.argv[1])); print('taken', flush=True); input()"
    )
    words = [sys.executable, "-c", code, str(tmp_path)]
    with subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as other:
        assert other.stdout.readline() == b"taken\n"
        with pytest.raises(BlockingIOError, match="by another process"):
            FolderLock(tmp_path)
        other.kill()
        other.wait()
    FolderLock(tmp_path).release()
