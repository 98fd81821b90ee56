"""The report of a pre-training run: one HTML page that needs nothing else."""

from __future__ import annotations

import json
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import pandas as pd

from molae_pyg.analysis.page import HTML, Page
from molae_pyg.analysis.plots import COLOURS, Panel, Picture, log_scale, style
from molae_pyg.loss import CLOZE_WEIGHTS

if TYPE_CHECKING:
    from matplotlib.axes import Axes

TRAIN, VALID = COLOURS[:2]
RECENT = 10  # logged values that the training column of the summary averages
SMOOTH_PARTS = 60  # a smoothed point is the mean of about 1/60 of the run


class Curve(NamedTuple):
    """A logged value: its title, and how it is drawn."""

    title: str
    y: str  # name of the vertical axis, with its unit
    kind: str = "log"  # or "linear", "from_zero" (linear from 0), "share" (0 to 1, in per cent)


#: Name of a value -> how it is drawn. Its columns are ``train_<name>`` and ``val_<name>``.
COURSE = {
    "total": Curve("Total loss", "loss"),
    "token_accuracy": Curve("Dropped atoms with the right element", "dropped atoms", "share"),
    "distance_mae": Curve("Mean error of distances in Å", "error, Å", "from_zero"),
    "coordinate_rmsd": Curve("RMSD of coordinates in Å", "RMSD, Å", "from_zero"),
}
TITLES = {
    "token": "Element loss",
    "coordinate": "Coordinate loss",
    "distance": "Distance loss",
    "encoder_x_norm": "Encoder norm, states",
    "encoder_pair_norm": "Encoder norm, pairs",
    "decoder_x_norm": "Decoder norm, states",
    "decoder_pair_norm": "Decoder norm, pairs",
}
TERMS = {
    name: Curve(f"{title} (weight {CLOZE_WEIGHTS[name]:g})", "loss")
    for name, title in TITLES.items()
}
#: The same for values of a run as a whole, which have one column.
OPTIMISER = {
    "train_grad_norm": Curve("Gradient norm before clipping", "norm"),
    "lr": Curve("Learning rate", "learning rate", "from_zero"),
    "molecules_per_second": Curve("Molecules per second", "1 / s", "from_zero"),
}


def training_report(folder: str | Path, file: str | Path | None = None) -> Path:
    """Writes the report of a pre-training run: settings, results and curves on one HTML page.

    The page is one file without scripts, and loads nothing. It can be made during the run. What
    was not logged is left out, and the page says so.

    Args:
        folder: Folder of the run, as :func:`~molae_pyg.training.pretrain` leaves it:
            ``course.jsonl`` or ``metrics.csv`` and, where present, ``run.json`` (settings),
            ``environment.json`` (device, versions) and pictures ``reconstruction*.png``, see
            :func:`~molae_pyg.analysis.reconstruction_plot`.
        file: The page to write. (default: ``report.html`` in the folder)

    Returns:
        The path of the page.

    Raises:
        FileNotFoundError: The folder has no metrics.
        ValueError: The metrics are empty or have no ``step``, or a JSON file cannot be read.
    """
    from molae_pyg.training.course import read_metrics  # loads Lightning

    folder = Path(folder)
    file = folder / HTML if file is None else Path(file)
    metrics = read_metrics(folder)
    page = Page(f"Pre-training: {folder.resolve().name}", "training report")
    page.heading("Summary")
    page.facts(_progress(metrics))
    terms = TERMS | _other_terms(metrics)
    page.table(_results(metrics, COURSE | terms))
    missing = [
        *_add_curves(page, "Course", metrics, COURSE, "large"),
        *_add_curves(page, "Terms of the loss", metrics, terms),
        *_add_curves(page, "Optimiser", metrics, OPTIMISER),
    ]
    if pictures := sorted(folder.glob("reconstruction*.png")):
        page.heading("Reconstructions")
        for picture in pictures:
            page.image(picture)
    for heading, name in (("Settings", "run.json"), ("Environment", "environment.json")):
        if (folder / name).is_file():
            page.heading(heading)
            page.facts(flat(_read_json(folder / name)))
    if missing:
        page.text(f"Not logged: {'; '.join(missing)}.")
    page.write(file)
    return file


