import dataclasses
import json
import signal

import numpy as np
import pytest
import torch
from chains import molecules, predictor
from torch_geometric.data import Data
from torch_geometric.utils import scatter

from molae_pyg import MolAE, MolAEEncoder, MolAEPredictor, from_smiles
from molae_pyg.fingerprint import of_weights
from molae_pyg.metrics import evaluate, evaluate_tasks
from molae_pyg.models import PropertyModel
from molae_pyg.training import Finetuning, NonFiniteLossError, finetune, predict
from molae_pyg.training.course import read_metrics
from molae_pyg.training.property import PropertyModule
from molae_pyg.training.run import RunFolder

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


class StopHere(RuntimeError):
    pass


def stopping_at(epoch: int):
    """A validation that dies in an epoch, and the epochs validated so far."""
    finished, epochs = PropertyModule.on_validation_epoch_end, []

    def watched(module):
        finished(module)
        epochs.append(module.current_epoch)
        if module.current_epoch == epoch:
            raise StopHere

    return watched, epochs


def test_a_killed_run_resumes_where_it_was(tmp_path, monkeypatch):
    train, valid = molecules(16), molecules(8, seed=1)
    settings = Finetuning(epochs=4, batch_size=8, precision="32-true")
    expected = finetune(whole := predictor(), train, valid, tmp_path / "whole", settings)
    folder = tmp_path / "killed"
    with monkeypatch.context() as patch:
        patch.setattr(PropertyModule, "on_validation_epoch_end", stopping_at(2)[0])
        with pytest.raises(StopHere):
            finetune(predictor(), train, valid, folder, settings)
    assert (
        read_metrics(folder)["val_rmse"].notna().sum() == 2
    )  # readable while the run is unfinished
    with monkeypatch.context() as patch:
        watched, epochs = stopping_at(99)
        patch.setattr(PropertyModule, "on_validation_epoch_end", watched)
        torch.manual_seed(5)  # the generator of the process does not matter
        model = predictor()
        torch.rand(7)
        found = finetune(model, train, valid, folder, settings)
    assert epochs == [2, 3]
    assert of_weights(model) == of_weights(whole)
    assert {**found, "seconds": 0} == {**expected, "seconds": 0}
    course = [(tmp_path / name / "metrics.csv").read_bytes() for name in ("whole", "killed")]
    assert course[0] == course[1]
    assert read_metrics(folder)["epoch"].dropna().tolist() == [0, 1, 2, 3]
    assert json.loads((folder / "run.json").read_text())["starts"] == 2
    assert sorted(file.name for file in folder.iterdir()) == [
        "lock", "metrics.csv", "model", "run.json",
    ]  # fmt: skip


def with_graph() -> MolAEPredictor:
    torch.manual_seed(0)
    return MolAEPredictor(MolAEEncoder(16, 32, 4, 1, num_gaussians=8, graph=True))


def test_a_model_with_a_graph_channel_learns_from_the_graph_and_resumes(tmp_path, monkeypatch):
    """The coordinates are the same for all molecules: only the graph tells charges apart."""
    table = ["CCO", "CC[O-]", "CCN", "CC[NH3+]", "C=CO", "C=CN"] * 4
    data = [from_smiles(smiles, num_conformers=2) for smiles in table]
    for item, smiles in zip(data, table, strict=True):
        item.conformers = data[0].conformers
        item.y = torch.tensor([[10.0 * ("-" in smiles) - 10.0 * ("+" in smiles)]])
    settings = Finetuning(epochs=40, batch_size=6, lr=1e-2, pair_budget=100, precision="32-true")
    whole = with_graph()
    expected = finetune(whole, data, data[:6], tmp_path / "whole", settings)
    assert expected["val_rmse"] < 3  # without the graph at best 4.7: elements alone
    assert predict(whole, data[:6], precision="32-true").shape == (6, 1)
    with monkeypatch.context() as patch:
        patch.setattr(PropertyModule, "on_validation_epoch_end", stopping_at(5)[0])
        with pytest.raises(StopHere):
            finetune(with_graph(), data, data[:6], tmp_path / "killed", settings)
    found = finetune(model := with_graph(), data, data[:6], tmp_path / "killed", settings)
    assert of_weights(model) == of_weights(whole)
    assert {**found, "seconds": 0} == {**expected, "seconds": 0}
    assert "graph" in json.loads((tmp_path / "killed" / "run.json").read_text())["identity"]


def test_the_seconds_of_a_killed_start_count(tmp_path, monkeypatch):
    train, valid = molecules(16), molecules(8, seed=1)
    settings = Finetuning(epochs=3, batch_size=8)
    monkeypatch.setattr(
        "molae_pyg.training.finetuning.time.perf_counter", iter(range(0, 10**6, 100)).__next__
    )
    with monkeypatch.context() as patch:
        patch.setattr(PropertyModule, "on_validation_epoch_end", stopping_at(2)[0])
        with pytest.raises(StopHere):
            finetune(predictor(), train, valid, tmp_path, settings)
    assert finetune(predictor(), train, valid, tmp_path, settings)["seconds"] == 300


