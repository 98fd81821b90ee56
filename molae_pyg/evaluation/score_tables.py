"""Scores of finished runs: means, ensembles, the best models, and the tables of the report."""

import json
from collections import defaultdict
from collections.abc import Sequence
from functools import cache, lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import yaml
from tqdm.auto import tqdm

from molae_pyg.evaluation.runs import PREDICTIONS, mean_and_spread, read_predictions
from molae_pyg.evaluation.significance import resampled_scores, tied_with_best, tukey_hsd
from molae_pyg.metrics import LOWER_IS_BETTER, TaskType, evaluate

PUBLISHED = Path(__file__).parent / "published.yaml"
NONE = "—"
RESAMPLING = "1,000 test sets drawn with replacement from the test set (95 %)"
TUKEY = "Tukey's HSD over the splits"
Runs = dict[str, list[dict[str, Any]]]  # by model, seeds and folds in order


def scores_of(runs: list[dict[str, Any]]) -> list[float]:
    """Returns the test score of each run, NaN if it has none."""
    scores = [run["test"].get(run["metric"]) for run in runs]
    return [np.nan if score is None else float(score) for score in scores]


def spread_of(values: Sequence[float]) -> str:
    """Returns mean ± sample standard deviation of the scores that are defined, and how many."""
    finite = [value for value in values if np.isfinite(value)]
    if not finite:
        return NONE
    some = f" ({len(finite)} of {len(values)})" if len(finite) < len(values) else ""
    return mean_and_spread(finite) + some


def predictions_of(run: dict[str, Any]) -> tuple[np.ndarray, np.ndarray]:
    """Returns labels and predictions ``[n, T]`` of the test rows of a run."""
    return _predictions(run["folder"], run["files"][PREDICTIONS], tuple(run["task_names"]))


def _predictions(
    folder: Path, checksum: str, names: tuple[str, ...]
) -> tuple[np.ndarray, np.ndarray]:
    table = _test_rows(folder, checksum)
    columns = {what: [f"{task} {what}" for task in names] for what in ("true", "predicted")}
    return table[columns["true"]].to_numpy(float), table[columns["predicted"]].to_numpy(float)


@lru_cache  # significance, ensembles and pictures read the same rows
def _test_rows(folder: Path, checksum: str) -> pd.DataFrame:
    """The checksum is a key too, as a file can change under its name."""
    (test,) = read_predictions(folder, "test")
    return test


def ensemble(runs: list[dict[str, Any]]) -> float | None:
    """Returns the test score of the mean prediction of seeds; None if their splits differ."""
    if len(runs) < 2 or len({run["split_sha256"] for run in runs}) > 1:
        return None
    y, predicted = zip(*(predictions_of(run) for run in runs), strict=True)
    first = runs[0]
    scores = evaluate(y[0], np.mean(predicted, axis=0), first["task_types"], first["scale"])
    return scores[first["metric"]]


def how_tested(models: Runs) -> str:
    """Returns how significance is found on a data set; empty if there is too little to test."""
    if len(models) < 2 or not all(np.isfinite(scores_of(runs)).all() for runs in models.values()):
        return ""
    if len({run["split_sha256"] for runs in models.values() for run in runs}) == 1:
        return RESAMPLING
    return TUKEY if len(paired(models)[1]) > 1 else ""


def ties(models: Runs) -> set[str]:
    """Returns the best model of a data set and those that it is not significantly ahead of.

    On one split this is found by test sets drawn from the test set, with the scores averaged over
    seeds; on several splits by Tukey's honestly significant difference. The set is empty if there
    is too little to test.
    """
    how = how_tested(models)
    metric = metric_of(models)
    if how == RESAMPLING:
        drawn = {
            model: np.mean([_resampled(run) for run in runs], axis=0)
            for model, runs in models.items()
        }
        return tied_with_best(drawn, metric)
    if how != TUKEY:
        return set()
    names, scores = paired(models)
    found = tukey_hsd(scores)
    best = int(np.argmin(found.means) if metric in LOWER_IS_BETTER else np.argmax(found.means))
    return {names[best]} | {
        name for name, p in zip(names, found.p_values[best], strict=True) if p >= 0.05
    }


