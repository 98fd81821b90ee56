"""Picture of a molecule and of its dropped atoms as a model rebuilt them."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from torch import Tensor

from molae_pyg.analysis.plots import new_figure
from molae_pyg.analysis.reconstruction import Reconstruction
from molae_pyg.chem.elements import SYMBOLS, token_table

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.lines import Line2D

#: Usual colours of elements, dark enough for white paper. All other elements share one colour.
COLOURS = {
    "H": "#b4b4b4", "C": "#4d4d4d", "N": "#3050f8", "O": "#e3170d", "S": "#d9a400",
    "F": "#5cb85c", "Cl": "#1c8c1c", "Br": "#a62929", "I": "#7a1fa2", "P": "#ff8000",
    "B": "#f09080", "Si": "#b8925a",
}  # fmt: skip
OTHER = "#d6498f"
BOND, ERROR = "0.72", "#00a08a"
BOND_FACTOR = 1.25  # of the sum of the covalent radii
TILT = 25  # degrees
WIDTH = 5.0  # inches of a panel
MARGIN = 0.7  # Å around the molecule
NAMED_AT_MOST = 5


def reconstruction_plot(result: Reconstruction, file: str | Path | None = None) -> Figure:
    """Draws a molecule with its dropped atoms, at their true and at their rebuilt coordinates.

    The left column shows the coordinate head, the right one the distance head. The upper row looks
    along the molecule's shortest axis, a little tilted; the lower row looks from the side, so that
    no error is hidden. Nearer atoms are in front. Bonds are pairs of atoms closer than 1.25 times
    the sum of their covalent radii.

    Args:
        result: A result of :func:`~molae_pyg.analysis.reconstruct`.
        file: The PNG to write. (default: :obj:`None`, no file)

    Returns:
        The figure.
    """
    axes = _principal_axes(result.pos.numpy())
    views = [axes @ _turned(degrees) for degrees in (TILT, TILT - 90)]
    places = [
        (place - result.pos.mean(0)).numpy()
        for place in (result.pos, result.coordinate_pos, result.distance_pos)
    ]
    shown = [np.concatenate(places) @ view for view in views]
    low = np.array([x.min(0)[:2] - MARGIN for x in shown])  # [2, 2], x and y of each row
    high = np.array([x.max(0)[:2] + MARGIN for x in shown])
    width, heights = (high - low)[0, 0], (high - low)[:, 1]  # Å; both rows have one scale
    inches = heights * min(WIDTH / width, WIDTH / heights.max())
    figure = new_figure(2 * WIDTH, 2.1 + inches.sum())
    panels = figure.subplots(2, 2, height_ratios=inches)
    for row, view in enumerate(views):
        pos, *rebuilt = (place @ view for place in places)
        for panel, place, title in zip(panels[row], rebuilt, _titles(result), strict=True):
            panel.set(xlim=(low[row, 0], high[row, 0]), ylim=(low[row, 1], high[row, 1]))
            panel.set(aspect="equal")
            panel.set_axis_off()
            panel.set_title("from the side" if row else title, fontsize=9 if row else 10)
            _draw_molecule(panel, pos, result)
            _draw_rebuilt(panel, pos[result.drop_mask.numpy()], place, result)
    _draw_scale(panels[1, 0], low[1])
    figure.suptitle(_headline(result), fontsize=12)
    marks = _legend(result)
    figure.legend(
        handles=marks, loc="outside lower center", ncols=min(len(marks), 13), fontsize=9,
        frameon=False, columnspacing=1.4, handletextpad=0.3,
    )  # fmt: skip
    if file is not None:
        figure.savefig(file, dpi=150)
    return figure


def find_bonds(z: Tensor, pos: np.ndarray) -> list[tuple[int, int]]:
    """Returns pairs of atoms closer than 1.25 times the sum of their covalent radii in RDKit."""
    from rdkit.Chem import GetPeriodicTable

    radius = np.array([GetPeriodicTable().GetRcovalent(number) for number in z.tolist()])
    distance = np.linalg.norm(pos[:, None] - pos[None, :], axis=-1)  # [N, N]
    close = distance < BOND_FACTOR * (radius[:, None] + radius[None, :])
    return [(int(i), int(j)) for i, j in np.argwhere(np.triu(close, k=1))]


def _principal_axes(pos: np.ndarray) -> np.ndarray:
    """Longest, middle and shortest axis of a molecule, the columns of a rotation ``[3, 3]``."""
    axes = np.linalg.svd(pos - pos.mean(0), full_matrices=True)[2].T
    return axes * [1, 1, np.linalg.det(axes)]


def _turned(degrees: float) -> np.ndarray:
    """Rotation ``[3, 3]`` about the first axis; its columns point right, up and to the reader."""
    cos, sin = np.cos(np.deg2rad(degrees)), np.sin(np.deg2rad(degrees))
    return np.array([[1, 0, 0], [0, cos, -sin], [0, sin, cos]])


def _titles(result: Reconstruction) -> tuple[str, str]:
    return (
        f"coordinate head: RMSD {result.coordinate_rmsd:.2f} Å\n"
        f"started with RMSD {result.noise_rmsd:.2f} Å",
        f"distance head: RMSD {result.distance_rmsd:.2f} Å\n"
        f"mean distance error {result.distance_mae:.2f} Å",
    )


def _symbols(token: Tensor) -> list[str]:
    return [SYMBOLS[i] for i in token.tolist()]


def _colours(symbols: list[str]) -> list[str]:
    return [COLOURS.get(symbol, OTHER) for symbol in symbols]


def _draw_molecule(panel: Axes, pos: np.ndarray, result: Reconstruction) -> None:
    """Draws the true molecule, kept atoms filled and dropped ones open; zorder is depth in Å."""
    dropped = result.drop_mask.tolist()
    for i, j in find_bonds(result.z, pos):
        style = (
            {"linestyle": (0, (2, 1.2)), "linewidth": 1.6}
            if dropped[i] or dropped[j]
            else {"linewidth": 2.6}
        )
        depth = pos[[i, j], 2].min() - 0.1  # behind the atoms it joins
        panel.plot(*pos[[i, j], :2].T, color=BOND, zorder=depth, **style)
    for place, colour, is_open in zip(
        pos, _colours(_symbols(token_table()[result.z])), dropped, strict=True
    ):
        face, size = ("white", 120) if is_open else (colour, 60)
        panel.scatter(*place[:2], s=size, c=face, edgecolors=colour, linewidths=2, zorder=place[2])


def _draw_rebuilt(panel: Axes, true: np.ndarray, place: np.ndarray, result: Reconstruction) -> None:
    """Draws the rebuilt atoms, each joined to its true place, over everything else."""
    top = 1e3
    x, y, _ = np.stack([true, place]).transpose(2, 0, 1)  # [2, M] each: a line per column
    panel.plot(x, y, color=ERROR, linewidth=1.8, zorder=top)
    colours = np.array(_colours(_symbols(result.token_predicted)))
    for chosen, marker, size in (
        (result.correct.numpy(), "D", 45),
        (~result.correct.numpy(), "X", 85),
    ):
        panel.scatter(
            *place[chosen, :2].T, s=size, c=colours[chosen], marker=marker, edgecolors="black",
            linewidths=0.7, zorder=top + 1,
        )  # fmt: skip


def _draw_scale(panel: Axes, corner: np.ndarray) -> None:
    """Draws a bar of 1 Å under the panel's lower left corner."""
    from matplotlib.transforms import blended_transform_factory

    place = blended_transform_factory(panel.transData, panel.transAxes)
    start, end = corner[0] + MARGIN / 2, corner[0] + MARGIN / 2 + 1
    panel.plot([start, end], [-0.02, -0.02], color="black", transform=place, clip_on=False)
    panel.text(end + MARGIN / 4, -0.02, "1 Å", va="center", fontsize=9, transform=place)


