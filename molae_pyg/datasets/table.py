"""Molecules and targets as a PyTorch Geometric data set with conformers."""

import warnings
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, Unpack

import numpy as np
import torch
from torch import Tensor
from torch_geometric.data import InMemoryDataset

from molae_pyg.chem.featurizer import row_error
from molae_pyg.chem.options import Options
from molae_pyg.chem.parsing import parse_smiles
from molae_pyg.chem.smiles import listed
from molae_pyg.datasets.table_settings import TableSettings, complete
from molae_pyg.datasets.table_storage import (
    Molecules,
    fresh_molecules,
    separate,
    stored_molecules,
)
from molae_pyg.fingerprint import digest
from molae_pyg.kinds import TaskType, TaskTypes, common_type, first_wrong_class, one_type_a_task
from molae_pyg.metrics import choosing_metric
from molae_pyg.tables.reading import infer_task_type

Targets = Tensor | np.ndarray | Sequence[float] | Sequence[Sequence[float]]


class MoleculeTable(InMemoryDataset):
    r"""Molecules given as SMILES, with targets and conformers.

    Every item is a :obj:`Data` with what :func:`~molae_pyg.chem.featurize` makes of a molecule
    (:obj:`z`, :obj:`conformers` in Å, :obj:`smiles`, :obj:`status`, :obj:`reason`,
    :obj:`num_unknown`, :obj:`num_cropped`), and in addition :obj:`y` and :obj:`row`, its row in the
    source. Rows whose molecule cannot be used are left out; duplicates are kept. Select
    rows with index arrays, as in any data set of PyTorch Geometric: :obj:`dataset[split.train]`.

    With a :obj:`root`, conformers are made once, in a
    :class:`~molae_pyg.datasets.ConformerStore` in ``<root>/conformers``. A hash of the SMILES, the
    settings that concern coordinates, and the versions of the molecule recipe and of RDKit is part
    of its name. After a kill, the same call makes the missing rows. Targets and :obj:`max_atoms`
    are not part of the hash: changing them needs no new conformers. Without a :obj:`root` the items
    are bitwise the same, as coordinates are rounded to the 0.001 Å of a store.

    Args:
        smiles: The molecules; a sequence or an iterator of SMILES.
        y: Targets, also as columns of a pandas frame; NaN = missing.
        task_names: Names of the tasks. (default: :obj:`None`, "y" or "y0", "y1" ...)
        task_type: ``"regression"``, ``"classification"`` (labels 0 and 1) or ``"multiclass"``
            (labels 0, 1, 2 ...), or a sequence with one for each task. (default: :obj:`None`,
            classification for a task whose labels are all 0 or 1, else regression)
        root: Folder of the conformers. (default: :obj:`None`, they are kept in memory only)
        num_conformers: Number of 3D conformers of a molecule; 0 gives the 2D conformer alone, which
            is fast. (default: :obj:`10`)
        add_2d: Whether to append a 2D conformer (z = 0). (default: :obj:`True`)
        seed: Seed of the conformers and of cropping. (default: :obj:`0`)
        max_atoms: Number of atoms to which larger molecules are cropped. (default: :obj:`None`)
        recipe: How conformers are made, ``"published"``, ``"fast"`` or ``"flat"``, see
            :func:`~molae_pyg.chem.from_smiles`. (default: :obj:`"published"`)
        on_error: ``"skip"`` leaves out the rows that cannot be used, ``"raise"`` stops at the
            first. (default: :obj:`"skip"`)
        workers: Number of processes that make conformers. (default: :obj:`None`, one for each core
            if there is enough to do)
        transform: Function that is applied to every item on access. (default: :obj:`None`)

    Attributes:
        report: Outcome of every row of the source, also of those left out.
        task_names: Names of the tasks.
        task_types: The type of each task.
        classes: Names of the classes of each multiclass task.
        metric: Name of the score that chooses and compares models, by
            :func:`~molae_pyg.metrics.choosing_metric` unless the data set has its own.
        recipe: What atoms and coordinates of the molecules depend on, see
            :meth:`~molae_pyg.chem.options.Options.to_dict`.

    Shapes:
        - **y:** :math:`(n)` or :math:`(n, T)`; of an item :math:`(1, T)` float32
        - **conformers** of an item: :math:`(n_{atoms}, K, 3)`, or :math:`K + 1` with a 2D conformer

    Raises:
        ValueError: If lengths do not match, every label is missing, no molecule can be used, or
            ``smiles`` is a single string.
    """

    name = "table"
    task_types: list[TaskType]
    classes: dict[str, list[str]]
    metric: str
    recipe: dict[str, Any]

    def __init__(
        self,
        smiles: Iterable[str],
        y: Targets,
        task_names: Sequence[str] | None = None,
        task_type: TaskTypes | None = None,
        root: str | Path | None = None,
        **settings: Unpack[TableSettings],
    ) -> None:
        made, (on_error, workers, transform) = complete(settings)
        super().__init__(None if root is None else str(root), transform)
        smiles = listed(smiles)
        y = _checked_targets(y, len(smiles))  # [n, T]
        self.task_names = _checked_task_names(task_names, y.size(1))
        self.task_types = _checked_task_types(task_type, y, self.task_names)
        several = [kind == "multiclass" for kind in self.task_types]
        named = zip(self.task_names, y.T.numpy(), several, strict=True)
        self.classes = {name: numbered(labels) for name, labels, is_class in named if is_class}
        self.metric = choosing_metric(self.task_types, y.size(1))
        if on_error not in ("raise", "skip"):
            raise ValueError(f"on_error must be 'raise' or 'skip', got {on_error!r}")
        if on_error == "raise":
            _check_readable(smiles)  # now, not after the conformers of all others
        options = Options(**made)
        self.recipe = options.to_dict()
        # Without a root PyTorch Geometric's `processed_dir` would be "???".
        folder = None if root is None else Path(self.root) / "conformers"
        molecules = self._molecules(smiles, options, workers, folder)
        if not molecules.report.kept:
            raise ValueError(f"none of {len(smiles)} rows gave a molecule. {molecules.report}")
        if on_error == "raise":
            molecules.report.raise_first(smiles)
        self.report = molecules.report
        self._fill(molecules, y)

    @property
    def num_tasks(self) -> int:
        """Number of tasks :math:`T`."""
        return len(self.task_names)

    @property
    def task_type(self) -> str:
        """The type of all tasks, or ``"mixed"`` if there are tasks of several types."""
        return common_type(self.task_types)

    @property
    def num_classes(self) -> list[int]:
        """Number of classes of each multiclass task, 1 for the others; a model needs them."""
        return [len(self.classes.get(name, [""])) for name in self.task_names]

    @property
    def smiles(self) -> list[str]:
        """The SMILES of every item, in order (of the items selected, in a subset)."""
        smiles = self._data.smiles if self.slices else [self._data.smiles]
        return [smiles[i] for i in self.indices()]

    @property
    def y(self) -> Tensor:
        """The targets of every item (of the items selected, in a subset), shape ``[n, T]``."""
        return self._data.y[list(self.indices())]

    @property
    def bound(self) -> Tensor | None:
        """Sides of the labels of every item, int8 ``[n, T]``; None if all are exact."""
        return self._data.bound[list(self.indices())] if "bound" in self._data else None

    def fingerprint(self) -> str:
        """Returns a checksum of the molecules (of the selected ones, in a subset) and their labels.

        It covers SMILES, atoms, coordinates, labels, and the names and types of the tasks. It does
        not cover the name of the data set or the rows of the source.
        """
        items = torch.tensor(list(self.indices()), dtype=torch.long)
        z, conformers = self._data.z, self._data.conformers
        bounds = torch.tensor([0, len(z)]) if self.slices is None else self.slices["z"]
        sizes = bounds.diff()[items]
        if not torch.equal(items, torch.arange(len(bounds) - 1)):
            ends = sizes.cumsum(0)
            shift = bounds[items] - (ends - sizes)  # from places in the subset to all places
            atoms = torch.arange(int(sizes.sum())) + shift.repeat_interleave(sizes)
            z, conformers = z[atoms], conformers[atoms]
        parts = [self.task_names, self.task_types, self.smiles, self.y, sizes, z, conformers]
        parts += [part for part in (self.classes, self.bound) if part is not None and len(part)]
        return digest(*parts)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.name}, {len(self)})"

    def _molecules(
        self, smiles: list[str], options: Options, workers: int | None, folder: Path | None
    ) -> Molecules:
        if folder is None:
            return fresh_molecules(smiles, options, workers)
        return stored_molecules(smiles, options, workers, folder, self.name)

    def _fill(self, molecules: Molecules, y: Tensor) -> None:
        data, slices, report = molecules
        if len(report.kept) < len(report):
            num_out = len(report) - len(report.kept)
            warnings.warn(
                f"{self.name}: {num_out} of {len(report)} rows gave no molecule and are left "
                "out; print(dataset.report) shows the reasons",
                stacklevel=4,
            )
        data.row = torch.tensor(report.kept)  # [n]
        data.y = y[data.row]  # [n, T]
        slices["row"] = slices["y"] = torch.arange(len(data.row) + 1)
        if len(data.row) == 1:  # PyTorch Geometric keeps a single item without slices
            data, slices = separate(data, slices), None
        self._data, self.slices = data, slices


