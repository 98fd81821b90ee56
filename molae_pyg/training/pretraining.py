"""Pre-training runs: a store of conformers in, weights out."""

from __future__ import annotations

import warnings
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import lightning as L
import torch
from lightning.pytorch.loggers import TensorBoardLogger
from torch_geometric.transforms import BaseTransform

from molae_pyg.fingerprint import of_weights
from molae_pyg.inference.precision import precision
from molae_pyg.models import MolAE
from molae_pyg.training.cloze import ClozeModule
from molae_pyg.training.course import CourseLogger
from molae_pyg.training.data import ClozeData
from molae_pyg.training.keeper import Keeper
from molae_pyg.training.progress import StepBar
from molae_pyg.training.run import DurableCheckpoints, RunFolder
from molae_pyg.training.settings import Pretraining
from molae_pyg.training.trainer import fit, make_trainer, processes

if TYPE_CHECKING:
    from molae_pyg.store import ConformerStore

__all__ = ["Pretraining", "pretrain"]


def pretrain(
    model: MolAE,
    train: ConformerStore,
    valid: ConformerStore,
    folder: str | Path,
    settings: Pretraining,
    transform: BaseTransform | None = None,
    seed: int = 0,
) -> dict[str, float]:
    """Pre-trains ``model`` in place and saves it to ``folder/model``.

    A run that was killed resumes at its last checkpoint when called again with the same
    arguments, and then does what the uninterrupted run would have done, update by update. A
    finished run that is called again returns its result at once. Under torchrun or SLURM every
    process calls it with the same arguments.

    Args:
        model: Fresh, or to be trained further.
        train: Molecules.
        valid: Held-out ones.
        folder: Gets ``model/``, ``metrics.csv`` (every loss term on both sets), ``logs/``
            (TensorBoard) and ``run.json`` (settings, checksums of the data, number of starts,
            result).
        settings: See :class:`Pretraining`.
        transform: Makes the cloze test, default :class:`~molae_pyg.ClozeDrop` as published.
        seed: Of order, conformers, dropped atoms, noise and dropout.

    Returns:
        The last validation's metrics.

    Raises:
        ValueError: There is no molecule, or the folder holds another run or something else.
        BlockingIOError: Another process trains in the folder.
        NonFiniteLossError: The loss became NaN or infinite.
    """
    _check(train, valid, settings)
    weights = of_weights(model)
    data = ClozeData(train, valid, settings.pair_budget, transform, seed, settings.workers)
    places = processes()
    module = ClozeModule(
        model, settings.lr, settings.weight_decay, settings.warmup_steps, settings.steps, seed
    )
    launcher = make_trainer([], logger=False, enable_checkpointing=False, **places)
    identity = {
        "kind": "pre-training",
        "settings": {**asdict(settings), "precision": _precision(settings)},
        "seed": seed,
        "model": {"class": type(model).__name__, "config": model.config, "weights": weights},
        "transform": repr(data.transform),
        "train": train.digest(),
        "valid": valid.digest(),
        "processes": launcher.world_size,
    }
    with RunFolder(folder, identity, owner=launcher.is_global_zero) as run:
        if run.result is not None:
            result = run.restore(model)
        else:
            scores = _train(module, data, run, settings)
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


def _train(
    module: ClozeModule, data: ClozeData, run: RunFolder, settings: Pretraining
) -> dict[str, float]:
    """Trains until the last step, from the checkpoint if there is one; returns the last scores."""
    model, state = module.model, run.state()
    if state is not None and state["done"]:
        module.load_state_dict(state["state_dict"])
        return state["scores"]
    if settings.workers:
        data.train.verify()  # once here, instead of in each of them
    for part in (model.encoder, model.decoder):
        part.transformer.recompute = settings.recompute
    model.train()  # Lightning leaves the mode of a model from from_pretrained as it is
    keeper = Keeper(run)
    trainer = _trainer(keeper, run, settings)
    with torch.random.fork_rng(devices=[]):  # steps seed it
        path = None if state is None else run.state_file
        fit(trainer, module, data, ckpt_path=path, weights_only=True)
    return keeper.scores or (state or {}).get("scores", {})


def _trainer(keeper: Keeper, run: RunFolder, settings: Pretraining) -> L.Trainer:
    every = min(settings.validate_every, settings.steps)
    options: dict[str, Any] = processes()
    return make_trainer(
        [StepBar("pre-training", ("molecules_per_second", "train_total")), keeper],
        logger=[
            CourseLogger(run.course),
            TensorBoardLogger(run.folder, "logs"),  # each start logs to a version_<k> of its own
        ],
        max_steps=settings.steps,
        accumulate_grad_batches=settings.accumulate,
        val_check_interval=every * settings.accumulate,
        check_val_every_n_epoch=None,
        log_every_n_steps=min(10, every),
        use_distributed_sampler=False,  # CostSampler shares the batches out
        precision=_precision(settings),
        plugins=[DurableCheckpoints(run)],
        **options,
    )


def _precision(settings: Pretraining) -> str:
    """Lightning's name of the precision that is computed in."""
    return settings.precision if settings.precision == "64-true" else precision(settings.precision)
