"""The part of a model's report about one target: scores, pictures, coverage, worst rows."""

import numpy as np
import pandas as pd

from molae_pyg.analysis import held_out
from molae_pyg.analysis.page import Answer, Page
from molae_pyg.analysis.plots import Panel, Picture, colours_of
from molae_pyg.metrics import LOWER_IS_BETTER
from molae_pyg.workflow.estimates import LEVELS, interval_coverage, sets_out_of_fold
from molae_pyg.workflow.report.estimate import (
    METRICS,
    MODELS,
    Estimate,
    Scores,
    percent_text,
    score_text,
    spread_text,
    value_text,
)
from molae_pyg.workflow.report.worst import drawings
from molae_pyg.workflow.scores import MODEL

_FEW = 6  # targets; of more, the scores of the folds are not drawn
_CLASSES = 8  # of a target; of more, tables of classes have the largest numbers only
_TONES = {"better": "good", "not clearly": "even", "worse": "bad"}
_HOW_SCORED = (
    "Folds: mean ± standard deviation over the folds. All other scores are those of all rows "
    "together. The baselines were trained and tested on the same folds."
)


def anchor_of(task: int) -> str:
    """Returns the anchor of a target's heading."""
    return f"target-{task}"


def answer(scores: Scores, task: int) -> Answer:
    """Returns the answer in a sentence: score, verdict, and what to expect of a prediction."""
    target, metric = scores.model.targets[task], scores.metric(task)
    own = scores.of(task, MODEL)
    whole = own.loc["all"]
    reference = "chance has 0.5"
    if metric in LOWER_IS_BETTER:
        simplest = scores.of(task, scores.simplest).loc["all", metric]
        reference = f"the {MODELS[scores.simplest]} has {score_text(simplest)}"
    text = (
        f"{METRICS[metric]} {score_text(whole[metric])} on {int(whole['n']):,} {scores.labels} "
        f"(folds {spread_text(own[metric])}; {reference}). "
    )
    tone = "none"
    if verdict := whole["verdict"]:
        tone = next(tone for words, tone in _TONES.items() if verdict.startswith(words))
        text += f"The model is {verdict}. "
    if not target.classes:
        half = np.median(scores.column(task, "high") - scores.column(task, "low")) / 2
        text += (
            f"Its 90 % intervals (±\N{NO-BREAK SPACE}{score_text(half)}) contain "
            f"{percent_text(whole['coverage_90'])} of the {scores.labels}."
        )
    return Answer(target.name, text, tone, anchor_of(task))


def add_scores(page: Page, scores: Scores, task: int) -> list[Panel]:
    """Adds heading and scores of a target; returns the panel of the folds if it is drawn."""
    model = scores.model
    page.heading(model.targets[task].name, anchor=anchor_of(task))
    page.table(*scores.score_table(task))
    page.text(_HOW_SCORED)
    if len(model.targets) > _FEW:
        return []
    metric = scores.metric(task)
    unit = f", {unit_of(scores)}" if metric == "rmse" else ""
    return [held_out.fold_panel(scores.of_folds(task), METRICS[metric] + unit)]


def unit_of(scores: Scores) -> str:
    """Returns the unit of numbers, or a word for it."""
    return scores.unit or "unit of the labels"


def add_target(page: Page, estimate: Estimate, task: int) -> None:
    """Adds the section of a target."""
    panels, target = add_scores(page, estimate, task), estimate.model.targets[task]
    add = _add_classes if target.classes else _add_numbers
    add(page, estimate, task, panels)
    rows = estimate.worst.rows[task].tolist()
    page.heading(f"The {len(rows)} rows with the largest errors", 3)
    page.text(_how_drawn(estimate, task))
    captions = [_caption(estimate, task, row) for row in rows]
    for row, caption in zip(rows, captions, strict=True):
        if not estimate.model.smiles[row]:
            page.text(caption)
    page.drawings(
        f"worst {task}", *drawings(estimate.model, estimate.worst, task, captions, estimate.unit)
    )


def _add_numbers(page: Page, estimate: Estimate, task: int, panels: list[Panel]) -> None:
    model, unit = estimate.model, unit_of(estimate)
    y, bound = model.labels.y[:, task], model.labels.bound[:, task]
    exact, predicted = model.y[:, task], estimate.column(task, "predicted")
    panels.append(held_out.bounded_parity_panel(y, predicted, bound, unit))
    error = np.where(bound == 0, estimate.errors[task], np.nan)
    panels += _similarity_panels(estimate, error, f"|error|, {unit}")
    found = interval_coverage(exact, predicted, model.fold)
    measured = [share for share, _ in found]
    panels.append(held_out.coverage_panel(LEVELS, measured, int((~np.isnan(exact)).sum())))
    page.picture(anchor_of(task), Picture("", panels))
    page.text(_about_bounds(y, predicted, bound))
    cells = [[percent_text(share), f"± {score_text(half)}"] for share, half in found]
    page.table(pd.DataFrame(cells, _levels(), ["labels inside", "interval: prediction"]))


def _about_bounds(y: np.ndarray, predicted: np.ndarray, bound: np.ndarray) -> str:
    """Returns how many bounds are kept by the predictions; nothing if there are none."""
    known = (bound != 0) & ~np.isnan(y)
    if not known.any():
        return ""
    kept = (bound * (predicted - y) >= 0)[known].sum()
    return (
        f"{known.sum():,} labels are bounds, orange arrows to where the true value is. {kept:,} "
        "predictions are there. Scores, coverage and error by similarity are of exact labels."
    )


