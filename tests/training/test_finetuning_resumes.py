import dataclasses
import json
import signal

import pytest
import torch
from chains import StopHere, molecules, predictor, stopping_at

from molae_pyg import MolAEEncoder, MolAEPredictor, from_smiles
from molae_pyg.fingerprint import of_weights
from molae_pyg.training import Finetuning, finetune, predict
from molae_pyg.training.course import read_metrics
from molae_pyg.training.property import PropertyModule
from molae_pyg.training.run import RunFolder


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
