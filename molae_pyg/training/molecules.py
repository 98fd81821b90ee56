"""The molecules of a run, looked at before the work."""

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch_geometric.data import Data, Dataset, InMemoryDataset

from molae_pyg.fingerprint import of_molecules
from molae_pyg.models import PropertyModel
from molae_pyg.seeds import seeded

Molecules = Dataset | Sequence[Data]


class Seen(NamedTuple):
    """What is known of a set of molecules before the work."""

    y: Tensor  # [n, T] float, NaN = missing
    num_atoms: np.ndarray  # [n]
    fingerprint: str


def look(
    molecules: Molecules,
    what: str,
    model: PropertyModel,
    held_out: bool = False,
    conformers: int | None = None,
) -> Seen:
    """Checks molecules and their labels, and takes a checksum of all they hold.

    A data set that knows its ``fingerprint()``, ``y`` and sizes itself is not read for it.

    Args:
        molecules: To train, to validate or to predict.
        what: Their name in messages.
        model: Tells the number of tasks and whether coordinates are needed.
        held_out: All conformers of a molecule are used at once, or the first ``conformers``:
            their number must be the same for all.
        conformers: See there.

    Raises:
        ValueError: They are not a list of ``Data``, there are none, or one cannot be used; the
            message names it.
    """
    check_list(molecules, what)
    if hasattr(molecules, "fingerprint"):
        y, num_atoms = _known_labels(molecules), known_sizes(molecules)
        if y is not None and num_atoms is not None:
            return Seen(_checked(y, model, what), num_atoms, molecules.fingerprint())
    labels, num_atoms = [], []
    check = Checker(model, what, held_out, conformers)

    def items() -> Iterator[Data]:
        for index in range(len(molecules)):
            data = molecules[index]
            check(index, data)
            labels.append(label(data, index, model, what))
            num_atoms.append(size(data))
            yield data

    try:
        with seeded(0):  # a data set may have a transform that draws
            fingerprint = of_molecules(items())
    except TypeError as error:
        raise ValueError(f"a field of {what} is not data: {error}; remove it") from None
    return Seen(_checked(torch.cat(labels), model, what), np.array(num_atoms), fingerprint)


def check_list(molecules: Any, what: str, may_be_empty: bool = False) -> None:
    """Raises ValueError unless it is a list or a data set, and not empty."""
    if isinstance(molecules, Data):
        raise ValueError(f"{what} is one Data: give a list of them, or batch.to_data_list()")
    if isinstance(molecules, str) or not (
        hasattr(molecules, "__len__") and hasattr(molecules, "__getitem__")
    ):
        raise ValueError(
            f"{what} must be a list of Data or a data set, got a {type(molecules).__name__}"
        )
    if len(molecules) == 0 and not may_be_empty:
        raise ValueError(f"{what} has no molecule")


class Checker:
    """Checks one molecule after another, and that they fit together.

    Args:
        model: A model that has its own ``predict_batch`` looks at its inputs itself.
        what: Name of the molecules in messages.
        held_out, conformers: See :func:`look`.
    """

    def __init__(
        self,
        model: PropertyModel,
        what: str,
        held_out: bool = True,
        conformers: int | None = None,
    ):
        self.needs_coordinates = takes_coordinates(model)
        self.what, self.held_out, self.conformers = what, held_out, conformers
        self.first: int | None = None  # number of conformers of the first molecule

    def __call__(self, index: int, data: Any) -> None:
        """Raises ValueError if the molecule cannot be used."""
        name = f"molecule {index} of {self.what}"
        if not isinstance(data, Data):
            raise ValueError(f"{name} is a {type(data).__name__}: give PyG Data")
        if isinstance(data.get("smiles"), str):
            name += f" ({data.smiles})"
        if size(data) == 0:
            raise ValueError(f"{name} has no atom")
        if self.needs_coordinates:
            self._check_atoms(name, data)

    def _check_atoms(self, name: str, data: Data) -> None:
        z = data.get("z")
        if not isinstance(z, Tensor) or z.dim() != 1 or z.is_floating_point():
            raise ValueError(f"{name} needs atomic numbers z, integers of shape [n]")
        key = "conformers" if "conformers" in data else "pos"
        value = data.get(key)
        if not isinstance(value, Tensor):
            raise ValueError(
                f"{name} has neither conformers [n, K, 3] nor pos [n, 3]: make them with "
                "molae_pyg.chem.featurize"
            )
        shape = (len(z), 3) if key == "pos" else (len(z), value.shape[1:2].numel(), 3)
        if tuple(value.shape) != shape or value.numel() == 0:
            raise ValueError(f"{key} of {name} has shape {list(value.shape)} for {len(z)} atoms")
        if not torch.isfinite(value).all():
            raise ValueError(f"{key} of {name} is not finite (NaN or infinite)")
        if self.held_out:
            self._check_number(name, 1 if key == "pos" else value.size(1))

    def _check_number(self, name: str, number: int) -> None:
        number = min(number, self.conformers or number)
        self.first = self.first or number
        if number != self.first:
            raise ValueError(
                f"{name} has {number} conformers to average over, but the first has {self.first}: "
                "give all the same number, or use the first ones only"
            )


