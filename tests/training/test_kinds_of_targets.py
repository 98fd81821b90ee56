"""Fine-tuning on several classes, bounds and mixtures of all kinds of targets."""

import dataclasses

import numpy as np
import pytest
import torch
from chains import molecules, predictor
from torch_geometric.data import Batch, Data

from molae_pyg import MolAEPredictor
from molae_pyg.inference import explain
from molae_pyg.models import PropertyModel
from molae_pyg.training import Finetuning, finetune, predict
from molae_pyg.training.molecules import check_labelled

FAST = Finetuning(epochs=12, batch_size=8, lr=2e-3, warmup=0.1)
NAN = float("nan")
MIXED = {
    "task_type": ["regression", "multiclass", "classification"],
    "num_classes": [1, 3, 1],
    "num_tasks": 3,
}


def labelled(number: int, seed: int = 0) -> list[Data]:
    """Molecules with a value, three classes of it, and two classes of it; some labels missing."""
    some = molecules(number, seed=seed)
    values = torch.cat([data.y for data in some])[:, 0]
    edges = torch.tensor([104.0, 106.0])
    for index, data in enumerate(some):
        value = values[index]
        y = torch.stack([value, (value > edges).sum(), (value > 105).float()])
        y[index % 7 % 3] = y[index % 7 % 3] if index % 7 > 2 else NAN
        data.y = y[None]
    return some


def test_several_classes_are_learned(tmp_path):
    train, valid = labelled(64), labelled(24, seed=1)
    for data in train + valid:
        data.y = data.y[:, 1:2]
    model = predictor(task_type="multiclass", num_classes=3)
    best = finetune(model, train, valid, tmp_path, FAST)
    predicted = predict(model, valid)
    assert predicted.shape == (24, 3)
    assert np.allclose(predicted.sum(1), 1, atol=1e-5)
    assert best["val_macro_roc_auc"] > 0.8
    again = MolAEPredictor.from_pretrained(tmp_path / "model")
    assert again.num_outputs == [3]
    assert np.array_equal(predict(again, valid), predicted)


def test_mixtures_are_learned_together(tmp_path):
    train, valid = labelled(64), labelled(24, seed=1)
    model = predictor(**MIXED)
    best = finetune(model, train, valid, tmp_path, FAST)
    assert best["val_mixed_error"] < 0.8  # 1 is what means and chance give
    assert {"val_task0_rmse", "val_task1_accuracy", "val_task2_roc_auc"} <= set(best)
    predicted = predict(model, valid, precision="32-true")
    assert predicted.shape == (24, 5)
    assert np.allclose(predicted[:, 1:4].sum(1), 1, atol=1e-5)
    assert model.mean[0] != 0
    assert model.mean[1:].tolist() == [0] * 4
    assert model.std[1:].tolist() == [1] * 4
    assert MolAEPredictor.from_pretrained(tmp_path / "model").config["num_classes"] == [1, 3, 1]


def test_a_few_molecules_are_learned_by_heart(tmp_path):
    train = labelled(6)
    for index, data in enumerate(train):
        data.y = torch.tensor([[float(index), index % 3, index % 2]])
    model = predictor(**MIXED)
    settings = dataclasses.replace(FAST, epochs=80, lr=5e-3, patience=80)
    finetune(model, train, train, tmp_path, settings)
    predicted = predict(model, train, precision="32-true")
    y = np.concatenate([data.y for data in train])
    assert (predicted[:, 1:4].argmax(1) == y[:, 1]).all()
    assert ((predicted[:, 4] > 0.5) == y[:, 2]).all()
    assert np.abs(predicted[:, 0] - y[:, 0]).max() < 1


def test_configs_without_several_classes_are_as_before():
    model = predictor(task_type="classification")
    assert "num_classes" not in model.config
    assert model.num_outputs == [1]
    assert MolAEPredictor(**model.config).config == model.config
    with pytest.raises(
        ValueError, match=r"num_classes must be an integer of at least 2 .* got None"
    ):
        predictor(task_type="multiclass")


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_forward_gives_logits_and_predict_probabilities(dtype):
    model = predictor(**MIXED).to(dtype).eval()
    batch = Batch.from_data_list(molecules(4))
    conformers = batch.conformers.to(dtype)[:, :1]
    logits = model(batch.z, conformers[:, 0], batch.batch)
    found = model.predict(batch.z, conformers, batch.batch)
    assert logits.shape == found.shape == (4, 5)
    assert found.dtype == dtype
    torch.testing.assert_close(found[:, 0], logits[:, 0])
    torch.testing.assert_close(found[:, 1:4], logits[:, 1:4].softmax(1))
    torch.testing.assert_close(found[:, 4], logits[:, 4].sigmoid())