def _resampled(run: dict[str, Any]) -> np.ndarray:
    """Scores of a run on drawn test sets ``[times]``."""
    file = (run["folder"], run["files"][PREDICTIONS])
    names, kinds, scale = run["task_names"], run["task_types"], run["scale"]
    scale = None if scale is None else tuple(scale)
    return _resampled_once(*file, run["metric"], tuple(names), tuple(kinds), scale)


@cache  # best models and gains need the same scores
def _resampled_once(
    folder: Path,
    checksum: str,
    metric: str,
    names: tuple[str, ...],
    task_types: tuple[TaskType, ...],
    scale: tuple[float, ...] | None,
) -> np.ndarray:
    y, predicted = _predictions(folder, checksum, names)
    return resampled_scores(y, predicted, metric, task_types, scale)


def paired(models: Runs) -> tuple[list[str], np.ndarray]:
    """Returns models and their scores ``[F, M]`` on the splits that all of them have finished."""
    by_model = {
        model: {(run["seed"], run["fold"], run["split_sha256"]): run for run in runs}
        for model, runs in models.items()
    }
    shared = sorted(set.intersection(*(set(runs) for runs in by_model.values())))
    scores = [[scores_of([runs[key]])[0] for runs in by_model.values()] for key in shared]
    return list(by_model), np.array(scores).reshape(len(shared), len(by_model))


def score_table(datasets: dict[str, Runs]) -> tuple[pd.DataFrame, dict[str, set[str]]]:
    """Returns mean ± sample standard deviation by model and data set, and the best of each column.

    Two columns come first if there are several models: the mean rank of a model, over the data sets
    that all models have finished, and the number of data sets where a model is the best or not
    significantly behind it.
    """
    cells: dict[str, dict[str, str]] = defaultdict(dict)
    means: dict[str, dict[str, float]] = defaultdict(dict)
    tied = {}
    for name, models in tqdm(datasets.items(), "significance", disable=None):
        metric = metric_of(models)
        column = f"{name}, {metric}"
        tied[column] = ties(models)
        for model, runs in models.items():
            values = scores_of(runs)
            cells[column][model] = spread_of(values)
            means[name][model] = np.mean(values) * (1 if metric in LOWER_IS_BETTER else -1)
    table = pd.DataFrame(cells)
    if len(table) > 1:
        ranks = pd.DataFrame(means).dropna(axis="columns").rank().mean(axis=1)
        best = [str(sum(model in names for names in tied.values())) for model in table.index]
        table.insert(0, "best or tied", best)
        if ranks.notna().any():
            table.insert(0, "mean rank", ranks.map("{:.2f}".format))
            table = table.loc[ranks.sort_values().index]
    return table.fillna(NONE), tied


def twins(datasets: dict[str, Runs]) -> list[tuple[str, str]]:
    """Returns the models that have runs from random weights beside them, with the name of those."""
    random = {
        model
        for models in datasets.values()
        for model, runs in models.items()
        if runs[0]["settings"].get("pretrained") is False
    }
    names = dict.fromkeys(model for models in datasets.values() for model in models)
    return [(name, f"{name}-random") for name in names if f"{name}-random" in random]


