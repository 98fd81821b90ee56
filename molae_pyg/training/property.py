"""Fine-tuning on molecular properties."""

from collections.abc import Sequence

import lightning as L
import numpy as np
import torch
from torch import Tensor
from torch_geometric.data import Batch
from torch_geometric.utils import degree

from molae_pyg.loss import PROPERTY_LOSSES, PropertyLoss, property_loss
from molae_pyg.metrics import TaskType, common_type, evaluate
from molae_pyg.models import MolAEPredictor, PropertyModel
from molae_pyg.training.finite import check_finite
from molae_pyg.training.sampler import plan_batches
from molae_pyg.training.schedule import configure_adam


def predict_in_parts(model: MolAEPredictor, batch: Batch, pair_budget: int) -> Tensor:
    """The predictions ``[B, T]`` of a batch, computed for molecules of similar size together.

    Without dropout the result is that of one pass over the whole batch; with one large molecule
    among small ones it takes a fraction of the time and memory.

    Args:
        model: The model.
        batch: Molecules with ``pos``.
        pair_budget: Pair cells of a part, see :func:`~molae_pyg.training.plan_batches`.
    """
    num_atoms = degree(batch.batch, batch.num_graphs, dtype=torch.long)  # [B]
    parts = [np.sort(part) for part in plan_batches(num_atoms.cpu().numpy(), pair_budget)]
    predicted = []
    for part in parts:
        place = torch.full_like(num_atoms, -1)  # [B]
        place[torch.from_numpy(part).to(place.device)] = torch.arange(len(part)).to(place.device)
        molecule = place[batch.batch]  # [N]
        inside = molecule >= 0
        predicted.append(model(batch.z[inside], batch.pos[inside], molecule[inside]))
    return torch.cat(predicted)[np.argsort(np.concatenate(parts))]


def task_losses(
    task_types: Sequence[TaskType], loss: PropertyLoss | None = None
) -> list[PropertyLoss]:
    """The loss of each task: bce of classes, ``loss`` (default mse) of values.

    Raises:
        ValueError: ``loss`` is unknown, or fits none of the tasks, or is bce for values.
    """
    if loss is not None and loss not in PROPERTY_LOSSES:
        raise ValueError(f"loss must be one of {', '.join(PROPERTY_LOSSES)}, not {loss!r}")
    kind = common_type(task_types)
    if loss is not None and (loss == "bce") != (kind == "classification"):
        raise ValueError(
            f"loss {loss!r} does not fit a {kind} model: it is that of its regression tasks, "
            "and classes always have 'bce'"
        )
    return ["bce" if found == "classification" else loss or "mse" for found in task_types]


class PropertyModule(L.LightningModule):
    """Lightning's view of a :class:`~molae_pyg.MolAEPredictor` or another property model.

    Training batches have ``pos`` (one conformer of each molecule), evaluation batches
    ``conformers [N, K, 3]``, over which predictions are averaged; or both have what else the model
    takes. ``y [B, T]`` is in real units, NaN = missing.

    Args:
        model: The bare model; its scaling buffers are set already.
        lr: Peak learning rate, default 1e-4.
        warmup: Share of all steps spent warming up, default 0.06.
        weight_decay: Default 0, as published for fine-tuning.
        loss: Of regression tasks: ``"mse"`` (default), ``"mae"`` or ``"smooth_l1"`` on
            standardised targets. That of classes is always ``"bce"``.
        pair_budget: Training batches of more pair cells go through the model in parts of
            similar size; default: none do.
    """

    def __init__(
        self,
        model: PropertyModel,
        lr: float = 1e-4,
        warmup: float = 0.06,
        weight_decay: float = 0.0,
        loss: PropertyLoss | None = None,
        pair_budget: int | None = None,
    ):
        super().__init__()
        self.model = model
        self.lr = lr
        self.warmup = warmup
        self.weight_decay = weight_decay
        self.pair_budget = pair_budget
        self.losses = task_losses(model.task_types, loss)
        self.outputs: list[tuple[Tensor, Tensor]] = []

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        if self.pair_budget is None:
            predicted = self.model.on_batch(batch)  # [B, T]
        else:
            predicted = predict_in_parts(self.model, batch, self.pair_budget)
        mean, std = self.model.mean, self.model.std
        loss = property_loss((predicted - mean) / std, (batch.y - mean) / std, self.losses)
        check_finite(loss, self.model, batch, self.optimizers().param_groups[0]["lr"])
        self.log("train_loss", loss, prog_bar=True, on_epoch=True, batch_size=batch.num_graphs)
        return loss

    def validation_step(self, batch: Batch, batch_idx: int) -> None:
        predicted = self.model.predict_batch(batch)
        self.outputs.append((batch.y.cpu(), predicted.cpu()))

    def on_validation_epoch_end(self) -> None:
        y, predicted = (torch.cat(column).numpy() for column in zip(*self.outputs, strict=True))
        self.outputs.clear()
        scores = evaluate(y, predicted, self.model.task_types, self.model.std)
        for name, value in scores.items():
            self.log(f"val_{name}", value, prog_bar=True)

    def configure_optimizers(self):
        total = int(self.trainer.estimated_stepping_batches)
        warmup = int(self.warmup * total)
        return configure_adam(self.model, self.lr, self.weight_decay, total, warmup)
