"""The molecules of a fine-tuning run: what is checked before the work, and what an epoch takes."""

from collections.abc import Iterator
from typing import Any, NamedTuple

import lightning as L
import numpy as np
import torch
from torch import Tensor
from torch_geometric.data import Batch, Data
from torch_geometric.loader import DataLoader

from molae_pyg.fingerprint import of_molecules
from molae_pyg.inference.graphs import Graphs
from molae_pyg.inference.molecules import (
    Checker,
    HeldOutItems,
    Molecules,
    check_list,
    copy_of,
    in_form,
    known_sizes,
    num_atoms_of,
    takes_coordinates,
)
from molae_pyg.kinds import first_wrong_class
from molae_pyg.models import PropertyModel
from molae_pyg.models.encoding import sees_graph
from molae_pyg.seeds import CONFORMER, DATA, number_seed, seeded
from molae_pyg.training.property import plan_parts
from molae_pyg.training.sampler import PooledBatches
from molae_pyg.training.settings import Finetuning


class Labelled(NamedTuple):
    """Molecules that were checked, with what is known of them before the work."""

    molecules: Molecules
    y: Tensor  # [n, T] float, of atoms [N, T]; NaN = missing
    num_atoms: np.ndarray  # [n]
    fingerprint: str
    z: Tensor | None = None  # of atom targets: atomic numbers [N]
    bounds: np.ndarray | None = None  # of atom targets: rows of y of each molecule [n + 1]
    side: Tensor | None = None  # side of each label [n, T] int8: 1, 0, -1; None: all are exact

    def labels(self, index: int) -> Tensor:
        """Returns the labels of a molecule ``[1, T]``, or of its atoms ``[n_i, T]``."""
        if self.bounds is None:
            return self.y[index : index + 1]
        return self.y[self.bounds[index] : self.bounds[index + 1]]

    @property
    def by_size(self) -> np.ndarray:
        """Order from small molecules to large ones ``[n]``."""
        return np.argsort(self.num_atoms, kind="stable")

    @property
    def exact(self) -> Tensor:
        """Labels without the bounds, which are NaN."""
        return self.y if self.side is None else self.y.where(self.side == 0, torch.nan)


def check_labelled(
    molecules: Molecules,
    what: str,
    model: PropertyModel,
    held_out: bool = False,
    conformers: int | None = None,
) -> Labelled:
    """Checks molecules and their labels, and computes a checksum of all their content.

    A data set with a ``fingerprint()`` that also knows its ``y`` and sizes is not read.

    Args:
        molecules: Molecules to train or to validate on.
        what: Name of the molecules in messages.
        model: The model, which has a number of tasks and may need coordinates.
        held_out: Whether all conformers of a molecule are used at once, so that their number must
            be the same for all molecules; default: false.
        conformers: Largest number of conformers that are used; default: all.

    Raises:
        ValueError: They are not a list of ``Data``, there are none, or one cannot be used; the
            message names it.
    """
    check_list(molecules, what)
    is_atomic = model.level == "atom"
    if hasattr(molecules, "fingerprint") and not is_atomic:
        y, num_atoms = _known_labels(molecules), known_sizes(molecules)
        if y is not None and num_atoms is not None:
            y, side = _checked(y, model, what), getattr(molecules, "bound", None)
            side = _checked_side(side, y, model, what)
            return Labelled(molecules, y, num_atoms, molecules.fingerprint(), side=side)
    labels, num_atoms, z, sides = [], [], [], []
    check = Checker(what, takes_coordinates(model), held_out, conformers)

    def items() -> Iterator[Data]:
        for index in range(len(molecules)):
            data = molecules[index]
            check(index, data)
            labels.append((_atom_labels if is_atomic else _label)(data, index, model, what))
            num_atoms.append(num_atoms_of(data))
            if is_atomic:
                z.append(data.z)
            elif "bound" in data:
                sides.append(torch.as_tensor(data.bound).reshape(1, -1))
            yield data

    try:
        with seeded(0):  # a transform of the data set may draw
            fingerprint = of_molecules(items())
    except TypeError as error:
        raise ValueError(f"a field of {what} is not data: {error}; remove it") from None
    y = _checked(torch.cat(labels), model, what)
    found = Labelled(molecules, y, np.array(num_atoms), fingerprint)
    if not is_atomic:
        side = torch.cat(sides) if sides else None
        return found._replace(side=_checked_side(side, y, model, what))
    return found._replace(z=torch.cat(z), bounds=np.cumsum([0, *num_atoms]))


def _label(data: Data, index: int, model: PropertyModel, what: str) -> Tensor:
    """Returns the labels of a molecule as float ``[1, T]``; ``[T]`` and integers are accepted."""
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


def _checked_side(side: Tensor | None, y: Tensor, model: PropertyModel, what: str) -> Tensor | None:
    """Checks which labels are bounds ``[n, T]``."""
    if side is None:
        return None
    if side.shape != y.shape:
        raise ValueError(
            f"bound of {what} is {list(side.shape)}, but y is {list(y.shape)}: each molecule or "
            "none must have a bound with as many entries as y"
        )
    is_class = torch.tensor([kind != "regression" for kind in model.task_types])
    if (side.abs() > 1).any() or (side[:, is_class] != 0).any():
        raise ValueError(
            f"bound of {what} must be 1 (at least y), -1 (at most y) or 0 (exact), and 0 of classes"
        )
    return side.to(torch.int8)


