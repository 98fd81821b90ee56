"""The report of a pre-training run: one HTML page that needs nothing else."""

import base64
import json
from collections.abc import Iterator
from html import escape
from pathlib import Path
from string import Template
from typing import Any

import pandas as pd

from molae_pyg.analysis.curves import Curve, draw_curve, series
from molae_pyg.loss import CLOZE_WEIGHTS

RECENT = 10  # logged values behind the "training" column of the summary

#: What the model is asked for, in words; the names are those of the columns after ``train_``.
QUALITY = {
    "token_accuracy": ("Dropped atoms with the right element", "share"),
    "distance_mae": ("Mean error of distances in Å", "from_zero"),
    "coordinate_rmsd": ("RMSD of coordinates in Å", "from_zero"),
}
TERMS = {
    "token": "Element loss",
    "coordinate": "Coordinate loss",
    "distance": "Distance loss",
    "encoder_x_norm": "Encoder norm, states",
    "encoder_pair_norm": "Encoder norm, pairs",
    "decoder_x_norm": "Decoder norm, states",
    "decoder_pair_norm": "Decoder norm, pairs",
}


def _both(name: str, title: str, kind: str) -> Curve:
    return Curve(title, f"train_{name}", f"val_{name}", kind)


SECTIONS = {
    "Course": [
        _both("total", "Total loss", "log"),
        *(_both(name, *words) for name, words in QUALITY.items()),
    ],
    "Terms of the loss": [
        _both(name, f"{title} (weight {CLOZE_WEIGHTS[name]:g})", "log")
        for name, title in TERMS.items()
    ],
    "Optimiser": [
        Curve("Gradient norm before clipping", "train_grad_norm", kind="log"),
        Curve("Learning rate", "lr", kind="from_zero"),
        Curve("Molecules per second", "molecules_per_second", kind="from_zero"),
    ],
}


def training_report(folder: str | Path, file: str | Path | None = None) -> Path:
    """Writes the report of a pre-training run: settings, results and curves on one HTML page.

    The page loads nothing from elsewhere and runs no script; pictures are part of it. It can be
    made while the run goes on. What was not logged is left out, and the page says so.

    Args:
        folder: Of the run, as :func:`~molae_pyg.training.pretrain` leaves it: ``course.jsonl`` or
            ``metrics.csv`` and, where present, ``run.json`` (settings),
            ``environment.json`` (device, versions) and pictures ``reconstruction*.png``, see
            :func:`~molae_pyg.analysis.reconstruction_plot`.
        file: The page to write, default ``report.html`` in the folder.

    Returns:
        The path of the page.

    Raises:
        FileNotFoundError: The folder has no metrics.
        ValueError: The metrics are empty or have no ``step``, or a JSON file is none.
    """
    from molae_pyg.training.course import read_metrics  # loads Lightning

    folder = Path(folder)
    file = folder / "report.html" if file is None else Path(file)
    metrics = read_metrics(folder)
    missing: list[str] = []
    parts = [
        _section("Summary", _table(_progress(metrics)) + _results(metrics)),
        *_curves(metrics, missing),
        _section("Reconstructions", _reconstructions(folder)),
        _section("Settings", _json_table(folder / "run.json")),
        _section("Environment", _json_table(folder / "environment.json")),
    ]
    if missing:
        parts.append(f'<p class="note">Not logged: {escape("; ".join(missing))}.</p>')
    title = f"Pre-training: {folder.resolve().name}"
    page = PAGE.substitute(title=escape(title), body="\n".join(part for part in parts if part))
    file.write_text(page, encoding="utf-8")
    return file


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


def _results(metrics: pd.DataFrame) -> str:
    """A table of the last values on both sets."""
    rows = []
    for name, title in {
        "total": "Total loss",
        **{name: words for name, (words, _) in QUALITY.items()},
        **TERMS,
    }.items():
        train, valid = series(metrics, f"train_{name}"), series(metrics, f"val_{name}")
        if len(train) or len(valid):
            show = "{:.1%}" if name == "token_accuracy" else "{:.4g}"
            last = (train.iloc[-RECENT:].mean(), valid.iloc[-1] if len(valid) else float("nan"))
            rows.append([title, *("-" if pd.isna(x) else show.format(x) for x in last)])
    if not rows:
        return ""
    return _table(rows, ["", f"training, mean of the last {RECENT} logged", "held out, last"])


