"""The molecular data sets of the Open Graph Benchmark, from OGB's own files, without pickles."""

import os
import sys
import tempfile
import warnings
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any, Unpack

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from molae_pyg.datasets.table import MoleculeTable, TableSettings
from molae_pyg.metrics import TaskType
from molae_pyg.splits import Split
from molae_pyg.tables.reading import Table, columns_of, read_table

_METRICS = {"rocauc": "roc_auc", "ap": "average_precision", "rmse": "rmse"}


class OGBMol(MoleculeTable):
    r"""A molecular property data set (``ogbg-mol*``) of the `"Open Graph Benchmark"
    <https://arxiv.org/abs/2005.00687>`_, with conformers.

    It reads ``mapping/mol.csv.gz`` and ``split/scaffold/*.csv.gz`` from the folder of the data set
    as ogb lays it out: ``<root>/ogbg_molhiv`` or ``$MOLAE_DATA/ogb/ogbg_molhiv``. If there is none,
    it is downloaded. Items are in OGB's order. Rows that RDKit cannot read (7 of molhiv) are not
    items, but :meth:`official` returns them, so that scores are those of all rows.

    Items, attributes and settings are those of :class:`~molae_pyg.datasets.MoleculeTable`;
    :obj:`metric` is that of OGB's evaluator.

    Args:
        root: Folder of the data sets and, in ``<root>/conformers``, of the conformers.
        name: Name such as ``"ogbg-molhiv"``, with or without ``ogbg-``.
        settings: Keyword arguments such as ``num_conformers``, ``add_2d`` and ``seed``, see
            :class:`~molae_pyg.datasets.MoleculeTable`.

    Attributes:
        official_split: OGB's rows of the three parts.
        is_official_split: Whether OGB's own split was found. If not, the split is that in
            ``split_recomputed/scaffold``, and a warning says so.

    Raises:
        FileNotFoundError: If there is no such folder and it cannot be downloaded, or the folder
            has no split.
        ValueError: If OGB has no such data set of molecules, or split and table do not fit.
    """

    def __init__(
        self,
        root: str | Path,
        name: str,
        **settings: Unpack[TableSettings],
    ) -> None:
        self.name = full_name(name)
        metric = _METRICS[self.evaluator().eval_metric]
        task_type = "regression" if metric == "rmse" else "classification"
        folder = find_folder(root, self.name)
        table = read_molecules(folder, task_type)
        self.official_split, self.is_official_split = read_split(folder, len(table.smiles))
        super().__init__(
            table.smiles,
            table.y,
            table.task_names,
            task_type,
            root=root,
            **settings,
        )
        self.metric = metric
        self._labels = table.y.numpy()  # of all rows

    def evaluator(self) -> Any:
        """Returns OGB's ``Evaluator`` of the data set."""
        return evaluator(self.name)

    def get_idx_split(self) -> dict[str, Tensor]:
        """Returns the items of the parts ``train``, ``valid`` and ``test``, in OGB's order."""
        item = np.full(len(self.report), -1)  # of a row
        item[self.report.kept] = np.arange(len(self.report.kept))
        items = {part: item[rows] for part, rows in self.official_split._asdict().items()}
        return {part: torch.from_numpy(found[found >= 0]) for part, found in items.items()}

    def labels_of(self, part: str) -> np.ndarray:
        """Returns the labels of all rows of a part ``[rows, T]``, NaN = missing."""
        return self._labels[getattr(self.official_split, part)]

    def official(self, part: str, predicted: np.ndarray) -> dict[str, np.ndarray]:
        """Returns labels and predictions of all rows of a part, for the evaluator.

        The prediction of a row that is not an item is the mean of the training labels, which for
        classes is the fraction of class 1.

        Args:
            part: ``"valid"`` or ``"test"`` (or ``"train"``).
            predicted: Values or probabilities ``[n, T]`` of the items of the part, in order.

        Returns:
            ``y_true`` and ``y_pred``, each ``[rows, T]``.

        Raises:
            ValueError: If the shape is not that of the items.
        """
        rows = getattr(self.official_split, part)
        is_item = np.isin(rows, self.report.kept)
        if predicted.shape != (is_item.sum(), self.num_tasks):
            raise ValueError(
                f"{part} of {self.name} has predictions [{is_item.sum()}, {self.num_tasks}], "
                f"got {list(predicted.shape)}"
            )
        prior = np.nanmean(self._labels[self.official_split.train], axis=0)  # [T]
        whole = np.tile(prior, (len(rows), 1))
        whole[is_item] = predicted
        return {"y_true": self.labels_of(part), "y_pred": whole}


