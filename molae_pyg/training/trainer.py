"""What all runs share: the Lightning trainer, its processes and bar, and the check of the loss."""

import logging
import os
import signal
import warnings
from collections import deque
from typing import Any, NamedTuple

import lightning as L
import torch
from torch import Tensor, nn
from torch_geometric.data import Data
from tqdm.auto import tqdm

#: Torchrun and SLURM set the number of processes; otherwise Lightning finds it.
_LAUNCHERS = (
    ("WORLD_SIZE", "LOCAL_WORLD_SIZE"),
    ("SLURM_NTASKS", "SLURM_NTASKS_PER_NODE"),
)


def processes() -> dict[str, Any]:
    """Returns Lightning's ``devices``, ``num_nodes`` and ``strategy`` as set by the launcher."""
    for in_all, in_node in _LAUNCHERS:
        if in_all in os.environ and in_node in os.environ:
            devices = int(os.environ[in_node])
            nodes = int(os.environ[in_all]) // devices
            strategy = "ddp" if devices * nodes > 1 else "auto"
            return {"devices": devices, "num_nodes": nodes, "strategy": strategy}
    many = torch.cuda.device_count() > 1
    return {"devices": "auto", "strategy": "ddp" if many else "auto"}


def make_trainer(callbacks: list[L.Callback], **settings: Any) -> L.Trainer:
    """Returns a quiet trainer with the settings that all runs share."""
    logging.getLogger("lightning.pytorch").setLevel(logging.WARNING)
    # Molecules are in memory: loading them in other processes only costs time.
    warnings.filterwarnings("ignore", ".*does not have many workers.*")
    warnings.filterwarnings("ignore", ".*exists and is not empty.*")
    warnings.filterwarnings("ignore", ".*smaller than the logging interval.*")
    warnings.filterwarnings("ignore", ".*`isinstance.treespec, LeafSpec.` is deprecated.*")
    return L.Trainer(
        gradient_clip_val=1.0,
        callbacks=callbacks,
        enable_progress_bar=False,
        enable_model_summary=False,
        num_sanity_val_steps=0,
        **settings,
    )


def fit(
    trainer: L.Trainer, module: L.LightningModule, data: L.LightningDataModule, **options: Any
) -> None:
    """Trains. Ctrl-C raises ``KeyboardInterrupt``, and Ctrl-C works afterwards.

    Lightning alone turns it into ``SystemExit`` and ignores every later Ctrl-C.
    """
    handler = signal.getsignal(signal.SIGINT)
    try:
        trainer.fit(module, datamodule=data, **options)
    except SystemExit as error:
        if not isinstance(error.__context__, KeyboardInterrupt):
            raise
        signal.signal(signal.SIGINT, handler)
        raise error.__context__ from None


class ProgressBar(L.Callback):
    """A bar over all updates with the rate, the time left and the latest metrics, on a terminal.

    Args:
        description: Text in front of the bar.
        metrics: Names of logged metrics to show.
    """

    def __init__(self, description: str, metrics: tuple[str, ...]):
        self.description, self.metrics = description, metrics
        self.bar: tqdm | None = None

    def on_train_start(self, trainer: L.Trainer, module: L.LightningModule) -> None:
        if trainer.is_global_zero:
            self.bar = tqdm(
                total=int(trainer.estimated_stepping_batches),
                initial=trainer.global_step,
                desc=self.description,
                unit="step",
                mininterval=0.5,
                disable=None,  # a log file is not a terminal
            )

    def on_train_batch_end(self, trainer: L.Trainer, *_) -> None:
        if self.bar is None:
            return
        known = trainer.callback_metrics
        values = {name: f"{known[name]:.3f}" for name in self.metrics if name in known}
        self.bar.set_postfix(epoch=trainer.current_epoch, **values, refresh=False)
        self.bar.update(trainer.global_step - self.bar.n)

    def on_exception(self, trainer: L.Trainer, module: L.LightningModule, error: Exception):
        self.teardown(trainer, module, "")

    def teardown(self, trainer: L.Trainer, module: L.LightningModule, stage: str) -> None:
        if self.bar is not None:
            self.bar.close()
            self.bar = None