def _curves(metrics: pd.DataFrame, missing: list[str]) -> Iterator[str]:
    """A section for each group of plots; titles of those without data go to ``missing``."""
    for heading, curves in SECTIONS.items():
        figures = []
        for curve in curves:
            picture = draw_curve(metrics, curve)
            if picture is None:
                missing.append(curve.title)
            else:
                figures.append(_figure(picture, curve.title))
        size = "large" if heading == "Course" else "small"
        content = f'<div class="{size}">{"".join(figures)}</div>' if figures else ""
        yield _section(heading, content)


def _reconstructions(folder: Path) -> str:
    files = sorted(folder.glob("reconstruction*.png"))
    return "".join(_figure(file.read_bytes(), file.stem, "white") for file in files)


def _figure(picture: bytes, caption: str, style: str = "plot") -> str:
    data = base64.b64encode(picture).decode()
    return (
        f'<figure class="{style}"><figcaption>{escape(caption)}</figcaption>'
        f'<img alt="{escape(caption)}" src="data:image/png;base64,{data}"></figure>'
    )


def _section(heading: str, content: str) -> str:
    return f"<section><h2>{escape(heading)}</h2>{content}</section>" if content else ""


def _json_table(file: Path) -> str:
    """The values of a JSON file, nested names joined by dots; empty where there is no file."""
    if not file.is_file():
        return ""
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"{file} is not JSON: {error}") from None
    return _table(list(_flat(content)))


def _flat(value: Any, name: str = "") -> Iterator[tuple[str, str]]:
    if isinstance(value, dict) and value:
        for key, inner in value.items():
            yield from _flat(inner, f"{name}.{key}" if name else str(key))
    elif isinstance(value, list) and not any(isinstance(item, dict | list) for item in value):
        yield name, ", ".join(map(_text, value))
    else:
        yield name, _text(value)


def _text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _table(rows: Any, head: list[str] | None = None) -> str:
    """Rows of text, the first cell naming the row."""
    lines = []
    if head is not None:
        cells = "".join(f'<th scope="col">{escape(cell)}</th>' for cell in head)
        lines.append(f"<thead><tr>{cells}</tr></thead>")
    for name, *cells in rows:
        cells = "".join(f"<td>{escape(cell)}</td>" for cell in cells)
        lines.append(f'<tr><th scope="row">{escape(name)}</th>{cells}</tr>')
    return f"<table>{''.join(lines)}</table>" if lines else ""


# The policy holds the page to what it promises: no scripts, nothing from elsewhere.
PAGE = Template("""\
<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy"
  content="default-src 'none'; img-src data:; style-src 'unsafe-inline'">
<title>$title</title>
<style>
:root { color-scheme: light dark; --paper: #fff; --ink: #222; --soft: #6b6b6b; --line: #ddd; }
@media (prefers-color-scheme: dark) {
  :root { --paper: #16181b; --ink: #ddd; --soft: #9a9a9a; --line: #35383c; }
}
body { background: var(--paper); color: var(--ink); font: 15px/1.5 system-ui, sans-serif;
  max-width: 72rem; margin: 2rem auto; padding: 0 1.2rem; }
h1 { font-size: 1.5rem; font-weight: 600; overflow-wrap: anywhere; }
h2 { font-size: 1.1rem; font-weight: 600; margin: 2.2rem 0 .8rem;
  border-bottom: 1px solid var(--line); padding-bottom: .2rem; }
table { border-collapse: collapse; margin: 0 0 1.2rem; font-variant-numeric: tabular-nums; }
th, td { text-align: left; padding: .2rem 1.4rem .2rem 0; vertical-align: top;
  border-bottom: 1px solid var(--line); overflow-wrap: break-word; }
section { overflow-x: auto; }
th { font-weight: 400; color: var(--soft); }
.large, .small { display: grid; gap: 1.2rem 1.6rem; }
.large { grid-template-columns: repeat(auto-fill, minmax(min(27rem, 100%), 1fr)); }
.small { grid-template-columns: repeat(auto-fill, minmax(min(20rem, 100%), 1fr)); }
figure { margin: 0; }
figcaption { font-size: .9rem; }
img { display: block; width: 100%; height: auto; }
.white { margin-bottom: 1.2rem; }
.white img { box-sizing: border-box; padding: .8rem; background: #fff; border-radius: 6px; }
.note { color: var(--soft); font-size: .9rem; margin-top: 2rem; }
</style>
</head>
<body>
<h1>$title</h1>
$body
</body>
</html>
""")
