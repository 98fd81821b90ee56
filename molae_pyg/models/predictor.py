"""The model that is fine-tuned: the encoder and a property head."""

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch_geometric.data import Batch
from torch_geometric.utils import cumsum, degree

from molae_pyg.kinds import (
    TaskTypes,
    common_type,
    num_columns,
    one_type_a_task,
    output_slices,
    outputs_of,
)
from molae_pyg.models.encoder import MolAEEncoder
from molae_pyg.models.encoding import graph_input
from molae_pyg.models.full import build_encoder
from molae_pyg.models.pretrained import Pretrained
from molae_pyg.nn.arguments import ShowsArguments, size
from molae_pyg.nn.graph_bias import Graph
from molae_pyg.nn.readout import PropertyHead, Readout


class PropertyModel(Pretrained, nn.Module):
    """Base class of the models that are fine-tuned: scaled targets, and predictions of a batch.

    The network works on standardised targets; mean and standard deviation are buffers of the
    module, so that a saved model predicts in real units without further data. The ``forward`` of a
    subclass takes ``z``, ``pos`` and ``batch`` and returns real units (regression) or logits
    (classification, multiclass), ``[B, O]``: O = T, but C columns of a task with C classes. A
    subclass with other inputs also overrides :meth:`on_batch` and :meth:`predict_batch`, which pass
    the fields of a batch to it.

    Args:
        num_tasks: Number of tasks T.
        task_names: Names of the tasks, default: ``task0`` ...
        task_type: ``"regression"``, ``"classification"`` or ``"multiclass"`` for all tasks, or a
            list with the type of each task.
        num_classes: Number of classes of all multiclass tasks, or a list with a number for each
            task, such as ``dataset.num_classes``. Default: none, if there is no multiclass task.

    Attributes:
        config: Arguments that build the model again.
        level: What has a row of the predictions: ``"molecule"`` (default, ``[B, T]``) or
            ``"atom"`` (``[N, T]``).
        task_types: The type of each task.
        task_type: The type of all tasks, or ``"mixed"``.
        num_outputs: Number of columns of each task in predictions.
        recipe: How the molecules of the training were made, see
            :meth:`Options.to_dict() <molae_pyg.chem.options.Options.to_dict>`; saved with the
            model. None (default): not known.
    """

    config: dict[str, Any]
    level: Literal["molecule", "atom"] = "molecule"
    recipe: dict[str, Any] | None = None

    def __init__(
        self,
        num_tasks: int,
        task_names: Sequence[str] | None,
        task_type: TaskTypes = "regression",
        num_classes: int | Sequence[int] | None = None,
    ):
        super().__init__()
        num_tasks = size("num_tasks", num_tasks)
        # The buffers come first: loading compares their size with the weights in the file at once,
        # before a list with an entry for each task is made of a damaged number of tasks.
        columns = num_columns(task_type, num_tasks, num_classes)
        self.register_buffer("mean", torch.empty(columns))
        self.register_buffer("std", torch.empty(columns))
        self.task_types = one_type_a_task(task_type, num_tasks)
        self.num_outputs = outputs_of(self.task_types, num_classes)
        self.mean.fill_(0.0)
        self.std.fill_(1.0)
        self.task_type = common_type(self.task_types)
        self.task_names = list(task_names or (f"task{i}" for i in range(num_tasks)))
        if len(self.task_names) != num_tasks:
            raise ValueError(f"{num_tasks} tasks, but names {self.task_names}")
        if len(set(self.task_names)) != num_tasks:
            raise ValueError(f"two tasks have the same name: {', '.join(self.task_names)}")

    @property
    def saved_task_type(self) -> str | list[str]:
        """The type as it is saved in :attr:`config`: one string if all tasks have the same."""
        return self.task_types if self.task_type == "mixed" else self.task_type

    @property
    def saved_classes(self) -> dict[str, list[int]]:
        """The entry ``num_classes`` of :attr:`config`; empty if no task has several classes."""
        return {"num_classes": self.num_outputs} if "multiclass" in self.task_types else {}

    @property
    def places(self) -> list[slice]:
        """Columns of each task in predictions."""
        return output_slices(self.num_outputs)

    def of_tasks(self, values: Tensor) -> Tensor:
        """Returns the first of the columns of each task, ``[..., O]`` -> ``[..., T]``.

        Those of :attr:`mean` and :attr:`std` scale the labels.
        """
        if len(self.num_outputs) == values.size(-1):
            return values
        return values[..., [place.start for place in self.places]]

    def probabilities(self, y: Tensor) -> Tensor:
        """Turns logits into probabilities and leaves regression values as they are ``[B, O]``."""
        if self.task_type == "regression":
            return y
        if self.task_type == "classification":
            return y.sigmoid()
        of_kind = {"classification": torch.sigmoid, "multiclass": partial(torch.softmax, dim=1)}
        kinds = zip(self.places, self.task_types, strict=True)
        return torch.cat([of_kind.get(kind, nn.Identity())(y[:, p]) for p, kind in kinds], 1)

    def predict(
        self,
        z: Tensor,
        conformers: Tensor,
        batch: Tensor | None = None,
        graph: Graph | None = None,
        batch_size: int | None = None,
    ) -> Tensor:
        """Mean prediction over conformers (mean probability, for classification).

        Args:
            z: Atomic numbers ``[N]``.
            conformers: Coordinates in Å ``[N, K, 3]``.
            batch: Molecule of each atom ``[N]``, sorted; default: one molecule.
            graph: Bonds and features of the atoms, for an encoder with a graph channel; default:
                unknown.
            batch_size: Number of molecules B, if the model takes it; default: not given.

        Returns:
            ``[B, O]``.
        """
        given = {"graph": graph, "batch_size": batch_size}
        total, more = 0, {name: value for name, value in given.items() if value is not None}
        for pos in conformers.unbind(1):  # K times [N, 3]
            total = total + self.probabilities(self(z, pos, batch, **more))
        return total / conformers.size(1)

    def more_inputs(self, batch: Batch) -> dict[str, Any]:
        """Returns what ``forward`` takes of a batch beside ``z, pos, batch``, by name."""
        return graph_input(self, batch)

    def on_batch(self, batch: Batch) -> Tensor:
        """Returns real units or logits ``[B, O]`` of a training batch."""
        return self(batch.z, batch.pos, batch.batch, **self.more_inputs(batch))

    def predict_batch(self, batch: Batch) -> Tensor:
        """Returns real units or probabilities ``[B, O]`` of a batch as the data set gives it.

        A batch without ``conformers`` has one conformer, ``pos``.
        """
        conformers = batch.conformers if "conformers" in batch else batch.pos[:, None]  # [N, K, 3]
        return self.predict(batch.z, conformers, batch.batch, **self.more_inputs(batch))

    def set_scaling(self, y: Tensor) -> None:
        """Sets mean and standard deviation to those of targets ``[n, T]``, NaN = missing.

        Those of classes stay 0 and 1.

        Raises:
            ValueError: A regression task has fewer than two labels, or all its labels are equal.
        """
        for task, (column, place) in enumerate(zip(y.T, self.places, strict=True)):
            if self.task_types[task] != "regression":
                continue
            label = column[~column.isnan()].double()
            if label.numel() == 0 or label.min() == label.max():  # std of equal ones may not be 0
                raise ValueError(
                    f"task {self.task_names[task]!r} has no two different labels in training: "
                    "nothing to learn; drop the task or split differently"
                )
            self.mean[place], self.std[place] = label.mean(), label.std()