def full_name(name: str) -> str:
    """Returns the full name, such as ``ogbg-molhiv`` for ``molhiv``, in lower case with ``-``.

    Raises:
        ValueError: If it is not the name of a data set of molecules.
    """
    full = f"ogbg-{name.lower().replace('_', '-').removeprefix('ogbg-')}"
    if not full.startswith("ogbg-mol"):
        raise ValueError(f"{name!r} is no data set of molecules: their names begin with ogbg-mol")
    return full


def evaluator(name: str) -> Any:
    """Returns OGB's ``Evaluator`` of a data set; a ValueError names the known ones."""
    return import_ogb("ogb.graphproppred").Evaluator(full_name(name))


def import_ogb(module: str) -> ModuleType:
    """Imports a part of ogb, which then does not ask PyPI for its newest version.

    ``ogb/__init__.py`` asks when it is imported, and no setting prevents it. While it runs, the
    package with which it asks cannot be imported.
    """
    if "ogb" not in sys.modules:
        kept = sys.modules.get("outdated")
        sys.modules["outdated"] = None
        try:
            import_module("ogb")
        finally:
            del sys.modules["outdated"]
            if kept is not None:
                sys.modules["outdated"] = kept
    return import_module(module)


def find_folder(root: str | Path, name: str) -> Path:
    """Returns the folder of a data set, which is downloaded if there is none.

    Raises:
        FileNotFoundError: If it cannot be downloaded.
    """
    base = full_name(name).replace("-", "_")
    if found := ogb_folder(root, base, "mapping/mol.csv.gz"):
        return found
    package = Path(import_ogb("ogb").__file__).parent
    master = pd.read_csv(package / "graphproppred" / "master.csv", index_col=0)
    source = master[full_name(name)]
    return downloaded(source["url"], Path(root, base), source["download_name"])


def ogb_folder(root: str | Path, base: str, file: str | Path) -> Path | None:
    """Returns the folder ``base`` below ``root`` or ``$MOLAE_DATA/ogb`` that holds ``file``."""
    places = [Path(root)]
    if "MOLAE_DATA" in os.environ:
        places.append(Path(os.environ["MOLAE_DATA"], "ogb"))
    folders = (place.expanduser().absolute() / base for place in places)
    return next((folder for folder in folders if (folder / file).is_file()), None)


def downloaded(url: str, folder: Path, content: str) -> Path:
    """Downloads an archive with ogb and moves the folder that it contains into place.

    Raises:
        FileNotFoundError: If it cannot be downloaded.
    """
    folder = folder.expanduser().absolute()
    folder.parent.mkdir(parents=True, exist_ok=True)
    fetch = import_ogb("ogb.utils.url")
    # Downloaded to another folder and then moved, so that a broken download is never read.
    with tempfile.TemporaryDirectory(dir=folder.parent) as place:
        try:
            fetch.extract_zip(fetch.download_url(url, place), place)
        except (OSError, RuntimeError) as error:  # ogb raises it for a broken connection
            raise FileNotFoundError(
                f"could not download {url}; unpack it to {folder}, or to ogb/{folder.name} in the "
                "folder that the environment variable MOLAE_DATA names"
            ) from error
        os.replace(Path(place, content), folder)
    return folder


def read_molecules(folder: Path, task_type: TaskType | None = None) -> Table:
    """Reads SMILES and labels of all rows, in OGB's order of rows and tasks."""
    path = folder / "mapping" / "mol.csv.gz"
    targets = [name for name in columns_of(path) if name not in ("smiles", "mol_id")]
    return read_table(path, "smiles", targets, task_type)


def read_split(folder: Path, num_rows: int) -> tuple[Split, bool]:
    """Returns the rows of the three parts, and whether they are OGB's own.

    Raises:
        FileNotFoundError: If there is no split.
        ValueError: If its parts do not hold each row once.
    """
    official = (folder / "split" / "scaffold").is_dir()
    place = folder / ("split" if official else "split_recomputed") / "scaffold"
    if not place.is_dir():
        raise FileNotFoundError(f"{folder} has no split/scaffold: remove it to download it again")
    if not official:
        warnings.warn(f"the split in {place} is not OGB's own file", stacklevel=3)
    parts = (pd.read_csv(place / f"{part}.csv.gz", header=None)[0] for part in Split._fields)
    split = Split(*(part.to_numpy() for part in parts))
    if not np.array_equal(np.sort(np.concatenate(split)), np.arange(num_rows)):
        raise ValueError(f"the parts in {place} are not the {num_rows} rows of the table")
    return split, official