def test_a_class_without_labels_does_no_harm(tmp_path):
    train, valid = labelled(32), labelled(16, seed=1)
    for data in train:
        data.y[data.y == 2] = NAN
    model = predictor(**MIXED)
    finetune(model, train, valid, tmp_path, dataclasses.replace(FAST, epochs=2, class_weights=True))
    assert np.isfinite(predict(model, valid)).all()


def with_bounds(value: float) -> list[Data]:
    """Every other molecule has the label > value, the rest labels near 0."""
    some = molecules(24)
    for index, data in enumerate(some):
        is_bound = index % 2 == 0
        data.y = torch.tensor([[value if is_bound else 0.1 * (index % 3)]])
        data.bound = torch.tensor([[int(is_bound)]], dtype=torch.int8)
    return some


def test_bounds_push_predictions_to_their_side_only(tmp_path):
    """The bounds > -5 are satisfied, so that no prediction is drawn to -5; those > 5 draw."""
    found = {}
    for value in (-5.0, 5.0):
        train, valid = with_bounds(value), with_bounds(value)
        for data in valid:  # what chooses the epoch is exact
            data.y, data.bound = data.y.clamp(min=0), data.bound * 0
        model = predictor()
        finetune(model, train, valid, tmp_path / str(value), FAST)
        assert model.mean.item() == pytest.approx(0.1, abs=0.01)  # of exact labels alone
        found[value] = predict(model, train)[::2].mean()
    assert found[-5.0] == pytest.approx(0.1, abs=0.2)
    assert found[5.0] > found[-5.0] + 0.1


def test_validation_uses_exact_labels():
    some = molecules(4)
    for data in some:
        data.bound = torch.tensor([[0]], dtype=torch.int8)
    some[1].bound += 1
    checked = check_labelled(some, "valid", predictor())
    assert checked.side.flatten().tolist() == [0, 1, 0, 0]
    assert checked.exact.isnan().flatten().tolist() == [False, True, False, False]


@pytest.mark.parametrize(
    ("bounds", "arguments", "message"),
    [
        ([[[2]]] * 3, {}, r"bound of train must be 1 \(at least y\)"),
        ([[[1]]] * 2, {}, r"bound of train is \[2, 1\], but y is \[3, 1\]"),
        ([[[1]]] * 3, {"task_type": "classification"}, "0 of classes"),
    ],
)
def test_bounds_that_cannot_be_used(bounds, arguments, message):
    some = molecules(3, classes=True)
    for data, bound in zip(some, bounds, strict=False):
        data.bound = torch.tensor(bound)
    with pytest.raises(ValueError, match=message):
        check_labelled(some, "train", predictor(**arguments))


def test_labels_that_are_no_class(tmp_path):
    some = labelled(8)
    some[3].y[0, 1] = 3
    with pytest.raises(
        ValueError, match=r"integers from 0 to 2 .*'task1' of molecule 3 of train is 3"
    ):
        finetune(predictor(**MIXED), some, some, tmp_path, FAST)


def test_contributions_to_the_predicted_class():
    """Log-odds of the class that the whole molecule is predicted to have."""
    torch.manual_seed(0)
    model = predictor(**MIXED).eval()
    some = molecules(2)
    for data in some:
        del data.y
        data.pos = data.conformers[:, 0]
        del data.conformers
    found = explain(model, some)[0]
    assert found.prediction.shape == (3,)
    assert found.values.shape == (len(some[0].z), 3)
    p = predict(model, some, precision="32-true")[0, 1:4]
    assert found.prediction[1] == pytest.approx(np.log(p.max() / (1 - p.max())), abs=1e-3)
    part = Data(z=some[0].z, pos=some[0].pos, drop_mask=torch.arange(len(some[0].z)) == 0)
    left = model(part.z, part.pos, drop_mask=part.drop_mask).detach()[0, 1:4].softmax(0).numpy()
    odds = np.log(left[p.argmax()] / (1 - left[p.argmax()]))
    assert found.values[0, 1] == pytest.approx(found.prediction[1] - odds, abs=1e-3)


def test_other_models_say_what_they_need():
    class Other(PropertyModel):
        pass

    assert Other(2, None, "multiclass", 4).num_outputs == [4, 4]
    with pytest.raises(ValueError, match="num_classes must be"):
        Other(1, None, "multiclass")
