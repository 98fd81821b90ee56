import dataclasses

import numpy as np
import pytest
import torch
from chains import StopHere, molecules, predictor, stopping_at
from torch_geometric.utils import scatter

from molae_pyg import MolAE, MolAEPredictor
from molae_pyg.fingerprint import of_weights
from molae_pyg.models import PropertyModel
from molae_pyg.training import Finetuning, finetune, predict
from molae_pyg.training.property import PropertyModule

FAST = Finetuning(epochs=8, batch_size=8, lr=2e-3, warmup=0.1)


def test_the_metric_of_the_settings_chooses_the_epoch(tmp_path):
    train, valid = molecules(24), molecules(8, seed=1)
    settings = Finetuning(epochs=3, batch_size=8, lr=2e-3, metric="mae")
    model = predictor()
    best = finetune(model, train, valid, tmp_path, settings)
    y = np.concatenate([d.y for d in valid])
    assert best.keys() == {"epoch", "val_mae", "seconds"}
    assert np.abs(predict(model, valid) - y).mean() == pytest.approx(best["val_mae"], rel=1e-4)


def test_fewer_conformers_choose_the_epoch(tmp_path):
    train, valid = molecules(24), molecules(8, seed=1)
    model = predictor()
    fast = dataclasses.replace(FAST, valid_conformers=1)
    best = finetune(model, train, valid, tmp_path, fast)
    y = np.concatenate([d.y for d in valid])
    first = [d.clone() for d in valid]
    for data in first:
        data.conformers = data.conformers[:, :1]
    rmse = [float(np.sqrt(((predict(model, some) - y) ** 2).mean())) for some in (first, valid)]
    assert rmse[0] == pytest.approx(best["val_rmse"], rel=1e-4)
    assert rmse[1] != pytest.approx(best["val_rmse"], rel=1e-4)
    assert valid[0].conformers.shape[1] == 2  # the caller's molecules stay as they were


def test_the_moving_average_of_the_weights_is_validated_and_kept(tmp_path, monkeypatch):
    train, valid = molecules(24), molecules(8, seed=1)
    course = []

    def watched(module, *_):
        course.append(module.model.head.out.weight.detach().clone())

    monkeypatch.setattr(PropertyModule, "on_train_batch_end", watched)
    model = predictor()
    settings = Finetuning(epochs=2, batch_size=8, lr=2e-3, ema_decay=0.5, metric="mae")
    best = finetune(model, train, valid, tmp_path, settings)
    average = course[0]
    for weight in course[1 : 3 * (best["epoch"] + 1)]:
        average = 0.5 * average + 0.5 * weight
    torch.testing.assert_close(model.head.out.weight, average)
    assert not torch.allclose(average, weight)
    y = np.concatenate([d.y for d in valid])
    assert np.abs(predict(model, valid) - y).mean() == pytest.approx(best["val_mae"], rel=1e-4)


def test_batches_in_parts_train_to_the_same_scores(tmp_path):
    scores = []
    for name, budget in (("whole", None), ("parts", 120)):
        settings = dataclasses.replace(FAST, epochs=2, pair_budget=budget, precision="32-true")
        torch.manual_seed(0)
        # Without dropout, as its masks of parts are others than those of the whole.
        config = MolAE.tiny(gaussian_init="intended").encoder.config
        model = MolAEPredictor({**config, "dropout": 0.0, "attn_dropout": 0.0})
        scores.append(finetune(model, molecules(16), molecules(8, 1), tmp_path / name, settings))
    assert scores[0]["val_rmse"] == pytest.approx(scores[1]["val_rmse"], rel=1e-3)


def test_the_head_is_trained_first(tmp_path, monkeypatch):
    train, valid = molecules(16), molecules(8, seed=1)
    settings = Finetuning(epochs=4, batch_size=8, lr=2e-3, head_epochs=2, precision="32-true")
    model, seen = predictor(), []
    frozen = [name for name, p in model.named_parameters() if not p.requires_grad]
    finished = PropertyModule.on_validation_epoch_end

    def watched(module):
        finished(module)
        parts = module.model.encoder, module.model.head
        seen.append([of_weights(part) for part in parts])

    monkeypatch.setattr(PropertyModule, "on_validation_epoch_end", watched)
    expected = finetune(model, train, valid, tmp_path / "whole", settings)
    encoder, head = zip(*seen, strict=True)
    assert encoder[0] == encoder[1] == of_weights(predictor().encoder)
    assert len(set(encoder)) == 3  # trained in the last two epochs
    assert len(set(head)) == 4
    assert [name for name, p in model.named_parameters() if not p.requires_grad] == frozen

    for epoch in (1, 3):  # killed in the first epochs, and in the last ones
        folder = tmp_path / str(epoch)
        with monkeypatch.context() as patch:
            patch.setattr(PropertyModule, "on_validation_epoch_end", stopping_at(epoch)[0])
            with pytest.raises(StopHere):
                finetune(predictor(), train, valid, folder, settings)
        found = finetune(again := predictor(), train, valid, folder, settings)
        assert {**found, "seconds": 0} == {**expected, "seconds": 0}
        assert of_weights(again) == of_weights(model)


def test_a_rate_for_each_layer_is_another_run(tmp_path):
    train, valid = molecules(16), molecules(8, seed=1)
    settings = Finetuning(epochs=2, batch_size=8, lr=2e-3, precision="32-true")
    slow = dataclasses.replace(settings, layer_decay=0.01)
    before = predictor().encoder.state_dict()
    moved = {}
    for name, chosen in {"plain": settings, "slow": slow}.items():
        finetune(model := predictor(), train, valid, tmp_path / name, chosen)
        change = model.encoder.embedding.weight - before["embedding.weight"]
        moved[name] = change.abs().max().item()
    assert moved["slow"] < 0.01 * moved["plain"]
    with pytest.raises(ValueError, match=r"settings\.layer_decay"):
        finetune(predictor(), train, valid, tmp_path / "plain", slow)


class NoEncoder(PropertyModel):
    """A sum over atoms, which has no encoder."""

    def __init__(self):
        super().__init__(1, None)
        self.config = {}
        self.element = torch.nn.Embedding(10, 1)

    def forward(self, z, pos, batch):
        return scatter(self.element(z), batch, reduce="sum") * self.std + self.mean


@pytest.mark.parametrize(
    "option", [{"head_epochs": 1}, {"layer_decay": 0.5}, {"linear_start": True}]
)
def test_options_of_encoders_need_one(tmp_path, option):
    settings = Finetuning(epochs=2, **option)
    with pytest.raises(ValueError, match=r"NoEncoder has no encoder.*leave it out"):
        finetune(NoEncoder(), molecules(8), molecules(4, seed=1), tmp_path / "run", settings)
    assert not (tmp_path / "run").exists()
