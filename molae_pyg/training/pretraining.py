"""Pre-training runs: a store of conformers and an objective in, weights out."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import lightning as L
import torch
from lightning.pytorch.callbacks import Checkpoint
from lightning.pytorch.loggers import TensorBoardLogger
from torch import nn
from torch_geometric.transforms import BaseTransform

from molae_pyg.fingerprint import of_weights
from molae_pyg.inference.precision import precision
from molae_pyg.training.course import CourseLogger
from molae_pyg.training.data import PretrainingData
from molae_pyg.training.objectives import Objective, PretrainingModule, objective_identity
from molae_pyg.training.run import DurableCheckpoints, RunFolder
from molae_pyg.training.settings import Pretraining
from molae_pyg.training.trainer import ProgressBar, fit, make_trainer, processes

if TYPE_CHECKING:
    from molae_pyg.store import ConformerStore


class _Checkpoints(Checkpoint):
    """Saves a checkpoint with the scores after each validation.

    Lightning calls a ``Checkpoint`` after all other callbacks, so that their state is complete.
    """

    def __init__(self, run: RunFolder):
        self.run = run
        self.scores: dict[str, float] = {}  # of the last validation

    def on_validation_end(self, trainer: L.Trainer, module: L.LightningModule) -> None:
        values = trainer.callback_metrics.items()
        self.scores = {name: float(value) for name, value in values if name.startswith("val_")}
        trainer.save_checkpoint(self.run.state_file)

    def on_save_checkpoint(
        self, trainer: L.Trainer, module: L.LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        checkpoint["scores"] = self.scores
        checkpoint["done"] = trainer.global_step >= trainer.max_steps


def pretrain(
    model: nn.Module,
    objective: Objective,
    train: ConformerStore,
    valid: ConformerStore,
    folder: str | Path,
    settings: Pretraining,
    transform: BaseTransform | None = None,
    seed: int = 0,
) -> dict[str, float]:
    """Pre-trains ``model`` in place and saves it to ``folder/model``.

    A killed run resumes at its last checkpoint when it is called again with the same arguments,
    and then does what the uninterrupted run would have done, update by update. A finished run that
    is called again returns its result at once. Under torchrun or SLURM every process calls this
    function with the same arguments.

    Args:
        model: A fresh model, or one to be trained further. It is saved by its ``save_pretrained``,
            or as ``model.safetensors`` if it has none.
        objective: A function ``(model, batch) -> dict`` of scalar tensors. ``loss`` is minimised;
            all are logged as ``train_<name>`` and ``val_<name>``, ``loss`` as ``total``. Values in
            ``val_`` are means over molecules, of which ``molecules`` says how many count in a batch
            (default: all). Settings are keyword arguments that
            :func:`functools.partial` sets. The cloze test is
            :func:`~molae_pyg.training.cloze_objective`.
        train: Molecules to train on.
        valid: Held-out molecules.
        folder: Gets ``model/``, ``metrics.csv`` (every term on both sets), ``logs/``
            (TensorBoard) and ``run.json`` (settings, checksums of the data, number of starts,
            result).
        settings: See :class:`Pretraining`.
        transform: Makes the input of the objective from a batch with ``z, pos, batch``; default:
            :class:`~molae_pyg.ClozeDrop` as published. A method ``prepare(model, train, valid)``
            of it is called first.
        seed: Seed of the order, conformers, dropped atoms, noise and dropout.

    Returns:
        The metrics of the last validation.

    Raises:
        ValueError: There is no molecule, the objective has no identity or returns no loss, or the
            folder holds another run (of another objective, too) or something else.
        BlockingIOError: Another process trains in the folder.
        NonFiniteLossError: The loss became NaN or infinite.
    """
    _check(train, valid, settings)
    of_objective = objective_identity(objective)
    _set_recompute(model, settings.recompute)
    if hasattr(transform, "prepare"):
        transform.prepare(model, train, valid)
    weights = of_weights(model)
    data = PretrainingData(train, valid, settings.pair_budget, transform, seed, settings.workers)
    launcher = make_trainer([], logger=False, enable_checkpointing=False, **processes())
    config = getattr(model, "config", None)
    identity = {
        "kind": "pre-training",
        "objective": of_objective,
        "settings": {**asdict(settings), "precision": _precision(settings)},
        "seed": seed,
        "model": {
            "class": type(model).__name__,
            "config": config if isinstance(config, Mapping) else repr(model),
            "weights": weights,
        },
        "transform": repr(data.transform),
        "train": train.digest(),
        "valid": valid.digest(),
        "processes": launcher.world_size,
    }
    with RunFolder(folder, identity, owner=launcher.is_global_zero) as run:
        if run.result is not None:
            result = run.restore(model)
        else:
            scores = _train(PretrainingModule(model, objective, settings, seed), data, run)
            model.eval()
            result = run.finish(scores, model) if launcher.is_global_zero else scores
    model.eval()
    return result


def _check(train: ConformerStore, valid: ConformerStore, settings: Pretraining) -> None:
    for name, store in {"train": train, "valid": valid}.items():
        if len(store) == 0:
            raise ValueError(f"{name} has no molecule")
    if settings.warmup_steps > settings.steps:
        warnings.warn(
            f"warmup_steps {settings.warmup_steps} exceeds steps {settings.steps}: the learning "
            "rate never reaches its peak",
            stacklevel=3,
        )


def _set_recompute(model: nn.Module, recompute: bool) -> None:
    """Sets ``recompute`` of all layers that have it."""
    layers = [layer for layer in model.modules() if hasattr(layer, "recompute")]
    if recompute and not layers:
        raise ValueError(
            f"recompute is true, but no layer of {type(model).__name__} has the attribute "
            "'recompute': leave the setting out"
        )
    for layer in layers:
        layer.recompute = recompute


def _train(module: PretrainingModule, data: PretrainingData, run: RunFolder) -> dict[str, float]:
    """Trains to the last update, from the checkpoint if there is one; returns the last scores."""
    settings, state = module.settings, run.state()
    if state is not None and state["done"]:
        module.load_state_dict(state["state_dict"])
        return state["scores"]
    if settings.workers:
        data.train.verify()  # once here, instead of in each worker
    module.model.train()  # Lightning does not change the mode of a model from from_pretrained
    checkpoints = _Checkpoints(run)
    every = min(settings.validate_every, settings.steps)
    trainer = make_trainer(
        [ProgressBar("pre-training", ("molecules_per_second", "train_total")), checkpoints],
        logger=[
            CourseLogger(run.course),
            TensorBoardLogger(run.folder, "logs"),  # each start logs to its own version_<k>
        ],
        max_steps=settings.steps,
        accumulate_grad_batches=settings.accumulate,
        val_check_interval=every * settings.accumulate,
        check_val_every_n_epoch=None,
        log_every_n_steps=min(10, every),
        use_distributed_sampler=False,  # CostSampler distributes the batches
        precision=_precision(settings),
        plugins=[DurableCheckpoints(run)],
        **processes(),
    )
    with torch.random.fork_rng(devices=[]):  # each step seeds the generator
        path = None if state is None else run.state_file
        fit(trainer, module, data, ckpt_path=path, weights_only=True)
    return checkpoints.scores or (state or {}).get("scores", {})


def _precision(settings: Pretraining) -> str:
    """Lightning's name of the precision to compute in."""
    return settings.precision if settings.precision == "64-true" else precision(settings.precision)
