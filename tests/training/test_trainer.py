import torch

from molae_pyg.training import trainer
from molae_pyg.training.trainer import processes


def test_processes_are_those_of_the_launcher(monkeypatch):
    for names in trainer._LAUNCHERS:
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