def _check_readable(smiles: list[str]) -> None:
    for row, text in enumerate(smiles):
        try:
            parse_smiles(text)
        except ValueError as error:
            raise row_error(row, "invalid", text, str(error)) from None


def _checked_targets(y: Targets, num_rows: int) -> Tensor:
    if isinstance(y, Iterator):
        y = list(y)
    if not isinstance(y, Tensor):
        y = torch.from_numpy(np.array(y, dtype=np.float32))  # also of pandas; None becomes NaN
    y = y.float()
    if y.dim() == 1:
        y = y.view(-1, 1)  # [n] -> [n, 1]
    if y.dim() != 2 or len(y) != num_rows:
        raise ValueError(f"expected y [n, T] or [n] for {num_rows} SMILES, got {list(y.shape)}")
    if y.isnan().all():
        raise ValueError("every label is missing")
    if y.isinf().any():
        raise ValueError(f"y is infinite in row {int(y.isinf().any(dim=1).nonzero()[0])}")
    return y


def _checked_task_types(
    task_type: TaskTypes | None, y: Tensor, names: Sequence[str]
) -> list[TaskType]:
    if task_type is None:
        return _inferred(y, names)
    types = one_type_a_task(task_type, y.size(1))
    for name, kind, labels in zip(names, types, y.T, strict=True):
        if wrong := first_wrong_class(labels.numpy(), kind):
            raise ValueError(f"{wrong[1]}; those of {name} are not")
    return types