class NonFiniteLossError(RuntimeError):
    """The loss became NaN or infinite. The message is a diagnosis."""


class _Pending(NamedTuple):
    """A batch whose loss is still on its way from the GPU."""

    is_finite: Tensor  # on the CPU, valid when the event has happened
    event: torch.cuda.Event
    loss: Tensor
    batch: Data
    lr: float
    terms: dict[str, Tensor]


class FiniteCheck:
    """Checks that the loss of every batch is finite, without making a GPU wait.

    On a GPU the loss is checked as soon as it arrives, two batches later at the latest.

    Args:
        model: Model whose weights are checked for the diagnosis.
    """

    LAG = 2  # largest number of batches whose loss is not checked yet

    def __init__(self, model: nn.Module):
        self.model = model
        self._pending: deque[_Pending] = deque()

    def __call__(
        self, loss: Tensor, batch: Data, lr: float, terms: dict[str, Tensor] | None = None
    ) -> None:
        """Checks the loss of a batch, or starts to.

        Args:
            loss: The scalar that is minimised.
            batch: The batch, whose inputs are checked and whose ``smiles`` are named.
            lr: Learning rate of this update, for the message.
            terms: Terms of the loss; those that are not finite are named.

        Raises:
            NonFiniteLossError: The loss of this batch or of an earlier one is not finite.
        """
        loss = loss.detach()
        terms = {name: term.detach() for name, term in (terms or {}).items()}
        if not loss.is_cuda:
            check_finite(loss, self.model, batch, lr, terms)
            return
        is_finite = torch.isfinite(loss).to("cpu", non_blocking=True)
        event = torch.cuda.Event()
        event.record()
        self._pending.append(_Pending(is_finite, event, loss, batch, lr, terms))
        while self._pending and (len(self._pending) > self.LAG or self._pending[0].event.query()):
            self._check_first()

    def finish(self) -> None:
        """Checks the losses that are still on their way."""
        while self._pending:
            self._check_first()

    def _check_first(self) -> None:
        first = self._pending.popleft()
        first.event.synchronize()
        if not first.is_finite:
            check_finite(first.loss, self.model, first.batch, first.lr, first.terms)


def check_finite(
    loss: Tensor, model: nn.Module, batch: Data, lr: float, terms: dict[str, Tensor]
) -> None:
    """Raises :class:`NonFiniteLossError` with a diagnosis unless ``loss`` is finite."""
    if torch.isfinite(loss):
        return
    findings = [f"the loss is {loss.item()} at learning rate {lr:.3g}"]
    if bad := [name for name, term in terms.items() if not torch.isfinite(term)]:
        findings.append(f"terms that are not finite: {', '.join(bad)}")
    for key in ("pos", "pos_noisy", "conformers"):
        value = batch.get(key)
        if value is not None and not torch.isfinite(value).all():
            atoms = (~torch.isfinite(value)).flatten(1).any(1).nonzero()[:, 0]
            where = batch.batch[atoms].unique().tolist() if batch.get("batch") is not None else [0]
            findings.append(f"{key} is not finite in molecule(s) {where} of the batch")
    weights = [name for name, p in model.named_parameters() if not torch.isfinite(p).all()]
    if weights:
        findings.append(f"{len(weights)} weights are not finite, the first: {weights[0]}")
        findings.append("an earlier update was too large: lower lr or warm up longer")
    elif not any(finding.endswith("of the batch") for finding in findings):
        findings.append("lower lr or warm up longer")
    if (smiles := batch.get("smiles")) is not None:
        shown = [smiles] if isinstance(smiles, str) else list(smiles)
        findings.append(f"molecules of the batch: {', '.join(shown[:5])}")
    raise NonFiniteLossError("; ".join(findings))