def series(metrics: pd.DataFrame, column: str) -> pd.Series:
    """Returns the finite values of a column by step, steps increasing; empty if there are none.

    A run that was resumed at a checkpoint has done some updates twice. What was written later
    counts: every earlier row of the same or a later step is skipped.
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
    """Returns the moving mean over about 1/60 of the points."""
    window = max(1, len(values) // SMOOTH_PARTS)
    return values.rolling(window, center=True, min_periods=1).mean()


def _progress(metrics: pd.DataFrame) -> Iterator[tuple[str, str]]:
    trained = metrics[[name for name in metrics if name.startswith("train_")]].notna().any(axis=1)
    steps = metrics["step"][trained] if trained.any() else metrics["step"]
    yield "updates", f"{int(steps.iloc[-1]) + 1:,}"
    molecules, seconds, rate = (
        series(metrics, name) for name in ("molecules", "seconds", "molecules_per_second")
    )
    if len(molecules):
        yield "molecules seen", f"{molecules.iloc[-1]:,.0f}"
    if len(seconds):
        yield "training time", _duration(seconds.iloc[-1])
    if len(rate):
        yield "molecules per second", f"{rate.median():,.1f} (median)"


def _duration(seconds: float) -> str:
    minutes, seconds = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours:,} h {minutes} min"
    return f"{minutes} min {seconds} s" if minutes else f"{seconds} s"


def _other_terms(metrics: pd.DataFrame) -> dict[str, Curve]:
    """The terms of an objective that is not the cloze test's."""
    logged = [name.partition("_") for name in metrics if name.startswith(("train_", "val_"))]
    known = {*COURSE, *TERMS, "grad_norm"}
    return {name: Curve(name, name, "linear") for _, _, name in logged if name not in known}


def _values(metrics: pd.DataFrame, name: str) -> tuple[pd.Series, pd.Series]:
    """The values of the training set, or of the run as a whole, and those of the held-out set."""
    train = name if name in OPTIMISER else f"train_{name}"
    return series(metrics, train), series(metrics, f"val_{name}")


def _results(metrics: pd.DataFrame, curves: dict[str, Curve]) -> pd.DataFrame:
    """The last values on both sets."""
    rows = {}
    for name, curve in curves.items():
        train, valid = _values(metrics, name)
        if len(train) or len(valid):
            show = "{:.1%}" if curve.kind == "share" else "{:.4g}"
            last = (train.iloc[-RECENT:].mean(), valid.iloc[-1] if len(valid) else float("nan"))
            rows[curve.title] = ["-" if pd.isna(x) else show.format(x) for x in last]
    columns = [f"training, mean of the last {RECENT} logged", "held out, last"]
    return pd.DataFrame.from_dict(rows, orient="index", columns=columns)


def _add_curves(
    page: Page, heading: str, metrics: pd.DataFrame, curves: dict[str, Curve], size: str = "medium"
) -> list[str]:
    """Adds a section of plots; returns the titles of those that have no data."""
    panels, legend, missing = [], {}, []
    for name, curve in curves.items():
        train, valid = _values(metrics, name)
        if train.empty and valid.empty:
            missing.append(curve.title)
            continue
        panels.append(Panel(curve.title, partial(draw_curve, train, valid, curve)))
        if name not in OPTIMISER:
            legend |= {"training": TRAIN} if len(train) else {}
            legend |= {"held out": VALID} if len(valid) else {}
    if panels:
        page.heading(heading)
        page.picture(heading, Picture("", panels, size, legend))
    return missing


def draw_curve(train: pd.Series, valid: pd.Series, curve: Curve, axes: Axes) -> None:
    """Draws values by step: of the training set smoothed, over the pale ones, and held-out ones."""
    from matplotlib.ticker import EngFormatter, MaxNLocator

    smooth = smoothed(train)
    if len(train) > SMOOTH_PARTS:
        axes.plot(train.index, train, color=TRAIN, alpha=0.3, linewidth=0.7)
    point = {"marker": "o", "markersize": 3}
    only = point if len(train) == 1 else {}
    axes.plot(smooth.index, smooth, color=TRAIN, linewidth=1.5, **only)
    axes.plot(valid.index, valid, color=VALID, linewidth=1.2, **point)
    _scale(axes, curve.kind, pd.concat([part for part in (train, valid) if len(part)]))
    style(axes, "update", curve.y)
    axes.xaxis.set_major_locator(MaxNLocator(6, integer=True))
    axes.xaxis.set_major_formatter(EngFormatter(sep=""))  # 20k, 1M


def _scale(axes: Axes, kind: str, values: pd.Series) -> None:
    from matplotlib.ticker import FuncFormatter, PercentFormatter

    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    if kind == "log" and (values > 0).all():
        log_scale(axes)
    elif kind == "from_zero":
        axes.set_ylim(bottom=0)
    elif kind == "share":
        axes.set_ylim(0, 1)
        axes.yaxis.set_major_formatter(PercentFormatter(1))


def _read_json(file: Path) -> Any:
    try:
        return json.loads(file.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"{file} is not JSON: {error}") from None


def flat(value: Any, name: str = "") -> Iterator[tuple[str, str]]:
    """Returns names and values of nested settings, the names joined by dots."""
    if isinstance(value, dict) and value:
        for key, inner in value.items():
            yield from flat(inner, f"{name}.{key}" if name else str(key))
    elif isinstance(value, list) and not any(isinstance(item, dict | list) for item in value):
        yield name, ", ".join(map(_text, value))
    else:
        yield name, _text(value)


def _text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
