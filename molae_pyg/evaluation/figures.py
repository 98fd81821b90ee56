"""Pictures of a comparison's report."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from molae_pyg.analysis.held_out import draw_calibration
from molae_pyg.analysis.plots import (
    COLOURS,
    INK,
    Panel,
    Picture,
    colours_of,
    parity_panels,
    style,
    wrapped,
)
from molae_pyg.evaluation.significance import Intervals
from molae_pyg.metrics import LOWER_IS_BETTER

if TYPE_CHECKING:
    from matplotlib.axes import Axes

FEW = 20  # molecules; a calibration curve of fewer means nothing
NAME = 1.6  # inches for a model's name beside its interval
#: Units of regression targets, by data set; those of other data sets are not known.
UNITS = {
    "chembl2321810": "-log10(mol/L)",
    "esol": "log10(mol/L)",
    "freesolv": "kcal/mol",
    "lipo": "log D",
    "qm7": "kcal/mol",
    "qm8": "atomic units",
    "qm9": "Hartree",
}
Predictions = dict[str, tuple[np.ndarray, np.ndarray]]  # model -> labels, predictions [n, T]


def intervals(
    names: list[str], found: Intervals, dataset: str, metric: str, num_splits: int
) -> Picture:
    """Draws means and simultaneous intervals, one line a model, the best on top."""
    order = np.argsort(found.means)[:: -1 if metric in LOWER_IS_BETTER else 1]
    labels = [wrapped(names[i], NAME) for i in order]
    sizes = [1 + label.count("\n") for label in labels]  # lines of text
    places = np.cumsum(sizes) - np.array(sizes) / 2

    def draw(axes: Axes) -> None:
        axes.errorbar(
            found.means[order], places, xerr=found.half_width, fmt="o", color=COLOURS[0],
            ecolor=INK, markersize=5, capsize=3,
        )  # fmt: skip
        axes.set_yticks(places, labels)
        axes.set_ylim(0, sum(sizes))
        axes.locator_params(axis="x", nbins=6)
        style(axes, label_of(dataset, metric), "", grid="x")

    caption = f"{dataset}: simultaneous intervals of the mean over {num_splits} splits"
    return Picture(caption, [Panel("", draw, height=0.8 + 0.24 * sum(sizes))], "large")


def predictions(
    of_models: Predictions, targets: list[tuple[str, str]], dataset: str, of_run: str
) -> tuple[dict[str, Picture], list[str]]:
    """Draws the predictions of every target.

    Each regression target has a picture, with a panel a model. All targets of classes share a
    picture, with a panel a target.

    Args:
        of_models: Test rows of each model.
        targets: Name and task type of each target.
        dataset: Name of the data set.
        of_run: Which runs are drawn, such as ``"seed 0"``.

    Returns:
        Ending of the file's name -> picture; the targets with too few labels to be drawn.
    """
    pictures, classes, few, colours = {}, [], [], colours_of(of_models)
    single = len(targets) == 1
    for t, (target, task_type) in enumerate(targets):
        of_target = {model: (y[:, t], p[:, t]) for model, (y, p) in of_models.items()}
        num_labels = min((~np.isnan(y)).sum() for y, _ in of_target.values())
        if num_labels < (1 if task_type == "regression" else FEW):
            few.append(target)
        elif task_type == "classification":
            classes.append(
                Panel("" if single else target, partial(draw_calibration, of_target, colours))
            )
        else:
            caption = f"{dataset}, {target}: predicted against measured values, {of_run}"
            panels = parity_panels(of_target, UNITS.get(dataset, "unit of the labels"))
            pictures["" if single else f"-{t + 1}"] = Picture(caption, panels)
    if classes:
        size = "large" if single else "small"
        of_set = f"{dataset}, {targets[0][0]}" if single else dataset
        caption = f"{of_set}: calibration, {of_run}"
        pictures[""] = Picture(caption, classes, size, colours)
    return pictures, few


def learning_curves(models: dict[str, list[dict[str, Any]]], dataset: str) -> Picture | None:
    """Draws the validation score by epoch of the first run of each model that was trained here."""
    colours, courses = colours_of(models), {}
    for model, (run, *_) in models.items():
        column, file = f"val_{run['metric']}", run["folder"] / "metrics.csv"
        course = pd.read_csv(file) if file.is_file() else pd.DataFrame()
        if {"epoch", column} <= set(course):
            courses[model] = course.dropna(subset=[column])[["epoch", column]].to_numpy().T
    if not courses:
        return None
    run = next(iter(models.values()))[0]

    def draw(axes: Axes) -> None:
        for model, (epoch, score) in courses.items():
            axes.plot(epoch + 1, score, marker=".", linewidth=1, color=colours[model])
        axes.xaxis.get_major_locator().set_params(integer=True)
        style(axes, "epoch", f"validation {label_of(dataset, run['metric'])}")

    caption = f"{dataset}: learning curves, seed {run['seed']}"
    legend = {model: colours[model] for model in courses}
    return Picture(caption, [Panel("", draw)], "large", legend)


def label_of(dataset: str, metric: str) -> str:
    """Name of a score on a data set, with its unit if it has one."""
    unit = UNITS.get(dataset, "") if metric in ("rmse", "mae") else ""
    return f"{metric}, {unit}" if unit else metric