def _add_classes(page: Page, estimate: Estimate, task: int, panels: list[Panel]) -> None:
    model, target = estimate.model, estimate.model.targets[task]
    y, probability = model.y[:, task], estimate.probabilities(task)
    known, legend = ~np.isnan(y), {}
    if target.kind == "classification":
        place = model.columns_of(task)
        found = {
            name: (y[known], model.predictions[key][known, place][:, 0])
            for key, name in estimate.names.items()
            if key != estimate.simplest
        }
        legend = colours_of(found)
        panels.append(held_out.roc_panel(found, legend))
        title, share = f"Calibration, class {target.classes[1]}", "share of this class"
        panels.append(held_out.calibration_panel(y, probability[:, 1], title, share))
    else:
        title, share = "Calibration of the predicted class", "share of right classes"
        right = 1 - estimate.is_wrong(task)
        panels.append(held_out.calibration_panel(right, probability.max(1), title, share))
    wrong = estimate.is_wrong(task)
    panels += _similarity_panels(estimate, wrong, "share of wrong classes")
    page.picture(anchor_of(task), Picture("", panels, "small", legend))
    if target.kind == "multiclass":
        page.heading("Labels and predicted classes", 3)
        page.table(_confusion(estimate, task))
    page.heading("Coverage of the sets of possible classes", 3)
    page.table(_set_table(estimate, task))


def _similarity_panels(estimate: Estimate, error: np.ndarray, name: str) -> list[Panel]:
    bins = held_out.similarity_bins(estimate.similarity, error)
    return [held_out.similarity_panel(bins, name)] if bins else []


def _levels() -> list[str]:
    return [f"level {percent_text(level, 0)}" for level in LEVELS]


def _confusion(estimate: Estimate, task: int) -> pd.DataFrame:
    """Returns the number of rows by label and predicted class; of many classes the errors."""
    names, y = estimate.model.targets[task].classes, estimate.model.y[:, task]
    known = ~np.isnan(y)
    labels = pd.Series([names[int(label)] for label in y[known]])
    predicted = pd.Series(estimate.column(task, "predicted")[known])
    if len(names) <= _CLASSES:
        counts = pd.crosstab(labels, predicted).reindex(index=names, columns=names, fill_value=0)
        counts.index = [f"label {name}" for name in names]
        return counts.map("{:,}".format).rename(columns=lambda name: f"predicted {name}")
    wrong = labels != predicted
    pairs = (labels[wrong] + " predicted as " + predicted[wrong]).value_counts()
    return pairs.head(10).map("{:,}".format).to_frame("rows")


def _set_table(estimate: Estimate, task: int) -> pd.DataFrame:
    """Returns the measured share of labels in their conformal sets, by level."""
    model, target = estimate.model, estimate.model.targets[task]
    y, probability = model.y[:, task], estimate.probabilities(task)
    known = np.flatnonzero(~np.isnan(y))
    labels = y[known].astype(int)
    rows = []
    for level in LEVELS:
        possible = sets_out_of_fold(y, probability, model.fold, 1 - level)[known]
        inside, sizes = possible[np.arange(len(known)), labels], possible.sum(1)
        row = {"labels in their set": inside.mean()}
        if len(target.classes) <= _CLASSES:
            for place, name in enumerate(target.classes):
                of_class = inside[labels == place]
                row[f"label {name}"] = of_class.mean() if len(of_class) else np.nan
        row |= {"one class": (sizes == 1).mean(), "several": (sizes > 1).mean()}
        rows.append(row | {"none": (sizes == 0).mean()})
    table = pd.DataFrame(rows, _levels())
    return table.map(lambda share: "" if np.isnan(share) else percent_text(share))


def _how_drawn(estimate: Estimate, task: int) -> str:
    rows = estimate.worst.rows[task].tolist()
    number = sum(row in estimate.worst.explained for row in rows)
    text = (
        "Look for wrong labels, and for chemistry that the table has only once. Rows are counted "
        "from 0."
    )
    if number:
        several = estimate.model.targets[task].kind == "multiclass"
        what = "log-odds of the predicted class" if several else "prediction"
        text += (
            f" Red atoms raise the {what} and blue atoms lower it, by the model of the row's fold, "
            "which has not seen the row: prediction minus that without the atom. Point at an atom "
            "for its value."
        )
    if number < len(rows):
        text += f" {number} of the {len(rows)} molecules are explained; the others have no colours."
    return text


def _caption(estimate: Estimate, task: int, row: int) -> str:
    model, target = estimate.model, estimate.model.targets[task]
    label, predicted = model.labels.y[row, task], estimate.column(task, "predicted")[row]
    if target.classes:
        probability = estimate.probabilities(task)[row]
        name = target.classes[1] if target.kind == "classification" else predicted
        found = f"label {target.classes[int(label)]}, "
        found += "" if target.kind == "classification" else f"predicted {predicted}, "
        found += f"probability of {name}: {probability[target.classes.index(name)]:.2f}"
    else:
        low, high = (value_text(estimate.column(task, end)[row]) for end in ("low", "high"))
        sign = {0: "", 1: "> ", -1: "< "}[int(model.labels.bound[row, task])]
        found = f"label {sign}{value_text(label)}, predicted {value_text(predicted)}"
        found += f" ({low} to {high})"
    if not np.isnan(similarity := estimate.similarity[row]):
        found += f", similarity {similarity:.2f}"
    return f"Row {model.rows[row]}: {found}, fold {model.fold[row]}"
