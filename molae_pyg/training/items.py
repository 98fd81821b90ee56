"""The items of a run: molecules in one form, whose draws depend on seed and place alone."""

from copy import copy

import numpy as np
import torch
from torch import Tensor
from torch_geometric.data import Data

from molae_pyg.models import PropertyModel
from molae_pyg.seeds import CONFORMER, DATA, HELD_OUT, number_seed, seeded
from molae_pyg.training.molecules import Molecules, takes_coordinates


class TrainingItems(torch.utils.data.Dataset):
    """Molecules of one epoch, each with one of its conformers; a function of seed and epoch.

    Args:
        molecules, y: Molecules, and their labels ``[n, T]``.
        model: Which coordinates it takes.
        seed, epoch: What the draws depend on, beside the number of the item.
    """

    def __init__(
        self, molecules: Molecules, y: Tensor, model: PropertyModel, seed: int, epoch: int
    ):
        self.molecules, self.y, self.seed, self.epoch = molecules, y, seed, epoch
        self.dtype = model.mean.dtype

    def __len__(self) -> int:
        return len(self.molecules)

    def __getitem__(self, index: int) -> Data:
        place = self.seed, self.epoch, index
        data = _item(self.molecules, index, *place, DATA)
        if "conformers" in data:
            drawn = number_seed(*place, CONFORMER) % data.conformers.size(1)
            data.pos = data.conformers[:, drawn]  # [n, 3]
            del data.conformers  # a training batch needs one
        return _in_form(data, self.dtype, self.y[index : index + 1])


class HeldOutItems(torch.utils.data.Dataset):
    """Molecules to validate or predict, always the same, in an order.

    Args:
        molecules: With ``conformers``, or ``pos``.
        order: Indices of the molecules, as they are wanted.
        model: Which coordinates it takes.
        y: Labels ``[n, T]``; default: none, as for predictions.
        conformers: The first so many of each molecule; default: all.
    """

    def __init__(
        self,
        molecules: Molecules,
        order: np.ndarray,
        model: PropertyModel,
        y: Tensor | None = None,
        conformers: int | None = None,
    ):
        self.molecules, self.order, self.y, self.conformers = molecules, order, y, conformers
        self.dtype, self.coordinates = model.mean.dtype, takes_coordinates(model)

    def __len__(self) -> int:
        return len(self.order)

    def __getitem__(self, place: int) -> Data:
        index = int(self.order[place])
        data = _item(self.molecules, index, 0, index, HELD_OUT)
        if self.coordinates and "conformers" not in data:
            data.conformers = data.pos[:, None]  # [n, 1, 3]
        if self.conformers is not None and "conformers" in data:
            data.conformers = data.conformers[:, : self.conformers]  # [n, K, 3]
        y = None if self.y is None else self.y[index : index + 1]
        return _in_form(data, self.dtype, y)


def _item(molecules: Molecules, index: int, *place: int) -> Data:
    """A copy of an item of a data set, whose transform may draw: what depends on the place."""
    if type(molecules) in (list, tuple):
        return copy(molecules[index])
    with seeded(number_seed(*place)):
        return copy(molecules[index])


def _in_form(data: Data, dtype: torch.dtype, y: Tensor | None) -> Data:
    """Coordinates in the model's type, labels as ``[1, T]`` or none, a number of atoms."""
    for key in ("pos", "conformers"):
        value = data.get(key)
        if isinstance(value, Tensor) and value.dtype != dtype:
            data[key] = value.to(dtype)
    if isinstance(data.get("z"), Tensor):
        data.z = data.z.long()
        if "num_nodes" not in data:
            data.num_nodes = data.z.numel()  # PyG does not see it from z or conformers
    if y is not None:
        data.y = y
    elif "y" in data:
        del data.y
    return data
