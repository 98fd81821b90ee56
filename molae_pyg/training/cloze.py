"""Pre-training with the 3D Cloze Test."""

import lightning as L
import torch
from torch import Tensor
from torch_geometric.data import Batch
from torch_geometric.transforms import BaseTransform, Compose

from molae_pyg.chem.elements import token_table
from molae_pyg.loss import cloze_loss, distance_pairs
from molae_pyg.models import MolAE
from molae_pyg.nn.heads import DistanceHead
from molae_pyg.training.finite import check_finite
from molae_pyg.training.schedule import configure_adam
from molae_pyg.transforms import ClozeDrop, SampleConformer


class ClozeModule(L.LightningModule):
    """Lightning's view of :class:`~molae_pyg.MolAE` in pre-training.

    Batches have ``z`` and ``conformers`` or ``pos``. Conformer and dropped atoms are drawn anew
    for each batch; in validation the same ones each time.

    Args:
        model: The bare model.
        transform: Makes the cloze test, default :class:`~molae_pyg.ClozeDrop` as published.
        lr: Peak learning rate, default 1e-4.
        weight_decay: Default 1e-4.
        warmup_steps: Default 10,000.
        total_steps: Default 1,000,000.
    """

    def __init__(
        self,
        model: MolAE,
        transform: BaseTransform | None = None,
        lr: float = 1e-4,
        weight_decay: float = 1e-4,
        warmup_steps: int = 10_000,
        total_steps: int = 1_000_000,
    ):
        super().__init__()
        self.model = model
        self.transform = Compose([SampleConformer(), transform or ClozeDrop()])
        self.lr = lr
        self.weight_decay = weight_decay
        self.warmup_steps = warmup_steps
        self.total_steps = total_steps

    def forward(self, batch: Batch) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        """The loss's terms, and the metrics a chemist reads, of a batch with a cloze test."""
        out = self.model(
            batch.z, batch.pos, batch.batch, batch.drop_mask, batch.pos_noisy, batch.get("z_noisy")
        )
        terms = cloze_loss(out, batch)
        with torch.no_grad():
            drop = batch.drop_mask
            token = token_table().to(drop.device)[batch.z[drop]]  # [M]
            predicted, true, valid = distance_pairs(out.distance, batch.pos, batch.batch, drop)
            error = (predicted - true)[valid].abs() * DistanceHead.STD
            moved = (out.pos - batch.pos)[drop]
            metrics = {
                "token_accuracy": (out.token_logits.argmax(1) == token).float().mean(),
                "distance_mae": error.mean(),  # Å
                "coordinate_rmsd": moved.pow(2).sum(1).mean().sqrt(),  # Å
            }
        return terms, metrics if drop.any() else {}

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        terms, metrics = self(self.transform(batch))
        lr = self.optimizers().param_groups[0]["lr"]
        check_finite(terms["total"], self.model, batch, lr, terms)
        self._log("train", terms | metrics, batch.num_graphs)
        self.log("lr", lr, batch_size=batch.num_graphs)
        return terms["total"]

    def validation_step(self, batch: Batch, batch_idx: int) -> None:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(batch_idx)
            batch = self.transform(batch.cpu()).to(self.device)
        terms, metrics = self(batch)
        self._log("val", terms | metrics, batch.num_graphs)

    def _log(self, split: str, values: dict[str, Tensor], batch_size: int) -> None:
        for name, value in values.items():
            shown = name in ("total", "token_accuracy")
            self.log(f"{split}_{name}", value.detach(), prog_bar=shown, batch_size=batch_size)

    def configure_optimizers(self):
        return configure_adam(
            self.model, self.lr, self.weight_decay, self.total_steps, self.warmup_steps
        )
