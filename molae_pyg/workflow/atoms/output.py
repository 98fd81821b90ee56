"""What is written and printed of atom targets: lists in cells, scores and verdicts."""

import json
from pathlib import Path

import numpy as np
import pandas as pd

from molae_pyg.metrics import evaluate_tasks
from molae_pyg.tables.atom_lists import AtomTable, Records, read_atom_table, short_name
from molae_pyg.tables.formats import Cells
from molae_pyg.tables.reading import columns_of
from molae_pyg.workflow.atoms.model import AtomModel, lists_of
from molae_pyg.workflow.atoms.scores import ATOM_BASELINES, atom_verdicts
from molae_pyg.workflow.labels import Labels
from molae_pyg.workflow.output import first_lines, read_from, with_verdicts, write_files
from molae_pyg.workflow.scores import MODEL, score_table

_METRIC = "rmse"


def list_text(values: np.ndarray | None) -> str:
    """Returns values as a list in JSON, ``null`` for NaN; empty for None.

    Infinite ends of intervals are ``null`` too: JSON has no such number.
    """
    if values is None:
        return ""
    return json.dumps([float(f"{v:.6g}") if np.isfinite(v) else None for v in values.tolist()])


def as_texts(found: pd.DataFrame) -> pd.DataFrame:
    """Returns predictions with lists as texts, for a file."""
    is_list = [column for column in found if found[column].map(type).eq(np.ndarray).any()]
    return found.assign(**{column: found[column].map(list_text) for column in is_list})


def cells_of_atoms(table: AtomTable) -> Cells:
    """Returns the SMILES and the lists of a table as cells."""
    rows = [
        [smiles, *(list_text(column) for column in values.T)]
        for smiles, values in zip(table.records.smiles, table.values, strict=True)
    ]
    return Cells(["smiles", *table.task_names], rows)


def write_atom_results(model: AtomModel, cells: Cells, records: Records) -> None:
    """Writes ``predictions.csv`` and ``metrics.csv`` of a model that has been fitted."""
    number = len(model.outcomes)
    columns: dict[str, object] = {}
    if model.predictions:
        fold = pd.Series(model.fold, model.rows, float).reindex(range(number))
        columns["molae_fold"] = fold.to_numpy()
        oof = model.oof
        for target in model.targets:
            for end in ("predicted", "low", "high"):
                name, texts = f"{target.name}_{end}", np.full(number, "", object)
                lists = lists_of(oof[name].to_numpy(), model.atoms, records, model.rows.tolist())
                texts[model.rows] = [list_text(values) for values in lists]
                columns[name] = texts
    write_files(model, cells, columns, atom_metrics(model))


def atom_metrics(model: AtomModel) -> pd.DataFrame:
    """Returns the scores of the model and of the baselines, with coverage and verdict."""
    names = [target.name for target in model.targets]
    if not model.predictions:
        return pd.DataFrame(columns=["model", "target", "fold", "n"])
    labels = Labels.of(model.values, ["regression"] * len(names))
    table = score_table(labels, model.predictions, model.atom_fold, names)
    found = atom_verdicts(model.values, model.predictions, model.atoms.molecule, names)
    oof, covered = model.oof, {}
    for name in names:
        y = oof[f"{name}_label"]
        inside = (oof[f"{name}_low"] <= y) & (y <= oof[f"{name}_high"])
        covered[name] = float(inside[y.notna()].mean())
    return with_verdicts(table, covered, found)


def atom_summary(model: AtomModel) -> str:
    """Returns the table of scores and the verdicts, as ``molae train`` prints them."""
    lines = first_lines(model)
    if not model.predictions:
        return "\n".join(lines)
    table = atom_metrics(model)
    for task, target in enumerate(model.targets):
        of_target = table[table["target"] == target.name]
        known = ~np.isnan(model.values[:, task])
        lines.append(
            f"{target.name}: {_METRIC} of {known.sum():,} atoms in "
            f"{len(np.unique(model.atoms.molecule[known])):,} molecules, out of "
            f"{model.num_folds} folds of molecules"
        )
        for name in (MODEL, *ATOM_BASELINES):
            some = of_target[of_target["model"] == name].set_index("fold")[_METRIC]
            parts = some.drop("all")
            lines.append(
                f"  {name:18s} {some['all']:8.4g}   (folds {parts.mean():.4g} ± {parts.std():.2g})"
            )
        whole = of_target[(of_target["model"] == MODEL) & (of_target["fold"] == "all")].iloc[0]
        lines.append(f"  90 % intervals contain {whole['coverage_90']:.1%} of the values")
        lines.append(f"  molae is {whole['verdict']}")
    lines.append(f"Predicted from: {read_from(model)}")
    return "\n".join(lines)


def atom_scores(
    model: AtomModel,
    path: str | Path,
    found: pd.DataFrame,
    smiles_column: str | None = None,
    encoding: str = "utf-8",
) -> list[str]:
    """Returns lines with the scores of the targets whose values a file has.

    Args:
        model: The model.
        path: The file that was predicted.
        found: What the model returned.
        smiles_column: Column of the SMILES.
        encoding: Encoding of the file.
    """
    lines, columns = [], columns_of(path, encoding)
    for target in model.targets:
        if [short_name(name) for name in columns].count(target.name) != 1:
            continue
        try:
            table = read_atom_table(path, smiles_column, [target.name], encoding)
        except ValueError as error:
            lines.append(f"{target.name}: not scored: {error}")
            continue
        y, low, predicted, high = [], [], [], []
        for row, values in enumerate(table.values):
            if found[f"{target.name}_predicted"][row] is not None:
                y.append(values[:, 0])
                for part, end in ((low, "low"), (predicted, "predicted"), (high, "high")):
                    part.append(found[f"{target.name}_{end}"][row])
        y, low, predicted, high = (np.concatenate([[], *x]) for x in (y, low, predicted, high))
        known = ~np.isnan(y) & ~np.isnan(predicted)
        if not known.any():
            continue
        scores = evaluate_tasks(
            y[known, None], predicted[known, None], ["regression"], [target.name]
        )[target.name]
        shown = ", ".join(f"{name} {value:.4g}" for name, value in scores.items())
        line = f"{target.name}: {shown} on {known.sum():,} atoms"
        if model.predictions:
            inside = ((low <= y) & (y <= high))[known].mean()
            line += f"; intervals contain {inside:.1%}"
        lines.append(line)
    return lines
