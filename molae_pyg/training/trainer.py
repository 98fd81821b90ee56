"""The Lightning trainer that all runs share, and the processes it uses."""

import logging
import os
import signal
import warnings
from typing import Any

import lightning as L
import torch

#: Torchrun and SLURM say how many processes there are; otherwise Lightning finds out.
_LAUNCHERS = (
    ("WORLD_SIZE", "LOCAL_WORLD_SIZE"),
    ("SLURM_NTASKS", "SLURM_NTASKS_PER_NODE"),
)


def processes() -> dict[str, Any]:
    """Lightning's ``devices``, ``num_nodes`` and ``strategy`` as the launcher has set them."""
    for all_tasks, tasks_of_node in _LAUNCHERS:
        if all_tasks in os.environ and tasks_of_node in os.environ:
            devices = int(os.environ[tasks_of_node])
            nodes = int(os.environ[all_tasks]) // devices
            strategy = "ddp" if devices * nodes > 1 else "auto"
            return {"devices": devices, "num_nodes": nodes, "strategy": strategy}
    many = torch.cuda.device_count() > 1
    return {"devices": "auto", "strategy": "ddp" if many else "auto"}


def make_trainer(callbacks: list[L.Callback], **settings: Any) -> L.Trainer:
    """A quiet trainer with what all runs share."""
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
    """Trains; Ctrl-C comes out as ``KeyboardInterrupt``, and Ctrl-C works afterwards.

    Lightning makes ``SystemExit`` of it and ignores every Ctrl-C from then on.
    """
    handler = signal.getsignal(signal.SIGINT)
    try:
        trainer.fit(module, datamodule=data, **options)
    except SystemExit as error:
        if not isinstance(error.__context__, KeyboardInterrupt):
            raise
        signal.signal(signal.SIGINT, handler)
        raise error.__context__ from None