def _atom_labels(data: Data, index: int, model: PropertyModel, what: str) -> Tensor:
    """Returns the labels of the atoms as float ``[n, T]``; ``[n]`` is accepted for one task."""
    wanted, y = (num_atoms_of(data), len(model.task_names)), data.get("y")
    shape = list(y.shape) if isinstance(y, Tensor) else None
    if shape != list(wanted) and shape != [wanted[0]] * (wanted[1] == 1):
        found = "no tensor" if shape is None else f"of shape {shape}"
        raise ValueError(
            f"y of molecule {index} of {what} is {found}, but {type(model).__name__} has a row for "
            f"each atom: it must be {list(wanted)}, with NaN for a missing value"
        )
    return y.reshape(wanted).to(torch.float32)


def _checked(y: Tensor, model: PropertyModel, what: str) -> Tensor:
    """Checks that labels, a row each, are finite or missing, and that classes have numbers."""
    num_tasks = len(model.task_names)
    if y.dim() != 2 or y.size(1) != num_tasks:
        raise ValueError(f"y of {what} is {list(y.shape)}, but the model has {num_tasks} tasks")
    if y.isinf().any():
        row = int(y.isinf().any(1).nonzero()[0])
        raise ValueError(f"y of {model.level} {row} of {what} is infinite; a missing label is NaN")
    kinds = zip(model.task_names, model.task_types, model.num_outputs, strict=True)
    for task, (name, kind, number) in enumerate(kinds):
        if wrong := first_wrong_class(y[:, task].numpy(), kind, number):
            row, wanted = wrong
            raise ValueError(
                f"{wanted}, but {name!r} of molecule {row} of {what} is {y[row, task]:g}"
            )
    return y.float()


def _known_labels(molecules: Molecules) -> Tensor | None:
    """Returns ``y`` of a data set if its items have the same; a transform may change them."""
    y = getattr(molecules, "y", None) if getattr(molecules, "transform", None) is None else None
    return y if isinstance(y, Tensor) and y.dim() == 2 and len(y) == len(molecules) else None


class TrainingItems(torch.utils.data.Dataset):
    """The molecules of an epoch, each with one conformer; draws depend on seed, epoch and item."""

    def __init__(
        self,
        labelled: Labelled,
        dtype: torch.dtype,
        seed: int,
        epoch: int,
        graphs: Graphs | None = None,
    ):
        self.labelled, self.dtype, self.seed, self.epoch = labelled, dtype, seed, epoch
        self.graphs = graphs or Graphs(False)

    def __len__(self) -> int:
        return len(self.labelled.molecules)

    def __getitem__(self, index: int) -> Data:
        place = self.seed, self.epoch, index
        data = self.graphs(copy_of(self.labelled.molecules, index, *place, DATA))
        if "conformers" in data:
            drawn = number_seed(*place, CONFORMER) % data.conformers.size(1)
            data.pos = data.conformers[:, drawn]  # [n, 3]
            del data.conformers  # a training batch needs one
        data = in_form(data, self.dtype, self.labelled.labels(index))
        if self.labelled.side is not None:
            data.bound = self.labelled.side[index : index + 1]
        return data


class PropertyData(L.LightningDataModule):
    """The batches of a fine-tuning run. Those of an epoch depend on it and the seed alone."""

    def __init__(
        self,
        train: Labelled,
        valid: Labelled,
        model: PropertyModel,
        settings: Finetuning,
        seed: int,
        recipe: dict[str, Any] | None = None,
    ):
        super().__init__()
        self.train, self.valid = train, valid
        self.graphs = Graphs(sees_graph(model), recipe)
        self.settings, self.seed = settings, seed
        self.dtype, self.needs_coordinates = model.mean.dtype, takes_coordinates(model)

    def train_dataloader(self) -> DataLoader:
        """Returns the batches of the trainer's epoch."""
        settings, epoch = self.settings, self.trainer.current_epoch
        batches = PooledBatches(
            self.train.num_atoms, settings.batch_size, settings.pool, self.seed, epoch
        )
        items = TrainingItems(self.train, self.dtype, self.seed, epoch, self.graphs)
        return DataLoader(items, batch_sampler=batches, generator=torch.Generator())

    def val_dataloader(self) -> DataLoader:
        """Returns the batches to validate on, from small molecules to large ones."""
        return self.all_of(self.valid)

    def all_of(self, part: Labelled) -> DataLoader:
        """Returns batches with the conformers of all molecules, in the order ``part.by_size``."""
        settings = self.settings
        items = HeldOutItems(
            part.molecules, self.dtype, part.labels, settings.valid_conformers,
            self.needs_coordinates, self.graphs,
        )  # fmt: skip
        order = part.by_size.tolist()
        size = 2 * settings.batch_size
        return DataLoader(items, size, sampler=order, generator=torch.Generator())

    def on_before_batch_transfer(self, batch: Batch, dataloader_idx: int) -> Batch:
        """Plans the parts of a training batch on the CPU, so that no GPU waits."""
        if self.settings.pair_budget is not None and self.trainer.training:
            batch.parts = plan_parts(batch, self.settings.pair_budget)
        return batch
