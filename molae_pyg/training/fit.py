"""Fine-tuning and pre-training runs: Lightning trainers around the modules."""

import hashlib
import json
import logging
import shutil
import warnings
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import lightning as L
import numpy as np
import torch
from lightning.pytorch.callbacks import EarlyStopping, ModelCheckpoint
from lightning.pytorch.loggers import CSVLogger
from torch import nn
from torch_geometric.data import Data, Dataset
from torch_geometric.loader import DataLoader
from tqdm.auto import tqdm

from molae_pyg.loss import PropertyLoss
from molae_pyg.models import MolAEPredictor
from molae_pyg.training.cloze import ClozeModule
from molae_pyg.training.progress import StepBar
from molae_pyg.training.property import SELECTION, PropertyModule
from molae_pyg.transforms import SampleConformer

Molecules = Dataset | Sequence[Data]


@dataclass(frozen=True)
class Finetuning:
    """Settings of a fine-tuning run; the names are the keys of the YAML files.

    Args:
        epochs: At most so many.
        batch_size: Molecules.
        lr: Peak learning rate.
        warmup: Share of all steps spent warming up.
        loss: ``"mse"``, ``"mae"``, ``"smooth_l1"`` or ``"bce"``; default by the task type.
        weight_decay: Default 0, as published.
        patience: Epochs without a better validation metric before stopping, default 20.
    """

    epochs: int = 40
    batch_size: int = 32
    lr: float = 1e-4
    warmup: float = 0.06
    loss: PropertyLoss | None = None
    weight_decay: float = 0.0
    patience: int = 20


@dataclass(frozen=True)
class Pretraining:
    """Settings of a pre-training run; the names are the keys of the YAML files.

    Args:
        steps: Updates; the learning rate ends at zero there.
        batch_size: Molecules.
        lr: Peak learning rate.
        warmup_steps: Updates of warm-up.
        weight_decay: Of matrices.
        validate_every: Updates between validations, each of which saves a checkpoint.
    """

    steps: int = 1_000_000
    batch_size: int = 128
    lr: float = 1e-4
    warmup_steps: int = 10_000
    weight_decay: float = 1e-4
    validate_every: int = 10_000


class _DrawConformer(torch.utils.data.Dataset):
    """Molecules, one of their conformers drawn at each access."""

    def __init__(self, molecules: Molecules):
        self.molecules = molecules
        self.draw = SampleConformer()

    def __len__(self) -> int:
        return len(self.molecules)

    def __getitem__(self, index: int) -> Data:
        data = self.draw(self.molecules[index])
        if "conformers" in data:
            del data.conformers  # a training batch needs one
        return data


def finetune(
    model: MolAEPredictor,
    train: Molecules,
    valid: Molecules,
    folder: str | Path,
    settings: Finetuning,
    seed: int = 0,
) -> dict[str, float]:
    """Fine-tunes ``model`` in place and leaves it at its best epoch on ``valid``.

    Adam and polynomial decay as published, gradients clipped at norm 1, a random conformer of
    each molecule an epoch; validation averages over all conformers and chooses the epoch by RMSE
    or ROC-AUC. Target scaling is taken from ``train``. A run that was killed goes on at its last
    finished epoch when called again with the same arguments.

    Args:
        model: Fresh, with a pre-trained or random encoder.
        train: Molecules with ``conformers`` and ``y [1, T]``, NaN = missing.
        valid: The same.
        folder: Gets ``model/`` (the best weights) and ``metrics.csv`` (the course of the run).
        settings: See :class:`Finetuning`.
        seed: Of order, conformer choice and dropout.

    Returns:
        The best epoch's validation metrics, and ``epoch``.

    Raises:
        ValueError: Labels from which nothing can be learned or chosen.
        NonFiniteLossError: The loss became NaN or infinite.
    """
    folder = Path(folder)
    if model.task_type == "regression":
        model.set_scaling(torch.cat([data.y for data in train]))
    _check_valid(torch.cat([data.y for data in valid]), model)
    L.seed_everything(seed, verbose=False)
    module = PropertyModule(
        model, settings.lr, settings.warmup, settings.weight_decay, settings.loss
    )
    metric, mode = SELECTION[model.task_type]
    best = ModelCheckpoint(folder / "checkpoints", "best", monitor=f"val_{metric}", mode=mode)
    last = ModelCheckpoint(folder / "checkpoints", "last", enable_version_counter=False)
    resume = _resumable(folder, _identity(model, settings, seed, train, valid))
    run = _trainer(
        folder,
        [
            EarlyStopping(f"val_{metric}", patience=settings.patience, mode=mode),
            StepBar("fine-tuning", ("train_loss_epoch", f"val_{metric}")),
            best,
            last,
        ],
        max_epochs=settings.epochs,
    )
    run.fit(
        module,
        DataLoader(_DrawConformer(train), settings.batch_size, shuffle=True),
        DataLoader(valid, 2 * settings.batch_size),
        ckpt_path=resume,
        weights_only=True,
    )
    state = torch.load(best.best_model_path, weights_only=True)
    module.load_state_dict(state["state_dict"])
    model.eval()
    model.save_pretrained(folder / "model")
    shutil.rmtree(folder / "checkpoints")
    return {"epoch": state["epoch"], f"val_{metric}": float(best.best_model_score)}


