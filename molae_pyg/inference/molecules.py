"""Molecules of a caller: the checks that they can be used, and the form that models take."""

from collections.abc import Callable, Sequence
from copy import copy
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch_geometric.data import Data, Dataset, InMemoryDataset

from molae_pyg.inference.graphs import Graphs
from molae_pyg.models import PropertyModel
from molae_pyg.seeds import HELD_OUT, number_seed, seeded

Molecules = Dataset | Sequence[Data]


def check_list(molecules: Any, what: str, may_be_empty: bool = False) -> None:
    """Raises ValueError unless ``molecules`` is a list or a data set with a molecule."""
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
    """Checks molecules one after another, and that they can be in one batch.

    Args:
        what: Name of the molecules in messages.
        needs_coordinates: Whether the model takes ``z`` and coordinates.
        held_out: Whether all conformers of a molecule are used at once, so that their number must
            be the same for all molecules; default: true.
        conformers: Largest number of conformers that are used; default: all.
    """

    def __init__(
        self,
        what: str,
        needs_coordinates: bool = True,
        held_out: bool = True,
        conformers: int | None = None,
    ):
        self.what, self.needs_coordinates = what, needs_coordinates
        self.held_out, self.conformers = held_out, conformers
        self.first: int | None = None  # number of conformers of the first molecule

    def __call__(self, index: int, data: Any) -> None:
        """Raises ValueError if the molecule cannot be used."""
        name = f"molecule {index} of {self.what}"
        if not isinstance(data, Data):
            raise ValueError(f"{name} is a {type(data).__name__}: give PyG Data")
        if isinstance(data.get("smiles"), str):
            name += f" ({data.smiles})"
        if num_atoms_of(data) == 0:
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
                "give all molecules the same number, or use only the first conformers"
            )


def takes_coordinates(model: PropertyModel) -> bool:
    """Returns whether a model takes ``z`` and coordinates, not inputs of its own."""
    return type(model).predict_batch is PropertyModel.predict_batch


def num_atoms_of(data: Data) -> int:
    """Returns the number of atoms of a molecule."""
    return data.z.numel() if isinstance(data.get("z"), Tensor) else int(data.num_nodes or 0)


def known_sizes(molecules: Molecules) -> np.ndarray | None:
    """Returns the number of atoms of each molecule of a data set that knows them, else None."""
    if getattr(molecules, "transform", None) is not None:
        return None  # it may remove atoms
    if isinstance(molecules, InMemoryDataset):
        known = molecules.slices is not None and "z" in molecules.slices
        return molecules.slices["z"].diff()[list(molecules.indices())].numpy() if known else None
    sizes = getattr(molecules, "num_atoms", None)
    return sizes if isinstance(sizes, np.ndarray) and len(sizes) == len(molecules) else None


def checked_sizes(molecules: Molecules, check: Checker) -> np.ndarray:
    """Checks all molecules and returns their numbers of atoms ``[n]``.

    A data set with a ``fingerprint`` that knows the numbers is not read.
    """
    sizes = known_sizes(molecules) if hasattr(molecules, "fingerprint") else None
    if sizes is not None:
        return sizes
    sizes = []
    for index in range(len(molecules)):
        check(index, data := molecules[index])
        sizes.append(num_atoms_of(data))
    return np.array(sizes)


class HeldOutItems(torch.utils.data.Dataset):
    """Molecules to validate, predict or embed; always the same.

    Args:
        molecules: ``Data`` with ``conformers`` or ``pos``.
        dtype: Type of the coordinates.
        labels: Returns the labels of a molecule; default: none, as for predictions.
        conformers: Largest number of conformers of a molecule; default: all.
        needs_coordinates: Whether the model takes coordinates, default: true.
        graphs: Adds the graph if the model sees it; default: no graph is added.
    """

    def __init__(
        self,
        molecules: Molecules,
        dtype: torch.dtype = torch.float32,
        labels: Callable[[int], Tensor] | None = None,
        conformers: int | None = None,
        needs_coordinates: bool = True,
        graphs: Graphs | None = None,
    ):
        self.molecules, self.dtype, self.labels = molecules, dtype, labels
        self.conformers, self.needs_coordinates = conformers, needs_coordinates
        self.graphs = graphs or Graphs(False)

    def __len__(self) -> int:
        return len(self.molecules)

    def __getitem__(self, index: int) -> Data:
        data = self.graphs(copy_of(self.molecules, index, 0, index, HELD_OUT))
        if self.needs_coordinates and "conformers" not in data:
            data.conformers = data.pos[:, None]  # [n, 1, 3]
        if self.conformers is not None and "conformers" in data:
            data.conformers = data.conformers[:, : self.conformers]  # [n, K, 3]
        labels = None if self.labels is None else self.labels(index)
        return in_form(data, self.dtype, labels)


def copy_of(molecules: Molecules, index: int, *place: int) -> Data:
    """Returns a copy of an item. What a data set's transform draws depends on ``place`` alone."""
    if type(molecules) in (list, tuple):
        return copy(molecules[index])
    with seeded(number_seed(*place)):
        return copy(molecules[index])


def in_form(data: Data, dtype: torch.dtype, y: Tensor | None) -> Data:
    """Sets the type of coordinates, the labels (or none) and the number of atoms."""
    for key in ("pos", "conformers"):
        value = data.get(key)
        if isinstance(value, Tensor) and value.dtype != dtype:
            data[key] = value.to(dtype)
    if isinstance(data.get("z"), Tensor):
        data.z = data.z.long()
        if "num_nodes" not in data:
            data.num_nodes = data.z.numel()  # PyG cannot infer it from z or conformers
    if "bound" in data:
        del data.bound  # it belongs to labels, which training sets
    if y is not None:
        data.y = y
    elif "y" in data:
        del data.y
    return data
