"""Makes one page of finished runs: tables, significance, learning curves, pictures, cost.

    python -m molae_pyg.evaluation.report runs/moleculenet

Writes report.html, which loads nothing from elsewhere, report.md, results.json (all scores, without
the predictions) and the pictures into <runs>/report, or --output. A run whose files were changed
after it was finished, or that was fitted to other labels than the rest, is left out; the page names
it, and the script ends with 1.
"""

import argparse
import json
from collections import defaultdict
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import yaml
from tqdm.auto import tqdm

from molae_pyg.durable import write_durably
from molae_pyg.evaluation import figures
from molae_pyg.evaluation.page import Page
from molae_pyg.evaluation.runs import PREDICTIONS, SHARED, check_same, mean_and_spread, read_runs
from molae_pyg.evaluation.significance import resampled_scores, tied_with_best, tukey_hsd
from molae_pyg.metrics import LOWER_IS_BETTER, evaluate

PUBLISHED = Path(__file__).parent / "published.yaml"
KEPT = (
    *("dataset", "protocol", "model", "seed", "fold", "metric", "sizes", "valid", "test"),
    *("epoch", "parameters", "seconds", "split_sha256", "weights_sha256", "data", "settings"),
    *("tasks", "valid_tasks", "task_types", "smiles_sha256", "labels_sha256"),
)
TARGETS = 40  # of a data set that the page lists
Runs = dict[str, list[dict[str, Any]]]  # by model, seeds and folds in order


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("runs", nargs="?", default="runs/moleculenet", help="folder of runs")
    parser.add_argument("--output", help="folder of the report; default: <runs>/report")
    return parser.parse_args()


def load(folder: Path) -> tuple[dict[str, dict[str, Runs]], list[str]]:
    """Finished runs by protocol, data set and model, and why others are left out.

    Each run knows its ``folder``.
    """
    runs, wrong = read_runs(folder)
    left_out = [message for _, message in wrong]
    found: dict = defaultdict(lambda: defaultdict(lambda: defaultdict(list)))
    first: dict[tuple[str, str], dict[str, Any]] = {}  # of a protocol and data set
    for place, result in runs:
        other = first.setdefault((result["protocol"], result["dataset"]), result)
        try:
            check_same(result, {name: other[name] for name in SHARED}, place, "a run on other data")
        except ValueError as error:
            left_out.append(str(error))
            continue
        found[result["protocol"]][result["dataset"]][result["model"]].append(
            {**result, "folder": place}
        )
    for datasets in found.values():
        for models in datasets.values():
            for runs in models.values():
                runs.sort(key=lambda run: (run["seed"], run["fold"]))
    if not found:
        why = f"{folder} has no finished run; experiments/moleculenet.py makes them"
        raise SystemExit("\n".join([why, *left_out]))
    return found, left_out


def scores_of(runs: list[dict[str, Any]]) -> list[float]:
    return [run["test"][run["metric"]] for run in runs]


def predictions_of(run: dict[str, Any]) -> tuple[np.ndarray, np.ndarray]:
    """Labels and predictions ``[n, T]`` of the test rows of a run."""
    table = _test_rows(run["folder"], run["files"][PREDICTIONS])
    names = run["task_names"]
    columns = {what: [f"{task} {what}" for task in names] for what in ("true", "predicted")}
    return table[columns["true"]].to_numpy(float), table[columns["predicted"]].to_numpy(float)


@lru_cache  # significance, ensembles and pictures read the same ones
def _test_rows(folder: Path, checksum: str) -> pd.DataFrame:
    """Also the checksum is a key, as a file can change under its name."""
    table = pd.read_csv(folder / PREDICTIONS)
    return table[table["part"] == "test"]


def ensemble(runs: list[dict[str, Any]]) -> float | None:
    """Test score of the mean prediction of seeds on one split; None where splits differ."""
    if len(runs) < 2 or len({run["split_sha256"] for run in runs}) > 1:
        return None
    y, predicted = zip(*(predictions_of(run) for run in runs), strict=True)
    first = runs[0]
    scores = evaluate(y[0], np.mean(predicted, axis=0), first["task_types"], first["scale"])
    return scores[first["metric"]]


def ties(models: Runs) -> set[str]:
    """The best model of a data set and those that it is not significantly ahead of.

    On one split: by test sets drawn from the test set, with the scores averaged over seeds. On
    folds: by Tukey's honestly significant difference.
    """
    first = next(iter(models.values()))[0]
    metric = first["metric"]
    if len({run["split_sha256"] for runs in models.values() for run in runs}) == 1:
        drawn = {
            model: np.mean([_resampled(run) for run in runs], axis=0)
            for model, runs in models.items()
        }
        return tied_with_best(drawn, metric)
    names, scores = paired(models)
    if scores.shape[0] < 2 or len(names) < 2:
        return set()
    found = tukey_hsd(scores)
    best = int(np.argmin(found.means) if metric in LOWER_IS_BETTER else np.argmax(found.means))
    return {names[best]} | {
        name for name, p in zip(names, found.p_values[best], strict=True) if p >= 0.05
    }


