"""Encoders of comparisons: with their weights, and with new random ones of the same size."""

import pytest
import torch
from torch import nn

from molae_pyg.baselines.job import load_encoder
from molae_pyg.models import MolAE, TransformerM, UniMol


@pytest.mark.parametrize(
    "make", [MolAE.tiny, lambda: UniMol.tiny(position=True), TransformerM.tiny]
)
def test_an_encoder_without_its_pre_training(tmp_path, make):
    torch.manual_seed(0)
    make().save_pretrained(tmp_path)
    encoders: list[nn.Module] = []
    for pretrained in (True, False, False):
        torch.manual_seed(1)
        encoders.append(load_encoder(str(tmp_path), {"dropout": 0.2}, pretrained))
    assert encoders[0].config == encoders[1].config
    assert encoders[0].config["dropout"] == 0.2
    trained, new, same = (dict(encoder.state_dict()) for encoder in encoders)
    matrices = [name for name, value in trained.items() if value.dim() > 1]
    assert not any(torch.equal(trained[name], new[name]) for name in matrices)
    assert all(torch.equal(new[name], same[name]) for name in matrices)  # of the seed alone
