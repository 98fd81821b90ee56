"""Runs that are killed, or whose files fail, and that are called again."""

import contextlib
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from chains import molecules, predictor

from molae_pyg.fingerprint import of_weights
from molae_pyg.training import Finetuning, finetune

SCRIPT = Path(__file__).parents[2] / "benchmarks" / "kill_training.py"


@pytest.mark.parametrize("run", ["finetune", pytest.param("pretrain", marks=pytest.mark.slow)])
def test_a_run_killed_at_random_moments_gives_the_same(run):
    command = [sys.executable, SCRIPT, "--runs", run, "--kills", "20", "--print"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stderr[-2000:]
    found = json.loads(done.stdout)[run]
    assert found["kills"] == 20
    assert found["outcomes"] == {"equal": found["runs compared"]}


SETTINGS = Finetuning(epochs=2, batch_size=4, ema_decay=0.9, precision="32-true")


def outcome(folder: Path) -> tuple:
    model = predictor(pooler_dropout=0.2)
    result = finetune(model, molecules(8), molecules(4, seed=1), folder, SETTINGS)
    del result["seconds"]
    return result, of_weights(model), (folder / "metrics.csv").read_bytes()


class Faults:
    """Makes the n-th of some file operations fail, once."""

    def __init__(self, patch: pytest.MonkeyPatch, at: int):
        self.count, self.at = 0, at
        for name in ("replace", "fsync", "open", "unlink"):
            patch.setattr(os, name, self.wrapped(getattr(os, name)))

    def wrapped(self, operation):
        def wrapper(*args, **kwargs):
            self.count += 1
            if self.count == self.at:
                raise OSError(28, "No space left on device")
            return operation(*args, **kwargs)

        return wrapper


def test_after_any_failed_file_operation_the_next_call_succeeds(tmp_path):
    expected = outcome(tmp_path / "whole")
    with pytest.MonkeyPatch.context() as patch:
        count = (faults := Faults(patch, -1)) and outcome(tmp_path / "counted") and faults.count
    assert count > 15
    for at in range(1, count + 1):
        folder = tmp_path / str(at)
        with pytest.MonkeyPatch.context() as patch:
            Faults(patch, at)
            with contextlib.suppress(OSError):
                outcome(folder)
        assert outcome(folder) == expected, at