def test_a_run_killed_after_early_stopping_does_not_train_again(tmp_path, monkeypatch):
    train, valid = molecules(16), molecules(8, seed=1)
    settings = Finetuning(epochs=30, batch_size=8, lr=0.3, patience=1)
    expected = finetune(predictor(), train, valid, tmp_path / "whole", settings)
    course = (tmp_path / "whole" / "metrics.csv").read_bytes()
    assert len(course.splitlines()) < 25  # it has stopped early

    def killed(*_):
        raise StopHere

    with monkeypatch.context() as patch:
        patch.setattr(RunFolder, "finish", killed)
        with pytest.raises(StopHere):
            finetune(predictor(), train, valid, tmp_path / "killed", settings)
    with monkeypatch.context() as patch:
        patch.setattr(PropertyModule, "training_step", killed)
        found = finetune(predictor(), train, valid, tmp_path / "killed", settings)
    assert found["epoch"] == expected["epoch"]
    assert (tmp_path / "killed" / "metrics.csv").read_bytes() == course


def test_ctrl_c_is_raised_works_again_and_loses_nothing(tmp_path, monkeypatch):
    train, valid = molecules(16), molecules(8, seed=1)
    settings = Finetuning(epochs=3, batch_size=8, precision="32-true")
    finetune(whole := predictor(), train, valid, tmp_path / "whole", settings)
    step = PropertyModule.training_step

    def interrupted(module, batch, batch_idx):
        if module.trainer.global_step == 3:
            signal.raise_signal(signal.SIGINT)  # to this thread, and at once
        return step(module, batch, batch_idx)

    handler = signal.default_int_handler
    signal.signal(signal.SIGINT, handler)  # a shell's background job ignores it
    for _ in range(2):  # also the second time
        with monkeypatch.context() as patch:
            patch.setattr(PropertyModule, "training_step", interrupted)
            with pytest.raises(KeyboardInterrupt):
                finetune(predictor(), train, valid, tmp_path / "killed", settings)
        assert signal.getsignal(signal.SIGINT) is handler
    finetune(model := predictor(), train, valid, tmp_path / "killed", settings)
    assert of_weights(model) == of_weights(whole)


def test_a_finished_run_returns_its_result_at_once(tmp_path, monkeypatch):
    train, valid = molecules(16), molecules(8, seed=1)
    settings = Finetuning(epochs=2, batch_size=8)
    expected = finetune(first := predictor(), train, valid, tmp_path, settings)
    before = {file: file.stat().st_mtime_ns for file in tmp_path.rglob("*")}

    def trains(*_):
        raise AssertionError("a finished run trains again")

    monkeypatch.setattr(PropertyModule, "training_step", trains)
    model = predictor()
    assert finetune(model, train, valid, tmp_path, settings) == expected
    assert of_weights(model) == of_weights(first)
    assert not model.training
    assert {file: file.stat().st_mtime_ns for file in tmp_path.rglob("*")} == before


def test_another_run_in_the_folder_is_an_error_that_names_the_difference(tmp_path):
    train, valid = molecules(16), molecules(8, seed=1)
    settings = Finetuning(epochs=1, batch_size=8)
    finetune(predictor(), train, valid, tmp_path, settings)
    moved = [data.clone() for data in train]
    moved[3].conformers[0, 0, 0] += 0.01
    relabelled = [data.clone() for data in valid]
    relabelled[2].y += 1
    other_head = predictor()
    other_head.head.out.bias.data += 1
    for change, name in (
        ({"train": moved}, "train: "),
        ({"valid": relabelled}, "valid: "),
        ({"settings": dataclasses.replace(settings, lr=3e-4)}, "settings.lr: 0.0001 there, 0.0003"),
        ({"seed": 1}, "seed: 0 there, 1 now"),
        ({"model": other_head}, "model.weights: "),
        ({"model": predictor(task_names=["logP"])}, "model.config.task_names: "),
        ({"scale": torch.tensor([[0.0], [1.0]])}, "scale: None there"),
        ({"recipe": {"seed": 1}}, "recipe.seed: absent there, 1 now"),
    ):
        call = {"model": predictor(), "train": train, "valid": valid, "settings": settings}
        with pytest.raises(ValueError, match="a finished run that is another one") as error:
            finetune(**{**call, **change}, folder=tmp_path)
        assert name in str(error.value), name
        assert "Give another folder, or delete this one" in str(error.value)
    assert finetune(predictor(), train, valid, tmp_path, settings)["epoch"] == 0


def test_the_metric_of_the_settings_chooses_the_epoch(tmp_path):
    train, valid = molecules(24), molecules(8, seed=1)
    settings = Finetuning(epochs=3, batch_size=8, lr=2e-3, metric="mae")
    model = predictor()
    best = finetune(model, train, valid, tmp_path, settings)
    y = np.concatenate([d.y for d in valid])
    assert best.keys() == {"epoch", "val_mae", "seconds"}
    assert np.abs(predict(model, valid) - y).mean() == pytest.approx(best["val_mae"], rel=1e-4)


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
