"""Tuning of fine-tuning: trials inside the training rows of each fold."""

import csv
import json
import sys
from dataclasses import asdict
from pathlib import Path

import pytest
from tiny import SMILES

from molae_pyg.chem.options import InputError
from molae_pyg.tables.reading import read_table
from molae_pyg.training import Finetuning
from molae_pyg.workflow import FitSettings, fit, tuning
from molae_pyg.workflow.finetuned import HEAD, TRAINING
from molae_pyg.workflow.tuning import Trial, read_trials, space_of, tune, tuned_lines

optuna = pytest.importorskip("optuna", reason="pip install 'molae_pyg[search]'")
DEFAULTS = {**asdict(Finetuning()), **HEAD, **TRAINING}


class Training:
    """A training whose score is a function of the settings; call number ``at`` raises an error."""

    def __init__(self, metric: str = "rmse", at: int = -1, error: BaseException | None = None):
        self.metric, self.at, self.error, self.tried = metric, at, error, []

    def __call__(self, settings: dict, folder: Path) -> dict[str, float]:
        self.tried.append(settings)
        if len(self.tried) - 1 == self.at:
            raise self.error
        folder.mkdir()
        (folder / "model").write_text(folder.name)
        return {f"val_{self.metric}": abs(settings["lr"] - 2e-4)}


def run(folder: Path, training: Training, number: int = 7) -> dict:
    folder.mkdir(exist_ok=True)
    metric, final = training.metric, folder / "final"
    return tune(number, space_of({}), DEFAULTS, training, metric, folder, final, seed=5)


def test_the_first_trial_is_the_default_and_the_best_model_stays(tmp_path):
    training = Training()
    best = run(tmp_path, training)
    assert training.tried[0] == {name: DEFAULTS[name] for name in space_of({})}
    assert best == min(training.tried, key=lambda settings: abs(settings["lr"] - 2e-4)) != DEFAULTS
    assert {file.name for file in tmp_path.iterdir()} == {"trials.json", "final"}
    assert (tmp_path / "final/model").read_text() == f"trial-{training.tried.index(best)}"
    assert [trial.settings for trial in read_trials(tmp_path)] == training.tried


def test_higher_scores_may_be_better(tmp_path):
    training = Training("roc_auc")
    best = run(tmp_path, training)
    assert best == max(training.tried, key=lambda settings: abs(settings["lr"] - 2e-4))


def test_an_interrupted_search_tries_the_same(tmp_path):
    whole = Training()
    best = run(tmp_path / "whole", whole)
    first = Training(at=4, error=KeyboardInterrupt())
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path / "cut", first)
    second = Training()
    assert run(tmp_path / "cut", second) == best
    assert first.tried[:4] + second.tried == whole.tried
    third = Training()
    assert run(tmp_path / "cut", third) == best
    assert third.tried == []


def test_trials_that_fail_are_listed_and_never_chosen(tmp_path):
    training = Training(at=0, error=ValueError("the loss is NaN"))
    best = run(tmp_path, training)
    assert read_trials(tmp_path)[0] == Trial(training.tried[0], None, "the loss is NaN")
    assert best in training.tried[1:]
    with pytest.raises(InputError, match=r"all trials of .* failed, the first with: few labels"):
        run(tmp_path / "b", Training(at=0, error=ValueError("few labels")), number=1)


def test_given_settings_are_not_tuned():
    assert set(space_of({})) > {"lr", "batch_size", "epochs", "pooler_dropout", "readout"}
    assert not {"lr", "readout"} & set(space_of({"lr": 1e-4, "readout": "mean"}))


def train(folder: Path, weights: str, y: list[float]):
    folder.mkdir()
    with open(folder / "a.csv", "w", newline="") as file:
        csv.writer(file).writerows([["smiles", "y"], *zip(SMILES, y, strict=True)])
    settings = FitSettings(
        folds=2,
        split="random",
        frozen=False,
        features="none",
        weights=weights,
        training={"epochs": 2, "precision": "32-true"},
        tune=2,
    )
    return fit(read_table(folder / "a.csv"), folder / "m", settings)


def test_rows_that_are_held_out_have_no_part_in_the_choice(tmp_path, weights):
    y = [len(smiles) + 0.5 for smiles in SMILES]
    found = train(tmp_path / "a", weights, y)
    other = [value + 50 * (fold == 0) for value, fold in zip(y, found.fold, strict=True)]
    changed = train(tmp_path / "b", weights, other)
    files = [(model.folder / "fold-0/trials.json").read_bytes() for model in (found, changed)]
    assert files[0] == files[1]
    others = [(model.folder / "fold-1/trials.json").read_bytes() for model in (found, changed)]
    assert others[0] != others[1]

    tuned = found.info["tuned"]
    assert json.loads((found.folder / "model.json").read_text())["tuned"] == tuned
    assert [fold["trials"] for fold in tuned] == [2, 2]
    assert "epochs" not in tuned[0]["settings"]
    lines = tuned_lines(tuned)
    assert lines[0].startswith("fold 0: lr ")
    assert f"rmse on its validation rows {tuned[0]['score']:.3f}" in lines[0]
    assert sorted(file.name for file in (found.folder / "fold-1").iterdir()) == [
        *("finetuned", "predicted.npz", "trials.json")
    ]
    predicted = found.fold_predict(found.smiles)
    rows = found.fold == 1
    assert predicted[1, rows] == pytest.approx(found.predictions["molae"][rows], abs=1e-3)


def test_tuning_needs_fine_tuning_and_optuna(tmp_path, weights, monkeypatch):
    with pytest.raises(InputError, match="only fine-tuning has settings to tune"):
        FitSettings(tune=3)
    monkeypatch.setitem(sys.modules, "optuna", None)
    with pytest.raises(ModuleNotFoundError, match=r"pip install 'molae_pyg\[search\]'"):
        train(tmp_path / "a", weights, [len(smiles) + 0.5 for smiles in SMILES])
    assert not (tmp_path / "a/m").exists()
    assert tuning.tuned_lines([]) == []
