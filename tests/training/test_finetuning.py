import dataclasses

import numpy as np
import pytest
import torch
from chains import molecules, predictor
from torch_geometric.data import Data
from torch_geometric.utils import scatter

from molae_pyg import MolAE, MolAEPredictor
from molae_pyg.metrics import evaluate, evaluate_tasks
from molae_pyg.models import PropertyModel
from molae_pyg.training import Finetuning, NonFiniteLossError, finetune, predict
from molae_pyg.training.course import read_metrics
from molae_pyg.training.property import PropertyModule

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

    def noting(z, conformers, batch, **more):
        sizes.extend(batch.bincount().tolist())
        return whole(z, conformers, batch, **more)

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


def test_missing_labels_are_skipped(tmp_path):
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


def test_a_loaded_encoder_trains_with_dropout(tmp_path, monkeypatch):
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


def test_nan_weights_stop_with_a_diagnosis(tmp_path):
    model = predictor()
    model.head.out.weight.data.fill_(float("inf"))
    with pytest.raises(NonFiniteLossError, match=r"weights are not finite, the first: head.out"):
        finetune(model, molecules(8), molecules(4, seed=1), tmp_path, FAST)


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


def test_mixed_tasks_have_their_own_scores_and_losses(tmp_path):
    """The unit of a target does not matter: the epoch is chosen by errors without unit."""
    chosen = []
    for unit, folder in ((1, "a"), (1000, "b")):
        train, valid = molecules(32), molecules(16, seed=1)
        for data in train + valid:
            oxygen = (data.y - 100) / 10
            data.y = torch.cat([unit * data.y, (oxygen > 0.5).float(), -data.y], dim=1)
        model = predictor(
            num_tasks=3,
            task_names=["share", "large", "less"],
            task_type=["regression", "classification", "regression"],
        )
        best = finetune(model, train, valid, tmp_path / folder, FAST)
        chosen.append(best["epoch"])
        y = np.concatenate([data.y for data in valid])
        predicted = predict(model, valid)
        assert ((predicted[:, 1] > 0) & (predicted[:, 1] < 1)).all()
        scores = evaluate_tasks(y, predicted, model.task_types, model.task_names)
        for task, own in scores.items():
            for name, value in own.items():
                assert best[f"val_{task}_{name}"] == pytest.approx(value, rel=1e-3), (task, name)
        total = evaluate(y, predicted, model.task_types, model.std)["mixed_error"]
        assert best["val_mixed_error"] == pytest.approx(total, rel=1e-3)
        course = read_metrics(tmp_path / folder)
        assert {"val_mixed_error", "val_share_rmse", "val_large_roc_auc"} <= set(course)
    assert chosen[0] == chosen[1]


def test_a_recipe_is_kept(tmp_path):
    train, valid = molecules(16), molecules(8, seed=1)
    model, settings, recipe = predictor(), Finetuning(epochs=1, batch_size=8), {"seed": 3}
    finetune(model, train, valid, tmp_path, settings, recipe=recipe)
    assert model.recipe == recipe
    assert MolAEPredictor.from_pretrained(tmp_path / "model").recipe == recipe


def test_pair_budget_of_a_model_with_inputs_of_its_own_is_an_error(tmp_path):
    settings = Finetuning(epochs=1, pair_budget=100)
    with pytest.raises(ValueError, match="Counting has an on_batch of its own"):
        finetune(Counting(), molecules(8), molecules(4), tmp_path / "run", settings)
    assert not (tmp_path / "run").exists()
