import dataclasses

import numpy as np
import pandas as pd
import pytest
import torch
from torch_geometric.data import Data
from torch_geometric.utils import scatter

from molae_pyg import MolAE, MolAEPredictor
from molae_pyg.models import PropertyModel
from molae_pyg.training import Finetuning, NonFiniteLossError, finetune, predict


def molecules(n: int, seed: int = 0, classes: bool = False) -> list[Data]:
    """Chains of carbon and oxygen in two conformers; the target is the share of oxygen."""
    generator = torch.Generator().manual_seed(seed)
    result = []
    for i in range(n):
        size = int(torch.randint(4, 9, (1,), generator=generator))
        z = torch.tensor([6, 8])[torch.randint(2, (size,), generator=generator)]
        chain = torch.arange(size)[:, None] * torch.tensor([1.5, 0.0, 0.0])
        conformers = torch.stack(
            [chain + 0.3 * torch.randn(size, 3, generator=generator) for _ in range(2)], dim=1
        )
        share = (z == 8).float().mean().view(1, 1)
        y = (share > 0.5).float() if classes else 10 * share + 100
        result.append(Data(z=z, conformers=conformers, y=y, smiles=f"m{i}", num_nodes=size))
    return result


def predictor(**settings) -> MolAEPredictor:
    torch.manual_seed(0)
    return MolAEPredictor(MolAE.tiny(gaussian_init="intended").encoder, **settings)


FAST = Finetuning(epochs=8, batch_size=8, lr=2e-3, warmup=0.1)


def test_finetuning_learns_in_real_units_and_restores_the_best_epoch(tmp_path):
    train, valid = molecules(48), molecules(16, seed=1)
    model = predictor()
    best = finetune(model, train, valid, tmp_path, FAST)
    y = np.concatenate([d.y for d in valid])
    predicted = predict(model, valid)
    assert predicted.shape == (16, 1)
    rmse = float(np.sqrt(((predicted - y) ** 2).mean()))
    assert rmse == pytest.approx(best["val_rmse"], rel=1e-4)  # the best epoch's weights are back
    assert rmse < 0.6 * y.std()  # measured: 0.2
    assert not model.training
    course = (tmp_path / "metrics.csv").read_text()
    assert "val_rmse" in course
    assert "train_loss_epoch" in course
    assert not (tmp_path / "checkpoints").exists()
    again = MolAEPredictor.from_pretrained(tmp_path / "model")
    assert np.array_equal(predict(again, valid), predicted)


def test_predictions_are_in_the_order_given_whatever_the_batches(monkeypatch):
    model, some = predictor().eval(), molecules(12)
    sizes = []
    whole = model.predict

    def noting(z, conformers, batch):
        sizes.extend(batch.bincount().tolist())
        return whole(z, conformers, batch)

    monkeypatch.setattr(model, "predict", noting)
    found = predict(model, some, batch_size=5, precision="32-true")
    alone = np.concatenate([predict(model, [one], precision="32-true") for one in some])
    np.testing.assert_allclose(found, alone, rtol=1e-4, atol=1e-5)
    assert np.ptp(alone) > 1e-3  # so that the order shows
    assert sizes[:12] == sorted(data.num_nodes for data in some)


def test_classification_predicts_probabilities(tmp_path):
    train, valid = molecules(48, classes=True), molecules(16, seed=1, classes=True)
    model = predictor(task_type="classification")
    best = finetune(model, train, valid, tmp_path, FAST)
    predicted = predict(model, valid)
    assert ((predicted > 0) & (predicted < 1)).all()
    assert best["val_roc_auc"] > 0.9


def test_missing_labels_are_passed_over(tmp_path):
    train, valid = molecules(24), molecules(8, seed=1)
    for i, data in enumerate(train + valid):
        data.y = torch.cat([data.y, torch.full((1, 1), float("nan"))], dim=1)
        if i % 2:
            data.y = data.y.flip(1)
    model = predictor(num_tasks=2)
    settings = Finetuning(epochs=1, batch_size=8)
    assert np.isfinite(finetune(model, train, valid, tmp_path, settings)["val_standardised_rmse"])
    assert torch.isfinite(model.mean).all()


