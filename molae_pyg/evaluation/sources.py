"""Data sets by name, table or folder: their flags, identity and scores."""

import argparse
import csv
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from molae_pyg.chem.options import InputError
from molae_pyg.datasets import ChEMBLActivities, CSVDataset, MoleculeNet, OfficialFolder
from molae_pyg.datasets.table import MoleculeTable
from molae_pyg.evaluation.flags import CHEMBL
from molae_pyg.fingerprint import digest, of_molecules
from molae_pyg.metrics import choosing_metric, evaluate, evaluate_tasks
from molae_pyg.splits import Split
from molae_pyg.tables.reading import Table, read_table

ENDINGS = (".csv", ".tsv", ".csv.gz", ".tsv.gz")
Scores = dict[str, float]


def table_flags(args: argparse.Namespace, sources: Iterable[str]) -> dict[str, Any]:
    """Returns the flags that were given, as arguments of :class:`~molae_pyg.datasets.CSVDataset`.

    Raises:
        ValueError: If ``--task-type`` is neither one type nor a type for each column, or flags are
            given and no source is a table.
    """
    found = {
        "smiles_column": args.smiles,
        "target_columns": _cells(args.targets),
        "task_type": types_of(args.task_type),
        "encoding": args.encoding,
    }
    found = {name: value for name, value in found.items() if value is not None}
    if found and not any(map(is_table, sources)):
        raise ValueError("--smiles, --targets, --task-type and --encoding are for tables only")
    return found


def _cells(text: str | None) -> list[str] | None:
    """Returns the cells of ``A,"B, C"``."""
    if text is None:
        return None
    return [cell.strip() for cell in next(csv.reader([text], skipinitialspace=True), [])]


def types_of(text: str | None) -> str | dict[str, str] | None:
    """Reads the flag ``--task-type``: one type for all columns, or ``A=TYPE,B=TYPE``.

    Raises:
        ValueError: If it is neither.
    """
    if text is None or "=" not in text:
        return text
    pairs = [cell.rpartition("=") for cell in _cells(text)]
    if wrong := [name or kind for name, equals, kind in pairs if not (name and equals)]:
        raise ValueError(f"--task-type: give COLUMN=TYPE for each column, not {', '.join(wrong)}")
    return {name.strip(): kind.strip() for name, _, kind in pairs}


def is_table(source: str) -> bool:
    """Whether a source is a table, by the ending of its name, upper or lower case."""
    return source.lower().endswith(ENDINGS)


def is_folder(source: str) -> bool:
    """Whether a source is an official folder."""
    return Path(source, "train.lmdb").exists()


def name_of_source(source: str) -> str:
    """Returns the name of a data set in results: ``data.v1`` for ``tables/data.v1.csv.gz``."""
    if is_folder(source):
        return Path(source).absolute().name.lower()
    if not is_table(source):
        return source.lower()
    name = Path(source).name
    ending = max((end for end in ENDINGS if name.lower().endswith(end)), key=len)
    return name[: -len(ending)]


def distinct(sources: list[str]) -> tuple[list[str], list[str]]:
    """Returns the sources without repetitions, and messages about different ones of the same name.

    The first source of a name is kept.
    """
    found: dict[str, str] = {}
    refused = []
    for source in sources:
        name = name_of_source(source)
        if name not in found:
            found[name] = source
        elif _place(source) != _place(found[name]):
            refused.append(
                f"{source}: its runs would be called {name!r}, like those of {found[name]}; "
                "rename one of the two, or give it another --output"
            )
    return list(found.values()), refused


def _place(source: str) -> str:
    on_disk = is_table(source) or is_folder(source)
    return str(Path(source).resolve()) if on_disk else source.lower()


def load_dataset(
    source: str, root: str, settings: dict[str, Any], columns: dict[str, Any] | None = None
) -> MoleculeTable:
    """Loads the data set of a source, with conformers; how a table is read is printed first.

    Args:
        source: Name, table or official folder.
        root: Folder of the data files and conformers.
        settings: Section ``data`` of the settings.
        columns: Columns of a table, see :func:`table_flags`. (default: :obj:`None`)

    Raises:
        ValueError: If there is no such data set.
    """
    if is_folder(source):
        # The records have their own 2D conformer and their own failures.
        taken = ("num_conformers", "max_atoms", "seed")
        settings = {key: value for key, value in settings.items() if key in taken}
        return OfficialFolder(Path(source).absolute(), **settings)
    if is_table(source):
        table = read_table(source, **(columns or {}))
        print(f"\n{source}: {table.description}", flush=True)
        _check_kinds(table, source)
        dataset = CSVDataset.from_table(table, source, root, **settings)
        dataset.name = name_of_source(source)
        return dataset
    if source.lower() == CHEMBL:
        return ChEMBLActivities(root, **settings)
    if source.lower() not in MoleculeNet.sources:
        raise ValueError(
            f"there is no data set {source!r}. A table ends in {', '.join(ENDINGS)}; a folder "
            f"holds train.lmdb; names are {', '.join([CHEMBL, *MoleculeNet.sources])}"
        )
    return MoleculeNet(root, source, **settings)


