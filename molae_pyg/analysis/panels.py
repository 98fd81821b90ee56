"""Pictures of one or several panels, in one style."""

from __future__ import annotations

import io
import textwrap
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

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
