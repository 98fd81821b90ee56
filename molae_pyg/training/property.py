"""The Lightning module of fine-tuning, and training batches that are computed in parts."""

from collections.abc import Sequence

import lightning as L
import numpy as np
import torch
from torch import Tensor
from torch_geometric.data import Batch

from molae_pyg.loss import PROPERTY_LOSSES, PropertyLoss, property_loss
from molae_pyg.metrics import TaskType, choosing_metric, common_type, evaluate, evaluate_tasks
from molae_pyg.models import PropertyModel
from molae_pyg.seeds import DROPOUT, number_seed
from molae_pyg.training.sampler import plan_batches
from molae_pyg.training.schedule import configure_adam, layer_scales
from molae_pyg.training.trainer import FiniteCheck


def plan_parts(batch: Batch, pair_budget: int) -> list[tuple[Tensor, Tensor, Tensor]]:
    """Divides a batch into parts of molecules of similar size.

    Args:
        batch: Molecules, with ``ptr``; on the CPU, as the plan would wait for a GPU.
        pair_budget: Pair cells of a part, see :func:`~molae_pyg.training.plan_batches`.

    Returns:
        For each part the molecules ``[b]``, the atoms ``[n]`` and the molecule of each atom in the
        part ``[n]``, on the device of the batch.
    """
    ptr = batch.ptr.cpu().numpy()
    num_atoms = np.diff(ptr)  # [B]
    parts = []
    for part in plan_batches(num_atoms, pair_budget):
        part = np.sort(part)
        atoms = np.concatenate([np.arange(ptr[i], ptr[i + 1]) for i in part])
        molecule = np.repeat(np.arange(len(part)), num_atoms[part])
        parts.append(
            tuple(torch.from_numpy(x).to(batch.ptr.device) for x in (part, atoms, molecule))
        )
    return parts


def predict_in_parts(model: PropertyModel, batch: Batch, pair_budget: int) -> Tensor:
    """Returns the predictions ``[B, T]`` or ``[N, T]`` of a batch, which is computed in parts.

    Without dropout the result is that of one pass over the whole batch. With one large molecule
    among small ones it takes a fraction of the time and memory.

    Args:
        model: The model; its ``forward`` takes ``z, pos, batch`` and what ``more_inputs`` gives.
        batch: Molecules, with ``pos`` if the model needs it, and with ``parts`` if they are planned
            already.
        pair_budget: Pair cells of a part, see :func:`~molae_pyg.training.plan_batches`.
    """
    parts = batch.get("parts") or plan_parts(batch, pair_budget)
    more, pos = model.more_inputs(batch), batch.get("pos")
    graph = more.get("graph")
    predicted = []
    for molecules, atoms, molecule in parts:
        if graph is not None:
            more["graph"] = graph.of_atoms(atoms)
        if "batch_size" in more:
            more["batch_size"] = len(molecules)
        places = None if pos is None else pos[atoms]
        predicted.append(model(batch.z[atoms], places, molecule, **more))
    of_atoms = getattr(model, "level", "molecule") == "atom"
    order = torch.cat([part[1 if of_atoms else 0] for part in parts])  # [B] or [N]
    return torch.cat(predicted)[order.argsort()]


def task_losses(
    task_types: Sequence[TaskType], loss: PropertyLoss | None = None
) -> list[PropertyLoss]:
    """Returns the loss of each task: that of its classes, or ``loss`` (default: mse) for values.

    Raises:
        ValueError: ``loss`` is unknown, fits none of the tasks, or is bce for values.
    """
    if loss is not None and loss not in PROPERTY_LOSSES:
        raise ValueError(f"loss must be one of {', '.join(PROPERTY_LOSSES)}, not {loss!r}")
    kind = common_type(task_types)
    if loss is not None and (loss == "bce") != (kind == "classification"):
        raise ValueError(
            f"loss {loss!r} does not fit a {kind} model: it is that of its regression tasks, "
            "and classes always have 'bce'"
        )
    of_kind = {"classification": "bce", "multiclass": "cross_entropy"}
    return [of_kind.get(found) or loss or "mse" for found in task_types]