def numbered(labels: np.ndarray) -> list[str]:
    """Returns the numbers of the classes, up to the largest label, as their names."""
    return [str(c) for c in range(max(2, 1 + int(np.nan_to_num(labels).max())))]


def _inferred(y: Tensor, names: Sequence[str]) -> list[TaskType]:
    """Returns the type of each task; a task without labels gets that of the first with labels."""
    labels = [column[~column.isnan()] for column in y.T]
    types = [infer_task_type(present) if len(present) else None for present in labels]
    for name, kind, present in zip(names, types, labels, strict=True):
        if kind == "regression" and _like_classes(present):
            values = ", ".join(f"{value:g}" for value in present.unique().tolist())
            warnings.warn(
                f"the labels {values} of {name} are taken as numbers. For two classes give 0, 1 "
                "and NaN (missing), for several task_type='multiclass'; for numbers pass "
                "task_type='regression'",
                stacklevel=4,
            )
    first = next(kind for kind in types if kind is not None)
    return [kind or first for kind in types]


def _like_classes(labels: Tensor) -> bool:
    """Returns whether labels are among -1, 0 and 1, or repeated integers 0, 1, 2 or 1, 2, 3."""
    values = labels.unique()
    whole = bool((values == values.round()).all())
    if not whole or len(values) < 2 or len(values) > 10 or values[0] not in (-1, 0, 1):
        return False
    return {*values.tolist()} <= {-1.0, 0.0, 1.0} or (
        bool((values.diff() == 1).all()) and len(labels) >= 2 * len(values)
    )


def _checked_task_names(names: Sequence[str] | None, num_tasks: int) -> list[str]:
    if names is None:
        return ["y"] if num_tasks == 1 else [f"y{task}" for task in range(num_tasks)]
    if len(names) != num_tasks:
        raise ValueError(f"{len(names)} task_names for {num_tasks} tasks")
    return list(names)