def test_same_seed_same_result(tmp_path):
    train, valid = molecules(16), molecules(8, seed=1)
    settings = Finetuning(epochs=2, batch_size=8)
    first, second = (
        predict(model, valid)
        for model in (predictor(), predictor())
        if finetune(model, train, valid, tmp_path / str(id(model)), settings, seed=3)
    )
    assert np.array_equal(first, second)


class StopHere(RuntimeError):
    pass


def test_a_killed_run_goes_on_where_it_was(tmp_path, monkeypatch):
    train, valid = molecules(16), molecules(8, seed=1)
    settings = Finetuning(epochs=4, batch_size=8)
    from molae_pyg.training.property import PropertyModule

    finished = PropertyModule.on_validation_epoch_end

    def killed(module):
        finished(module)
        if module.current_epoch == 2:
            raise StopHere

    monkeypatch.setattr(PropertyModule, "on_validation_epoch_end", killed)
    with pytest.raises(StopHere):
        finetune(predictor(), train, valid, tmp_path, settings)
    last = tmp_path / "checkpoints" / "last.ckpt"
    state = torch.load(last, weights_only=True)
    timer = next(name for name in state["callbacks"] if name.startswith("Timer"))
    state["callbacks"][timer]["time_elapsed"]["train"] += 1000  # as if the first start was long
    torch.save(state, last)

    epochs = []

    def watched(module):
        finished(module)
        epochs.append(module.current_epoch)

    monkeypatch.setattr(PropertyModule, "on_validation_epoch_end", watched)
    found = finetune(predictor(), train, valid, tmp_path, settings)
    assert epochs == [2, 3]
    assert 1000 < found["seconds"] < 2000
    course = pd.read_csv(tmp_path / "metrics.csv").dropna(subset=["val_rmse"])
    assert course["epoch"].tolist() == [0, 1, 2, 3]  # of both starts, what was done twice once
    assert not (tmp_path / "logs").exists()
    epochs.clear()
    finetune(predictor(), train, valid, tmp_path, settings)  # a finished run starts afresh
    assert epochs == [0, 1, 2, 3]


def test_the_metric_of_the_settings_chooses_the_epoch(tmp_path):
    train, valid = molecules(24), molecules(8, seed=1)
    settings = Finetuning(epochs=3, batch_size=8, lr=2e-3, metric="mae")
    model = predictor()
    best = finetune(model, train, valid, tmp_path, settings)
    y = np.concatenate([d.y for d in valid])
    assert best.keys() == {"epoch", "val_mae", "seconds"}
    assert np.abs(predict(model, valid) - y).mean() == pytest.approx(best["val_mae"], rel=1e-4)


def test_a_loaded_encoder_trains_with_dropout(tmp_path, monkeypatch):
    from molae_pyg.training.property import PropertyModule

    step, modes = PropertyModule.training_step, []

    def watched(module, batch, batch_idx):
        modes.append(all(m.training for m in module.model.modules()))
        return step(module, batch, batch_idx)

    monkeypatch.setattr(PropertyModule, "training_step", watched)
    MolAE.tiny().save_pretrained(tmp_path / "pretrained")
    model = MolAEPredictor(MolAE.from_pretrained(tmp_path / "pretrained").encoder)
    settings = Finetuning(epochs=2, batch_size=8)
    finetune(model, molecules(8), molecules(4, seed=1), tmp_path / "run", settings)
    assert modes == [True, True]


def test_a_validation_set_of_one_class_is_an_error(tmp_path):
    train = molecules(8, classes=True)
    valid = [d for d in molecules(20, classes=True) if d.y.item() == 0][:4]
    with pytest.raises(ValueError, match="both classes in the validation set"):
        finetune(predictor(task_type="classification"), train, valid, tmp_path, FAST)


