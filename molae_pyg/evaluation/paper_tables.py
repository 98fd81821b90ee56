"""Tables of the Mol-AE paper from finished runs: JSON, Markdown and a plot."""

import json
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
from safetensors.torch import load_file
from scipy import stats

from molae_pyg.analysis.plots import COLOURS, INK, Panel, Picture, style
from molae_pyg.checkpoint import WEIGHTS
from molae_pyg.durable import write_durably
from molae_pyg.evaluation import runs
from molae_pyg.evaluation.paper_plan import Row, published_rows
from molae_pyg.evaluation.score_tables import NONE
from molae_pyg.metrics import LOWER_IS_BETTER
from molae_pyg.training.course import TABLE, read_metrics

_STATISTICS = ("running_mean", "running_var", "num_batches_tracked", "offset")  # no parameters
Cells = dict[str, dict[int, float]]  # row -> seed -> score


def write(
    output: Path,
    table: str,
    rows: Sequence[Row],
    reference: str,
    missing: Sequence[str],
    results: Sequence[dict[str, Any]],
    about: Mapping[str, Any] = MappingProxyType({}),
) -> dict[str, Any]:
    """Writes ``<table>.json``, ``.md`` and ``.png``.

    Args:
        output: Folder to write to.
        table: Name of the table.
        rows: Its rows.
        reference: Name of the row that others are compared with.
        missing: Names of published rows that are not run.
        results: Finished runs on the data sets of the table, also those of other tables.
        about: ``names``, what rows are here, and ``pre-training``, see :func:`facts_of`, by row;
            default: nothing.

    Returns:
        The content of the JSON file.
    """
    names = {row.fitted: row.name for row in rows}
    cells: dict[str, Cells] = {}
    metrics: dict[str, str] = {}
    for found in results:
        if found["fitted"] in names:
            of_dataset = cells.setdefault(found["dataset"], {})
            of_row = of_dataset.setdefault(names[found["fitted"]], {})
            of_row[found["seed"]] = found["test"]
            metrics[found["dataset"]] = found["metric"]
    measured = {
        dataset: {
            "metric": metrics[dataset],
            "rows": {
                row.name: _row(
                    of_row[row.name], {} if row.name == reference else of_row.get(reference, {})
                )
                for row in rows
                if row.name in of_row
            },
        }
        for dataset, of_row in cells.items()
    }
    figures, notes = published_rows(table)
    content = {
        "measured": measured,
        "reference": reference,
        "mean rank": _ranks(measured),
        **about,
        "missing rows": list(missing),
        "published, on other data and a larger model": {"rows": figures, "notes": notes},
        "environment": runs.environment(),
    }
    write_durably(output / f"{table}.json", json.dumps(content, indent=2).encode() + b"\n")
    write_durably(output / f"{table}.md", _markdown(table, content).encode())
    if measured:
        height = 1.0 + 0.3 * len(rows)
        panels = [Panel(d, partial(_draw, of, reference), height) for d, of in measured.items()]
        picture = Picture(
            f"{table}: test scores; dots are seeds, bars their mean", panels, "medium"
        )
        write_durably(output / f"{table}.png", picture.png(transparent=False))
    return content


def facts_of(folder: Path) -> dict[str, float]:
    """Returns the number of parameters, updates and molecules of a pre-training, and its seconds.

    An unfinished one has none.
    """
    if not (folder / TABLE).is_file():
        return {}
    table = read_metrics(folder)
    weights = load_file(folder / "model" / WEIGHTS)
    last = table[["molecules", "seconds"]].max()
    return {
        "parameters": sum(v.numel() for k, v in weights.items() if not k.endswith(_STATISTICS)),
        "updates": int(table["step"].max()) + 1,
        "molecules": int(last["molecules"]),
        "seconds": round(float(last["seconds"])),
    }


def _ranks(measured: dict[str, Any]) -> dict[str, float]:
    """Mean rank over the data sets, 1 the best, of the rows that are on all of them."""
    every = [name for of in measured.values() for name in of["rows"]]
    everywhere = {name for name in every if every.count(name) == len(measured)}
    ranks: dict[str, list[float]] = {}
    for of in measured.values():
        sign = 1 if of["metric"] in LOWER_IS_BETTER else -1
        rows = {name: row["mean"] for name, row in of["rows"].items() if name in everywhere}
        for name, rank in zip(rows, stats.rankdata([sign * v for v in rows.values()]), strict=True):
            ranks.setdefault(name, []).append(float(rank))
    return {name: float(np.mean(found)) for name, found in ranks.items()}