def takes_coordinates(model: PropertyModel) -> bool:
    """Whether a model takes ``z`` and coordinates, and not inputs of its own."""
    return type(model).predict_batch is PropertyModel.predict_batch


def size(data: Data) -> int:
    """Number of atoms."""
    return data.z.numel() if isinstance(data.get("z"), Tensor) else int(data.num_nodes or 0)


def label(data: Data, index: int, model: PropertyModel, what: str) -> Tensor:
    """The labels of one molecule as ``[1, T]`` float; also of shape ``[T]``, bool or integer."""
    name, num_tasks = f"molecule {index} of {what}", len(model.task_names)
    y = data.get("y")
    if y is None:
        raise ValueError(f"{name} has no y; a label that is missing is NaN")
    try:
        y = torch.as_tensor(y)
    except (TypeError, ValueError, RuntimeError):
        raise ValueError(f"y of {name} is no number: {y!r}") from None
    if y.is_complex() or y.numel() != num_tasks or (y.dim() > 1 and y.size(-1) != num_tasks):
        raise ValueError(
            f"y of {name} has shape {list(y.shape)}, but the model has {num_tasks} tasks: "
            f"it must be [1, {num_tasks}]"
        )
    return y.reshape(1, num_tasks).to(torch.float32)


def _checked(y: Tensor, model: PropertyModel, what: str) -> Tensor:
    """Labels ``[n, T]`` that are finite or missing, and 0 or 1 where they are classes."""
    num_tasks = len(model.task_names)
    if y.dim() != 2 or y.size(1) != num_tasks:
        raise ValueError(f"y of {what} is {list(y.shape)}, but the model has {num_tasks} tasks")
    if y.isinf().any():
        row = int(y.isinf().any(1).nonzero()[0])
        raise ValueError(f"y of molecule {row} of {what} is infinite; a missing label is NaN")
    for task, (name, kind) in enumerate(zip(model.task_names, model.task_types, strict=True)):
        column = y[:, task]
        other = ~column.isnan() & (column != 0) & (column != 1)
        if kind == "classification" and other.any():
            row = int(other.nonzero()[0])
            raise ValueError(
                f"class labels must be 0, 1 or NaN (missing), but {name!r} of molecule {row} of "
                f"{what} is {column[row]:g}"
            )
    return y.float()


def _known_labels(molecules: Molecules) -> Tensor | None:
    """``y`` of a data set whose items have the same: none that a transform may change."""
    y = getattr(molecules, "y", None) if getattr(molecules, "transform", None) is None else None
    return y if isinstance(y, Tensor) and y.dim() == 2 and len(y) == len(molecules) else None


def known_sizes(molecules: Molecules) -> np.ndarray | None:
    """Atoms of each molecule of a data set that knows them, else None."""
    if getattr(molecules, "transform", None) is not None:
        return None  # it may remove atoms
    if isinstance(molecules, InMemoryDataset):
        known = molecules.slices is not None and "z" in molecules.slices
        return molecules.slices["z"].diff()[list(molecules.indices())].numpy() if known else None
    sizes = getattr(molecules, "num_atoms", None)
    return sizes if isinstance(sizes, np.ndarray) and len(sizes) == len(molecules) else None
