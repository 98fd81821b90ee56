"""Drawing the course of a training run."""

from __future__ import annotations

import io
from dataclasses import dataclass
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
