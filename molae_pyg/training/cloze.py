"""Pre-training with the 3D Cloze Test."""

import time

import lightning as L
import torch
from torch import Tensor
from torch_geometric.data import Batch

from molae_pyg.chem.elements import token_table
from molae_pyg.loss import cloze_loss, distance_pairs
from molae_pyg.models import MolAE
from molae_pyg.nn.heads import DistanceHead
from molae_pyg.training.finite import FiniteCheck
from molae_pyg.training.schedule import configure_adam
from molae_pyg.training.seeds import DROPOUT, number_seed


class ClozeModule(L.LightningModule):
    """Lightning's view of :class:`~molae_pyg.MolAE` in pre-training.

    Batches carry their cloze test and their number (:class:`~molae_pyg.training.ClozeData`).
    Dropout is seeded by that number, so that a run that resumes, or one spread over several
    processes, draws what an uninterrupted single process draws.

    Args:
        model: The bare model.
        lr: Peak learning rate, default 1e-4.
        weight_decay: Default 1e-4.
        warmup_steps: Default 10,000.
        total_steps: Default 1,000,000.
        seed: Of dropout.
    """

    def __init__(
        self,
        model: MolAE,
        lr: float = 1e-4,
        weight_decay: float = 1e-4,
        warmup_steps: int = 10_000,
        total_steps: int = 1_000_000,
        seed: int = 0,
    ):
        super().__init__()
        self.model = model
        self.lr = lr
        self.weight_decay = weight_decay
        self.warmup_steps = warmup_steps
        self.total_steps = total_steps
        self.seed = seed
        # Molecules seen by all processes and seconds spent on them; checkpoints keep both.
        self.register_buffer("molecules", torch.zeros((), dtype=torch.long))
        self.register_buffer("seconds", torch.zeros((), dtype=torch.double))
        self._last_batch: float | None = None
        self._check = FiniteCheck(model)

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
        return terms, metrics if len(token) else {}

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        torch.manual_seed(number_seed(self.seed, batch.number, DROPOUT))
        terms, metrics = self(batch)
        lr = self.optimizers().param_groups[0]["lr"]
        self._check(terms["total"], batch, lr, terms)
        self._log("train", terms | metrics, batch.num_graphs)
        self.log("lr", lr)
        self._log_progress(batch.num_graphs)
        return terms["total"]

    def validation_step(self, batch: Batch, batch_idx: int) -> None:
        terms, metrics = self(batch)
        self._log("val", terms | metrics, batch.num_graphs)

    def _log(self, split: str, values: dict[str, Tensor], batch_size: int) -> None:
        # In training the first process speaks for all: it saves a message per value and update.
        values = {f"{split}_{name}": value.detach() for name, value in values.items()}
        self.log_dict(values, batch_size=batch_size, sync_dist=split == "val")

    def _log_progress(self, num_graphs: int) -> None:
        """What has been done so far, and the rate since the last batch."""
        count = self.molecules.new_tensor(num_graphs)
        count = self.trainer.strategy.reduce(count, reduce_op="sum")
        self.molecules += count
        now = time.perf_counter()
        if self._last_batch is not None:
            self.seconds += now - self._last_batch
            self.log("molecules_per_second", count / (now - self._last_batch))
        self._last_batch = now
        self.log("molecules", self.molecules.float())
        self.log("seconds", self.seconds.float())

    def on_validation_start(self) -> None:
        self._check.finish()  # before a checkpoint is saved

    def on_validation_end(self) -> None:
        self._last_batch = None  # the time of a validation is none of training's

    def on_train_end(self) -> None:
        self._check.finish()

    def configure_gradient_clipping(self, optimizer, gradient_clip_val=None, **_) -> None:
        """Clips as Lightning does, and logs the norm there was."""
        norm = torch.nn.utils.clip_grad_norm_(self.model.parameters(), gradient_clip_val)
        self.log("train_grad_norm", norm)

    def configure_optimizers(self):
        return configure_adam(
            self.model, self.lr, self.weight_decay, self.total_steps, self.warmup_steps
        )
