"""The report: tables counted by hand, a page that stands alone."""

import importlib
import json
import re
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from molae_pyg.evaluation import sealed


@pytest.fixture
def report(monkeypatch):
    return importlib.import_module("molae_pyg.evaluation.report")


def write_runs(
    folder: Path, protocol: str, dataset: str, errors: dict[str, float], kind: str, runs: int = 3
) -> None:
    """Runs of models whose predictions are so far off; folds of cv5x5, seeds of other protocols."""
    generator = np.random.default_rng(0)
    y = generator.normal(size=60)
    for number in range(runs):
        if protocol == "cv5x5":
            y = generator.normal(size=60)
        for model, error in errors.items():
            predicted = y + error * generator.normal(size=60)
            true = y if kind == "regression" else (y > 0).astype(float)
            if kind == "classification":
                predicted = 1 / (1 + np.exp(-predicted))
            seed, fold = (number // 5, number % 5) if protocol == "cv5x5" else (number, 0)
            place = folder / protocol / dataset / model / f"{seed}-{fold}"
            place.mkdir(parents=True)
            rows = pd.DataFrame(
                {"row": range(60), "part": "test", "a b true": true, "a b predicted": predicted}
            )
            rows.to_csv(place / "predictions.csv", index=False)
            metric = "rmse" if kind == "regression" else "roc_auc"
            score = float(np.sqrt(np.mean((predicted - true) ** 2)))
            if kind == "classification":
                score = 1 - error / 10
            split = "split" + (str(number) if protocol == "cv5x5" else "")
            result = {
                **{"dataset": dataset, "protocol": protocol, "model": model, "seed": seed},
                **{"fold": fold, "metric": metric, "task_types": [kind], "task_names": ["a b"]},
                **{"smiles_sha256": "s", "labels_sha256": "l", "scale": None},
                **{"test": {metric: score}, "valid": {metric: score}, "seconds": 2.0},
                **{"split_sha256": split, "weights_sha256": None, "settings": {}, "sizes": {}},
                "tasks": {"a b": {metric: score}},
                "data": {"num_conformers": 10},
                "environment": {"device": "cpu", "commit": "abc"},
            }
            if model == "good":
                result["parameters"] = 1234567
                course = pd.DataFrame({"epoch": [0, 1], f"val_{metric}": [1.0, 0.9]})
                course.to_csv(place / "metrics.csv", index=False)
            sealed.seal(place / "result.json", result)


@pytest.fixture
def runs(report, tmp_path) -> Path:
    errors = {"good": 0.1, "close": 0.101, "bad": 2.0}
    write_runs(tmp_path, "scaffold", "esol", errors, "regression")
    write_runs(tmp_path, "scaffold", "bace", errors, "classification")
    write_runs(tmp_path, "cv5x5", "esol", errors, "regression", runs=10)
    integrity = {"rows": 60, "invalid": 2}
    (tmp_path / "scaffold" / "esol" / "integrity.json").write_text(json.dumps(integrity))
    return tmp_path


def test_page(report, runs, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["report.py", str(runs)])
    report.main()
    html = (runs / "report" / "report.html").read_text()
    assert not re.search(r"(src|href)=\"?http|<script", html)  # nothing from elsewhere
    assert html.count("<img") == html.count('src="data:image/png;base64,') >= 6
    markdown = (runs / "report" / "report.md").read_text()
    for picture in re.findall(r"\]\(([^)]+\.png)\)", markdown):
        assert (runs / "report" / picture).stat().st_size > 1000
    assert "## Protocol cv5x5" in markdown
    assert "1,234,567" in markdown
    assert "| esol | 10 | 60 | 2 |" in markdown  # conformers, rows, invalid
    (good,) = re.findall(r"^\| good \| 1\.\d\d \| 2 \|.*$", markdown, re.M)[:1]
    assert "**0.0" in good or "**0.1" in good
    assert re.search(r"^\| bad \| 3\.00 \| 0 \| [^*]* \| [^*]* \|$", markdown, re.M)
    assert "| mol-ae | 0.83 | 84.1 |" in markdown or "| mol-ae | 84.1 | 0.83 |" in markdown
    assert len(json.loads((runs / "report" / "results.json").read_text())) == 9 + 9 + 30


def test_ties_on_one_split_and_over_folds(report, runs):
    found, left_out = report.load(runs)
    assert not left_out
    assert report.ties(found["scaffold"]["esol"]) == {"good", "close"}
    assert report.ties(found["cv5x5"]["esol"]) == {"good", "close"}


def test_ensemble_is_better_than_its_members_and_needs_one_split(report, runs):
    found, left_out = report.load(runs)
    assert not left_out
    members = found["scaffold"]["esol"]["bad"]
    assert report.ensemble(members) < min(report.scores_of(members))
    assert report.ensemble(found["cv5x5"]["esol"]["bad"]) is None
    assert report.ensemble(members[:1]) is None


def test_models_are_compared_on_splits_that_all_have(report, runs):
    models = report.load(runs)[0]["cv5x5"]["esol"]
    models["bad"] = models["bad"][:4]
    names, scores = report.paired(models)
    assert scores.shape == (4, 3)
    assert scores[2, names.index("good")] == report.scores_of(models["good"])[2]


def test_targets_have_a_table_of_their_own(report):
    def run(logs: float, auc: float) -> dict:
        return {"tasks": {"logS": {"rmse": logs, "mae": 9.0}, "active": {"roc_auc": auc}}}

    table = report.target_table({"good": [run(0.1, 0.9), run(0.3, 0.7)], "bad": [run(1.0, 0.5)]})
    assert table.to_dict() == {
        "good": {"logS, rmse": "0.200 ± 0.141", "active, roc_auc": "0.800 ± 0.141"},
        "bad": {"logS, rmse": "1.000", "active, roc_auc": "0.500"},
    }
    assert report.target_table({"good": [{"tasks": {"y": {"rmse": 1.0}}}]}).empty


def test_no_runs(report, tmp_path):
    with pytest.raises(SystemExit, match="has no finished run"):
        report.load(tmp_path)
