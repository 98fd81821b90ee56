"""What is written and printed: predictions beside the columns of a table, and scores."""

import csv
import warnings
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pandas as pd

from molae_pyg.durable import write_durably
from molae_pyg.inference.vector_files import text_writer
from molae_pyg.metrics import DEFAULT_METRIC, evaluate_tasks
from molae_pyg.tables.cells import word
from molae_pyg.tables.formats import Cells, open_table
from molae_pyg.tables.reading import Table, read_table
from molae_pyg.tables.text_file import ending_of
from molae_pyg.workflow.folder import Target
from molae_pyg.workflow.model import FittedModel
from molae_pyg.workflow.scores import MODEL, Verdict, score_table, verdicts


def write_results(model: FittedModel, cells: Cells) -> None:
    """Writes ``predictions.csv`` and ``metrics.csv`` of a model that has been fitted."""
    columns: dict[str, object] = {}
    if model.predictions:
        full = model.oof.drop(columns=[f"{target.name}_label" for target in model.targets])
        columns = full.reindex(range(len(model.outcomes))).to_dict("list")
    write_files(model, cells, columns, metrics_of(model))


def write_files(
    model: FittedModel, cells: Cells, columns: dict[str, object], metrics: pd.DataFrame
) -> None:
    """Writes the columns, status and reason beside the cells of the table, and the metrics."""
    columns["molae_status"] = model.status
    columns["molae_reason"] = model.reasons
    write_beside(model.folder / "predictions.csv", cells, pd.DataFrame(columns))
    write_durably(model.folder / "metrics.csv", metrics.to_csv(index=False).encode())


def metrics_of(model: FittedModel) -> pd.DataFrame:
    """Returns the scores of the model and of the baselines, with coverage and verdict."""
    names = [target.name for target in model.targets]
    if not model.predictions:
        return pd.DataFrame(columns=["model", "target", "fold", "n"])
    table = score_table(model.labels, model.predictions, model.fold, names)
    found = verdicts(model.labels, model.predictions, names)
    return with_verdicts(table, coverage(model), found)


def with_verdicts(
    table: pd.DataFrame, covered: dict[str, float], found: dict[str, Verdict]
) -> pd.DataFrame:
    """Adds coverage and verdict of each target to the row of the model on all rows."""
    targets = table["target"].where((table["model"] == MODEL) & (table["fold"] == "all"))
    table["coverage_90"] = targets.map(covered)
    table["verdict"] = targets.map({name: verdict.sentence for name, verdict in found.items()})
    return table


def coverage(model: FittedModel) -> dict[str, float]:
    """Returns the share of exact labels in their out-of-fold 90 % intervals, for numbers."""
    oof, found = model.oof, {}
    for task, target in enumerate(model.targets):
        known = ~np.isnan(model.y[:, task])
        if target.kind == "regression":
            low, high = oof[f"{target.name}_low"], oof[f"{target.name}_high"]
            inside = (low <= model.y[:, task]) & (model.y[:, task] <= high)
            found[target.name] = float(inside[known].mean())
    return found


def summary(model: FittedModel) -> str:
    """Returns the table of scores and the verdicts, as ``molae train`` prints them."""
    lines = first_lines(model)
    if not model.predictions:
        return "\n".join(lines)
    table = metrics_of(model)
    bounds = (model.labels.bound != 0).sum(0).tolist()
    for target, num_bounds in zip(model.targets, bounds, strict=True):
        metric = DEFAULT_METRIC[target.kind]
        of_target = table[table["target"] == target.name]
        number = int(of_target.loc[of_target["fold"] == "all", "n"].iloc[0])
        without = f" without the {num_bounds:,} bounds" if num_bounds else ""
        lines.append(
            f"{target.name}: {metric} of {number:,} labels{without}, out of {model.num_folds} folds"
        )
        for name in model.predictions:
            some = of_target[of_target["model"] == name].set_index("fold")[metric]
            parts = some.drop("all")
            lines.append(
                f"  {name:12s} {some['all']:8.3f}   (folds {parts.mean():.3f} ± {parts.std():.3f})"
            )
        whole = of_target[(of_target["model"] == MODEL) & (of_target["fold"] == "all")].iloc[0]
        if not pd.isna(whole["coverage_90"]):
            lines.append(f"  90 % intervals contain {whole['coverage_90']:.1%} of the labels")
        if not pd.isna(whole["verdict"]):
            lines.append(f"  molae is {whole['verdict']}")
    lines.append(f"Predicted from: {read_from(model)}")
    return "\n".join(lines)


def first_lines(model: FittedModel) -> list[str]:
    """Returns what a summary begins with: rows that were lost, and whether there is an estimate."""
    lines = []
    if lost := len(model.outcomes) - len(model.smiles):
        lines.append(
            f"{lost:,} of {len(model.outcomes):,} rows gave no molecule and are left out: see "
            "molae_reason in predictions.csv"
        )
    if not model.predictions:
        lines.append(
            "One model was trained on all rows: there is no estimate of its error, and "
            "predictions have no intervals. Use --folds 5 for both."
        )
    return lines


def read_from(model: FittedModel) -> str:
    """Returns what the models of the folds read, such as ``encoder, ecfp (5 folds)``."""
    found = Counter(
        ", ".join(["fine-tuned encoder"] * fold.is_finetuned + fold.blocks) for fold in model.models
    )
    return "; ".join(
        f"{parts} ({number} fold{'s' * (number > 1)})" for parts, number in found.most_common()
    )


