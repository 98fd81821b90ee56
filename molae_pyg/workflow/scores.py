"""Scores of out-of-fold predictions, beside baselines on the same folds, with a verdict."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd

from molae_pyg.baselines.forest import ForestBaseline
from molae_pyg.evaluation.significance import resampled_scores
from molae_pyg.inference.uncertainty import Calibration
from molae_pyg.kinds import as_outputs
from molae_pyg.metrics import DEFAULT_METRIC, LOWER_IS_BETTER, evaluate_tasks
from molae_pyg.workflow.features import DESCRIPTORS, ECFP, ENCODER
from molae_pyg.workflow.labels import Labels
from molae_pyg.workflow.readout import fit_readout

#: Name of the model in tables of scores.
MODEL = "molae"
#: Baselines in the order of the tables, and how a sentence names them.
BASELINES = {
    "mean": "the mean of the labels",
    "ecfp-forest": "the ECFP4 forest",
    "descriptors": "the descriptors alone",
}
_TREES = 200
#: Number of test sets that are drawn for a verdict.
TIMES = 1000
_LEVEL = 0.95  # share of them in which a better model must be better


class Verdict(NamedTuple):
    """The comparison with the best baseline of one target."""

    baseline: str  # key of BASELINES
    share: float  # share of resampled test sets in which the model is better
    sentence: str


def fit_baselines(
    features: Mapping[str, np.ndarray],
    labels: Labels,
    train: np.ndarray,
    test: np.ndarray,
    inner: np.ndarray,
    seed: int,
    names: Sequence[str] = tuple(BASELINES),
) -> dict[str, np.ndarray]:
    """Fits the baselines on the training rows of a fold.

    The mean and the forest take exact labels only, the descriptors also bounds. All but the mean
    see the features of columns beside the molecule.

    Args:
        features: Blocks ``[n, F]``, with the descriptors and ECFP counts that are needed.
        labels: Labels of all rows; each target has an exact one among the training rows.
        train: Rows to fit.
        test: Rows to predict ``[m]``.
        inner: Inner folds of the training rows.
        seed: Seed of the forest.
        names: Which baselines. default: all.

    Returns:
        Predictions ``[m, O]`` by name.
    """
    known = labels.take(train)
    beside = [name for name in features if name not in (ENCODER, DESCRIPTORS, ECFP)]

    def forest() -> np.ndarray:
        bits = np.hstack([features[ECFP] > 0, *(features[name] for name in beside)])
        model = ForestBaseline(labels.types, _TREES, seed=seed, num_classes=labels.num_outputs)
        return model.fit_features(bits[train], known.exact).predict_features(bits[test])

    def of_descriptors() -> np.ndarray:
        blocks = {name: features[name] for name in (DESCRIPTORS, *beside)}
        fitted = {name: x[train] for name, x in blocks.items()}
        readout = fit_readout(fitted, known, inner, [tuple(blocks)], seed)
        return readout.predict({name: x[test] for name, x in blocks.items()})

    def mean() -> np.ndarray:
        found = np.nanmean(as_outputs(known.exact, labels.num_outputs), axis=0)  # [O]
        return np.tile(found, (len(test), 1))

    fitted = {
        "mean": mean,
        "ecfp-forest": forest,
        "descriptors": of_descriptors,
    }
    return {name: fitted[name]() for name in names}


def score_table(
    labels: Labels,
    predictions: Mapping[str, np.ndarray],
    fold: np.ndarray,
    names: Sequence[str],
) -> pd.DataFrame:
    """Returns the scores of each model, target and fold, on exact labels.

    Args:
        labels: Labels of all rows.
        predictions: Out-of-fold predictions ``[n, O]`` by model.
        fold: Fold of each row ``[n]``.
        names: Names of the targets.

    Returns:
        Columns model, target, fold (``"all"``: all rows together), n and the scores.
    """
    rows, y, types, numbers = [], labels.exact, labels.types, labels.num_outputs
    for model, predicted in predictions.items():
        for part in ("all", *np.unique(fold).tolist()):
            some = np.full(len(y), True) if part == "all" else fold == part
            scores = evaluate_tasks(y[some], predicted[some], types, names, numbers)
            for task, name in enumerate(names):
                number = int((~np.isnan(y[some, task])).sum())
                found = {"model": model, "target": name, "fold": part, "n": number}
                rows.append(found | scores[name])
    return pd.DataFrame(rows)


def verdicts(
    labels: Labels, predictions: Mapping[str, np.ndarray], names: Sequence[str]
) -> dict[str, Verdict]:
    """Compares the model with the best baseline of each target on resampled test sets."""
    found, exact = {}, labels.exact
    for task, (name, kind, place) in enumerate(
        zip(names, labels.types, labels.slices, strict=True)
    ):
        known = ~np.isnan(exact[:, task])
        y = exact[known, task : task + 1]
        if len(np.unique(y)) < 2:
            continue
        metric = DEFAULT_METRIC[kind]
        sign = -1 if metric in LOWER_IS_BETTER else 1
        number = [labels.num_outputs[task]]
        drawn = {
            model: sign
            * resampled_scores(y, p[known, place], metric, times=TIMES, num_outputs=number)
            for model, p in predictions.items()
        }
        others = [model for model in predictions if model != MODEL]
        best = max(others, key=lambda model, drawn=drawn: np.nanmean(drawn[model]))
        won, tied = drawn[MODEL] > drawn[best], drawn[MODEL] == drawn[best]
        share = float(np.nanmean(won + tied / 2))
        found[name] = Verdict(best, share, sentence_of(BASELINES[best], share))
    return found


def sentence_of(other: str, share: float) -> str:
    """Returns the verdict in words.

    Args:
        other: The baseline, such as ``"the ECFP4 forest"``.
        share: Share of resampled test sets in which the model is better.
    """
    percent = f"{share:.0%} of {TIMES:,} resampled test sets"
    if share >= _LEVEL:
        return f"better than {other} (in {percent})"
    if share > 1 - _LEVEL:
        return f"not clearly better than {other} (better in {percent})"
    return f"worse than {other} (better in only {percent}): use that instead"


def calibrated_out_of_fold(y: np.ndarray, probability: np.ndarray, fold: np.ndarray) -> np.ndarray:
    """Calibrates the probabilities ``[n]`` or ``[n, C]`` of each fold by the other folds.

    A fold keeps its probabilities if the others have one class only.
    """
    found = probability.copy()
    for part in np.unique(fold):
        others = fold != part
        labels = y[others]
        if len(np.unique(labels[~np.isnan(labels)])) > 1:
            calibration = Calibration(labels, probability[others])
            found[~others] = calibration(probability[~others])
    return found


def intervals_out_of_fold(
    y: np.ndarray, predicted: np.ndarray, fold: np.ndarray, alpha: float
) -> tuple[np.ndarray, np.ndarray]:
    """Returns split-conformal intervals of out-of-fold predictions, each from the other folds.

    Args:
        y: Labels ``[n]``, NaN = missing.
        predicted: Out-of-fold predictions ``[n]``.
        fold: Fold of each row ``[n]``.
        alpha: Share of labels that may be outside.

    Returns:
        Lower and upper ends ``[n]``; infinite if the other folds have too few labels.
    """
    half = np.full(len(y), np.inf)
    for part in np.unique(fold):
        residual = np.abs(y - predicted)[(fold != part) & ~np.isnan(y)]
        rank = int(np.ceil((1 - alpha) * (len(residual) + 1)))
        if rank <= len(residual):
            half[fold == part] = np.sort(residual)[rank - 1]
    return predicted - half, predicted + half
