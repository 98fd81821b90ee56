import json

import goldens
import pytest
import torch
from torch import nn

from molae_pyg import MolAE, MolAEPredictor
from molae_pyg.models import FullMolAE
from molae_pyg.training import polynomial_decay
from molae_pyg.training.schedule import configure_adam, layer_scales

RECORDED = json.loads((goldens.FOLDER / "data" / "meta.json").read_text())


@pytest.mark.parametrize(
    ("name", "lr"), [("lr_pretrain", 1e-4), ("lr_finetune(ratio .06,total 1000)", 4e-4)]
)
def test_recorded_learning_rates(name, lr):
    recorded = RECORDED[name]
    total, warmup = recorded["total_num_update"], recorded["warmup_updates"]
    for step, value in recorded["values"].items():
        assert lr * polynomial_decay(int(step), total, warmup) == pytest.approx(value, rel=1e-9)


def test_without_warmup_the_first_update_has_the_full_rate():
    assert [polynomial_decay(k, 4, 0) for k in range(6)] == [1, 0.75, 0.5, 0.25, 0, 0]


def test_power():
    assert polynomial_decay(3, 4, 2, power=2) == pytest.approx(0.25)


def test_adam_against_the_recorded_steps():
    """torch's AdamW to its own recording; within 5e-6 of the reference's, whose eps differs."""
    recorded = RECORDED["adam"]
    model = nn.Linear(2, 2)
    model.weight.data = torch.tensor(recorded["w0"])
    model.bias.data = torch.tensor(recorded["b0"])
    optimizer = configure_adam(model, recorded["lr"], recorded["wd"], 10**9, 0)["optimizer"]
    for step, (weight, bias) in enumerate(recorded["trace"]):
        model.weight.grad = torch.tensor([[0.1, -0.2], [0.3, 0.4]]) * (step + 1)
        model.bias.grad = torch.tensor([0.05, -0.5])
        optimizer.step()
        assert torch.allclose(model.weight, torch.tensor(weight), atol=5e-6, rtol=0)
        assert torch.allclose(model.bias, torch.tensor(bias), atol=5e-6, rtol=0)
    expected = torch.tensor(recorded["torch_adamw_w_after_3"])
    assert torch.allclose(model.weight, expected, atol=1e-7, rtol=0)


def test_decay_spares_biases_norms_and_frozen_parameters():
    model = nn.Sequential(nn.Linear(3, 4), nn.LayerNorm(4), nn.Linear(4, 2).requires_grad_(False))
    decayed, spared = configure_adam(model, 1e-3, 0.1, 10, 1)["optimizer"].param_groups
    assert [p.shape for p in decayed["params"]] == [(4, 3)]
    assert [p.shape for p in spared["params"]] == [(4,), (4,), (4,)]
    assert (decayed["weight_decay"], spared["weight_decay"]) == (0.1, 0.0)


def test_lower_layers_have_lower_rates():
    model = MolAEPredictor(MolAE(16, 16, 2, 3, 0, 4).encoder)
    scales = layer_scales(model, 0.5)
    assert scales.keys() == dict(model.named_parameters()).keys()
    of = {
        "head.dense.weight": 1, "encoder.transformer.final_norm.weight": 0.5,
        "encoder.transformer.layers.2.ffn_norm.bias": 0.5,
        "encoder.transformer.layers.1.ffn_norm.bias": 0.25,
        "encoder.transformer.layers.0.attn_norm.weight": 0.125,
        "encoder.transformer.input_norm.weight": 0.0625, "encoder.embedding.weight": 0.0625,
        "encoder.pair_bias.linear1.weight": 0.0625,
    }  # fmt: skip
    assert {name: scales[name] for name in of} == of
    groups = configure_adam(model, 1e-3, 0.1, 10, 0, 0.5)["optimizer"].param_groups
    rates = {id(p): group["lr"] for group in groups for p in group["params"]}
    decays = {id(p): group["weight_decay"] for group in groups for p in group["params"]}
    trained = {name: p for name, p in model.named_parameters() if p.requires_grad}
    assert len(rates) == len(trained)
    for name, parameter in trained.items():
        assert rates[id(parameter)] == pytest.approx(1e-3 * scales[name])
        assert decays[id(parameter)] == (0.1 if parameter.dim() > 1 else 0.0)


def test_layers_of_two_stacks_are_counted_through():
    model = MolAEPredictor(FullMolAE.of(MolAE(16, 16, 2, 2, 1, 4)))
    scales = layer_scales(model, 0.5)
    found = {
        name.split("layers.")[0] + name.split("layers.")[1][0]: scale
        for name, scale in scales.items()
        if "layers." in name
    }
    assert list(found.values()) == [0.125, 0.25, 0.5]


def test_a_model_without_layers_has_no_lower_ones():
    with pytest.raises(ValueError, match="Linear has no encoder with layers: leave it out"):
        layer_scales(nn.Linear(2, 2), 0.5)
