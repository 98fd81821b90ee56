"""Draws the plots of docs/performance.md from benchmarks/results: python benchmarks/report.py"""

import json
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from operators import GROUPS, OTHERS
from record import RESULTS, ROOT

from molae_pyg.analysis.plots import COLOURS, INK, new_figure, style

PICTURES = ROOT / "docs" / "_static" / "performance"
PEER, OURS = "unimol_tools", "molae_pyg"


def read(name: str) -> dict | None:
    """Returns the result of a benchmark; None if it was not run."""
    path = RESULTS / f"{name}.json"
    return json.loads(path.read_text())["result"] if path.is_file() else None


def figure(title: str, y: str) -> tuple[Figure, Axes]:
    drawn = new_figure(6.4, 3.2)
    axes = drawn.subplots()
    axes.set_title(title, color=INK, fontsize=10)
    style(axes, "", y, grid="y")
    return drawn, axes


def save(drawn: Figure, axes: Axes, name: str, outside: bool = False) -> None:
    place = {"loc": "center left", "bbox_to_anchor": (1, 0.5)} if outside else {}
    axes.legend(fontsize=8, frameon=False, labelcolor=INK, **place)
    PICTURES.mkdir(parents=True, exist_ok=True)
    drawn.savefig(PICTURES / f"{name}.png", dpi=160, transparent=True)


def encoder(result: dict) -> None:
    """Draws the speed-up over unimol_tools in the same precision by size.

    Bars to the median, lines from minimum to maximum.
    """
    sizes = [key for key in result if key.endswith(" atoms") or key == "ZINC"]
    for direction in ("forward", "forward and backward"):
        drawn, axes = figure(f"Encoder, {direction}", f"speed-up over {PEER}")
        of_sizes = [in_precisions(result[size][direction]) for size in sizes]
        ways = list(of_sizes[0])
        for number, way in enumerate(ways):
            places = [i + 0.8 * (number + 0.5) / len(ways) - 0.4 for i in range(len(sizes))]
            cells = [found[way][OURS][f"speed-up over {PEER}"] for found in of_sizes]
            middle = [cell["median"] for cell in cells]
            spread = [
                [cell["median"] - cell["min"] for cell in cells],
                [cell["max"] - cell["median"] for cell in cells],
            ]
            axes.bar(
                places, middle, 0.7 / len(ways), yerr=spread, ecolor=INK,
                color=COLOURS[number], label=way,
            )  # fmt: skip
        axes.axhline(1, color=INK, linewidth=0.8)
        axes.set_xticks(range(len(sizes)), sizes)
        axes.margins(y=0.2)  # room for the legend
        save(drawn, axes, "encoder_" + direction.replace(" ", "_"))


def in_precisions(found: dict) -> dict:
    """Precision -> way -> figures; older results have ways in fp32 alone."""
    if PEER in found:
        return {"fp32": {OURS: found["MolAEEncoder, fp32"]}}
    return found


def memory(result: dict) -> None:
    """Draws the peak memory by the number of atoms, with one molecule per batch."""
    drawn, axes = figure("Training step, one molecule a batch", "peak memory, GiB")
    for colour, (way, cells) in zip(COLOURS, result.items(), strict=False):
        points = {
            int(cell.split()[0]): value for cell, value in cells.items() if cell.endswith(" x 1")
        }
        axes.plot(list(points), list(points.values()), "o-", color=colour, label=way, markersize=4)
    axes.set_xlabel("atoms", color=INK, fontsize=9)
    axes.set_ylim(bottom=0)
    save(drawn, axes, "memory")


def operators(after: dict) -> None:
    """Draws the seconds of each group of operations, before and after."""
    runs = {"before": read("operators_before"), "now": after}
    for direction in after:
        bars = {when: run[direction] for when, run in runs.items() if run}
        drawn, axes = figure(f"Encoder, {direction}, 32 molecules", "")
        left = dict.fromkeys(bars, 0.0)
        for colour, group in zip(COLOURS, (*GROUPS, OTHERS), strict=False):
            widths = [bar.get(group, {"seconds": 0.0})["seconds"] for bar in bars.values()]
            axes.barh(
                list(bars), widths, 0.6, left=list(left.values()),
                color=colour, label=group,
            )  # fmt: skip
            left = {when: left[when] + width for when, width in zip(bars, widths, strict=True)}
        axes.invert_yaxis()
        axes.set_xlabel("seconds", color=INK, fontsize=9)
        axes.grid(visible=False, axis="y")
        save(drawn, axes, "operators_" + direction.replace(" ", "_"), outside=True)


def main() -> None:
    for name, draw in (("encoder", encoder), ("memory", memory), ("operators", operators)):
        result = read(name)
        if result is None:
            print(f"{name}: not measured")
            continue
        draw(result)
        print(f"{name}: drawn into {Path(PICTURES).relative_to(ROOT)}")


if __name__ == "__main__":
    main()
