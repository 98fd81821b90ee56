"""Contributions of atoms: drawn on molecules, as a page, and as a table."""

import os
import re
import warnings
from collections.abc import Mapping, Sequence
from functools import cache
from html import escape
from pathlib import Path
from types import ModuleType

import numpy as np
import pandas as pd
from rdkit import Chem

from molae_pyg.analysis.page import Drawing, Page
from molae_pyg.durable import write_durably
from molae_pyg.inference.explain import Explanation

#: Colours of the lowest contribution, of none and of the highest.
COLOURS = ((0.35, 0.56, 0.92), (1.0, 1.0, 1.0), (0.95, 0.42, 0.35))
_SHARE = 0.98  # of the atoms whose contributions are within the scale
_SIZE = (280, 200)  # pixels of a drawing
_BOND = 26.0  # pixels, in molecules that are small enough
_INSTEAD = (  # of a drawing
    "<svg xmlns='http://www.w3.org/2000/svg' viewBox='0 0 {0} {1}' width='{0}' height='{1}'>"
    "<text x='10' y='20' font-size='12' fill='currentColor'>RDKit cannot draw here.</text></svg>"
)
_ELLIPSE = re.compile(r"(<ellipse [^>]*class='atom-(\d+)'[^>]*) />")

_HOW_TO_READ = (
    "The contribution of an atom is the prediction for the molecule minus the prediction without "
    "this atom; the others stay where they are. Red atoms raise the prediction, blue atoms lower "
    "it. Values are means over conformers and do not add up to the prediction, because atoms act "
    "together. Point at an atom for its value."
)


def explain_page(
    explanations: Sequence[Explanation],
    file: str | os.PathLike,
    title: str = "What the predictions come from",
    units: Mapping[str, str] | None = None,
    rows: Sequence[int] | None = None,
    most: int = 100,
    facts: Sequence[tuple[str, str]] = (),
) -> None:
    """Writes a page with the molecules, their atoms coloured by contribution.

    It is one HTML file without scripts that loads nothing.

    Args:
        explanations: Those of :func:`~molae_pyg.inference.explain` for SMILES.
        file: The HTML file.
        title: Title of the page.
        units: Target -> unit, for the scale. (default: no units; classes have log-odds)
        rows: Row number of each molecule. (default: from 0)
        most: Number of molecules that are drawn for each target. (default: 100)
        facts: Names and values that the page shows first, such as the model. (default: none)

    Raises:
        ValueError: There is no explanation.
        OSError: The file cannot be written.
    """
    if not explanations:
        raise ValueError("there is no molecule to draw")
    rows = range(len(explanations)) if rows is None else rows
    numbered = list(zip(rows, explanations, strict=True))
    drawable = [(row, e) for row, e in numbered if e.mol is not None]
    page = Page(title, "explanation")
    page.text(_HOW_TO_READ)
    atoms = sum(len(e.elements) for _, e in drawable)
    number = f"{len(drawable):,} of {len(numbered):,} rows, {atoms:,} atoms"
    page.facts([*facts, ("Molecules", number)])
    for target in range(len(explanations[0].targets) if drawable else 0):
        _add_target(page, drawable, target, units or {}, most)
    lost = [(row, e) for row, e in numbered if e.status != "ok"]
    if lost:
        page.heading("Rows without an explanation")
        cells = [(e.smiles, e.status, e.reason) for _, e in lost]
        names = [str(row) for row, _ in lost]
        page.table(pd.DataFrame(cells, names, ["SMILES", "status", "reason"]))
    page.write(Path(file))