class MolAEPredictor(ShowsArguments, PropertyModel):
    """Predicts molecular properties from a (pre-trained) encoder; the decoder is not used.

    Predictions are in the units of the training targets.

    Args:
        encoder: A :class:`MolAEEncoder` or another encoder with the same inputs and outputs, used
            as it is, not copied; or a mapping of its arguments.
        num_tasks: Number of tasks T, default: 1.
        pooler_dropout: Dropout in the head, default: 0.
        readout: ``"cls"`` (default, as published), ``"mean"``, ``"sum"`` or ``"max"`` over atoms,
            ``"atomwise"``, a sum of contributions of the atoms, or ``"cls, mean"`` or
            ``"cls, sum"``, a linear layer on CLS joined with the mean or the sum over the atoms.
        task_names: Names of the tasks, default: ``task0`` ...
        task_type: ``"regression"`` (default), ``"classification"`` or ``"multiclass"``
            (predictions are logits; :meth:`predict` gives probabilities) for all tasks, or a list
            with the type of each.
        num_classes: Number of classes of all multiclass tasks, or a list with a number for each
            task, such as ``dataset.num_classes``. Default: none, if there is no multiclass task.
    """

    def __init__(
        self,
        encoder: MolAEEncoder | Mapping,
        num_tasks: int = 1,
        pooler_dropout: float = 0.0,
        readout: Readout = "cls",
        task_names: Sequence[str] | None = None,
        task_type: TaskTypes = "regression",
        num_classes: int | Sequence[int] | None = None,
    ):
        super().__init__(num_tasks, task_names, task_type, num_classes)
        self.encoder = encoder if isinstance(encoder, nn.Module) else build_encoder(encoder)
        self.head = PropertyHead(
            self.encoder.config["hidden_channels"], sum(self.num_outputs), pooler_dropout, readout
        )
        self.config = {
            "encoder": self.encoder.config,
            "num_tasks": num_tasks,
            "pooler_dropout": pooler_dropout,
            "readout": readout,
            "task_names": self.task_names,
            "task_type": self.saved_task_type,
            **self.saved_classes,
        }

    def more_inputs(self, batch: Batch) -> dict[str, Any]:
        size = getattr(batch, "num_graphs", None)  # Data with a field batch does not know it
        return {"batch_size": size, **super().more_inputs(batch)}

    def forward(
        self,
        z: Tensor,
        pos: Tensor,
        batch: Tensor | None = None,
        batch_size: int | None = None,
        drop_mask: Tensor | None = None,
        graph: Graph | None = None,
    ) -> Tensor:
        """Predicts values in the units of the targets (regression) or logits (classification).

        Args:
            z: Atomic numbers ``[N]``.
            pos: Coordinates in Å ``[N, 3]``.
            batch: Molecule of each atom ``[N]``, sorted; default: one molecule.
            batch_size: Number of molecules B; default: the last entry of ``batch`` plus 1.
            drop_mask: True = the atom is removed before the first layer, and no readout sees it
                ``[N]``; the others stay where they are. A molecule without atoms is read from its
                CLS, or pooled to zeros. Default: no atom is removed.
            graph: Bonds and features of all atoms, the removed ones included, which needs an
                encoder with a graph channel; default: unknown.

        Returns:
            ``[B, O]``: O = T, but C columns of a task with C classes.
        """
        more = {} if graph is None else {"graph": graph}  # not every encoder takes one
        out = self.encoder(z, pos, batch, drop_mask, batch_size=batch_size, **more)
        batch = torch.zeros_like(z, dtype=torch.long) if batch is None else batch.long()
        if drop_mask is not None:
            batch = batch[~drop_mask]  # one entry for each row of out.x
        ptr = cumsum(degree(batch, out.molecule.size(0), dtype=torch.long))  # [B + 1]
        return self.head(out.x, out.molecule, ptr) * self.std + self.mean
