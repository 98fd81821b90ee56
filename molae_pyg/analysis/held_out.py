"""Panels about predictions of rows that were held out: accuracy, calibration, coverage."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from molae_pyg.analysis.plots import COLOURS, INK, Panel, draw_roc, parity_panels, style, wrapped

if TYPE_CHECKING:
    from matplotlib.axes import Axes

MOLECULES = 30  # behind each point of a calibration curve
EDGES = np.linspace(0, 1, 11)  # of the bins of similarity
FEWEST = 5  # rows in a bin of similarity
_NARROW = 1.6  # inches for the name of an axis beside the names of models
_Z = 1.96  # half a 95 % interval, in standard errors

Predictions = Mapping[str, tuple[np.ndarray, np.ndarray]]  # model -> labels, predictions [n]


class Bin(NamedTuple):
    """Rows of similar similarity: its limits, their number, mean error and half a 95 % interval."""

    low: float
    high: float
    number: int
    mean: float
    half: float


def draw_calibration(
    of_models: Predictions, colours: Mapping[str, str], axes: Axes, name: str = "share of class 1"
) -> None:
    """Draws the share of a class by its predicted probability, a curve a model.

    Args:
        of_models: Labels, 1 for the class, and its probabilities of each model ``[n]``, NaN =
            missing label.
        colours: Colour of each model.
        axes: Axes of a panel.
        name: Name of the vertical axis.
    """
    from sklearn.calibration import calibration_curve

    for model, (y, predicted) in of_models.items():
        known = ~np.isnan(y)
        bins = int(np.clip(known.sum() // MOLECULES, 2, 8))
        share, mean = calibration_curve(
            y[known], predicted[known], n_bins=bins, strategy="quantile"
        )
        axes.plot(mean, share, marker="o", markersize=3, linewidth=1, color=colours[model])
    axes.locator_params(nbins=5)
    shown = {"xlim": axes.get_xlim(), "ylim": axes.get_ylim()}
    axes.axline((0, 0), slope=1, color=INK, linewidth=0.8)
    axes.set(**shown)
    style(axes, "predicted probability", name)


def bounded_parity_panel(
    y: np.ndarray, predicted: np.ndarray, bound: np.ndarray, unit: str
) -> Panel:
    """Returns the panel of predicted against measured values; an arrow is where a bound points.

    Args:
        y: Labels ``[n]``, NaN = missing; at least one is no bound.
        predicted: Predictions ``[n]``.
        bound: 1 where the true value is at least the label, -1 where it is at most the label, else
            0 ``[n]``.
        unit: Unit of the labels.
    """
    exact = bound == 0
    (panel,) = parity_panels({"": (np.where(exact, y, np.nan), predicted)}, unit)

    def draw(axes: Axes) -> None:
        panel.draw(axes)
        for sign, marker in ((1, ">"), (-1, "<")):
            some = (bound == sign) & ~np.isnan(y)
            axes.scatter(y[some], predicted[some], s=16, marker=marker, color=COLOURS[1], alpha=0.7)
        if not exact.all():
            seen = [*axes.get_xlim(), *y[~exact], *predicted[~exact]]
            limits = np.nanmin(seen), np.nanmax(seen)
            axes.set(xlim=limits, ylim=limits)

    return Panel("Predicted against measured", draw)


def similarity_bins(similarity: np.ndarray, error: np.ndarray) -> list[Bin]:
    """Returns the mean error by similarity; a bin with few rows is joined to the next one.

    Args:
        similarity: Similarity of each row, 0 to 1 ``[n]``.
        error: Its error ``[n]``, NaN = not known.
    """
    known = ~np.isnan(error) & ~np.isnan(similarity)
    place = np.clip(np.digitize(similarity[known], EDGES) - 1, 0, len(EDGES) - 2)
    error, bins, start = error[known], [], 0
    for stop in range(1, len(EDGES)):
        some = (place >= start) & (place < stop)
        left = (place >= stop).sum()
        if some.sum() >= FEWEST and (left >= FEWEST or left == 0):
            values = error[some]
            half = _Z * values.std() / np.sqrt(len(values))
            bins.append(Bin(EDGES[start], EDGES[stop], len(values), float(values.mean()), half))
            start = stop
        elif not some.sum():
            start = stop
    return bins


def similarity_panel(bins: Sequence[Bin], error: str) -> Panel:
    """Returns the panel of the mean error by similarity, with the number of rows of each bin.

    Args:
        bins: Those of :func:`similarity_bins`.
        error: Name of the error, with its unit.
    """

    def draw(axes: Axes) -> None:
        top = max(found.mean + found.half for found in bins) or 1.0
        for low, high, number, mean, half in bins:
            middle = (low + high) / 2
            axes.bar(middle, mean, high - low - 0.012, color=COLOURS[0], alpha=0.75, linewidth=0)
            axes.errorbar(middle, mean, half, color=INK, linewidth=1, capsize=2)
            axes.text(
                middle, mean + half + 0.02 * top, f"{number:,}", ha="center", va="bottom",
                color=INK, fontsize=7,
            )  # fmt: skip
        axes.set(xlim=(0, 1), ylim=(0, 1.12 * top))
        style(axes, "similarity to the nearest row", error, grid="y")

    return Panel("Error by similarity (number of rows)", draw)


def coverage_panel(levels: Sequence[float], measured: Sequence[float], number: int) -> Panel:
    """Returns the panel of the share of labels in their intervals against the nominal share.

    Args:
        levels: Nominal shares ``[L]``.
        measured: Measured shares ``[L]``.
        number: Number of labels, for the error bars (95 %).
    """

    def draw(axes: Axes) -> None:
        from matplotlib.ticker import PercentFormatter

        shares = np.asarray(measured)
        half = _Z * np.sqrt(np.asarray(levels) * (1 - np.asarray(levels)) / number)
        axes.axline((0, 0), slope=1, color=INK, linewidth=0.8)
        axes.errorbar(
            levels, shares, half, fmt="o-", color=COLOURS[0], ecolor=INK, markersize=4, capsize=2,
            linewidth=1,
        )  # fmt: skip
        low = min(0.45, *(shares - half))
        axes.set(xlim=(low, 1.02), ylim=(low, 1.02), aspect="equal")
        axes.locator_params(nbins=5)
        for axis in (axes.xaxis, axes.yaxis):
            axis.set_major_formatter(PercentFormatter(1, decimals=0))
        style(axes, "level of the interval", "labels inside")

    return Panel("Coverage of the intervals", draw)


def fold_panel(of_models: Mapping[str, np.ndarray], score: str) -> Panel:
    """Returns the panel of the score of each fold, one line a model, the first on top.

    Args:
        of_models: Scores of the folds of each model ``[F]``, NaN = not defined.
        score: Name of the score, with its unit.
    """

    def draw(axes: Axes) -> None:
        for place, scores in enumerate(of_models.values()):
            colour = COLOURS[0] if place == 0 else INK
            axes.scatter(scores, np.full(len(scores), place), s=14, color=colour, alpha=0.6)
            mean = np.nanmean(scores) if np.isfinite(scores).any() else np.nan
            axes.plot([mean, mean], [place - 0.3, place + 0.3], color=colour, linewidth=2.5)
        axes.set_yticks(range(len(of_models)), list(of_models))
        axes.set_ylim(len(of_models) - 0.5, -0.5)
        axes.locator_params(axis="x", nbins=5)
        style(axes, wrapped(score, _NARROW), "", grid="x")

    return Panel("Score of each fold, and the mean", draw)


def calibration_panel(y: np.ndarray, probability: np.ndarray, title: str, share: str) -> Panel:
    """Returns the panel of :func:`draw_calibration` for one model; ``share`` names its axis."""
    of_models, colours = {"": (y, probability)}, {"": COLOURS[0]}
    return Panel(title, partial(draw_calibration, of_models, colours, name=share))


def roc_panel(of_models: Predictions, colours: Mapping[str, str]) -> Panel:
    """Returns the panel of the ROC curve of each model.

    Args:
        of_models: Labels, which are both 0 and 1, and probabilities of class 1 ``[n]``.
        colours: Colour of each model.
    """
    return Panel("ROC curve", partial(draw_roc, of_models, colours))
