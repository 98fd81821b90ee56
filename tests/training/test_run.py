import json
import os
import shutil
import subprocess
import sys

import pytest
import torch

from molae_pyg import MolAE
from molae_pyg.checkpoint import CheckpointError
from molae_pyg.fingerprint import of_weights
from molae_pyg.training.course import read_metrics
from molae_pyg.training.run import OURS, DurableCheckpoints, RunFolder

IDENTITY = {"kind": "test", "seed": 1, "settings": {"lr": 0.1}}


def finished(folder, model=None, result=None) -> dict:
    with RunFolder(folder, IDENTITY) as run:
        run.course.append({"step": 0, "loss": 1.0})
        return run.finish(result or {"epoch": 3, "val_rmse": 0.1 + 0.2}, model or MolAE.tiny())


def save(run: RunFolder, **state) -> None:
    DurableCheckpoints(run).save_checkpoint(state, run.state_file)


def test_a_new_run_has_its_identity_and_counts_its_starts(tmp_path):
    for start in (1, 2, 3):
        with RunFolder(tmp_path / "run", IDENTITY) as run:
            assert run.result is None
            assert run.state() is None
            assert run.starts == start
            found = json.loads((tmp_path / "run" / "run.json").read_text())
            assert found["identity"] == IDENTITY
            assert found["starts"] == start


def test_a_run_resumes_from_its_checkpoint_and_its_log(tmp_path):
    with RunFolder(tmp_path, IDENTITY) as run:
        run.course.append({"step": 1})
        save(run, epoch=4, weight=torch.arange(3))
        run.course.append({"step": 2})
    with RunFolder(tmp_path, IDENTITY) as run:
        state = run.state()
        assert state["epoch"] == 4
        assert state["weight"].tolist() == [0, 1, 2]
        run.course.append({"step": 3})
        assert read_metrics(tmp_path)["step"].tolist() == [1, 3]


def test_a_run_without_a_checkpoint_has_an_empty_log(tmp_path):
    with RunFolder(tmp_path, IDENTITY) as run:
        run.course.append({"step": 1})
    with RunFolder(tmp_path, IDENTITY) as run:
        assert run.state() is None
        assert (tmp_path / "course.jsonl").read_bytes() == b""


def test_a_finished_run_keeps_result_and_model(tmp_path):
    expected = finished(tmp_path, model := MolAE.tiny())
    assert sorted(file.name for file in tmp_path.iterdir()) == [
        "lock", "metrics.csv", "model", "run.json",
    ]  # fmt: skip
    with RunFolder(tmp_path, IDENTITY) as run:
        assert run.course is None
        other = MolAE.tiny()
        assert run.restore(other) == expected
        assert of_weights(other) == of_weights(model)
    with RunFolder(tmp_path, IDENTITY, owner=False) as run:  # another process of the run
        assert run.result == expected


def test_leftovers_of_a_kill_are_removed(tmp_path):
    finished(tmp_path)
    (tmp_path / "last.ckpt").touch()
    (tmp_path / "course.jsonl").touch()
    RunFolder(tmp_path, IDENTITY).close()
    assert not (tmp_path / "last.ckpt").exists()
    assert not (tmp_path / "course.jsonl").exists()


def test_a_finished_run_whose_model_is_gone_or_another_is_an_error(tmp_path):
    finished(tmp_path)
    MolAE.tiny().save_pretrained(tmp_path / "model")
    with (
        RunFolder(tmp_path, IDENTITY) as run,
        pytest.raises(CheckpointError, match="other weights"),
    ):
        run.restore(MolAE.tiny())
    (tmp_path / "model" / "model.safetensors").unlink()
    with (
        RunFolder(tmp_path, IDENTITY) as run,
        pytest.raises(CheckpointError, match="lost its model"),
    ):
        run.restore(MolAE.tiny())


def test_a_finished_run_whose_model_was_removed_is_made_again(tmp_path):
    finished(tmp_path)
    shutil.rmtree(tmp_path / "model")
    with pytest.warns(UserWarning, match="was removed: it is trained again"):
        run = RunFolder(tmp_path, IDENTITY)
    assert run.result is None
    assert run.starts == 2
    run.close()


