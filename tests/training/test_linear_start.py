from dataclasses import replace

import numpy as np
import pytest
import torch
from chains import molecules, predictor
from sklearn.linear_model import LogisticRegression, Ridge
from torch_geometric.data import Data

from molae_pyg.fingerprint import of_weights
from molae_pyg.inference import embed
from molae_pyg.nn.readout import LINEAR_READOUTS
from molae_pyg.training import Finetuning, finetune, predict
from molae_pyg.training.linear_start import PENALTIES
from molae_pyg.training.property import PropertyModule

# The smallest rate: after one epoch the model is the one that training began with.
STILL = Finetuning(epochs=1, batch_size=8, lr=1e-12, linear_start=True, precision="32-true")


def vectors(model, some: list[Data]) -> np.ndarray:
    found = embed(model, some, precision="32-true", readout="cls, mean").astype(float)
    if model.head.readout == "cls, sum":
        found[:, found.shape[1] // 2 :] *= [[data.z.numel()] for data in some]
    return found


def standardised(train: np.ndarray, valid: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    center, width = train.mean(0), train.std(0, ddof=1)
    return (train - center) / width, (valid - center) / width


@pytest.mark.parametrize("readout", LINEAR_READOUTS)
def test_values_begin_as_the_ridge_regression_that_is_best_on_valid(tmp_path, readout):
    train, valid = molecules(40), molecules(16, seed=1)
    model = predictor(readout=readout, pooler_dropout=0.0)
    x, x_valid = standardised(vectors(model, train), vectors(model, valid))
    y, y_valid = (np.concatenate([d.y for d in some])[:, 0] for some in (train, valid))
    scaled = (y - y.mean()) / y.std(ddof=1)
    of_penalties = [Ridge(p).fit(x, scaled).predict(x_valid) for p in PENALTIES]
    of_penalties = [found * y.std(ddof=1) + y.mean() for found in of_penalties]
    best = min(of_penalties, key=lambda found: np.square(found - y_valid).mean())
    finetune(model, train, valid, tmp_path, STILL)
    found = predict(model, valid, precision="32-true")[:, 0]
    np.testing.assert_allclose(found, best, rtol=1e-3, atol=1e-3)


def test_classes_begin_as_logistic_regressions_of_the_labels_that_are_there(tmp_path):
    train, valid = molecules(40, classes=True), molecules(16, seed=1, classes=True)
    for number, data in enumerate(train):
        hole = torch.nan if number % 3 == 0 else 1 - data.y.item()
        data.y = torch.tensor([[data.y.item(), hole]])
    for data in valid:
        data.y = torch.cat([data.y, 1 - data.y], 1)
    model = predictor(task_type="classification", num_tasks=2, readout="cls, mean")
    x, x_valid = standardised(vectors(model, train), vectors(model, valid))
    y = np.concatenate([d.y for d in train])
    finetune(model, train, valid, tmp_path, STILL)
    found, of_penalties = predict(model, valid, precision="32-true"), []
    for penalty in PENALTIES:  # ours has λ |W|², that of scikit-learn |W|² / 2 C
        columns = []
        for labels in y.T:
            rows = ~np.isnan(labels)
            fitted = LogisticRegression(C=1 / (2 * penalty), solver="newton-cholesky", tol=1e-8)
            columns.append(fitted.fit(x[rows], labels[rows]).predict_proba(x_valid)[:, 1])
        of_penalties.append(np.abs(np.stack(columns, 1) - found).max())
    assert min(of_penalties) < 1e-3  # it is one of them ...
    assert max(of_penalties) > 0.05  # ... and they differ


def test_several_classes_and_bounds_have_a_start(tmp_path):
    train, valid = molecules(30), molecules(12, seed=1)
    for number, data in enumerate(train + valid):
        kind = torch.tensor([[float(number % 3)]])
        data.bound = torch.tensor([[number % 5 == 0, False]]).long()
        data.y = torch.cat([data.y, kind], 1)
    model = predictor(
        num_tasks=2, task_type=["regression", "multiclass"], num_classes=[1, 3], readout="cls, mean"
    )
    before = model.head.out.weight.detach().clone()
    result = finetune(model, train, valid, tmp_path, STILL)
    assert all(np.isfinite(list(result.values())))
    assert not torch.allclose(before, model.head.out.weight)


def test_a_start_is_better_than_a_random_head_after_the_same_epoch(tmp_path):
    train, valid = molecules(48), molecules(16, seed=1)
    scores = []
    for start in (False, True):
        model = predictor(readout="cls, mean")
        settings = Finetuning(epochs=1, batch_size=8, lr=1e-4, linear_start=start)
        scores.append(finetune(model, train, valid, tmp_path / str(start), settings)["val_rmse"])
    assert scores[1] < 0.8 * scores[0]


def test_another_head_is_refused_before_the_work(tmp_path):
    train, valid = molecules(8), molecules(4, seed=1)
    with pytest.raises(ValueError, match="readout must be 'cls, mean' or 'cls, sum', got 'mean'"):
        finetune(predictor(readout="mean"), train, valid, tmp_path / "run", STILL)
    assert not (tmp_path / "run").exists()


def test_a_resumed_run_does_not_begin_again(tmp_path, monkeypatch):
    train, valid = molecules(16), molecules(8, seed=1)
    settings = Finetuning(epochs=3, batch_size=8, lr=2e-3, linear_start=True, precision="32-true")
    whole = predictor(readout="cls, mean")
    finetune(whole, train, valid, tmp_path / "whole", settings)
    finished = PropertyModule.on_train_epoch_end

    def killed(module):
        finished(module)
        if module.trainer.current_epoch == 1:
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(PropertyModule, "on_train_epoch_end", killed)
        with pytest.raises(KeyboardInterrupt):
            finetune(predictor(readout="cls, mean"), train, valid, tmp_path / "killed", settings)
    again = predictor(readout="cls, mean")
    finetune(again, train, valid, tmp_path / "killed", settings)
    assert of_weights(again) == of_weights(whole)
    courses = [(tmp_path / name / "metrics.csv").read_bytes() for name in ("whole", "killed")]
    assert courses[0] == courses[1]


def test_absolute_errors_hardly_see_labels_that_are_wrong(tmp_path):
    train, valid = molecules(64), molecules(16, seed=1)
    for data in train + valid:
        data.y = torch.tensor([[10.0 * data.z.numel()]])  # CLS and sum know the number of atoms
    for data in train[::8]:
        data.y += 300
    errors = {}
    for loss in ("mse", "mae"):
        model = predictor(readout="cls, sum", pooler_dropout=0.0)
        settings = replace(STILL, loss=loss, metric="mae")
        errors[loss] = finetune(model, train, valid, tmp_path / loss, settings)["val_mae"]
    assert errors["mae"] < 3 < 20 < errors["mse"]