def _resampled(run: dict[str, Any]) -> np.ndarray:
    """Scores of a run on drawn test sets ``[times]``."""
    y, predicted = predictions_of(run)
    return resampled_scores(y, predicted, run["metric"], run["task_types"], run["scale"])


def paired(models: Runs) -> tuple[list[str], np.ndarray]:
    """Models and their scores ``[F, M]`` on the splits that all of them have finished."""
    by_model = {
        model: {(run["seed"], run["fold"], run["split_sha256"]): run for run in runs}
        for model, runs in models.items()
    }
    shared = sorted(set.intersection(*(set(runs) for runs in by_model.values())))
    scores = [[scores_of([runs[key]])[0] for runs in by_model.values()] for key in shared]
    return list(by_model), np.array(scores).reshape(len(shared), len(by_model))


def score_table(datasets: dict[str, Runs]) -> tuple[pd.DataFrame, dict[str, set[str]]]:
    """Mean ± sample standard deviation by model and data set; first the mean rank of each model.

    A mean rank is taken over the data sets that all models of the table have finished; the column
    beside it counts the data sets where a model is the best or not significantly behind it.
    """
    cells: dict[str, dict[str, str]] = defaultdict(dict)
    means: dict[str, dict[str, float]] = defaultdict(dict)
    tied = {}
    for name, models in tqdm(datasets.items(), "significance", disable=None):
        metric = next(iter(models.values()))[0]["metric"]
        tied[f"{name}, {metric}"] = ties(models)
        for model, runs in models.items():
            values = scores_of(runs)
            cells[f"{name}, {metric}"][model] = mean_and_spread(values)
            means[name][model] = np.mean(values) * (1 if metric in LOWER_IS_BETTER else -1)
    ranks = pd.DataFrame(means).dropna(axis="columns").rank().mean(axis=1)
    table = pd.DataFrame(cells)
    best = [str(sum(model in names for names in tied.values())) for model in table.index]
    table.insert(0, "best or tied", best)
    if ranks.notna().any():
        table.insert(0, "mean rank", ranks.map("{:.2f}".format))
        table = table.loc[ranks.sort_values().index]
    return table.fillna("—"), tied


def ensemble_table(datasets: dict[str, Runs]) -> pd.DataFrame:
    """Test scores of the mean prediction of all seeds, where they share a split."""
    cells: dict[str, dict[str, str]] = defaultdict(dict)
    for name, models in datasets.items():
        for model, runs in models.items():
            score = ensemble(runs)
            if score is not None:
                cells[f"{name}, {runs[0]['metric']}"][model] = f"{score:.3f}"
    return pd.DataFrame(cells).fillna("—")


def target_table(models: Runs) -> pd.DataFrame:
    """Test scores of each target (rows) by model, in its unit; empty if there is one target."""
    cells: dict[str, dict[str, str]] = {}
    for model, runs in models.items():
        cells[model] = {}
        for target, scores in runs[0]["tasks"].items() if len(runs[0]["tasks"]) > 1 else ():
            metric = next(iter(scores))  # rmse of values, roc_auc of classes
            values = [run["tasks"][target][metric] for run in runs]
            cells[model][f"{target}, {metric}"] = mean_and_spread(values)
    return pd.DataFrame(cells).fillna("—")


def cost_table(datasets: dict[str, Runs]) -> pd.DataFrame:
    """Mean seconds a run by data set, and parameters on the first of them."""
    cells: dict[str, dict[str, str]] = defaultdict(dict)
    for name, models in datasets.items():
        for model, runs in models.items():
            cells[f"{name}, s"][model] = f"{np.mean([run['seconds'] for run in runs]):.0f}"
            size = runs[0].get("parameters")
            cells["parameters"].setdefault(model, "—" if size is None else f"{size:,}")
    return pd.DataFrame(cells).fillna("—")


def published_table(names: list[str]) -> pd.DataFrame:
    """Published figures of the data sets, as printed there."""
    table = pd.DataFrame(yaml.safe_load(PUBLISHED.read_text())).T
    shown = [name for name in names if name in table]
    return table[shown].dropna(how="all").map(lambda x: "—" if pd.isna(x) else f"{x:g}")