@pytest.mark.parametrize("finish", [False, True])
def test_another_run_is_an_error_and_leaves_everything(tmp_path, finish):
    if finish:
        finished(tmp_path)
    else:
        with RunFolder(tmp_path, IDENTITY) as run:
            save(run)
    before = {file: file.read_bytes() for file in tmp_path.rglob("*") if file.is_file()}
    for owner in (True, False):
        with pytest.raises(ValueError, match=r"settings\.lr: 0\.1 there, 0\.2 now\. Give another"):
            RunFolder(tmp_path, {**IDENTITY, "settings": {"lr": 0.2}}, owner)
    assert before == {file: file.read_bytes() for file in tmp_path.rglob("*") if file.is_file()}


@pytest.mark.parametrize("name", OURS)
def test_the_folder_of_another_is_refused_and_not_touched(tmp_path, name):
    (tmp_path / name).mkdir()
    (tmp_path / name / "precious.txt").write_text("mine")
    with pytest.raises(ValueError, match=rf"not the folder of a run.*has {name}, which training"):
        RunFolder(tmp_path, IDENTITY)
    assert [file.name for file in tmp_path.iterdir()] == [name]
    assert (tmp_path / name / "precious.txt").read_text() == "mine"


@pytest.mark.parametrize(
    "content", ["", "{", "[]", "3", '{"seed": 1}', '{"identity": {}, "starts": 1}', "\udcff"]
)
def test_a_run_json_that_is_not_ours_is_an_error(tmp_path, content):
    (tmp_path / "run.json").write_text(content, errors="surrogateescape")
    with pytest.raises(ValueError, match=r"run\.json was not written by this version"):
        RunFolder(tmp_path, IDENTITY)
    assert sorted(os.listdir(tmp_path)) == ["run.json"]


def test_a_file_in_place_of_the_folder_is_an_error(tmp_path):
    (tmp_path / "run").touch()
    with pytest.raises(ValueError, match="run is a file: give the name of a folder"):
        RunFolder(tmp_path / "run", IDENTITY)


@pytest.mark.parametrize("place", [0, 30, 100, -1])
def test_a_damaged_checkpoint_is_an_error(tmp_path, place):
    with RunFolder(tmp_path, IDENTITY) as run:
        save(run, weight=torch.arange(9))
    content = bytearray((tmp_path / "last.ckpt").read_bytes())
    content[place] ^= 1
    (tmp_path / "last.ckpt").write_bytes(content)
    with RunFolder(tmp_path, IDENTITY) as run, pytest.raises(CheckpointError, match="is damaged"):
        run.state()


def test_two_runs_in_one_folder_are_an_error(tmp_path):
    with RunFolder(tmp_path, IDENTITY):
        with pytest.raises(BlockingIOError, match="by this process: a run is in progress there"):
            RunFolder(tmp_path, IDENTITY)
        assert json.loads((tmp_path / "run.json").read_text())["starts"] == 1
    code = """
import filelock, sys
lock = filelock.FileLock("lock")
lock.acquire()
print(flush=True)
sys.stdin.read()
"""
    with subprocess.Popen(
        [sys.executable, "-c", code], cwd=tmp_path, stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as other:
        other.stdout.readline()  # it has the lock
        with pytest.raises(BlockingIOError, match="by another process: a run is in progress"):
            RunFolder(tmp_path, IDENTITY)
        other.stdin.close()
    assert json.loads((tmp_path / "run.json").read_text())["starts"] == 1
    RunFolder(tmp_path, IDENTITY).close()


def test_another_process_of_the_run_only_reads(tmp_path):
    with RunFolder(tmp_path / "none", IDENTITY, owner=False) as run:
        assert run.state() is None
    assert not (tmp_path / "none").exists()
    with RunFolder(tmp_path, IDENTITY) as first:
        save(first, step=7)
        with RunFolder(tmp_path, IDENTITY, owner=False) as second:
            assert second.state()["step"] == 7
            assert second.course is None