def _add_target(
    page: Page,
    drawable: Sequence[tuple[int, Explanation]],
    target: int,
    units: Mapping[str, str],
    most: int,
) -> None:
    name = drawable[0][1].targets[target]
    limit = scale_of([e for _, e in drawable], target)
    unit = unit_of(drawable[0][1], target, units)
    page.heading(name)
    shown = drawable[:most]
    if len(shown) < len(drawable):
        page.text(f"The first {len(shown)} of {len(drawable):,} molecules are drawn.")
    drawings = []
    for row, e in shown:
        value = _number(e.prediction[target]).removeprefix("+")
        predicted = f"predicted {value}{f' {unit}' if unit else ''}"
        if e.task_types[target] != "regression":
            predicted += f", probability {1 / (1 + np.exp(-e.prediction[target])):.2f}"
        svg = contribution_svg(e, target, limit)
        drawings.append(Drawing(svg, f"Row {row}: {predicted}", e.smiles))
    label = f"Contribution to {name}{f', {unit}' if unit else ''}"
    page.text(label)
    page.drawings(f"contributions {target}", drawings, scale_svg(limit, label))
    page.heading("Contributions by element", 3)
    page.table(_by_element([e for _, e in drawable], target))


def unit_of(explanation: Explanation, target: int, units: Mapping[str, str]) -> str:
    """Returns the unit of a target's contributions, ``"log-odds"`` for a class; or nothing."""
    if explanation.task_types[target] != "regression":
        return "log-odds"
    return units.get(explanation.targets[target], "")


def scale_of(explanations: Sequence[Explanation], target: int) -> float:
    """Returns the end of the colour scale: 98 % of the contributions are smaller than it."""
    values = np.concatenate([e.values[:, target] for e in explanations])
    values = np.abs(values[np.isfinite(values)])
    return float(f"{np.quantile(values, _SHARE):.2g}") or 1.0 if len(values) else 1.0


def contribution_svg(
    explanation: Explanation, target: int, limit: float, size: tuple[int, int] = _SIZE
) -> str:
    """Returns the drawing of a molecule as SVG, its atoms coloured by their contributions.

    Args:
        explanation: The explanation of a SMILES.
        target: Index of the target.
        limit: Contribution of the strongest colour; larger ones have the same.
        size: Width and height in pixels. (default: 280, 200)

    Returns:
        The drawing; a sentence in its place, and a warning, where RDKit cannot draw.

    Raises:
        ValueError: The explanation has no molecule.
    """
    if explanation.mol is None:
        raise ValueError("only explanations of SMILES with a molecule can be drawn")
    rdMolDraw2D = _drawing_code()
    if rdMolDraw2D is None:
        return _INSTEAD.format(*size)
    values = explanation.values[:, target]
    known = [int(atom) for atom in np.flatnonzero(np.isfinite(values))]
    mol = Chem.Mol(explanation.mol)
    mol.RemoveAllConformers()
    drawer = rdMolDraw2D.MolDraw2DSVG(*size)
    options = drawer.drawOptions()
    options.fixedBondLength, options.highlightRadius = _BOND, 0.38
    options.useBWAtomPalette()  # elements have no colours: those of the contributions are seen
    options.clearBackground = False
    rdMolDraw2D.PrepareAndDrawMolecule(
        drawer,
        mol,
        highlightAtoms=known,
        highlightAtomColors={atom: colour_of(float(values[atom]) / limit) for atom in known},
        highlightBonds=[],
    )
    drawer.FinishDrawing()
    svg = drawer.GetDrawingText()
    svg = svg[svg.index("<svg") :].replace("<!-- END OF HEADER -->\n", "")

    def with_value(found: re.Match) -> str:
        atom = int(found[2])
        text = f"{explanation.elements[atom]}{atom}: {_number(values[atom])}"
        return f"{found[1]}><title>{escape(text)}</title></ellipse>"

    return _ELLIPSE.sub(with_value, svg)


@cache
def _drawing_code() -> ModuleType | None:
    """Returns RDKit's code that draws; None, with a warning, where libraries of X are missing."""
    try:
        from rdkit.Chem.Draw import rdMolDraw2D
    except ImportError as error:
        warnings.warn(
            f"molecules are not drawn, as RDKit cannot load a library ({error}): install "
            "libxrender1 and libxext6 (Debian, Ubuntu), or libXrender and libXext (Fedora)",
            stacklevel=3,
        )
        return None
    return rdMolDraw2D