def _headline(result: Reconstruction) -> str:
    text = f"elements right: {int(result.correct.sum())} of {result.correct.numel()}"
    true, guess = _symbols(token_table()[result.z_true]), _symbols(result.token_predicted)
    wrong = Counter(
        f"{t} taken for {g}" for t, g, c in zip(true, guess, result.correct, strict=True) if not c
    )
    parts = [f"{count} {what}" if count > 1 else what for what, count in wrong.most_common()]
    if len(parts) > NAMED_AT_MOST:
        parts[NAMED_AT_MOST:] = ["..."]
    return f"{text} ({', '.join(parts)})" if parts else text


def _legend(result: Reconstruction) -> list[Line2D]:
    from matplotlib.lines import Line2D

    def dot(label: str, marker: str = "o", face: str = "0.45", **style) -> Line2D:
        style = {"markeredgecolor": face, **style}
        return Line2D([], [], ls="", marker=marker, ms=8, mfc=face, label=label, **style)

    shown = {*_symbols(token_table()[result.z]), *_symbols(result.token_predicted)}
    black = {"markeredgecolor": "black", "markeredgewidth": 0.7}
    marks = [
        dot("kept"),
        dot("dropped", face="white", markeredgecolor="0.45", markeredgewidth=2),
        dot("rebuilt", "D", **black),
        *([] if result.correct.all() else [dot("rebuilt, wrong element", "X", **black)]),
        Line2D([], [], color=ERROR, linewidth=1.8, label="error"),
    ]
    elements = [dot(symbol, face=colour) for symbol, colour in COLOURS.items() if symbol in shown]
    if shown - set(COLOURS):
        elements.append(dot(", ".join(sorted(shown - set(COLOURS))), face=OTHER))
    return marks + elements