def _row(of_seed: dict[int, float], reference: dict[int, float]) -> dict[str, Any]:
    """Scores, their mean, and the difference to the reference on the seeds of both."""
    shared = sorted(of_seed.keys() & reference.keys())
    change = np.array([of_seed[seed] - reference[seed] for seed in shared])
    found = {"seeds": of_seed, "mean": float(np.mean(list(of_seed.values())))}
    if shared:
        found["difference"] = float(change.mean())
        if len(shared) > 1 and change.std() > 0:
            half = stats.t.ppf(0.975, len(shared) - 1) * stats.sem(change)
            found["interval"] = [float(change.mean() - half), float(change.mean() + half)]
    return found


def _markdown(table: str, content: dict[str, Any]) -> str:
    """The measured block, the missing rows, and the published block."""
    measured, reference = content["measured"], content["reference"]
    lines = [f"# {table}", "", "## Measured", ""]
    heads = []
    for dataset, of in measured.items():
        arrow = "↓" if of["metric"] in LOWER_IS_BETTER else "↑"
        heads.append(f"{dataset}, {of['metric']} {arrow}")
    names = dict.fromkeys(name for of in measured.values() for name in of["rows"])
    body = {n: [_cell(of["rows"].get(n)) for of in measured.values()] for n in names}
    if len(measured) > 1:
        heads.append("mean rank")
        ranks = content["mean rank"]
        body = {n: [*cells, f"{ranks[n]:.1f}" if n in ranks else NONE] for n, cells in body.items()}
    lines += [*_grid(heads, body), ""]
    lines.append(
        "Test scores, mean ± sample standard deviation over seeds; in brackets the difference to "
        f"{reference!r} on the same seeds with its 95 % t-interval, if there are several seeds."
    )
    lines += _about(content)
    if content["missing rows"]:
        lines += ["", f"Rows that are not run here: {', '.join(content['missing rows'])}."]
    (title,) = (key for key in content if key.startswith("published"))
    if not content[title]["rows"]:
        return "\n".join(lines) + "\n"
    figures, notes = content[title]["rows"], content[title]["notes"]
    columns = list(dict.fromkeys(name for row in figures.values() for name in row))
    body = {
        n: [f"{row[column]:g}" if column in row else NONE for column in columns]
        for n, row in figures.items()
    }
    lines += ["", f"## {title[0].upper()}{title[1:]}", "", *_grid(columns, body), ""]
    lines += [f"- {note}" for note in notes]
    return "\n".join(lines) + "\n"


def _about(content: dict[str, Any]) -> list[str]:
    """What rows are, and what their pre-training took."""
    lines = [f"- {name}: {text}" for name, text in content.get("names", {}).items()]
    lines = ["", *lines] if lines else []
    if facts := content.get("pre-training"):
        heads = list(next(iter(facts.values())))
        body = {name: [f"{value:,}" for value in of.values()] for name, of in facts.items()}
        lines += ["", "Pre-training of seed 0; seconds are those of the clock.", ""]
        lines += _grid(heads, body)
    return lines


def _cell(row: dict[str, Any] | None) -> str:
    if row is None:
        return NONE
    text = runs.mean_and_spread(list(row["seeds"].values()))
    if "difference" in row:
        change = f"{row['difference']:+.3g}"
        if "interval" in row:
            change += "; {:+.3g} to {:+.3g}".format(*row["interval"])
        text += f" ({change})"
    return text


def _grid(heads: Sequence[str], body: dict[str, list[str]]) -> list[str]:
    lines = [f"| row | {' | '.join(heads)} |", f"|---|{'---|' * len(heads)}"]
    return lines + [f"| {name} | {' | '.join(cells)} |" for name, cells in body.items()]


def _draw(of_dataset: dict[str, Any], reference: str, axes) -> None:
    names = list(of_dataset["rows"])[::-1]
    for place, name in enumerate(names):
        scores = list(of_dataset["rows"][name]["seeds"].values())
        colour = COLOURS[1] if name == reference else COLOURS[0]
        axes.plot(scores, [place] * len(scores), "o", color=colour, ms=4, alpha=0.7)
        axes.plot([np.mean(scores)], [place], "|", color=INK, ms=12, mew=2)
    axes.set_yticks(range(len(names)), names)
    axes.set_ylim(-0.6, len(names) - 0.4)
    metric = of_dataset["metric"]
    better = "lower is better" if metric in LOWER_IS_BETTER else "higher is better"
    style(axes, f"test {metric}, {better}", "row", grid="x")