def gain_table(
    datasets: dict[str, Runs], pairs: Sequence[tuple[str, str]]
) -> tuple[pd.DataFrame, dict[str, set[str]]]:
    """Returns how much better the first model of each pair is than the second, by data set.

    A gain is the difference of the mean test scores, positive where the first model is better. The
    second result names, for each column, the gains that are clearly not zero: their central 95 %
    interval excludes it, over 1,000 draws with replacement from the test set and from the seeds of
    each model. A gain is never clear if a model has one seed; two or three show little of the
    spread, so that intervals are too narrow: more gains are called clear than one in twenty where
    there is none. Data sets whose runs are not on one split are left out.
    """
    cells: dict[str, dict[str, str]] = defaultdict(dict)
    clear: dict[str, set[str]] = {}
    for name, models in datasets.items():
        tested = [
            pair
            for pair in pairs
            if how_tested({model: models[model] for model in pair if model in models}) == RESAMPLING
        ]
        if not tested:
            continue
        metric = metric_of(models)
        column, sign = f"{name}, {metric}", -1 if metric in LOWER_IS_BETTER else 1
        rng = np.random.default_rng(0)
        drawn = {
            model: _over_seeds(models[model], rng)
            for model in dict.fromkeys(m for pair in tested for m in pair)
        }
        clear[column] = set()
        for first, second in tested:
            row = f"{first} over {second}"
            gain = sign * (np.mean(scores_of(models[first])) - np.mean(scores_of(models[second])))
            low, high = np.nanquantile(sign * (drawn[first] - drawn[second]), (0.025, 0.975))
            cells[column][row] = f"{gain:+.3f}"
            several = min(len(models[first]), len(models[second])) > 1
            if several and (low > 0 or high < 0):
                clear[column].add(row)
    return pd.DataFrame(cells).fillna(NONE), clear


def _over_seeds(runs: list[dict[str, Any]], rng: np.random.Generator) -> np.ndarray:
    """Means over as many drawn seeds as there are, each on the same drawn test sets ``[times]``."""
    scores = np.stack([_resampled(run) for run in runs])  # [S, times]
    chosen = rng.integers(len(runs), size=scores.shape)
    return np.take_along_axis(scores, chosen, axis=0).mean(0)


def ensemble_table(datasets: dict[str, Runs]) -> pd.DataFrame:
    """Returns test scores of the mean prediction of all seeds, if they share a split."""
    cells: dict[str, dict[str, str]] = defaultdict(dict)
    for name, models in datasets.items():
        for model, runs in models.items():
            score = ensemble(runs)
            if score is not None:
                cells[f"{name}, {metric_of(models)}"][model] = f"{score:.3f}"
    return pd.DataFrame(cells).fillna(NONE)


def target_table(models: Runs) -> pd.DataFrame:
    """Returns test scores of each target (rows) by model, in its unit; empty if there is one."""
    cells: dict[str, dict[str, str]] = {}
    for model, runs in models.items():
        cells[model] = {}
        tasks = runs[0]["tasks"]
        for target, scores in tasks.items() if len(tasks) > 1 else ():
            metric = next(iter(scores))  # rmse of values, roc_auc of classes
            values = [run["tasks"][target][metric] for run in runs]
            cells[model][f"{target}, {metric}"] = spread_of(values)
    return pd.DataFrame(cells).fillna(NONE)


def cost_table(datasets: dict[str, Runs]) -> pd.DataFrame:
    """Returns the number of parameters on the first data set, and mean seconds a run on each."""
    cells: dict[str, dict[str, str]] = defaultdict(dict)
    for name, models in datasets.items():
        for model, runs in models.items():
            size = runs[0].get("parameters")
            cells["parameters"].setdefault(model, NONE if size is None else f"{size:,}")
            cells[f"{name}, s"][model] = f"{np.mean([run['seconds'] for run in runs]):.0f}"
    return pd.DataFrame(cells).fillna(NONE)


def published_table(names: list[str]) -> pd.DataFrame:
    """Returns published figures of the data sets, as printed there."""
    table = pd.DataFrame(yaml.safe_load(PUBLISHED.read_text())["scores"]).T
    shown = [name for name in names if name in table]
    return table[shown].dropna(how="all").map(_number)


def integrity_table(folder: Path, protocol: str, datasets: dict[str, Runs]) -> pd.DataFrame:
    """Returns the account of the rows of each data set, and the number of conformers asked for."""
    found = {}
    for name, models in datasets.items():
        file = folder / protocol / name / "integrity.json"
        if file.is_file():
            asked = next(iter(models.values()))[0]["data"].get("num_conformers", np.nan)
            account = json.loads(file.read_text())
            found[name] = {"conformers a molecule": asked} | {
                key.replace("_", " "): value for key, value in account.items()
            }
    return pd.DataFrame(found).T.map(_number)


def _number(value: float) -> str:
    return NONE if pd.isna(value) else f"{value:g}"


def metric_of(models: Runs) -> str:
    return next(iter(models.values()))[0]["metric"]