def pretrain(
    module: ClozeModule,
    train: Molecules,
    valid: Molecules,
    folder: str | Path,
    settings: Pretraining,
    seed: int = 0,
) -> dict[str, float]:
    """Pre-trains the module's model in place and saves it to ``folder/model``.

    A run that was killed goes on at its last checkpoint when called again with the same
    arguments.

    Args:
        module: See :class:`ClozeModule`; its step counts should be those of ``settings``.
        train: Molecules with ``conformers`` or ``pos``.
        valid: Held-out ones.
        folder: Gets ``model/`` and ``metrics.csv``, every loss term on both sets.
        settings: See :class:`Pretraining`.
        seed: Of order, conformer choice, dropping and dropout.

    Returns:
        The last validation's metrics.
    """
    folder = Path(folder)
    L.seed_everything(seed, verbose=False)
    every = min(settings.validate_every, settings.steps)
    checkpoint = ModelCheckpoint(
        folder / "checkpoints", "last", every_n_train_steps=every, enable_version_counter=False
    )
    resume = _resumable(folder, _identity(module.model, settings, seed, train, valid))
    run = _trainer(
        folder,
        [checkpoint, StepBar("pre-training", ("train_total", "train_token_accuracy"))],
        max_steps=settings.steps,
        val_check_interval=every,
        check_val_every_n_epoch=None,
    )
    drop_last = len(train) >= settings.batch_size
    run.fit(
        module,
        DataLoader(_DrawConformer(train), settings.batch_size, shuffle=True, drop_last=drop_last),
        DataLoader(valid, settings.batch_size),
        ckpt_path=resume,
        weights_only=True,
    )
    module.model.eval()
    module.model.save_pretrained(folder / "model")
    shutil.rmtree(folder / "checkpoints")
    return {k: float(v) for k, v in run.callback_metrics.items() if k.startswith("val_")}


@torch.no_grad()
def predict(model: MolAEPredictor, molecules: Molecules, batch_size: int = 64) -> np.ndarray:
    """Predictions averaged over conformers, ``[n, T]``: real units, or probabilities."""
    device = model.mean.device
    model.eval()
    loader = tqdm(DataLoader(molecules, batch_size), "predicting", leave=False, delay=2)
    batches = (batch.to(device) for batch in loader)
    return np.concatenate(
        [model.predict(b.z, b.conformers, b.batch).float().cpu().numpy() for b in batches]
    )


def _check_valid(y: torch.Tensor, model: MolAEPredictor) -> None:
    """A validation set on which the metric is undefined cannot choose an epoch."""
    labelled = [column[~column.isnan()] for column in y.T]
    if model.task_type == "classification" and all(c.unique().numel() < 2 for c in labelled):
        raise ValueError(
            "no task has both classes in the validation set, so no epoch can be chosen by "
            "ROC-AUC: use another split or more molecules"
        )
    if all(c.numel() == 0 for c in labelled):
        raise ValueError("the validation set has no label")


def _identity(
    model: nn.Module,
    settings: Finetuning | Pretraining,
    seed: int,
    train: Molecules,
    valid: Molecules,
) -> dict[str, Any]:
    """What makes a run the same run; other weights to start from make it another."""
    digest = hashlib.sha256()
    for tensor in model.state_dict().values():
        digest.update(tensor.cpu().numpy().tobytes())
    return {
        "settings": asdict(settings),
        "seed": seed,
        "model": model.config,
        "weights": digest.hexdigest(),
        "train": len(train),
        "valid": len(valid),
    }


def _resumable(folder: Path, identity: dict[str, Any]) -> Path | None:
    """The last checkpoint of the same run in ``folder``; checkpoints of another are removed."""
    file, checkpoints = folder / "run.json", folder / "checkpoints"
    text = json.dumps(identity, indent=2) + "\n"
    if checkpoints.is_dir() and file.is_file() and file.read_text() == text:
        last = checkpoints / "last.ckpt"
        return last if last.is_file() else None
    shutil.rmtree(checkpoints, ignore_errors=True)
    folder.mkdir(parents=True, exist_ok=True)
    file.write_text(text)
    return None


def _trainer(folder: Path, callbacks: list[L.Callback], **limits: Any) -> L.Trainer:
    """A quiet trainer with what all runs share."""
    logging.getLogger("lightning.pytorch").setLevel(logging.WARNING)
    # Molecules are in memory: loading them in other processes only costs time.
    warnings.filterwarnings("ignore", ".*does not have many workers.*")
    warnings.filterwarnings("ignore", ".*exists and is not empty.*")
    warnings.filterwarnings("ignore", ".*smaller than the logging interval.*")
    warnings.filterwarnings("ignore", ".*`isinstance.treespec, LeafSpec.` is deprecated.*")
    return L.Trainer(
        devices=1,
        gradient_clip_val=1.0,
        logger=CSVLogger(folder, name=None, version=""),
        callbacks=callbacks,
        enable_progress_bar=False,
        enable_model_summary=False,
        num_sanity_val_steps=0,
        log_every_n_steps=10,
        **limits,
    )
