"""Any model and any function (model, batch) -> terms can be pre-trained; the cloze test is one."""

import json
from functools import partial

import pandas as pd
import pytest
import torch
from chains import chain_store, split
from torch import nn
from torch_geometric.transforms import Compose
from torch_geometric.utils import scatter

from molae_pyg import CoordinateNoise
from molae_pyg.fingerprint import of_weights
from molae_pyg.models import TransformerM, UniMol
from molae_pyg.training import (
    Pretraining,
    PretrainingModule,
    pretrain,
    transformer_m_objective,
    uni_mol_objective,
)
from molae_pyg.training.objectives import objective_identity
from molae_pyg.transforms import DenoiseAtoms

NO_CHANGE = Compose([])
FEW = Pretraining(steps=12, validate_every=4, pair_budget=3000, lr=2e-3, warmup_steps=5)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return chain_store(tmp_path_factory.mktemp("store"))


class Sizes(nn.Module):
    """Knows nothing of Mol-AE: the number of atoms of each element to one number a molecule."""

    def __init__(self):
        super().__init__()
        self.element, self.drop = nn.Embedding(10, 4), nn.Dropout(0.3)
        self.out = nn.Linear(4, 1)

    def forward(self, z, batch):
        atoms = self.drop(self.element(z.long()))  # [N, 4]
        return self.out(scatter(atoms, batch, reduce="sum"))[:, 0]  # [B]


def sizes_objective(model, batch, power=1, noise=0.0):
    """The number of atoms of each molecule; a loss with randomness of its own."""
    true = batch.batch.bincount().float() ** power
    error = model(batch.z, batch.batch) - true + noise * torch.randn(len(true))
    return {"loss": error.abs().mean(), "largest": error.abs().max()}


def other_objective(model, batch):
    return sizes_objective(model, batch)


def sizes() -> Sizes:
    torch.manual_seed(0)
    return Sizes()


def test_any_model_and_objective_are_trained_killed_and_resumed(folder, tmp_path, monkeypatch):
    objective = partial(sizes_objective, noise=0.1)
    call = objective, *split(folder)
    scores = pretrain(whole := sizes(), *call, tmp_path / "whole", FEW, NO_CHANGE)
    assert scores.keys() == {"val_total", "val_largest"}
    step = PretrainingModule.training_step

    def killed(module, batch, index):
        if module.trainer.global_step == 6:
            raise KeyboardInterrupt
        return step(module, batch, index)

    with monkeypatch.context() as patch:
        patch.setattr(PretrainingModule, "training_step", killed)
        with pytest.raises(KeyboardInterrupt):
            pretrain(sizes(), *call, tmp_path / "killed", FEW, NO_CHANGE)
    assert pretrain(resumed := sizes(), *call, tmp_path / "killed", FEW, NO_CHANGE) == scores
    assert of_weights(resumed) == of_weights(whole) != of_weights(sizes())
    whole, killed = (pd.read_csv(tmp_path / name / "metrics.csv") for name in ("whole", "killed"))
    timed = ["seconds", "molecules_per_second"]
    pd.testing.assert_frame_equal(whole.drop(columns=timed), killed.drop(columns=timed))
    assert {"train_total", "train_largest", "val_total", "val_largest"} < set(whole)
    assert pretrain(again := sizes(), *call, tmp_path / "killed", FEW, NO_CHANGE) == scores
    assert of_weights(again) == of_weights(resumed)


@pytest.mark.parametrize(
    ("model", "objective", "transform", "names"),
    [
        (UniMol.tiny, uni_mol_objective, CoordinateNoise(), {"token", "coordinate_rmsd"}),
        (TransformerM.tiny, transformer_m_objective, DenoiseAtoms(modes=(0, 0, 1)), {"cosine"}),
    ],
)
def test_other_systems_are_pretrained(folder, tmp_path, model, objective, transform, names):
    torch.manual_seed(0)
    built = model()
    scores = pretrain(built, objective, *split(folder), tmp_path, FEW, transform)
    assert {f"val_{name}" for name in names | {"total"}} <= scores.keys()
    assert of_weights(type(built).from_pretrained(tmp_path / "model")) == of_weights(built)


def test_another_objective_in_the_folder_is_refused(folder, tmp_path):
    pretrain(sizes(), sizes_objective, *split(folder), tmp_path, FEW, NO_CHANGE)
    for other, message in (
        (other_objective, "objective.function: .*sizes_objective' there, .*other_objective' now"),
        (partial(sizes_objective, power=2), "objective.settings.power: 1 there, 2 now"),
    ):
        with pytest.raises(ValueError, match=message):
            pretrain(sizes(), other, *split(folder), tmp_path, FEW, NO_CHANGE)
    same = partial(sizes_objective, power=1)
    assert "val_total" in pretrain(sizes(), same, *split(folder), tmp_path, FEW, NO_CHANGE)
    run = json.loads((tmp_path / "run.json").read_text())
    del run["identity"]["objective"]
    (tmp_path / "run.json").write_text(json.dumps(run))
    with pytest.raises(ValueError, match=r"objective.*absent there.*an earlier version of molae_p"):
        pretrain(sizes(), sizes_objective, *split(folder), tmp_path, FEW, NO_CHANGE)


def test_settings_identify_an_objective():
    plain = objective_identity(sizes_objective)
    assert plain["function"].endswith("test_objectives.sizes_objective")
    assert plain["settings"] == {"power": 1, "noise": 0.0}
    nested = partial(partial(sizes_objective, power=2), noise=0.5)
    assert objective_identity(nested)["settings"] == {"power": 2, "noise": 0.5}
    a, b = (partial(sizes_objective, power=torch.tensor([x])) for x in (1, 2))
    assert objective_identity(a) == objective_identity(partial(a)) != objective_identity(b)


def needs_a_setting(model, batch, power):
    return sizes_objective(model, batch, power)


def with_a_closure(power):
    return lambda model, batch: sizes_objective(model, batch, power)


@pytest.mark.parametrize(
    ("objective", "message"),
    [
        ("cloze", "objective must be a function"),
        (partial(sizes_objective, 3), r"use functools.partial\(objective, name=value\)"),
        (with_a_closure(2), "make them arguments after .* and use functools.partial"),
        (needs_a_setting, "needs a value of 'power'"),
        (partial(sizes_objective, power=object()), "needs a value of 'power'.*cannot be seen"),
    ],
)
def test_an_objective_without_an_identity_is_an_error(objective, message):
    with pytest.raises(ValueError, match=message):
        objective_identity(objective)


def no_loss(model, batch):
    return {"total": model(batch.z, batch.batch).sum()}


def no_scalar(model, batch):
    return {"loss": model(batch.z, batch.batch)}


@pytest.mark.parametrize("objective", [no_loss, no_scalar])
def test_an_objective_returns_a_scalar_loss(folder, tmp_path, objective):
    with pytest.raises(ValueError, match="dict of scalar tensors with the key 'loss'"):
        pretrain(sizes(), objective, *split(folder), tmp_path, FEW, NO_CHANGE)


def test_recompute_needs_a_layer_that_has_it(folder, tmp_path):
    settings = Pretraining(steps=2, recompute=True, warmup_steps=1)
    with pytest.raises(ValueError, match="no layer of Sizes has the attribute 'recompute'"):
        pretrain(sizes(), sizes_objective, *split(folder), tmp_path, settings, NO_CHANGE)
