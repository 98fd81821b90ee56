"""The worst rows of a model's estimate, drawn with what their atoms add to the prediction."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from rdkit import rdBase

from molae_pyg.analysis.explanation import contribution_svg, scale_of, scale_svg, unit_of
from molae_pyg.analysis.page import Drawing
from molae_pyg.chem.smiles import plain_mol
from molae_pyg.inference import Explanation
from molae_pyg.workflow.explaining import explain
from molae_pyg.workflow.model import FittedModel
from molae_pyg.workflow.molecules import Molecules

_ROWS, _FEWEST, _ALL = 10, 3, 24  # drawn for one target; for one of many; about so many on a page
_ATOMS = 12_000  # sum of squared numbers of atoms, to which the time of explaining is proportional


class Worst(NamedTuple):
    """The worst rows of each target, and the explanations of those that have one."""

    rows: list[np.ndarray]  # indices of training molecules, the worst first, by target
    explained: dict[int, Explanation]  # by index


def worst_rows(model: FittedModel, errors: Sequence[np.ndarray]) -> Worst:
    """Finds the rows with the largest errors, and explains them by the models of their folds.

    The model of a row's fold is the one that has not seen the row. Rows are explained in turn, the
    worst of each target first, as long as it takes no longer than about ten molecules of 35 atoms.
    None is explained if coordinates were given, as the model does not keep them.

    Args:
        model: The model.
        errors: Errors of the training molecules by target, each ``[n]``, NaN = no label.
    """
    number = int(np.clip(_ALL // len(errors), _FEWEST, _ROWS))
    rows = []
    for error in errors:
        order = np.argsort(-np.nan_to_num(error, nan=-1.0), kind="stable")[:number]
        rows.append(order[~np.isnan(error[order])])
    ranked = [int(of[rank]) for rank in range(number) for of in rows if rank < len(of)]
    chosen, cost = [], 0
    if model.info["recipe"].get("source", "smiles") != "smiles":
        ranked = []
    for row in dict.fromkeys(ranked):
        own = _num_atoms(model.smiles[row]) ** 2
        if cost + own <= _ATOMS:
            chosen.append(row)
            cost += own
    molecules = Molecules.of([model.smiles[row] for row in chosen])
    molecules = molecules._replace(extra=[model.beside[row] for row in chosen if model.beside])
    found = explain(model, molecules, model.fold[chosen].tolist())
    explained = dict(zip(chosen, found, strict=True))
    return Worst(rows, {row: e for row, e in explained.items() if e.mol is not None})


def drawings(
    model: FittedModel, worst: Worst, task: int, captions: Sequence[str], unit: str
) -> tuple[list[Drawing], str]:
    """Draws the worst rows of a target that have a SMILES.

    Args:
        model: The model.
        worst: The rows.
        task: Index of the target.
        captions: What is under each drawing.
        unit: Unit of the target.

    Returns:
        The drawings, and the scale of their colours as SVG; empty if none has colours.
    """
    rows = worst.rows[task].tolist()
    coloured = [worst.explained[row] for row in rows if row in worst.explained]
    limit = scale_of(coloured, task) if coloured else 1.0
    drawn = []
    for row, caption in zip(rows, captions, strict=True):
        smiles = model.smiles[row]
        if not smiles:
            continue
        e = worst.explained.get(row) or _plain(model, smiles)
        drawn.append(Drawing(contribution_svg(e, task, limit), caption, smiles))
    if not coloured:
        return drawn, ""
    name = model.targets[task].name
    unit = unit_of(coloured[0], task, {name: unit})
    return drawn, scale_svg(limit, f"Contribution to {name}{f', {unit}' if unit else ''}")


def _plain(model: FittedModel, smiles: str) -> Explanation:
    """Returns an explanation without contributions."""
    with rdBase.BlockLogs():
        mol = plain_mol(smiles)
    elements = [atom.GetSymbol() for atom in mol.GetAtoms()]
    names, types = [t.name for t in model.targets], [t.kind for t in model.targets]
    values = np.full((len(elements), len(names)), np.nan)
    return Explanation(smiles, "ok", "", names, types, elements, values, values[0], mol)


def _num_atoms(smiles: str) -> int:
    with rdBase.BlockLogs():
        return plain_mol(smiles).GetNumAtoms()