def test_a_validation_set_without_labels_is_an_error(tmp_path):
    valid = molecules(3)
    for data in valid:
        data.y = torch.full((1, 1), float("nan"))
    with pytest.raises(ValueError, match="has no label"):
        finetune(predictor(), molecules(8), valid, tmp_path, FAST)


def test_a_loss_that_does_not_fit_the_task_is_an_error(tmp_path):
    with pytest.raises(ValueError, match="'mse' does not fit a classification model"):
        finetune(
            predictor(task_type="classification"),
            molecules(8, classes=True),
            molecules(8, seed=1, classes=True),
            tmp_path,
            Finetuning(loss="mse"),
        )


def test_nan_coordinates_stop_with_a_diagnosis(tmp_path):
    train = molecules(8)
    train[5].conformers[0] = float("nan")
    with pytest.raises(NonFiniteLossError, match=r"pos is not finite in molecule.*m5"):
        finetune(predictor(), train, molecules(4, seed=1), tmp_path, FAST)


def test_nan_weights_stop_with_a_diagnosis(tmp_path):
    model = predictor()
    model.head.out.weight.data.fill_(float("inf"))
    with pytest.raises(NonFiniteLossError, match=r"weights are not finite, the first: head.out"):
        finetune(model, molecules(8), molecules(4, seed=1), tmp_path, FAST)


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


def test_targets_are_scaled_by_others_if_given(tmp_path):
    train, valid = molecules(16), molecules(8, seed=1)
    scale = torch.tensor([[0.0], [10.0], [float("nan")]])
    model = predictor()
    finetune(model, train, valid, tmp_path, dataclasses.replace(FAST, epochs=1), scale=scale)
    assert model.mean.tolist() == [5.0]
    assert model.std.item() == pytest.approx(50**0.5)


class Counting(PropertyModel):
    """A model without coordinates: a linear layer on the number of oxygen atoms."""

    def __init__(self):
        super().__init__(1, None, "regression")
        self.linear = torch.nn.Linear(1, 1)
        self.config = {}

    def on_batch(self, batch):
        oxygen = scatter((batch.z == 8).float(), batch.batch, dim_size=batch.num_graphs)
        return self.linear(oxygen[:, None]) * self.std + self.mean

    predict_batch = on_batch


def test_other_models_are_trained_alike(tmp_path):
    train = [Data(z=d.z, y=d.y, num_nodes=d.num_nodes) for d in molecules(48)]
    valid = [Data(z=d.z, y=d.y, num_nodes=d.num_nodes) for d in molecules(16, seed=1)]
    torch.manual_seed(0)
    best = finetune(Counting(), train, valid, tmp_path, dataclasses.replace(FAST, lr=0.1))
    assert best["val_rmse"] < 0.8 * np.concatenate([d.y for d in valid]).std()
    assert Counting.from_pretrained(tmp_path / "model").linear.weight.item() != 0


def test_the_moving_average_of_the_weights_is_validated_and_kept(tmp_path, monkeypatch):
    train, valid = molecules(24), molecules(8, seed=1)
    from molae_pyg.training.property import PropertyModule

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


def test_a_killed_run_goes_on_with_its_moving_average(tmp_path, monkeypatch):
    train, valid = molecules(16), molecules(8, seed=1)
    settings = Finetuning(epochs=4, batch_size=8, lr=2e-3, ema_decay=0.9)
    whole = predictor()
    expected = finetune(whole, train, valid, tmp_path / "whole", settings)
    from molae_pyg.training.property import PropertyModule

    finished = PropertyModule.on_validation_epoch_end

    def killed(module):
        finished(module)
        if module.current_epoch == 2:
            raise StopHere

    with monkeypatch.context() as patch:
        patch.setattr(PropertyModule, "on_validation_epoch_end", killed)
        with pytest.raises(StopHere):
            finetune(predictor(), train, valid, tmp_path / "killed", settings)
    model = predictor()
    found = finetune(model, train, valid, tmp_path / "killed", settings)
    assert found["val_rmse"] == pytest.approx(expected["val_rmse"], rel=1e-5)
    assert np.allclose(predict(model, valid), predict(whole, valid), rtol=1e-5)
