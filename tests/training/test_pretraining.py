import dataclasses
import json
import math
import os
import signal
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest
import torch
from chains import chain_store, split

from molae_pyg import ClozeDrop, MolAE
from molae_pyg.fingerprint import of_weights
from molae_pyg.store import ConformerStore
from molae_pyg.training import (
    ClozeData,
    NonFiniteLossError,
    Pretraining,
    PretrainingModule,
    cloze_objective,
)
from molae_pyg.training import pretrain as pretrain_with
from molae_pyg.training.run import RunFolder

SETTINGS = {"pair_budget": 3000, "lr": 2e-3, "warmup_steps": 5}


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    return chain_store(tmp_path_factory.mktemp("store"))


def model(seed: int = 0) -> MolAE:
    torch.manual_seed(seed)
    return MolAE.tiny(gaussian_init="intended").train()


def pretrain(model: MolAE, *args, **named) -> dict[str, float]:
    return pretrain_with(model, cloze_objective, *args, **named)


def test_pretraining_lowers_the_loss_and_logs_all_terms(folder, tmp_path):
    trained = model()
    settings = Pretraining(steps=60, validate_every=20, **SETTINGS)
    metrics = pretrain(trained, *split(folder), tmp_path, settings, ClozeDrop(0.3))
    assert not trained.training
    assert 0 <= metrics["val_token_accuracy"] <= 1
    course = pd.read_csv(tmp_path / "metrics.csv")
    held_out = course["val_distance"].dropna()
    assert len(held_out) == 3
    assert held_out.iloc[-1] < 0.8 * held_out.iloc[0]
    assert metrics["val_distance"] == pytest.approx(held_out.iloc[-1], rel=1e-3)
    names = ["total", "token", "coordinate", "distance"]
    names += ["token_accuracy", "distance_mae", "coordinate_rmsd"]
    names += [f"{part}_{kind}_norm" for part in ("encoder", "decoder") for kind in ("x", "pair")]
    for split_name in ("train", "val"):
        assert {f"{split_name}_{name}" for name in names} <= set(course)
    for name in ("train_grad_norm", "lr", "molecules", "seconds", "molecules_per_second"):
        assert course[name].dropna().gt(0).all()
    assert list((tmp_path / "logs").glob("version_0/events.out.tfevents.*"))  # TensorBoard
    saved = MolAE.from_pretrained(tmp_path / "model")
    for a, b in zip(saved.parameters(), trained.parameters(), strict=True):
        assert torch.equal(a, b)


def test_held_out_tests_are_the_same_each_time(folder):
    class Trainer:
        global_rank, world_size = 0, 1

    train, valid = split(folder)
    first, second = ClozeData(train, valid, 3000, seed=0), ClozeData(train, valid, 3000, seed=1)
    first.trainer = second.trainer = Trainer()
    seen = 0
    for a, b in zip(first.val_dataloader(), second.val_dataloader(), strict=True):
        assert torch.equal(a.pos_noisy, b.pos_noisy)
        assert torch.equal(a.drop_mask, b.drop_mask)
        seen += a.num_graphs
        torch.rand(3)
    assert seen == len(valid)


def test_training_batches_start_at_the_current_update(folder):
    class Trainer:
        accumulate_grad_batches, global_step, global_rank, world_size = 2, 0, 0, 1

    data = ClozeData(*split(folder), 3000)
    data.trainer = Trainer()
    whole = [next_batch for next_batch, _ in zip(data.train_dataloader(), range(30), strict=False)]
    data.trainer.global_step = 6
    for late, batch in zip(data.train_dataloader(), whole[12:], strict=False):
        assert late.number == batch.number
        assert torch.equal(late.pos_noisy, batch.pos_noisy)


def test_nan_coordinates_stop_with_a_diagnosis(folder, tmp_path, monkeypatch):
    gather = ConformerStore.gather

    def spoilt(self, indices, smiles=False):
        batch = gather(self, indices)
        batch.pos[0] = math.nan
        return batch

    monkeypatch.setattr(ConformerStore, "gather", spoilt)
    with pytest.raises(NonFiniteLossError, match=r"pos is not finite in molecule\(s\) \[0\]"):
        pretrain(model(), *split(folder), tmp_path, Pretraining(steps=6, **SETTINGS))


