"""Plots: pictures of one or several panels in one style, and plots of predictions."""

from __future__ import annotations

import io
import textwrap
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

INK = "#7d7d7d"  # readable on white and on black
COLOURS = (
    *("#3f86d1", "#e0792b", "#4ca64c", "#a05fc4", "#c9a227", "#c44f6b", "#4fb3b3", "#8a8a8a"),
    *("#5b7a3d", "#b07a5a", "#6a6ad1", "#d673b5", "#2f8f7a", "#9c8a52", "#b03a2e", "#5d9bb8"),
)
#: Width and height of a panel in inches, and the number of columns in a picture of many panels.
SIZES = {"small": (2.8, 2.6, 4), "medium": (3.8, 2.4, 3), "large": (4.6, 2.8, 2)}
LETTERS = 11  # of a title per inch
LETTER, LINE, HANDLE = 0.075, 0.2, 0.6  # inches: a letter, a line and the rest of a legend's entry


@dataclass(frozen=True)
class Panel:
    """One plot.

    Args:
        title: Title of the panel; empty if the caption of its picture says it all.
        draw: Draws the plot on matplotlib axes.
        height: Height in inches. (default: :obj:`None`, that of the picture's size)
    """

    title: str
    draw: Callable[[Axes], None]
    height: float | None = None


@dataclass(frozen=True)
class Picture:
    """Panels under one caption, with one legend.

    Args:
        caption: What the picture shows.
        panels: At least one panel.
        size: Size of the panels: ``"small"``, ``"medium"`` or ``"large"``.
        legend: Name -> colour, if a panel has several colours. (default: empty)
    """

    caption: str
    panels: Sequence[Panel]
    size: str = "small"
    legend: Mapping[str, str] = field(default_factory=dict)

    def panel_pngs(self) -> Iterator[bytes]:
        """Returns a PNG of each panel, without titles and legend."""
        width, height, _ = SIZES[self.size]
        for panel in self.panels:
            with plain_text():
                figure = new_figure(width, panel.height or height)
                panel.draw(figure.subplots())
                yield png_of(figure)

    def png(self, transparent: bool = True) -> bytes:
        """Returns one PNG of all panels, with titles, caption and legend."""
        width, height, columns = SIZES[self.size]
        columns = min(columns, len(self.panels))
        titles = [wrapped(panel.title, width) for panel in self.panels]
        heights = [
            (panel.height or height) + LINE * (1 + title.count("\n"))
            for panel, title in zip(self.panels, titles, strict=True)
        ]
        heights = [max(heights[i : i + columns]) for i in range(0, len(heights), columns)]
        full = width * columns
        caption = wrapped(self.caption, full)
        legend = {wrapped(name, full - HANDLE): colour for name, colour in self.legend.items()}
        entry = HANDLE + LETTER * max(map(len, self.legend), default=0)
        ncols = max(1, min(len(legend), int(full / entry)))
        lines = 2 + sum(1 + name.count("\n") for name in legend) / ncols + caption.count("\n")
        with plain_text():
            figure = new_figure(full, sum(heights) + LINE * lines)
            axes = figure.subplots(len(heights), columns, squeeze=False, height_ratios=heights)
            for place in axes.ravel()[len(titles) :]:
                place.set_visible(False)
            for place, panel, title in zip(axes.flat, self.panels, titles, strict=False):
                panel.draw(place)
                place.set_title(title, color=INK, fontsize=9)
            figure.suptitle(caption, color=INK, fontsize=10)
            if legend:
                _draw_legend(figure, legend, ncols)
            return png_of(figure, transparent)


def _draw_legend(figure: Figure, legend: Mapping[str, str], columns: int) -> None:
    from matplotlib.lines import Line2D

    handles = [Line2D([], [], color=colour, linewidth=2) for colour in legend.values()]
    names = [f" {name}" for name in legend]  # matplotlib leaves out names that begin with _
    place = {"loc": "outside lower center", "ncols": columns}
    figure.legend(handles, names, **place, fontsize=8, frameon=False, labelcolor=INK)