def integrity_table(folder: Path, protocol: str, datasets: dict[str, Runs]) -> pd.DataFrame:
    """The account of the rows of each data set; first, the conformers asked for of a molecule."""
    found = {}
    for name, models in datasets.items():
        file = folder / protocol / name / "integrity.json"
        if file.is_file():
            asked = next(iter(models.values()))[0]["data"].get("num_conformers", np.nan)
            found[name] = {"conformers a molecule": asked} | json.loads(file.read_text())
    return pd.DataFrame(found).T.map(lambda x: f"{x:g}")


def describe(protocol: str, datasets: dict[str, Runs]) -> str:
    runs = [run for models in datasets.values() for runs in models.values() for run in runs]
    devices = sorted({run["environment"]["device"] for run in runs})
    commits = sorted({str(run["environment"]["commit"]) for run in runs})
    return (
        f"{len(runs)} runs, on {' and '.join(devices)}, commit {', '.join(commits)}. Test rows; "
        "mean ± sample standard deviation over runs. Bold: the best mean of a data set and every "
        "one that it is not significantly ahead of, "
        + (
            "by Tukey's HSD over folds."
            if protocol == "cv5x5"
            else "by 1,000 test sets drawn with replacement from the test set (95 %)."
        )
    )


def add_protocol(page: Page, folder: Path, protocol: str, datasets: dict[str, Runs]) -> None:
    """One protocol's part of the page."""
    page.heading(f"Protocol {protocol}", 2)
    page.text(describe(protocol, datasets))
    table, tied = score_table(datasets)
    page.table(table, tied)
    ensembles = ensemble_table(datasets)
    if not ensembles.empty:
        page.heading("Mean prediction of all seeds", 3)
        page.table(ensembles)
    for name, models in datasets.items():
        targets = target_table(models)
        if not targets.empty:
            page.heading(f"Targets of {name}", 3)
            page.table(targets[:TARGETS])
            if len(targets) > TARGETS:
                page.text(f"The first {TARGETS} of {len(targets)}; results.json has all.")
    if protocol == "cv5x5":
        page.heading("Simultaneous intervals", 3)
        page.text(
            "Tukey's HSD after a repeated-measures analysis of variance: models whose intervals do "
            "not overlap differ significantly. Folds share training rows, so that the intervals "
            "are too narrow rather than too wide."
        )
        for name, models in datasets.items():
            names, scores = paired(models)
            if len(names) > 1 and len(scores) > 1:
                metric = next(iter(models.values()))[0]["metric"]
                png = figures.intervals(names, tukey_hsd(scores), f"{name}, {metric}")
                page.picture(f"{protocol}-{name}-tukey", png, f"intervals on {name}")
    page.heading("Predictions and learning curves", 3)
    for name, models in datasets.items():
        first = {model: runs[0] for model, runs in models.items()}
        predictions = {model: predictions_of(run) for model, run in first.items()}
        png = figures.predictions(predictions, next(iter(first.values()))["task_types"], name)
        page.picture(f"{protocol}-{name}-predictions", png, f"predictions on {name}")
        png = figures.learning_curves(models, name)
        page.picture(f"{protocol}-{name}-curves", png, f"learning curves on {name}")
    page.heading("Cost", 3)
    page.text("Seconds a run, fitting and predicting; conformers are not included.")
    page.table(cost_table(datasets))
    page.heading("Rows of the data sets", 3)
    page.table(integrity_table(folder, protocol, datasets))


def main() -> None:
    args = parse_args()
    folder = Path(args.runs)
    found, left_out = load(folder)
    output = Path(args.output or folder / "report")
    page = Page(output)
    if left_out:
        page.heading("Left out", 2)
        for message in left_out:
            page.text(message)
    for protocol, datasets in found.items():
        add_protocol(page, folder, protocol, datasets)
    names = list(dict.fromkeys(name for datasets in found.values() for name in datasets))
    published = published_table(names)
    if not published.empty:
        page.heading("Published figures", 2)
        page.text(
            "From the tables of Yang et al. (ICML 2024): not measured here, on other splits, "
            "mostly by models pre-trained on millions of molecules. ROC-AUC in per cent."
        )
        page.table(published)
    page.write("Models on molecular data sets")
    rows = [
        {key: run[key] for key in KEPT if key in run} | {"environment": run["environment"]}
        for datasets in found.values()
        for models in datasets.values()
        for runs in models.values()
        for run in runs
    ]
    write_durably(output / "results.json", json.dumps(rows, indent=1).encode() + b"\n")
    print(f"written to {output}: report.html, report.md, results.json and pictures")
    if left_out:
        raise SystemExit("\n".join([f"left out, {len(left_out)}:", *left_out]))


if __name__ == "__main__":
    main()