def _check_kinds(table: Table, source: str) -> None:
    """Checks that all models of a comparison can learn the targets (InputError)."""
    bounds = [False] * len(table.task_names)
    if table.bound is not None:
        bounds = table.bound.any(0).tolist()
    for name, kind, has_bounds in zip(table.task_names, table.task_types, bounds, strict=True):
        what = f"{len(table.classes.get(name, []))} classes" if kind == "multiclass" else "bounds"
        if kind == "multiclass" or has_bounds:
            raise InputError(
                f"{source}, column {name!r} has {what}: the comparison of models is for exact "
                "numbers and two classes; molae train learns this column"
            )


def headline(dataset: MoleculeTable) -> str:
    """Returns the score that compares models: never a mean over different units."""
    return choosing_metric(dataset.task_types, dataset.num_tasks, dataset.metric)


def identity_of(dataset: MoleculeTable) -> dict[str, Any]:
    """Returns what makes a data set the same: checksums of molecules and labels, and types."""
    return {
        "smiles_sha256": digest(list(dataset.smiles)),
        "labels_sha256": digest(dataset.y),
        "task_names": list(dataset.task_names),
        "task_types": list(dataset.task_types),
        "metric": headline(dataset),
        "recipe": dataset.recipe,
        "molecules_sha256": of_molecules(dataset),
    }


def scale_of(dataset: MoleculeTable, train: np.ndarray) -> np.ndarray | None:
    """Returns the standard deviation of the training labels ``[T]``; None for a single task.

    Raises:
        ValueError: If all training labels of a regression task are equal.
    """
    if dataset.num_tasks == 1:
        return None
    y = dataset.y.numpy()[train].astype(float)
    columns = [column[~np.isnan(column)] for column in y.T]
    scale = np.array([c.std() if len(np.unique(c)) > 1 else 0.0 for c in columns])
    for name, kind, value in zip(dataset.task_names, dataset.task_types, scale, strict=True):
        if kind == "regression" and not value > 0:
            raise ValueError(
                f"target {name!r} has no two different labels in the training part: leave it out "
                "(--targets), or split differently"
            )
    return scale


def scores_of(
    dataset: MoleculeTable, rows: np.ndarray, predicted: np.ndarray, scale: np.ndarray | None
) -> tuple[Scores, dict[str, Scores]]:
    """Returns scores of predictions ``[n, T]`` of some rows: over all tasks, and of each task.

    RMSE and MAE over several tasks are left out, as the units may differ; their standardised forms
    are given.
    """
    y = dataset.y.numpy()[rows]
    found = evaluate(y, predicted, dataset.task_types, scale)
    if dataset.num_tasks > 1:
        found = {name: value for name, value in found.items() if name not in ("rmse", "mae")}
    return found, evaluate_tasks(y, predicted, dataset.task_types, dataset.task_names)


def prediction_table(
    dataset: MoleculeTable, split: Split, valid: np.ndarray, test: np.ndarray
) -> pd.DataFrame:
    """Returns a line for each validation and test row, and for each row without a molecule.

    ``row`` counts the rows of the source from 0. Each task has a column of labels (``true``) and
    one of predictions. ``note`` is why a row has no molecule, or what is unusual about it.
    """
    report = dataset.report
    rows = np.array(report.kept)
    tables = []
    for part, places, predicted in (("valid", split.valid, valid), ("test", split.test, test)):
        chosen = dataset[places]
        columns = {"row": rows[places], "part": part, "smiles": chosen.smiles}
        for t, (task, true) in enumerate(zip(dataset.task_names, chosen.y.numpy().T, strict=True)):
            columns |= {f"{task} true": true, f"{task} predicted": predicted[:, t]}
        notes = [report.reasons[row] for row in rows[places]]
        tables.append(pd.DataFrame(columns | {"note": notes}))
    left_out = sorted(set(range(len(report))) - set(report.kept))
    notes = [f"{report.outcomes[row]}: {report.reasons[row]}" for row in left_out]
    if left_out:
        tables.append(pd.DataFrame({"row": left_out, "part": "none", "note": notes}))
    return pd.concat(tables)