def new_figure(width: float, height: float) -> Figure:
    """Returns a figure, sizes in inches, that makes room for titles and labels."""
    from matplotlib.figure import Figure  # not pyplot: works without a display, leaves no state

    return Figure(figsize=(width, height), layout="constrained")


@contextmanager
def plain_text() -> Iterator[None]:
    """Text drawn inside is plain: a dollar sign in a name does not start a formula."""
    from matplotlib import rc_context

    with rc_context({"text.parse_math": False}):
        yield


def png_of(figure: Figure, transparent: bool = True) -> bytes:
    """Returns a PNG; without a background it can be read on a light and on a dark page."""
    out = io.BytesIO()
    figure.savefig(out, dpi=150, format="png", transparent=transparent)
    return out.getvalue()


def wrapped(text: str, width: float) -> str:
    """Breaks text into lines of at most ``width`` inches, also if it is one long word."""
    return "\n".join(textwrap.wrap(text, max(8, int(width * LETTERS))))


def colours_of(names: Iterable[str]) -> dict[str, str]:
    """Returns a colour for each name, in order; they repeat after the last one."""
    return {name: COLOURS[i % len(COLOURS)] for i, name in enumerate(names)}


def style(axes: Axes, x: str, y: str, grid: str | None = "both") -> None:
    """Names the axes and applies the style that all plots share.

    Args:
        axes: Of a panel.
        x: Name of the horizontal axis, with its unit.
        y: Name of the vertical axis, with its unit.
        grid: ``"x"``, ``"y"``, ``"both"`` or None. (default: ``"both"``)
    """
    axes.set_xlabel(x, color=INK, fontsize=9)
    axes.set_ylabel(y, color=INK, fontsize=9)
    axes.tick_params(which="both", colors=INK, labelsize=8)
    if grid is not None:
        axes.grid(axis=grid, color=INK, alpha=0.25, linewidth=0.5)
    for name, spine in axes.spines.items():
        spine.set_visible(name in ("left", "bottom"))
        spine.set_color(INK)


def log_scale(axes: Axes) -> None:
    """Makes the vertical axis of what is drawn logarithmic, with plain numbers, not formulas."""
    from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullFormatter

    low, high = axes.dataLim.intervaly
    is_narrow = 0 < high < 5 * low  # 1, 2, 5, 10 ... would give an axis of one number
    axes.set_yscale("log")
    axes.yaxis.set_major_locator(MaxNLocator(5) if is_narrow else LogLocator(subs=(1, 2, 5)))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axes.yaxis.set_minor_formatter(NullFormatter())


def parity_plot(
    y_true: np.ndarray, predictions: Mapping[str, np.ndarray], label: str, path: str | Path
) -> None:
    """Draws predicted against measured values, one panel a model, all on the same axes.

    Args:
        y_true: Measured values ``[n]``, NaN = missing.
        predictions: Model name -> predicted values ``[n]``.
        label: Name of the measured quantity, with its unit.
        path: The PNG to write.

    Raises:
        ValueError: There is no measured value or no model, or predictions have another shape than
            ``y_true`` or are not finite where a value was measured.
    """
    y_true, predictions = _known(y_true, predictions)
    panels = parity_panels({name: (y_true, y) for name, y in predictions.items()})
    Path(path).write_bytes(Picture(label, panels).png(transparent=False))


