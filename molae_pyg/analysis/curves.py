"""The course of a training run: reading what was logged, and drawing it."""

from __future__ import annotations

import io
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

if TYPE_CHECKING:
    from matplotlib.axes import Axes

# Readable on white and on black: the pictures have no background of their own.
INK, TRAIN, VALID = "#7d7d7d", "#3f86d1", "#e0792b"
SMOOTH_PARTS = 60  # a smoothed point is the mean of about 1/60 of the run


@dataclass(frozen=True)
class Curve:
    """One plot of a run.

    Args:
        title: What is plotted, with its unit.
        train: Column of the training set's values.
        valid: Column of the held-out set's values, None where there is none.
        kind: ``"linear"``, ``"from_zero"`` (linear, the axis starts at 0), ``"log"`` or
            ``"share"`` (0 to 1, shown in per cent).
    """

    title: str
    train: str
    valid: str | None = None
    kind: str = "linear"


def read_metrics(folder: str | Path) -> pd.DataFrame:
    """Everything a run has logged, in the order in which it was written.

    Reads ``logs/version_*/metrics.csv``, one file for each start, so that a run can be looked at
    while it goes on; without these ``metrics.csv``, which a run leaves when it is done.

    Args:
        folder: Of the run.

    Returns:
        A table with ``step`` and whatever else was logged; NaN where a row lacks a value.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: A file is empty or has no ``step``.
    """
    folder = Path(folder)
    files = sorted(
        folder.glob("logs/version_*/metrics.csv"),
        key=lambda file: (len(file.parent.name), file.parent.name),  # 9 before 10
    )
    files = files or [file for file in [folder / "metrics.csv"] if file.is_file()]
    if not files:
        raise FileNotFoundError(
            f"no metrics.csv in {folder}, nor in its logs/version_*: is it the folder of a run?"
        )
    metrics = pd.concat([_read(file) for file in files], ignore_index=True)
    if metrics.empty:
        raise ValueError(f"{files[-1]} is empty: nothing has been logged yet")
    return metrics


def _read(file: Path) -> pd.DataFrame:
    try:
        table = pd.read_csv(file)
    except pd.errors.EmptyDataError:  # a start that was killed before it logged anything
        return pd.DataFrame({"step": pd.Series(dtype=int)})
    if "step" not in table:
        raise ValueError(f"{file} has no column 'step'; it has {', '.join(table.columns)}")
    return table


def series(metrics: pd.DataFrame, column: str | None) -> pd.Series:
    """The finite values of a column by step, steps increasing; empty where there is none.

    A run that went on at a checkpoint has done some updates twice. What was written later counts:
    every earlier row of the same or a later step is passed over.
    """
    if column not in metrics:
        return pd.Series(dtype=float)
    values = pd.to_numeric(metrics[column], errors="coerce")
    values.index = metrics["step"].to_numpy()
    values = values[np.isfinite(values.to_numpy())]
    later = np.minimum.accumulate(values.index.to_numpy()[::-1])[::-1]  # least step from here on
    follows = np.append(later, np.inf)[1:]  # least step behind each row
    return values[values.index < follows]


def smoothed(values: pd.Series) -> pd.Series:
    """The moving mean over about 1/60 of the points."""
    window = max(1, len(values) // SMOOTH_PARTS)
    return values.rolling(window, center=True, min_periods=1).mean()


def draw_curve(metrics: pd.DataFrame, curve: Curve) -> bytes | None:
    """A PNG of one plot, without background; None where nothing of it was logged."""
    from matplotlib.figure import Figure  # not pyplot: works without a display, leaves no state

    train, valid = series(metrics, curve.train), series(metrics, curve.valid)
    if train.empty and valid.empty:
        return None
    figure = Figure(figsize=(4.4, 2.7), layout="constrained")
    axes = figure.subplots()
    smooth = smoothed(train)
    if len(train) > SMOOTH_PARTS:
        axes.plot(train.index, train, color=TRAIN, alpha=0.3, linewidth=0.7)
    point = {"marker": "o", "markersize": 3}
    axes.plot(
        smooth.index, smooth, color=TRAIN, linewidth=1.5, label="training",
        **(point if len(train) == 1 else {}),
    )  # fmt: skip
    if len(valid):
        axes.plot(valid.index, valid, color=VALID, linewidth=1.2, label="held out", **point)
        if len(train):
            axes.legend(fontsize=8, frameon=False, labelcolor=INK)
    _scale(axes, curve.kind, pd.concat([train, valid]))
    _style(axes)
    picture = io.BytesIO()
    figure.savefig(picture, dpi=160, transparent=True)
    return picture.getvalue()


def _scale(axes: Axes, kind: str, values: pd.Series) -> None:
    from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter, PercentFormatter

    plain = FuncFormatter(lambda value, _: f"{value:g}")
    axes.yaxis.set_major_formatter(plain)
    if kind == "log" and (values > 0).all():
        axes.set_yscale("log")
        axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axes.yaxis.set_major_formatter(plain)
        axes.yaxis.set_minor_formatter(NullFormatter())
    elif kind == "from_zero":
        axes.set_ylim(bottom=0)
    elif kind == "share":
        axes.set_ylim(0, 1)
        axes.yaxis.set_major_formatter(PercentFormatter(1))


def _style(axes: Axes) -> None:
    from matplotlib.ticker import EngFormatter, MaxNLocator

    axes.set_xlabel("update", color=INK, fontsize=9)
    axes.xaxis.set_major_locator(MaxNLocator(6, integer=True))
    axes.xaxis.set_major_formatter(EngFormatter(sep=""))  # 20k, 1M
    axes.tick_params(which="both", colors=INK, labelsize=8)
    axes.grid(color=INK, alpha=0.25, linewidth=0.5)
    for name, spine in axes.spines.items():
        spine.set_visible(name in ("left", "bottom"))
        spine.set_color(INK)
