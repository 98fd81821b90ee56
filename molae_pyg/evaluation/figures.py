"""Pictures of the report, as PNG."""

import io
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from sklearn.calibration import calibration_curve

from molae_pyg.evaluation.significance import Intervals

INK = "#7d7d7d"  # readable on white and on black
COLOURS = (
    *("#3f86d1", "#e0792b", "#4ca64c", "#a05fc4", "#c9a227", "#c44f6b", "#4fb3b3", "#8a8a8a"),
    *("#5b7a3d", "#b07a5a", "#6a6ad1"),
)
FEW = 20  # molecules; a calibration curve of fewer says nothing


def intervals(names: list[str], found: Intervals, title: str) -> bytes:
    """Means and simultaneous intervals, one line a model."""
    order = np.argsort(found.means)
    drawn = Figure(figsize=(6.4, 0.8 + 0.34 * len(names)), layout="constrained")
    axes = drawn.subplots()
    axes.errorbar(
        found.means[order], range(len(order)), xerr=found.half_width, fmt="o",
        color=COLOURS[0], ecolor=INK, markersize=5, capsize=3,
    )  # fmt: skip
    axes.set_yticks(range(len(order)), [names[i] for i in order])
    _plain(axes, title)
    axes.grid(axis="x", color=INK, alpha=0.25, linewidth=0.5)
    return _png(drawn)


def predictions(
    of_models: dict[str, tuple[np.ndarray, np.ndarray]], task_types: list[str], title: str
) -> bytes | None:
    """Predicted against true values of the first task that has values, else the calibration."""
    if "regression" not in task_types:
        return _calibration(of_models, title)
    task = task_types.index("regression")
    first = {model: (y[:, task], predicted[:, task]) for model, (y, predicted) in of_models.items()}
    return _parity(first, title)


def _parity(of_models: dict[str, tuple[np.ndarray, np.ndarray]], title: str) -> bytes:
    columns = min(4, len(of_models))
    rows = -(-len(of_models) // columns)
    drawn = Figure(figsize=(2.5 * columns, 2.6 * rows), layout="constrained")
    panels = drawn.subplots(rows, columns, sharex=True, sharey=True, squeeze=False).ravel()
    y = np.concatenate([y for y, _ in of_models.values()])
    limits = np.nanmin(y), np.nanmax(y)
    for panel, (model, (y, predicted)) in zip(panels, of_models.items(), strict=False):
        panel.plot(limits, limits, color=INK, linewidth=0.8)
        panel.scatter(y, predicted, s=6, alpha=0.5, color=COLOURS[0], linewidths=0)
        _plain(panel, model)
    for panel in panels[len(of_models) :]:
        panel.set_visible(False)
    for panel in panels[max(0, len(of_models) - columns) : len(of_models)]:
        panel.tick_params(labelbottom=True)  # also above an empty place
    drawn.suptitle(f"{title}: predicted against measured, seed 0", color=INK, fontsize=10)
    return _png(drawn)


def _calibration(of_models: dict[str, tuple[np.ndarray, np.ndarray]], title: str) -> bytes | None:
    drawn = Figure(figsize=(5.6, 4.2), layout="constrained")
    axes = drawn.subplots()
    axes.plot([0, 1], [0, 1], color=INK, linewidth=0.8)
    for number, (model, (y, predicted)) in enumerate(of_models.items()):
        known = ~np.isnan(y)
        if known.sum() < FEW:
            return None
        share, mean = calibration_curve(y[known], predicted[known], n_bins=8, strategy="quantile")
        axes.plot(
            mean, share, marker="o", markersize=3, linewidth=1, color=_colour(number), label=model
        )
    axes.set_xlabel("predicted probability", color=INK)
    axes.set_ylabel("share of class 1", color=INK)
    _plain(axes, f"{title}: calibration, seed 0")
    _legend(axes)
    return _png(drawn)


def learning_curves(models: dict[str, list[dict[str, Any]]], title: str) -> bytes | None:
    """The validation score of each epoch of the first run of each model that was trained here."""
    drawn = Figure(figsize=(6.4, 3.4), layout="constrained")
    axes = drawn.subplots()
    metric, shown = "", 0
    for number, (model, runs) in enumerate(models.items()):
        metric, file = runs[0]["metric"], runs[0]["folder"] / "metrics.csv"
        if not file.is_file():
            continue
        course = pd.read_csv(file)
        if f"val_{metric}" not in course:
            continue
        course = course.dropna(subset=[f"val_{metric}"])
        x, y = course["epoch"] + 1, course[f"val_{metric}"]
        axes.plot(x, y, marker=".", linewidth=1, color=_colour(number), label=model)
        shown += 1
    if not shown:
        return None
    axes.set_xlabel("epoch", color=INK)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    _plain(axes, f"{title}: validation {metric}, seed 0")
    _legend(axes)
    return _png(drawn)


def _colour(number: int) -> str:
    return COLOURS[number % len(COLOURS)]


def _plain(axes, title: str) -> None:
    axes.set_title(title, color=INK, fontsize=9)
    axes.tick_params(colors=INK, labelsize=8)
    for side, spine in axes.spines.items():
        spine.set_visible(side in ("left", "bottom"))
        spine.set_color(INK)


def _legend(axes) -> None:
    axes.legend(
        fontsize=8, frameon=False, labelcolor=INK, loc="center left", bbox_to_anchor=(1, 0.5)
    )


def _png(drawn: Figure) -> bytes:
    out = io.BytesIO()
    drawn.savefig(out, dpi=130, format="png", transparent=True)
    return out.getvalue()
