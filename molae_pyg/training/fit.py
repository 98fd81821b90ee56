"""Fine-tuning runs."""

import warnings
from dataclasses import asdict
from pathlib import Path
from typing import Any

import lightning as L
import numpy as np
import torch
from lightning.pytorch.callbacks import EMAWeightAveraging
from torch import Tensor
from torch_geometric.data import Batch
from torch_geometric.loader import DataLoader

from molae_pyg.fingerprint import digest, of_weights
from molae_pyg.inference.precision import precision
from molae_pyg.inference.predict import predict
from molae_pyg.metrics import choosing_metric, evaluate
from molae_pyg.models import PropertyModel
from molae_pyg.training.course import CourseLogger
from molae_pyg.training.items import HeldOutItems, TrainingItems
from molae_pyg.training.keeper import BestKeeper, Progress, best_of
from molae_pyg.training.molecules import Molecules, Seen, look
from molae_pyg.training.property import PropertyModule, plan_parts
from molae_pyg.training.run import DurableCheckpoints, RunFolder
from molae_pyg.training.sampler import PooledBatches
from molae_pyg.training.settings import Finetuning
from molae_pyg.training.trainer import ProgressBar, fit, make_trainer

__all__ = ["Finetuning", "finetune", "predict"]


class PropertyData(L.LightningDataModule):
    """The batches of a fine-tuning run: those of an epoch depend on it and the seed alone.

    Args:
        train, valid: Molecules.
        seen: What is known of both.
        model: Which coordinates it takes.
        settings: Of the batches.
        seed: Of order and conformers.
    """

    def __init__(
        self,
        train: Molecules,
        valid: Molecules,
        seen: tuple[Seen, Seen],
        model: PropertyModel,
        settings: Finetuning,
        seed: int,
    ):
        super().__init__()
        self.train, self.valid, self.seen = train, valid, seen
        self.model, self.settings, self.seed = model, settings, seed

    def train_dataloader(self) -> DataLoader:
        """The batches of the trainer's epoch."""
        seen, epoch = self.seen[0], self.trainer.current_epoch
        batches = PooledBatches(
            seen.num_atoms, self.settings.batch_size, self.settings.pool, self.seed, epoch
        )
        items = TrainingItems(self.train, seen.y, self.model, self.seed, epoch)
        return DataLoader(items, batch_sampler=batches, generator=torch.Generator())

    def val_dataloader(self) -> DataLoader:
        """All molecules to validate on, from small to large."""
        seen, settings = self.seen[1], self.settings
        order = np.argsort(seen.num_atoms, kind="stable")
        items = HeldOutItems(self.valid, order, self.model, seen.y, settings.valid_conformers)
        return DataLoader(items, 2 * settings.batch_size, generator=torch.Generator())

    def on_before_batch_transfer(self, batch: Batch, dataloader_idx: int) -> Batch:
        """Plans the parts of a training batch here, on the CPU, where no GPU is waited for."""
        if self.settings.pair_budget is not None and self.trainer.training:
            batch.parts = plan_parts(batch, self.settings.pair_budget)
        return batch


