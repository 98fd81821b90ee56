"""Curves of several pre-training runs beside each other, and what a model that does nothing has."""

from collections.abc import Mapping, Sequence
from functools import partial

import pandas as pd

from molae_pyg.analysis.plots import Panel, Picture, colours_of, log_scale, style

TERMS = ("token", "coordinate", "distance")


def do_nothing(noise: float, keep: float = 0.05) -> float:
    r"""Coordinate loss of a model that leaves all atoms where the noise has put them.

    With uniform noise of half-width s on each axis, of which a share of atoms is free:

    .. math::
        (1 - keep) \; \frac{1}{s} \int_0^s \mathrm{SmoothL1}(u) \, du, \qquad
        \int_0^s = \frac{s^3}{6} \; (s \le 1), \quad \frac{1}{6} + \frac{s (s - 1)}{2} \; (s > 1)

    Args:
        noise: Half-width s in Å, above 0.
        keep: Share of the chosen atoms without noise, default: 0.05.
    """
    area = noise**3 / 6 if noise <= 1 else 1 / 6 + noise * (noise - 1) / 2
    return (1 - keep) * area / noise


def curve_picture(runs: Mapping[str, Mapping[float, Sequence[pd.DataFrame]]]) -> Picture:
    """Draws the validation losses of runs: a row for each system, a column for each loss.

    Each seed is a line. Dashed lines in the column of coordinates are :func:`do_nothing`.

    Args:
        runs: System -> noise in Å -> values of the run of each seed, with columns ``step`` and
            ``val_<term>``, as in ``metrics.csv``.
    """
    noises = sorted({noise for of_system in runs.values() for noise in of_system})
    colours = dict(zip(noises, colours_of(map(str, noises)).values(), strict=True))

    def draw(of_system: Mapping[float, Sequence[pd.DataFrame]], term: str, axes) -> None:
        for noise, of_seeds in of_system.items():
            for values in of_seeds:
                found = values[["step", f"val_{term}"]].dropna()
                updates = found["step"] + 1
                axes.plot(updates, found[f"val_{term}"], color=colours[noise], marker=".", lw=1.0)
            if term == "coordinate":
                axes.axhline(do_nothing(noise), color=colours[noise], ls="--", lw=0.8)
        log_scale(axes)
        axes.xaxis.get_major_locator().set_params(integer=True)
        style(axes, "updates", f"{term} loss (smooth L1)" if term != "token" else "token loss, nat")

    panels = [
        Panel(f"{system}: {term}", partial(draw, of_system, term))
        for system, of_system in runs.items()
        for term in TERMS
    ]
    legend = {f"noise {noise:g} Å": colours[noise] for noise in noises}
    caption = (
        "Losses of held-out molecules, a line for each seed; "
        "dashed: atoms left where the noise has put them"
    )
    return Picture(caption, panels, "medium", legend)
