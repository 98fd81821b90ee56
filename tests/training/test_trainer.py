import math

import pytest
import torch
from chains import molecules, predictor
from torch import nn

from molae_pyg.training import Finetuning, NonFiniteLossError, finetune, predict, trainer
from molae_pyg.training.trainer import FiniteCheck, processes


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


def test_no_bar_where_there_is_no_terminal(tmp_path, capfd):
    model = predictor()
    finetune(
        model, molecules(8), molecules(4, seed=1), tmp_path, Finetuning(epochs=2, batch_size=4)
    )
    predict(model, molecules(4))
    out, err = capfd.readouterr()
    assert "fine-tuning" not in err
    assert "it/s" not in err
    assert out == ""


def test_a_loss_that_is_not_finite_is_diagnosed():
    model, batch = nn.Linear(2, 1), molecules(1)[0]
    check = FiniteCheck(model)
    check(torch.tensor(1.0), batch, 0.1)
    check.finish()
    with pytest.raises(NonFiniteLossError, match=r"0\.1; lower lr or warm up longer; mol"):
        check(torch.tensor(math.nan), batch, 0.1)
    batch.conformers[1, 0, 0] = math.nan
    terms = {"token": torch.tensor(math.inf), "distance": torch.tensor(1.0)}
    with pytest.raises(NonFiniteLossError) as error:
        check(torch.tensor(math.nan), batch, 0.1, terms)
    assert str(error.value) == (
        "the loss is nan at learning rate 0.1; terms that are not finite: token; conformers is not "
        "finite in molecule(s) [0] of the batch; molecules of the batch: m0"
    )
    model.weight.data[0, 1] = math.inf
    with pytest.raises(NonFiniteLossError, match="1 weights are not finite, the first: weight"):
        check(torch.tensor(math.inf), batch, 0.1)