def finetune(
    model: PropertyModel,
    train: Molecules,
    valid: Molecules,
    folder: str | Path,
    settings: Finetuning,
    seed: int = 0,
    scale: Tensor | None = None,
    recipe: dict[str, Any] | None = None,
) -> dict[str, float]:
    """Fine-tunes ``model`` in place and leaves it at its best epoch on ``valid``.

    Adam and polynomial decay as published, gradients clipped at norm 1, a random conformer of
    each molecule an epoch; validation averages over conformers and chooses the epoch by RMSE or
    ROC-AUC, or by the metric of ``settings``.

    A run that was killed resumes when it is called again with the same arguments, and gives what
    an uninterrupted run gives, on a CPU to the last bit. A finished run that is called again
    returns its result at once.

    Args:
        model: Fresh, with a pre-trained or random encoder.
        train: Molecules with ``conformers [n, K, 3]`` or ``pos [n, 3]``, and ``y [1, T]`` (or
            ``[T]``), NaN = missing.
        valid: The same.
        folder: Gets ``model/`` (the best weights), ``metrics.csv`` (the course of the run) and
            ``run.json`` (settings, checksums of the data, number of starts, result).
        settings: See :class:`Finetuning`.
        seed: Of order, conformer choice and dropout.
        scale: Targets ``[m, T]`` whose mean and standard deviation standardise all others; default:
            those of ``train``. As published: those of the whole data set, its test part included.
        recipe: How the molecules were made, which the saved model keeps; default: that of
            ``train``, if it is a data set that has one.

    Returns:
        The best epoch's validation metric, ``epoch``, and ``seconds`` of training, those before a
        kill included. If there are several tasks, every score of each as well, named
        ``val_<task>_<metric>``.

    Raises:
        ValueError: Molecules, labels or settings that cannot be used, or labels from which nothing
            can be learned or chosen, all before the work starts; or a folder that holds another
            run or something else.
        BlockingIOError: Another process trains in the folder.
        NonFiniteLossError: The loss became NaN or infinite.
    """
    metric = choosing_metric(model.task_types, len(model.task_types), settings.metric)
    module = PropertyModule(
        model, settings.lr, settings.warmup, settings.weight_decay,
        settings.loss, settings.pair_budget, seed,
    )  # fmt: skip
    seen = (
        look(train, "train", model),
        look(valid, "valid", model, held_out=True, conformers=settings.valid_conformers),
    )
    weights = of_weights(model)
    _set_scale(model, seen[0].y if scale is None else scale)
    _check_choice(seen[1].y, model, metric)
    if recipe is None:
        recipe = getattr(train, "recipe", None)
    identity = {
        "kind": "fine-tuning",
        "settings": {**asdict(settings), "precision": precision(settings.precision)},
        "seed": seed,
        "model": {"class": type(model).__name__, "config": model.config, "weights": weights},
        "train": seen[0].fingerprint,
        "valid": seen[1].fingerprint,
        "scale": None if scale is None else digest(torch.as_tensor(scale)),
        "recipe": recipe,
    }
    with RunFolder(folder, identity) as run:
        if run.result is not None:
            result = run.restore(model)
        else:
            data = PropertyData(train, valid, seen, model, settings, seed)
            progress = _train(module, data, run, metric)
            model.load_state_dict(best_of(progress))
            model.recipe = recipe or model.recipe
            result = run.finish(_result(progress, metric, model), model)
    if recipe is not None:
        model.recipe = recipe
    model.eval()
    return result


def _train(module: PropertyModule, data: PropertyData, run: RunFolder, metric: str) -> Progress:
    """Trains until the last epoch, from the checkpoint if there is one."""
    settings, state = data.settings, run.state()
    progress = Progress() if state is None else Progress(**state["progress"])
    if progress.done:
        return progress
    module.model.train()  # from_pretrained gives evaluation mode, and Lightning keeps modes
    keeper = BestKeeper(run, metric, settings.patience, progress)
    bar = ProgressBar("fine-tuning", ("train_loss_epoch", f"val_{metric}"))
    ema = [EMAWeightAveraging(decay=settings.ema_decay)] if settings.ema_decay else []
    trainer = make_trainer(
        [bar, *ema, keeper],
        devices=1,
        logger=CourseLogger(run.course),
        log_every_n_steps=10,
        max_epochs=settings.epochs,
        reload_dataloaders_every_n_epochs=1,  # their order is that of an epoch
        precision=precision(settings.precision),
        plugins=[DurableCheckpoints(run)],
    )
    with torch.random.fork_rng(devices=[]):  # steps seed it
        path = None if state is None else run.state_file
        fit(trainer, module, data, ckpt_path=path, weights_only=True)
    return progress


def _result(progress: Progress, metric: str, model: PropertyModel) -> dict[str, float]:
    result = {"epoch": progress.epoch, f"val_{metric}": progress.scores[metric]}
    if len(model.task_names) > 1:
        tasks = tuple(f"{task}_" for task in model.task_names)
        own = {name: value for name, value in progress.scores.items() if name.startswith(tasks)}
        result |= {f"val_{name}": value for name, value in own.items()}
    return result | {"seconds": progress.seconds}


def _set_scale(model: PropertyModel, y: Tensor) -> None:
    """Sets mean and standard deviation from labels ``[m, T]``."""
    y = torch.as_tensor(y)
    if y.dim() != 2 or y.size(1) != len(model.task_names) or y.isinf().any():
        raise ValueError(
            f"scale must be finite targets [m, {len(model.task_names)}] (NaN = missing), got shape "
            f"{list(y.shape)}"
        )
    if y.isnan().all():
        raise ValueError("the training set has no label")
    model.set_scaling(y)


def _check_choice(y: Tensor, model: PropertyModel, metric: str) -> None:
    """A validation set on which the metric is undefined cannot choose an epoch."""
    if y.isnan().all():
        raise ValueError("the validation set has no label")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of other scores
        chosen = evaluate(y, torch.zeros_like(y), model.task_types, model.std)[metric]
    if np.isnan(chosen):
        what = "both classes" if metric in ("roc_auc", "average_precision") else "different labels"
        raise ValueError(
            f"no task has {what} in the validation set, so no epoch can be chosen by {metric}: "
            "use another split or more molecules"
        )
