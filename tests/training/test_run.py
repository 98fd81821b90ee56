import json

import torch

from molae_pyg.training import run
from molae_pyg.training.run import processes, resumable


def test_other_settings_do_not_resume(tmp_path):
    (tmp_path / "checkpoints").mkdir()
    (tmp_path / "checkpoints" / "last.ckpt").touch()
    (tmp_path / "run.json").write_text(json.dumps({"seed": 1}, indent=2) + "\n")
    last = tmp_path / "checkpoints" / "last.ckpt"
    assert resumable(tmp_path, {"seed": 1}) == last
    assert resumable(tmp_path, {"seed": 2}, owner=False) is None
    assert last.exists()  # another process only looks
    assert resumable(tmp_path, {"seed": 2}) is None
    assert not last.exists()
    assert json.loads((tmp_path / "run.json").read_text()) == {"seed": 2}


def test_processes_are_those_of_the_launcher(monkeypatch):
    for names in run._LAUNCHERS:
        for name in names:
            monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 0)
    assert processes() == {"devices": "auto", "strategy": "auto"}
    monkeypatch.setenv("SLURM_NTASKS", "8")
    monkeypatch.setenv("SLURM_NTASKS_PER_NODE", "4")
    assert processes() == {"devices": 4, "num_nodes": 2, "strategy": "ddp"}
    monkeypatch.setenv("WORLD_SIZE", "2")  # torchrun within a SLURM job
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "2")
    assert processes() == {"devices": 2, "num_nodes": 1, "strategy": "ddp"}
