"""What is learned: data sets by name, table or folder, their flags and their identity."""

import argparse
import csv
import warnings
from pathlib import Path
from typing import Any

import numpy as np

from molae_pyg.datasets import ChEMBLActivities, CSVDataset, MoleculeNet, OfficialFolder
from molae_pyg.datasets.table import MoleculeTable
from molae_pyg.fingerprint import digest, of_molecules
from molae_pyg.metrics import choosing_metric, evaluate, evaluate_tasks
from molae_pyg.tables.reading import read_table

CHEMBL = "chembl2321810"
ENDINGS = (".csv", ".tsv", ".csv.gz", ".tsv.gz")
Scores = dict[str, float]


def add_table_flags(parser: argparse.ArgumentParser) -> None:
    """Adds the flags that say what the columns of a table are."""
    flags = parser.add_argument_group("tables (.csv, .tsv, also .gz)")
    flags.add_argument("--smiles", metavar="COLUMN", help="of the SMILES; default: by its name")
    flags.add_argument(
        "--targets",
        metavar="A,B",
        help='columns to learn; default: the only one, if no other qualifies; "A, B",C where a '
        "name has a comma",
    )
    flags.add_argument(
        "--task-type",
        metavar="TYPE",
        help="regression or classification, or A=regression,B=classification; default: by labels",
    )
    flags.add_argument("--encoding", help="of the text; default: utf-8")


def table_flags(args: argparse.Namespace) -> dict[str, Any]:
    """The flags given, as arguments of :class:`~molae_pyg.datasets.CSVDataset`.

    Raises:
        SystemExit: If ``--task-type`` is neither a type nor one of each column.
    """
    found = {
        "smiles_column": args.smiles,
        "target_columns": _cells(args.targets),
        "task_type": _types(args.task_type),
        "encoding": args.encoding,
    }
    return {name: value for name, value in found.items() if value is not None}


def _cells(text: str | None) -> list[str] | None:
    """``A,"B, C"`` -> its cells."""
    if text is None:
        return None
    return [cell.strip() for cell in next(csv.reader([text], skipinitialspace=True), [])]


def _types(text: str | None) -> str | dict[str, str] | None:
    if text is None or "=" not in text:
        return text
    pairs = [cell.rpartition("=") for cell in _cells(text)]
    if wrong := [name or kind for name, equals, kind in pairs if not (name and equals)]:
        raise SystemExit(f"--task-type: give COLUMN=TYPE for each column, not {', '.join(wrong)}")
    return {name.strip(): kind.strip() for name, _, kind in pairs}


def is_table(source: str) -> bool:
    """Whether a source is a table, by the ending of its name in any case."""
    return source.lower().endswith(ENDINGS)


def is_folder(source: str) -> bool:
    """Whether a source is an official folder."""
    return Path(source, "train.lmdb").exists()


def name_of_source(source: str) -> str:
    """What a data set is called in the output: ``data.v1`` of ``tables/data.v1.csv.gz``."""
    if is_folder(source):
        return Path(source).absolute().name.lower()
    if not is_table(source):
        return source.lower()
    name = Path(source).name
    ending = max((end for end in ENDINGS if name.lower().endswith(end)), key=len)
    return name[: -len(ending)]


def distinct(sources: list[str]) -> tuple[list[str], list[str]]:
    """Sources of different names, and messages about those whose name another has already.

    A source that is given twice is taken once.
    """
    found: dict[str, str] = {}
    refused = []
    for source in sources:
        name = name_of_source(source)
        if name not in found:
            found[name] = source
        elif _place(source) != _place(found[name]):
            refused.append(
                f"{source}: its runs would be called {name!r}, as are those of {found[name]}; "
                "rename one of the two, or give it another --output"
            )
    return list(found.values()), refused


def _place(source: str) -> str:
    on_disk = is_table(source) or is_folder(source)
    return str(Path(source).resolve()) if on_disk else source.lower()


def describe(source: str, columns: dict[str, Any]) -> str:
    """What is taken from a table, as what, and what is not: to be read before the work starts."""
    if not is_table(source):
        return ""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # they come when the data set is made of the table
        return read_table(source, **columns).description


def load_dataset(
    source: str, root: str, settings: dict[str, Any], columns: dict[str, Any] | None = None
) -> MoleculeTable:
    """The data set of a name, table or official folder, with conformers.

    Args:
        source: What was asked for.
        root: Folder of data files and conformers.
        settings: ``data`` of the YAML file.
        columns: Of a table, see :func:`table_flags`.

    Raises:
        ValueError: If there is no such data set.
    """
    if is_folder(source):
        # The records have their own flat conformer and their own failures.
        taken = ("num_conformers", "max_atoms", "seed")
        settings = {key: value for key, value in settings.items() if key in taken}
        return OfficialFolder(Path(source).absolute(), **settings)
    if is_table(source):
        dataset = CSVDataset(source, root=root, **(columns or {}), **settings)
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


def headline(dataset: MoleculeTable) -> str:
    """The score that compares models: that of the data set, never a mean over units."""
    return choosing_metric(dataset.task_types, dataset.num_tasks, dataset.metric)


def identity_of(dataset: MoleculeTable) -> dict[str, Any]:
    """The content of a data set: checksums of molecules and labels, and how they are read."""
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
    """Standard deviation of the training labels of each task ``[T]``; None of a single task.

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
    """Scores of predictions ``[n, T]`` of some rows: over all tasks, and those of each task.

    RMSE and MAE of several tasks are given in no unit only, as the units may differ.
    """
    y = dataset.y.numpy()[rows]
    found = evaluate(y, predicted, dataset.task_types, scale)
    if dataset.num_tasks > 1:
        found = {name: value for name, value in found.items() if name not in ("rmse", "mae")}
    return found, evaluate_tasks(y, predicted, dataset.task_types, dataset.task_names)