class PropertyModule(L.LightningModule):
    """Lightning's view of a :class:`~molae_pyg.MolAEPredictor` or another property model.

    Training batches have ``pos`` (one conformer of each molecule). Evaluation batches have
    ``conformers [N, K, 3]``, over which predictions are averaged. Models with other inputs have
    them in both. ``y`` is in real units, NaN = missing: ``[B, T]``, or ``[N, T]`` of models of
    atoms.

    Args:
        model: The bare model, whose scaling buffers are set already.
        lr: Peak learning rate, default: 1e-4.
        warmup: Share of all updates spent warming up, default: 0.06.
        weight_decay: Weight decay of matrices, default: 0, as published for fine-tuning.
        loss: Loss of regression tasks on standardised targets: ``"mse"`` (default), ``"mae"`` or
            ``"smooth_l1"``; bounds have its one-sided form. Two classes always use ``"bce"``,
            several ``"cross_entropy"``.
        pair_budget: Largest number of pair cells of a training batch that is computed at once,
            not in parts; default: any.
        seed: Seed of dropout, which also depends on the number of the update.
        class_weights: Weights of the classes of each task ``[C]``, None for values; default: none.
        layer_decay: See :func:`~molae_pyg.training.schedule.layer_scales`; default: 1, one rate.

    Attributes:
        scores: Scores of the last validation (:func:`~molae_pyg.metrics.evaluate`) and, with
            several tasks, the scores of each task, named ``<task>_<metric>``.
    """

    def __init__(
        self,
        model: PropertyModel,
        lr: float = 1e-4,
        warmup: float = 0.06,
        weight_decay: float = 0.0,
        loss: PropertyLoss | None = None,
        pair_budget: int | None = None,
        seed: int = 0,
        class_weights: Sequence[Tensor | None] | None = None,
        layer_decay: float = 1.0,
    ):
        super().__init__()
        self.model = model
        self.class_weights = class_weights
        self.lr = lr
        self.warmup = warmup
        self.weight_decay = weight_decay
        self.pair_budget = pair_budget
        self.seed = seed
        self.layer_decay = layer_decay
        self.losses = task_losses(model.task_types, loss)
        if layer_decay != 1:
            layer_scales(model, layer_decay)  # an error now, not when training starts
        if pair_budget is not None and type(model).on_batch is not PropertyModel.on_batch:
            raise ValueError(
                f"pair_budget cuts batches of atoms and coordinates; {type(model).__name__} has "
                "an on_batch of its own: leave pair_budget out"
            )
        self.scores: dict[str, float] = {}
        self._outputs: list[tuple[Tensor, Tensor]] = []
        self._check = FiniteCheck(model)

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        torch.manual_seed(number_seed(self.seed, self.trainer.global_step, DROPOUT))
        if self.pair_budget is None:
            predicted = self.model.on_batch(batch)  # [B, O]
        else:
            predicted = predict_in_parts(self.model, batch, self.pair_budget)
        model, mean, std = self.model, self.model.mean, self.model.std
        loss = property_loss(
            (predicted - mean) / std,
            (batch.y - model.of_tasks(mean)) / model.of_tasks(std),
            self.losses,
            batch.get("bound"),
            model.num_outputs,
            self.class_weights,
        )
        self._check(loss, batch, self.optimizers().param_groups[0]["lr"])
        self.log("train_loss_step", loss, prog_bar=True, batch_size=batch.num_graphs)
        self.log(
            "train_loss_epoch", loss, on_step=False, on_epoch=True, logger=False,
            batch_size=batch.num_graphs,
        )  # fmt: skip
        return loss

    def on_train_epoch_end(self) -> None:
        self._check.finish()

    def validation_step(self, batch: Batch, batch_idx: int) -> None:
        predicted = self.model.predict_batch(batch)
        self._outputs.append((batch.y, predicted))

    def on_validation_epoch_end(self) -> None:
        y, predicted = (
            torch.cat(column).float().cpu().numpy() for column in zip(*self._outputs, strict=True)
        )
        self._outputs.clear()
        model, types = self.model, self.model.task_types
        numbers = model.num_outputs
        self.scores = evaluate(y, predicted, types, model.of_tasks(model.std), numbers)
        if len(types) > 1:
            own = evaluate_tasks(y, predicted, types, model.task_names, numbers)
            for task, scores in own.items():
                self.scores |= {f"{task}_{name}": value for name, value in scores.items()}
        metric = choosing_metric(types, len(types))
        self.log(f"val_{metric}", self.scores[metric], prog_bar=True, logger=False)

    def configure_optimizers(self):
        total = int(self.trainer.estimated_stepping_batches)
        warmup = int(self.warmup * total)
        return configure_adam(
            self.model, self.lr, self.weight_decay, total, warmup, self.layer_decay
        )