def test_a_finished_run_returns_its_result_at_once(folder, tmp_path, monkeypatch):
    settings = Pretraining(steps=4, validate_every=2, **{**SETTINGS, "warmup_steps": 1})
    expected = pretrain(first := model(), *split(folder), tmp_path, settings)
    assert "val_total" in expected
    before = {file: file.stat().st_mtime_ns for file in tmp_path.rglob("*")}

    def trains(*_):
        raise AssertionError("a finished run trains again")

    monkeypatch.setattr(PretrainingModule, "training_step", trains)
    again = model()
    assert pretrain(again, *split(folder), tmp_path, settings) == expected
    assert of_weights(again) == of_weights(first)
    assert not again.training
    assert {file: file.stat().st_mtime_ns for file in tmp_path.rglob("*")} == before


def test_a_run_killed_after_its_last_checkpoint_has_its_scores(folder, tmp_path, monkeypatch):
    settings = Pretraining(steps=4, validate_every=2, **{**SETTINGS, "warmup_steps": 1})
    expected = pretrain(first := model(), *split(folder), tmp_path / "whole", settings)

    def killed(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(RunFolder, "finish", killed)
        with pytest.raises(KeyboardInterrupt):
            pretrain(model(), *split(folder), tmp_path / "killed", settings)
    monkeypatch.setattr(PretrainingModule, "training_step", killed)
    again = model()
    assert pretrain(again, *split(folder), tmp_path / "killed", settings) == expected
    assert of_weights(again) == of_weights(first)
    courses = [pd.read_csv(tmp_path / name / "metrics.csv") for name in ("whole", "killed")]
    timed = ["seconds", "molecules_per_second"]
    pd.testing.assert_frame_equal(*(course.drop(columns=timed) for course in courses))


def test_another_run_in_the_folder_is_an_error_that_names_the_difference(folder, tmp_path):
    settings = Pretraining(steps=2, validate_every=2, **{**SETTINGS, "warmup_steps": 1})
    train, valid = split(folder)
    pretrain(model(), train, valid, tmp_path, settings)
    faster = dataclasses.replace(settings, lr=1.0)
    for change, name in (
        ({"settings": faster}, "settings.lr: 0.002 there, 1.0 now"),
        ({"seed": 1}, "seed: 0 there, 1 now"),
        ({"train": train[:40]}, "train: "),
        ({"valid": train[:4]}, "valid: "),
        ({"model": model(1)}, "model.weights: "),
        ({"transform": ClozeDrop(0.5)}, "transform: "),
    ):
        call = {"model": model(), "train": train, "valid": valid, "settings": settings}
        with pytest.raises(ValueError, match="holds a finished run that is another one") as error:
            pretrain(**{**call, **change}, folder=tmp_path)
        assert name in str(error.value)


def test_pretraining_does_not_touch_the_folder_of_another(folder, tmp_path):
    (tmp_path / "logs").mkdir()
    (tmp_path / "logs" / "mine.txt").write_text("precious")
    with pytest.raises(ValueError, match="not the folder of a run"):
        pretrain(model(), *split(folder), tmp_path, Pretraining(steps=9, **SETTINGS))
    assert (tmp_path / "logs" / "mine.txt").read_text() == "precious"


def test_no_molecules_and_a_warm_up_that_is_too_long(folder, tmp_path):
    train, valid = split(folder)
    for name, stores in {"train": (train[:0], valid), "valid": (train, valid[:0])}.items():
        with pytest.raises(ValueError, match=f"{name} has no molecule"):
            pretrain(model(), *stores, tmp_path / "run", Pretraining(steps=9, **SETTINGS))
    with pytest.warns(UserWarning, match="warmup_steps 5 exceeds steps 1"):
        pretrain(model(), train, valid, tmp_path / "run", Pretraining(steps=1, **SETTINGS))


# One program for all runs below: steps, where to die, and batches per update come as arguments.
PROGRAM = """
import json, os, signal, sys
import torch
from molae_pyg import MolAE
from molae_pyg.store import ConformerStore
from molae_pyg.training import Pretraining, PretrainingModule, cloze_objective, pretrain

torch.set_num_threads(1)
store, output, log, settings, die_at = *sys.argv[1:4], json.loads(sys.argv[4]), int(sys.argv[5])
step, gather = PretrainingModule.training_step, ConformerStore.gather


def double_gather(self, indices, smiles=False):
    batch = gather(self, indices)
    batch.pos = batch.pos.double()
    return batch


if settings["precision"] == "64-true":
    ConformerStore.gather = double_gather


def logged_step(self, batch, index):
    if self.trainer.global_step == die_at:
        os.kill(os.getpid(), signal.SIGKILL)
    loss = step(self, batch, index)
    with open(log, "a") as file:
        print(self.trainer.global_step, batch.number, loss.item(), file=file)
    return loss


PretrainingModule.training_step = logged_step
torch.manual_seed(0)
model = MolAE.tiny(gaussian_init="intended").train()
store = ConformerStore(store)
pretrain(model, cloze_objective, store[:64], store[64:], output, Pretraining(**settings))
"""


def program(folder: Path, where: Path, settings: dict, die_at: int = -1, launcher=()) -> int:
    """Runs the program in ``where``; its losses go to ``where/losses``."""
    (where / "program.py").write_text(PROGRAM)
    arguments = [folder, where / "run", where / "losses", json.dumps(settings), die_at]
    done = subprocess.run(
        [sys.executable, *launcher, str(where / "program.py"), *map(str, arguments)],
        env={**os.environ, "CUDA_VISIBLE_DEVICES": "", "OMP_NUM_THREADS": "1"},
        capture_output=True, text=True, check=False, timeout=300,
    )  # fmt: skip
    if done.returncode not in (0, -signal.SIGKILL):
        raise AssertionError(done.stderr[-3000:])
    return done.returncode


def losses(where: Path) -> dict[int, float]:
    """Loss of each batch of the stream, the last one written if it came twice."""
    lines = [line.split() for line in (where / "losses").read_text().splitlines()]
    return {int(number): float(loss) for _, number, loss in lines}


def test_a_killed_run_gives_what_an_uninterrupted_run_gives(folder, tmp_path):
    settings = {"steps": 12, "validate_every": 4, "accumulate": 2, "precision": "32-true"}
    settings = SETTINGS | settings
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    for where in (whole, killed):
        where.mkdir()
    assert program(folder, whole, settings) == 0
    assert program(folder, killed, settings, die_at=6) == -signal.SIGKILL
    first = (killed / "losses").read_text().splitlines()
    assert len(first) == 12  # updates 0 to 5, the last two of them after the checkpoint
    assert program(folder, killed, settings) == 0
    resumed = (killed / "losses").read_text().splitlines()[12:]
    assert resumed[0].split()[0] == "4"  # from the checkpoint, not from the start
    assert losses(killed) == losses(whole)  # to the last bit, and of every batch
    assert len(losses(whole)) == 24
    a, b = (MolAE.from_pretrained(where / "run" / "model") for where in (whole, killed))
    for x, y in zip(a.parameters(), b.parameters(), strict=True):
        assert torch.equal(x, y)
    a, b = (pd.read_csv(where / "run" / "metrics.csv") for where in (whole, killed))
    timed = ["seconds", "molecules_per_second"]
    pd.testing.assert_frame_equal(a.drop(columns=timed), b.drop(columns=timed))


def test_two_processes_do_what_one_does(folder, tmp_path):
    # float64, so that the order of sums does not hide a difference
    settings = SETTINGS | {"steps": 6, "validate_every": 3, "precision": "64-true"}
    one, two = tmp_path / "one", tmp_path / "two"
    for where in (one, two):
        where.mkdir()
    program(folder, one, settings | {"accumulate": 2})
    launcher = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    program(folder, two, settings, launcher=launcher)
    expected, got = losses(one), losses(two)
    assert sorted(got) == list(range(12))
    assert got == pytest.approx(expected, rel=1e-9)
    a, b = (MolAE.from_pretrained(where / "run" / "model") for where in (one, two))
    for x, y in zip(a.parameters(), b.parameters(), strict=True):
        assert torch.allclose(x, y, rtol=0, atol=1e-9)
    a, b = (pd.read_csv(where / "run" / "metrics.csv") for where in (one, two))
    assert a["molecules"].dropna().tolist() == b["molecules"].dropna().tolist()
    assert a["val_total"].dropna().tolist() == pytest.approx(b["val_total"].dropna(), rel=0.05)
