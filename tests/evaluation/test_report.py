"""The report: tables counted by hand, a page that stands alone."""

import json
import re
import sys
from pathlib import Path
from urllib.parse import unquote

import numpy as np
import pandas as pd
import pytest
from pages import Parsed, assert_legible, needs_browser, read_page

from molae_pyg.evaluation import report, score_tables
from molae_pyg.evaluation import runs as finished
from molae_pyg.metrics import evaluate, evaluate_tasks

ATTACK = "<script>alert(1)& $\\frac{1}$ *a* | `b` [c](d) Größe"
LONG = "a-name-without-any-space-" * 5


def write_runs(
    folder: Path,
    protocol: str,
    dataset: str,
    errors: dict[str, float],
    kinds: list[str],
    runs: int = 3,
    names: list[str] | None = None,
    n: int = 60,
) -> None:
    """Runs of models whose predictions are so far off; folds of cv5x5, seeds of other protocols."""
    generator = np.random.default_rng(0)
    names = names or ["a b"]
    is_class = np.array(kinds) == "classification"
    latent = generator.normal(size=(n, len(kinds)))
    metric = "rmse" if len(kinds) == 1 else "standardised_rmse"
    metric = metric if not is_class.any() else "roc_auc" if is_class.all() else "mixed_error"
    for number in range(runs):
        if protocol == "cv5x5":
            latent = generator.normal(size=latent.shape)
        y = np.where(is_class, latent > 0, latent).astype(float)
        for model, error in errors.items():
            predicted = latent + error * generator.normal(size=latent.shape)
            predicted = np.where(is_class, 1 / (1 + np.exp(-predicted)), predicted)
            seed, fold = (number // 5, number % 5) if protocol == "cv5x5" else (number, 0)
            place = folder / protocol / dataset / model / f"{seed}-{fold}"
            place.mkdir(parents=True)
            rows: dict = {"row": range(n), "part": "test"}
            for t, name in enumerate(names):
                rows |= {f"{name} true": y[:, t], f"{name} predicted": predicted[:, t]}
            pd.DataFrame(rows).to_csv(place / "predictions.csv", index=False)
            scores = evaluate(y, predicted, kinds)
            split = "split" + (str(number) if protocol == "cv5x5" else "")
            result = {
                **{"dataset": dataset, "protocol": protocol, "model": model, "seed": seed},
                **{"fold": fold, "metric": metric, "task_types": kinds, "task_names": names},
                **{"smiles_sha256": "s", "labels_sha256": "l"},
                **{"scale": [1.0] * len(kinds) if len(kinds) > 1 else None},
                **{"test": scores, "valid": scores, "seconds": 2.0},
                **{"split_sha256": split, "weights_sha256": None, "settings": {}, "sizes": {}},
                "tasks": evaluate_tasks(y, predicted, kinds, names),
                "data": {"num_conformers": 10},
                "environment": {"device": "cpu", "commit": "abc"},
            }
            if model == "good":
                result["parameters"] = 1234567
                course = pd.DataFrame({"epoch": [0, 1], f"val_{metric}": [1.0, 0.9]})
                course.to_csv(place / "metrics.csv", index=False)
            finished.seal(place / "result.json", result)


def change(place: Path, **entries) -> None:
    """Writes a finished run anew, with other entries."""
    result = json.loads((place / "result.json").read_text()) | entries
    del result[finished.OWN], result[finished.FILES]
    finished.seal(place / "result.json", result)


def make_report(folder: Path, monkeypatch) -> tuple[Parsed, str]:
    """The page of the runs in a folder, as HTML and as Markdown."""
    monkeypatch.setattr(sys, "argv", ["report.py", str(folder)])
    report.main()
    page = read_page(folder / "report" / "report.html")
    markdown = (folder / "report" / "report.md").read_text()
    for picture in re.findall(r"\]\(([^)]+\.png)\)", markdown):
        assert (folder / "report" / unquote(picture)).stat().st_size > 1000
    return page, markdown


@pytest.fixture
def runs(tmp_path) -> Path:
    errors = {"good": 0.1, "close": 0.101, "bad": 2.0}
    write_runs(tmp_path, "scaffold", "esol", errors, ["regression"])
    write_runs(tmp_path, "scaffold", "bace", errors, ["classification"])
    write_runs(tmp_path, "cv5x5", "esol", errors, ["regression"], runs=10)
    integrity = {"rows": 60, "invalid": 2}
    (tmp_path / "scaffold" / "esol" / "integrity.json").write_text(json.dumps(integrity))
    return tmp_path


def test_page(runs, monkeypatch):
    page, markdown = make_report(runs, monkeypatch)
    assert len(page.attributes("img")) == 3 * 2 + 1 + 3 + 1  # panels, calibration, courses, Tukey
    assert "## Protocol cv5x5" in markdown
    assert "1,234,567" in markdown
    assert "| esol | 10 | 60 | 2 |" in markdown  # conformers, rows, invalid
    (good,) = re.findall(r"^\| good \| 1\.\d\d \| 2 \|.*$", markdown, re.M)[:1]
    assert "**0.0" in good or "**0.1" in good
    assert re.search(r"^\| bad \| 3\.00 \| 0 \| [^*]* \| [^*]* \|$", markdown, re.M)
    assert "| mol-ae | 0.83 | 84.1 |" in markdown or "| mol-ae | 84.1 | 0.83 |" in markdown
    assert "Significance is found by Tukey's HSD over the splits." in markdown
    assert "Significance is found by 1,000 test sets drawn with replacement" in markdown
    assert len(json.loads((runs / "report" / "results.json").read_text())) == 9 + 9 + 30


@needs_browser
def test_page_in_a_browser(tmp_path, monkeypatch):
    errors = {"good": 0.1, LONG: 0.2, ATTACK: 0.5, "bad": 2.0}
    write_runs(tmp_path, "scaffold", f"{ATTACK} {LONG}", errors, ["regression"], runs=1)
    page, _ = make_report(tmp_path, monkeypatch)
    assert page.row(ATTACK)
    assert_legible(tmp_path / "report" / "report.html", tmp_path)


@pytest.mark.slow
def test_every_target_is_drawn(tmp_path, monkeypatch):
    errors = {"good": 0.1, ATTACK: 2.0}
    regression = [f"y{t} {ATTACK}" for t in range(12)]
    classes = [f"c{t} {LONG}" for t in range(27)]
    write_runs(tmp_path, "scaffold", "qm8", {"good": 0.1}, ["regression"] * 12, 1, regression)
    write_runs(tmp_path, "scaffold", "sider", errors, ["classification"] * 27, 1, classes)
    mixed = ["regression", "classification"]
    write_runs(tmp_path, "random", "both", errors, mixed, 2, ["logS", "active"])
    page, markdown = make_report(tmp_path, monkeypatch)
    for target in regression:
        assert f"qm8, {target}: predicted against measured values, seed 0" in page.words
    for target in classes:
        assert page.words.count(target) == 1
        assert page.row(f"{target}, roc_auc")
    assert "both, logS: predicted against measured values, seed 0" in page.words
    assert "both: calibration, seed 0" in page.words
    curves = 3
    assert len(page.attributes("img")) == 12 + 27 + 2 + 1 + curves
    assert len(re.findall(r"\.png\)", markdown)) == 12 + 1 + 2 + curves


def test_one_model_with_one_run(tmp_path, monkeypatch):
    write_runs(tmp_path, "scaffold", "mine", {"mean": 1.0}, ["regression"], runs=1)
    page, markdown = make_report(tmp_path, monkeypatch)
    assert any(word.startswith("Significance is not tested on mine") for word in page.words)
    assert not any(word.startswith("Bold") for word in page.words)
    assert page.row("mean")[0].replace(".", "").isdigit()
    assert "mean rank" not in markdown


def test_missing_scores_and_labels(tmp_path, monkeypatch):
    write_runs(tmp_path, "scaffold", "few", {"good": 0.1, "bad": 1.0}, ["classification"], n=16)
    for place in (tmp_path / "scaffold" / "few" / "bad").iterdir():
        change(place, test={"roc_auc": None if place.name == "0-0" else float("nan")})
    page, _ = make_report(tmp_path, monkeypatch)
    assert page.row("bad") == ["0", "—"]
    assert "few: there are too few test labels to draw a b." in page.words
    assert any(word.startswith("Significance is not tested on few") for word in page.words)


def test_spread():
    assert score_tables.spread_of([1.0, 3.0]) == "2.000 ± 1.414"
    assert score_tables.spread_of([1.0, np.nan, 3.0]) == "2.000 ± 1.414 (2 of 3)"
    assert score_tables.spread_of([0.0]) == "0.000"
    assert score_tables.spread_of([np.nan]) == "—"


def test_ties_on_one_split_and_over_folds(runs):
    found, left_out = report.load(runs)
    assert not left_out
    assert score_tables.ties(found["scaffold"]["esol"]) == {"good", "close"}
    assert score_tables.ties(found["cv5x5"]["esol"]) == {"good", "close"}


def test_gains_over_another_model(runs):
    datasets = report.load(runs)[0]["scaffold"]
    pairs = [("good", "bad"), ("bad", "good"), ("good", "close"), ("good", "absent")]
    table, clear = score_tables.gain_table({"esol": datasets["esol"]}, pairs)
    assert list(table.index) == ["good over bad", "bad over good", "good over close"]
    good, bad = (np.mean(score_tables.scores_of(datasets["esol"][m])) for m in ("good", "bad"))
    assert table.loc["good over bad"].tolist() == [f"{bad - good:+.3f}"]  # rmse: lower is better
    assert table.loc["bad over good"].tolist() == [f"{good - bad:+.3f}"]
    assert list(clear.values()) == [{"good over bad", "bad over good"}]
    one_seed = {"good": datasets["esol"]["good"], "bad": datasets["esol"]["bad"][:1]}
    assert list(score_tables.gain_table({"esol": one_seed}, pairs[:1])[1].values()) == [set()]
    # Seeds that do not agree prove nothing, however many test molecules there are.
    models = {"close": datasets["esol"]["close"]}
    models["mixed"] = [datasets["esol"]["bad"][0], *datasets["esol"]["good"][1:]]
    assert list(score_tables.gain_table({"esol": models}, [("close", "mixed")])[1].values()) == [
        set()
    ]


@pytest.mark.parametrize(
    ("entries", "said"),
    [
        ({"settings": {"lr": 0.1}}, "settings.lr: 0.1 there, absent now"),
        ({"data": {"num_conformers": 1}}, "data.num_conformers: 1 there, 10 now"),
        ({"weights_sha256": "w"}, "weights_sha256: 'w' there, None now"),
        ({"labels_sha256": "m"}, "labels_sha256: 'm' there, 'l' now"),
    ],
)
def test_a_row_is_of_runs_with_the_same_settings(tmp_path, monkeypatch, entries, said):
    write_runs(tmp_path, "scaffold", "esol", {"good": 0.1, "bad": 1.0}, ["regression"])
    change(tmp_path / "scaffold" / "esol" / "bad" / "1-0", **entries)
    found, left_out = report.load(tmp_path)
    assert [run["seed"] for run in found["scaffold"]["esol"]["bad"]] == [0, 2]
    assert len(found["scaffold"]["esol"]["good"]) == 3
    (message,) = left_out
    assert "bad/1-0 holds a run " in message
    assert said in message
    with pytest.raises(SystemExit):
        make_report(tmp_path, monkeypatch)
    assert said in (tmp_path / "report" / "report.md").read_text().replace("\\_", "_")


def test_weights_that_only_give_a_size_may_differ(tmp_path):
    write_runs(tmp_path, "scaffold", "esol", {"bad": 1.0}, ["regression"])
    for number in range(3):
        of_size = {"settings": {"pretrained": False}, "weights_sha256": str(number)}
        parameters = 20 if number == 2 else 10
        change(tmp_path / f"scaffold/esol/bad/{number}-0", **of_size, parameters=parameters)
    found, left_out = report.load(tmp_path)
    assert [run["seed"] for run in found["scaffold"]["esol"]["bad"]] == [0, 1]
    assert "parameters: 20 there, 10 now" in left_out[0]


def test_what_pre_training_adds(tmp_path, monkeypatch):
    errors = {"good": 0.1, "good-random": 2.0, "bad": 2.0, "bad-random": 2.0}
    write_runs(tmp_path, "scaffold", "esol", errors, ["regression"])
    for number in range(3):
        place = tmp_path / f"scaffold/esol/good-random/{number}-0"
        change(place, settings={"pretrained": False})
    page, markdown = make_report(tmp_path, monkeypatch)
    assert "What pre-training adds" in page.words
    assert (
        len(re.findall(r"^\| good over good-random \| \*\*\+\d\.\d{3}\*\* \|$", markdown, re.M))
        == 1
    )
    assert "bad over bad-random" not in markdown  # a name alone tells nothing about its weights


def test_ensemble_is_better_than_its_members_and_needs_one_split(runs):
    found, left_out = report.load(runs)
    assert not left_out
    members = found["scaffold"]["esol"]["bad"]
    assert score_tables.ensemble(members) < min(score_tables.scores_of(members))
    assert score_tables.ensemble(found["cv5x5"]["esol"]["bad"]) is None
    assert score_tables.ensemble(members[:1]) is None


def test_models_are_compared_on_splits_that_all_have(runs):
    models = report.load(runs)[0]["cv5x5"]["esol"]
    models["bad"] = models["bad"][:4]
    names, scores = score_tables.paired(models)
    assert scores.shape == (4, 3)
    assert scores[2, names.index("good")] == score_tables.scores_of(models["good"])[2]


def test_targets_have_a_table_of_their_own():
    def run(logs: float, auc: float) -> dict:
        return {"tasks": {"logS": {"rmse": logs, "mae": 9.0}, "active": {"roc_auc": auc}}}

    table = score_tables.target_table(
        {"good": [run(0.1, 0.9), run(0.3, 0.7)], "bad": [run(1.0, 0.5)]}
    )
    assert table.to_dict() == {
        "good": {"logS, rmse": "0.200 ± 0.141", "active, roc_auc": "0.800 ± 0.141"},
        "bad": {"logS, rmse": "1.000", "active, roc_auc": "0.500"},
    }
    assert score_tables.target_table({"good": [{"tasks": {"y": {"rmse": 1.0}}}]}).empty


def test_no_runs(tmp_path):
    with pytest.raises(ValueError, match="has no finished run"):
        report.load(tmp_path)