def colour_of(share: float) -> tuple[float, ...]:
    """Returns the colour of a contribution, as a share of the scale's limit, from -1 to 1."""
    share = min(1.0, max(-1.0, share))
    end = COLOURS[2] if share > 0 else COLOURS[0]
    return tuple(
        middle + abs(share) * (c - middle) for c, middle in zip(end, COLOURS[1], strict=True)
    )


def scale_svg(limit: float, label: str, steps: int = 40) -> str:
    """Returns the colour scale as SVG, with its ends; ``label`` is for those who cannot see it."""
    left, width, wide = 80, 300, 460  # pixels: of the bar, and of all
    parts = []
    for step in range(-steps, steps + 1):
        fill = "".join(f"{round(255 * c):02x}" for c in colour_of(step / steps))
        x = left + (step + steps) * width / (2 * steps + 1)
        rest = left + width - x  # each covers the end of the one before: no gaps
        parts.append(f"<rect x='{x:.2f}' y='0' width='{rest:.2f}' height='12' fill='#{fill}'/>")
    texts = [(left, f"{_number(-limit)} and below"), (left + width / 2, "0")]
    texts += [(left + width, f"{_number(limit)} and above")]
    parts += [f"<text x='{x}' y='26' text-anchor='middle'>{text}</text>" for x, text in texts]
    return (
        f"<svg xmlns='http://www.w3.org/2000/svg' viewBox='0 0 {wide} 30' width='{wide}' "
        f"height='30' role='img' aria-label='{escape(label)}' font-size='12' fill='currentColor'>"
        f"{''.join(parts)}</svg>"
    )


def _by_element(explanations: Sequence[Explanation], target: int) -> pd.DataFrame:
    """Returns number, mean and quartiles of the contributions of each element."""
    found: dict[str, list[float]] = {}
    for e in explanations:
        for element, value in zip(e.elements, e.values[:, target], strict=True):
            if np.isfinite(value):
                found.setdefault(element, []).append(float(value))
    rows = {}
    for element, values in sorted(found.items(), key=lambda item: -len(item[1])):
        low, high = np.percentile(values, [25, 75])
        shown = [_number(value) for value in (np.mean(values), low, high)]
        rows[element] = [f"{len(values):,}", *shown]
    names = ["atoms", "mean", "25 % are below", "75 % are below"]
    return pd.DataFrame.from_dict(rows, orient="index", columns=names)


def contribution_table(
    explanations: Sequence[Explanation], rows: Sequence[int] | None = None
) -> pd.DataFrame:
    """Returns one line an atom: ``row``, ``atom``, ``element``, and a column for each target.

    Atoms are numbered from 0, as RDKit numbers those of the SMILES. A target that is named as one
    of the first three columns gets ``_contribution`` behind its name.

    Args:
        explanations: Those of :func:`~molae_pyg.inference.explain`.
        rows: Row number of each molecule. (default: from 0)
    """
    keys = ["row", "atom", "element"]
    rows = range(len(explanations)) if rows is None else rows
    targets = explanations[0].targets if explanations else []
    names = [f"{name}_contribution" if name in keys else name for name in targets]
    parts = [pd.DataFrame(columns=keys + names)]
    for row, e in zip(rows, explanations, strict=True):
        if len(e.elements):
            part = pd.DataFrame(e.values, columns=names)
            part.insert(0, "row", row)
            part.insert(1, "atom", np.arange(len(e.elements)))
            part.insert(2, "element", e.elements)
            parts.append(part)
    return pd.concat(parts[1:] or parts, ignore_index=True)


def write_contributions(
    explanations: Sequence[Explanation],
    file: str | os.PathLike,
    rows: Sequence[int] | None = None,
) -> None:
    """Writes :func:`contribution_table` as CSV; an atom that the model does not see is empty."""
    table = contribution_table(explanations, rows)
    text = table.to_csv(index=False, float_format="%.6g", lineterminator="\n")
    write_durably(Path(file), text.encode())


def _number(value: float) -> str:
    """Returns a number with its sign and three digits, such as ``+0.123``."""
    return f"{value:+.3g}".replace("-", "\N{MINUS SIGN}") if value else "0"