def write_beside(path: str | Path, cells: Cells, new: pd.DataFrame) -> list[str]:
    """Writes all cells of a table with new columns to the right.

    A column of the table with the name of a new one is called ``NAME (input)``. The ending of the
    name decides: ``.tsv`` has tabs, ``.gz`` is compressed.

    Args:
        path: The file.
        cells: The table.
        new: Columns with one row for each row of the table.

    Returns:
        The columns of the table that were renamed.
    """
    with beside_writer(Path(path), cells.columns) as write:
        write(cells.rows, new)
    return [name for name in cells.columns if name in new.columns]


@contextmanager
def beside_writer(
    path: Path, columns: list[str]
) -> Iterator[Callable[[list[list[str]], pd.DataFrame], None]]:
    """Yields a function that writes cells of a table and new columns; see :func:`write_beside`.

    Args:
        path: The file.
        columns: Columns of the table.
    """
    with text_writer(path) as text:
        mark = "\t" if ending_of(path) == ".tsv" else ","
        writer = csv.writer(text, delimiter=mark, lineterminator="\n")
        is_first = True

        def write(rows: list[list[str]], new: pd.DataFrame) -> None:
            nonlocal is_first
            if is_first:
                writer.writerow([*named_beside(columns, new), *new.columns])
                is_first = False
            added = [_texts(new.iloc[:, place]) for place in range(new.shape[1])]
            for row, given in enumerate(rows):
                writer.writerow([*given, *(column[row] for column in added)])

        yield write


def named_beside(columns: list[str], new: pd.DataFrame) -> list[str]:
    """Returns names of columns of a table that differ from those of new columns."""
    return [f"{name} (input)" if name in new.columns else name for name in columns]


def _texts(column: pd.Series) -> Sequence[str]:
    if column.dtype.kind == "f":
        whole = column.name == "molae_fold"
        return ["" if np.isnan(v) else f"{v:.0f}" if whole else f"{v:.6g}" for v in column]
    return ["" if pd.isna(value) else str(value) for value in column]


def cells_of(table: Table) -> Cells:
    """Returns the SMILES and labels of a table as cells; a missing label is empty."""
    columns = [table.smiles]
    for task, name in enumerate(table.task_names):
        names, column = table.classes.get(name), table.y[:, task].tolist()
        texts = ["" if np.isnan(v) else names[int(v)] if names else f"{v:g}" for v in column]
        if table.bound is not None:
            marks = {1: ">=", 0: "", -1: "<="}
            sides = zip(table.bound[:, task].tolist(), texts, strict=True)
            texts = [marks[side] * bool(text) + text for side, text in sides]
        columns.append(texts)
    return Cells(["smiles", *table.task_names], [list(row) for row in zip(*columns, strict=True)])


def scores_of(
    model: FittedModel,
    path: str,
    found: pd.DataFrame,
    smiles_column: str | None = None,
    encoding: str = "utf-8",
) -> list[str]:
    """Returns lines with the scores of the targets whose labels a file has.

    Args:
        model: The model.
        path: The file that was predicted.
        found: What the model returned.
        smiles_column: Column of the SMILES.
        encoding: Encoding of the file.
    """
    with open_table(path, encoding, smiles_column) as rows:
        present = [t for t in model.targets if rows.columns.count(t.name) == 1]
    lines = []
    for target in present:
        try:
            y, left_out = _labels_of(target, path, smiles_column, encoding)
        except ValueError as error:
            lines.append(f"{target.name}: not scored: {error}")
            continue
        names = [f"{target.name}_probability_{name}" for name in target.classes]
        if target.kind != "multiclass":
            is_class = target.kind == "classification"
            names = [f"{target.name}_{'probability' if is_class else 'predicted'}"]
        predicted = found[names].to_numpy(float)  # [n, O]
        known = ~np.isnan(y) & ~np.isnan(predicted[:, 0])
        if not known.any():
            lines += [f"{target.name}: not scored: {left_out}"] * bool(left_out)
            continue
        scores = evaluate_tasks(
            y[known], predicted[known], [target.kind], [target.name], [target.num_outputs]
        )
        shown = ", ".join(f"{name} {value:.3f}" for name, value in scores[target.name].items())
        line = f"{target.name}: {shown} on {known.sum():,} labels"
        if target.kind == "regression" and model.predictions:
            low, high = found[f"{target.name}_low"], found[f"{target.name}_high"]
            inside = ((low <= y) & (y <= high))[known].mean()
            line += f"; intervals contain {inside:.1%}"
        elif model.predictions:
            sets, names = found[f"{target.name}_set"].to_numpy(), target.classes
            inside = [
                f"|{names[int(y[row])]}|" in f"|{sets[row]}|" for row in np.flatnonzero(known)
            ]
            line += f"; sets contain {np.mean(inside):.1%}"
        lines.append(f"{line}; {left_out}" if left_out else line)
    return lines


def _labels_of(
    target: Target, path: str, smiles_column: str | None, encoding: str
) -> tuple[np.ndarray, str]:
    """Returns the labels of a target ``[n]`` in a file, and which labels are left out.

    Classes are found by their names; a class that the model does not know is left out.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of how the column is read
        table = read_table(path, smiles_column, [target.name], {target.name: target.kind}, encoding)
    y = table.y[:, 0].numpy().astype(float)
    if target.kind == "multiclass":
        index = {word(name): place for place, name in enumerate(target.classes)}
        names = table.classes[target.name]
        of_names = np.array([index.get(word(name), np.nan) for name in names])
        labelled = ~np.isnan(y)
        y[labelled] = of_names[y[labelled].astype(int)]
        if lost := int((labelled & np.isnan(y)).sum()):
            unknown = ", ".join(name for name in names if word(name) not in index)
            return y, f"{lost:,} labels of classes that the model does not know ({unknown})"
        return y, ""
    is_bound = table.bound[:, 0].numpy() != 0
    y[is_bound] = np.nan
    return y, f"{is_bound.sum():,} bounds are not scored" if is_bound.any() else ""
