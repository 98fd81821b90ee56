"""Pre-training runs: a store of conformers in, weights out."""

from __future__ import annotations

import shutil
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import lightning as L
from lightning.pytorch.callbacks import ModelCheckpoint
from lightning.pytorch.loggers import CSVLogger, TensorBoardLogger
from torch_geometric.transforms import BaseTransform

from molae_pyg.fingerprint import of_weights
from molae_pyg.models import MolAE
from molae_pyg.models.precision import precision
from molae_pyg.training.cloze import ClozeModule
from molae_pyg.training.course import read_metrics
from molae_pyg.training.data import ClozeData
from molae_pyg.training.progress import StepBar
from molae_pyg.training.run import make_trainer, processes, resumable

if TYPE_CHECKING:
    from molae_pyg.datasets import ConformerStore


@dataclass(frozen=True)
class Pretraining:
    """Settings of a pre-training run; the names are the keys of the YAML files.

    Args:
        steps: Updates; the learning rate ends at zero there.
        pair_budget: Pair cells of a batch, :math:`B L^2`; the default is about 128 molecules of
            ZINC's size, the published batch.
        accumulate: Batches of each process that make one update.
        lr: Peak learning rate.
        warmup_steps: Updates of warm-up.
        weight_decay: Of matrices.
        validate_every: Updates between validations, each of which saves a checkpoint.
        precision: ``"auto"``: bf16 where the hardware computes in it, fp32 otherwise; or a name
            of Lightning's (``"32-true"``, ``"bf16-mixed"``).
        workers: Processes that make batches ahead of a GPU.
        recompute: Train with less memory and a third more time, see
            :class:`~molae_pyg.nn.PairTransformer`.
    """

    steps: int = 1_000_000
    pair_budget: int = 90_000
    accumulate: int = 1
    lr: float = 1e-4
    warmup_steps: int = 10_000
    weight_decay: float = 1e-4
    validate_every: int = 10_000
    precision: str = "auto"
    workers: int = 0
    recompute: bool = False


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

    A run that was killed goes on at its last checkpoint when called again with the same
    arguments, and then does what the uninterrupted run would have done, update by update. Under
    torchrun or SLURM every process calls it with the same arguments.

    Args:
        model: Fresh, or to be trained further.
        train: Molecules.
        valid: Held-out ones.
        folder: Gets ``model/``, ``metrics.csv`` (every loss term on both sets), ``logs/``
            (TensorBoard) and ``run.json``.
        settings: See :class:`Pretraining`.
        transform: Makes the cloze test, default :class:`~molae_pyg.ClozeDrop` as published.
        seed: Of order, conformers, dropped atoms, noise and dropout.

    Returns:
        The last validation's metrics.

    Raises:
        NonFiniteLossError: The loss became NaN or infinite.
    """
    folder = Path(folder)
    if settings.workers:
        train.verify()  # once here, instead of in each of them
    data = ClozeData(train, valid, settings.pair_budget, transform, seed, settings.workers)
    model.encoder.transformer.recompute = settings.recompute
    model.decoder.transformer.recompute = settings.recompute
    module = ClozeModule(
        model.train(),  # Lightning leaves the mode of a model from from_pretrained as it is
        settings.lr,
        settings.weight_decay,
        settings.warmup_steps,
        settings.steps,
        seed,
    )
    trainer = _trainer(folder, settings)
    identity = {
        "settings": asdict(settings),
        "seed": seed,
        "model": model.config,
        "weights": of_weights(model),
        "transform": repr(data.transform),
        "train": len(train),
        "valid": len(valid),
        "molecules": [train.digest(), valid.digest()],
        "processes": trainer.world_size,
    }
    resume = resumable(folder, identity, trainer.is_global_zero)
    trainer.fit(module, data, ckpt_path=resume, weights_only=True)
    model.eval()
    if trainer.is_global_zero:
        model.save_pretrained(folder / "model")
        course = read_metrics(folder).groupby("step").last()  # what was done twice counts once
        course.to_csv(folder / "metrics.csv")
        shutil.rmtree(folder / "checkpoints")
    return {k: float(v) for k, v in trainer.callback_metrics.items() if k.startswith("val_")}


def _trainer(folder: Path, settings: Pretraining) -> L.Trainer:
    every = min(settings.validate_every, settings.steps)
    board = TensorBoardLogger(folder, "logs")  # each start logs to a version_<k> of its own
    table = CSVLogger(folder, "logs", version=board.version)
    last = ModelCheckpoint(
        folder / "checkpoints", "last", every_n_train_steps=every, enable_version_counter=False
    )
    return make_trainer(
        [last, StepBar("pre-training", ("molecules_per_second", "train_total"))],
        logger=[board, table],
        max_steps=settings.steps,
        accumulate_grad_batches=settings.accumulate,
        val_check_interval=every * settings.accumulate,
        check_val_every_n_epoch=None,
        log_every_n_steps=min(10, every),
        use_distributed_sampler=False,  # CostSampler shares the batches out
        precision=precision(settings.precision),
        **processes(),
    )