def parity_panels(
    of_models: Mapping[str, tuple[np.ndarray, np.ndarray]], unit: str = ""
) -> list[Panel]:
    """Returns panels of predicted against measured values, one a model, all on the same axes.

    Args:
        of_models: Model name -> measured and predicted values ``[n]``, NaN = missing label.
        unit: Unit of the values. (default: empty, if it is not known)
    """
    of_models = {
        name: (y[~np.isnan(y)], predicted[~np.isnan(y)])
        for name, (y, predicted) in of_models.items()
    }
    values = np.concatenate([part for pair in of_models.values() for part in pair])
    margin = 0.05 * (values.max() - values.min()) or 0.5  # all values may be equal
    limits = (values.min() - margin, values.max() + margin)
    labels = [f"{what}, {unit}" if unit else what for what in ("measured", "predicted")]

    def draw(y: np.ndarray, predicted: np.ndarray, axes: Axes) -> None:
        axes.plot(limits, limits, color=INK, linewidth=0.8, zorder=0)
        axes.scatter(y, predicted, s=10, alpha=0.5, color=COLOURS[0], linewidths=0)
        axes.set(xlim=limits, ylim=limits, aspect="equal")
        axes.locator_params(nbins=5)
        style(axes, *labels, grid=None)

    panels = []
    for name, (y, predicted) in of_models.items():
        rmse = f"{np.sqrt(np.mean((predicted - y) ** 2)):#.3g}".rstrip(".")  # 3.00, 184
        panels.append(Panel(f"{name}: RMSE {rmse}", partial(draw, y, predicted)))
    return panels


def roc_plot(y_true: np.ndarray, predictions: Mapping[str, np.ndarray], path: str | Path) -> None:
    """Draws the ROC curve of each model.

    Args:
        y_true: Classes ``[n]``, NaN = missing.
        predictions: Model name -> probabilities of class 1 ``[n]``.
        path: The PNG to write.

    Raises:
        ValueError: As :func:`parity_plot`, or the known labels are not both 0 and 1.
    """
    from sklearn.metrics import roc_auc_score

    y_true, predictions = _known(y_true, predictions)
    if set(np.unique(y_true)) != {0.0, 1.0}:
        raise ValueError(f"a ROC curve needs labels 0 and 1, got {np.unique(y_true)[:5]}")
    colours = colours_of(predictions)
    draw = partial(draw_roc, {name: (y_true, y) for name, y in predictions.items()}, colours)
    legend = {
        f"{name}: AUC {roc_auc_score(y_true, predicted):.3f}": colours[name]
        for name, predicted in predictions.items()
    }
    picture = Picture("ROC curve", [Panel("", draw, height=4.4)], "large", legend)
    Path(path).write_bytes(picture.png(transparent=False))


def draw_roc(
    of_models: Mapping[str, tuple[np.ndarray, np.ndarray]], colours: Mapping[str, str], axes: Axes
) -> None:
    """Draws the ROC curve of each model: labels, 0 or 1, and probabilities of class 1 ``[n]``."""
    from sklearn.metrics import roc_curve

    axes.plot([0, 1], [0, 1], color=INK, linewidth=0.8)
    for name, (y, predicted) in of_models.items():
        false, true, _ = roc_curve(y, predicted)
        axes.plot(false, true, color=colours[name], linewidth=1.2)
    axes.set_aspect("equal")
    style(axes, "false positive rate", "true positive rate")


def _known(
    y_true: np.ndarray, predictions: Mapping[str, np.ndarray]
) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """Labels ``[m]`` and predictions ``[m]``, without the rows that have no label."""
    y_true = np.asarray(y_true, dtype=float)
    known = ~np.isnan(y_true)
    if y_true.ndim != 1 or not known.any() or not predictions:
        raise ValueError(
            f"expected y_true [n] with known values, and predictions of at least one model; "
            f"got {list(y_true.shape)}, {int(known.sum())} known, {len(predictions)} models"
        )
    found = {}
    for name, predicted in predictions.items():
        predicted = np.asarray(predicted, dtype=float)
        if predicted.shape != y_true.shape:
            raise ValueError(
                f"predictions of {name!r} have the shape {list(predicted.shape)}, "
                f"y_true {list(y_true.shape)}"
            )
        if not np.isfinite(predicted[known]).all():
            raise ValueError(f"predictions of {name!r} are not finite")
        found[name] = predicted[known]
    return y_true[known], found
