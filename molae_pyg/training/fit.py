"""Fine-tuning runs."""

import copy
import shutil
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import lightning as L
import numpy as np
import torch
from lightning.pytorch.callbacks import (
    EarlyStopping,
    EMAWeightAveraging,
    ModelCheckpoint,
    Timer,
)
from lightning.pytorch.loggers import CSVLogger
from torch.utils.data import Subset
from torch_geometric.data import Data, Dataset
from torch_geometric.loader import DataLoader
from tqdm.auto import tqdm

from molae_pyg.fingerprint import of_weights
from molae_pyg.loss import PropertyLoss
from molae_pyg.metrics import LOWER_IS_BETTER, choosing_metric
from molae_pyg.models import PropertyModel
from molae_pyg.models.precision import autocast
from molae_pyg.models.precision import precision as hardware_precision
from molae_pyg.training.course import read_metrics
from molae_pyg.training.progress import StepBar
from molae_pyg.training.property import PropertyModule
from molae_pyg.training.run import make_trainer, resumable
from molae_pyg.training.sampler import PooledBatches
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
        metric: The validation metric that chooses the epoch, a name of
            :func:`~molae_pyg.metrics.evaluate`; default RMSE or ROC-AUC, by the task type.
        pool: A training batch has molecules of similar size, sorted within so many batches, which
            spares padding; default 1: batches are drawn at random, as published.
        pair_budget: Training batches of more pair cells (molecules times the square of the
            length of the largest) are computed in parts of similar size; default: none are.
        valid_conformers: So many conformers of a validation molecule choose the epoch; default:
            all, as published. Test predictions average over all in any case.
        ema_decay: Validated and kept is the exponential moving average of the weights, with this
            decay a step (such as 0.999); default: the weights themselves, as published.
        precision: ``"auto"`` (default): bf16 where the hardware computes in it, fp32 otherwise;
            or ``"32-true"``, ``"bf16-mixed"``.
    """

    epochs: int = 40
    batch_size: int = 32
    lr: float = 1e-4
    warmup: float = 0.06
    loss: PropertyLoss | None = None
    weight_decay: float = 0.0
    patience: int = 20
    metric: str | None = None
    pool: int = 1
    pair_budget: int | None = None
    valid_conformers: int | None = None
    ema_decay: float | None = None
    precision: str = "auto"


class _DrawConformer(torch.utils.data.Dataset):
    """Molecules, one of their conformers drawn at each access."""

    def __init__(self, molecules: Molecules):
        self.molecules = molecules
        self.draw = SampleConformer()

    def __len__(self) -> int:
        return len(self.molecules)

    def __getitem__(self, index: int) -> Data:
        data = self.molecules[index]
        if "conformers" in data:
            data = self.draw(data)
            del data.conformers  # a training batch needs one
        return data


class _FirstConformers(torch.utils.data.Dataset):
    """Molecules with the first of their conformers."""

    def __init__(self, molecules: torch.utils.data.Dataset, number: int):
        self.molecules = molecules
        self.number = number

    def __len__(self) -> int:
        return len(self.molecules)

    def __getitem__(self, index: int) -> Data:
        data = copy.copy(self.molecules[index])
        data.conformers = data.conformers[:, : self.number]  # [n, K, 3]
        return data


def finetune(
    model: PropertyModel,
    train: Molecules,
    valid: Molecules,
    folder: str | Path,
    settings: Finetuning,
    seed: int = 0,
    scale: torch.Tensor | None = None,
) -> dict[str, float]:
    """Fine-tunes ``model`` in place and leaves it at its best epoch on ``valid``.

    Adam and polynomial decay as published, gradients clipped at norm 1, a random conformer of
    each molecule an epoch; validation averages over conformers and chooses the epoch by RMSE or
    ROC-AUC, or by the metric of ``settings``. A run that was killed goes on at its last finished
    epoch when called again with the same arguments.

    Args:
        model: Fresh, with a pre-trained or random encoder.
        train: Molecules with ``conformers`` and ``y [1, T]``, NaN = missing.
        valid: The same.
        folder: Gets ``model/`` (the best weights) and ``metrics.csv`` (the course of the run).
        settings: See :class:`Finetuning`.
        seed: Of order, conformer choice and dropout.
        scale: Targets ``[m, T]`` whose mean and standard deviation standardise all others; default:
            those of ``train``. As published: those of the whole data set, its test part included.

    Returns:
        The best epoch's validation metric, ``epoch``, and ``seconds`` of training, those before a
        kill included.

    Raises:
        ValueError: Labels from which nothing can be learned or chosen.
        NonFiniteLossError: The loss became NaN or infinite.
    """
    folder = Path(folder)
    if "regression" in model.task_types:
        model.set_scaling(torch.cat([data.y for data in train]) if scale is None else scale)
    _check_valid(torch.cat([data.y for data in valid]), model)
    model.train()  # from_pretrained gives evaluation mode, and Lightning keeps modes as they are
    L.seed_everything(seed, verbose=False)
    module = PropertyModule(
        model, settings.lr, settings.warmup, settings.weight_decay,
        settings.loss, settings.pair_budget,
    )  # fmt: skip
    metric = choosing_metric(model.task_types, len(model.task_types), settings.metric)
    mode = "min" if metric in LOWER_IS_BETTER else "max"
    best = ModelCheckpoint(folder / "checkpoints", "best", monitor=f"val_{metric}", mode=mode)
    last = ModelCheckpoint(folder / "checkpoints", "last", enable_version_counter=False)
    timer = Timer()  # its state is in the checkpoints
    identity = {
        "settings": asdict(settings),
        "seed": seed,
        "model": model.config,
        "weights": of_weights(model),
        "train": len(train),
        "valid": len(valid),
    }
    batches = PooledBatches(_num_atoms(train), settings.batch_size, settings.pool)
    resume = resumable(folder, identity)
    run = make_trainer(
        [
            EarlyStopping(f"val_{metric}", patience=settings.patience, mode=mode),
            StepBar("fine-tuning", ("train_loss_epoch", f"val_{metric}")),
            best,
            last,
            timer,
            *([EMAWeightAveraging(decay=settings.ema_decay)] if settings.ema_decay else []),
        ],
        devices=1,
        logger=CSVLogger(folder, "logs"),  # each start logs to a version_<k> of its own
        log_every_n_steps=10,
        max_epochs=settings.epochs,
        precision=hardware_precision(settings.precision),
    )
    run.fit(
        module,
        DataLoader(_DrawConformer(train), batch_sampler=batches),
        _held_out_loader(valid, settings),
        ckpt_path=resume,
        weights_only=True,
    )
    epoch = _leave(module, best.best_model_path, folder)
    score = float(best.best_model_score)
    return {"epoch": epoch, f"val_{metric}": score, "seconds": timer.time_elapsed()}


def _leave(module: PropertyModule, checkpoint: str, folder: Path) -> int:
    """Leaves the best model and the course of the run, all starts in one; returns its epoch."""
    state = torch.load(checkpoint, weights_only=True)
    module.load_state_dict(state["state_dict"])
    module.model.eval().save_pretrained(folder / "model")
    course = read_metrics(folder).groupby("step").last()  # what was done twice counts once
    course.to_csv(folder / "metrics.csv")
    for done in ("logs", "checkpoints"):
        shutil.rmtree(folder / done)
    return state["epoch"]


@torch.no_grad()
def predict(
    model: PropertyModel,
    molecules: Molecules,
    batch_size: int = 64,
    precision: str = "auto",
    conformers: int | None = None,
) -> np.ndarray:
    """Predictions averaged over conformers, ``[n, T]``: real units, or probabilities.

    Molecules of like size share a batch, which spares padding; rows are in the order given.

    Args:
        model: The predictor.
        molecules: With ``conformers``.
        batch_size: Molecules a forward pass, default 64.
        precision: As in :class:`Finetuning`.
        conformers: The first so many of each molecule; default: all.
    """
    device = model.mean.device
    model.eval()
    order = _by_size(molecules)
    loader = DataLoader(_sized(molecules, order, conformers), batch_size)
    batches = (batch.to(device) for batch in tqdm(loader, "predicting", leave=False, delay=2))
    with autocast(device, precision):
        predicted = np.concatenate(
            [model.predict_batch(batch).float().cpu().numpy() for batch in batches]
        )
    return predicted[np.argsort(order)]


def _held_out_loader(valid: Molecules, settings: Finetuning) -> DataLoader:
    molecules = _sized(valid, _by_size(valid), settings.valid_conformers)
    return DataLoader(molecules, 2 * settings.batch_size)


def _sized(
    molecules: Molecules, order: np.ndarray, conformers: int | None
) -> torch.utils.data.Dataset:
    """Molecules in an order, with the first of their conformers or all."""
    chosen = Subset(molecules, order)
    return chosen if conformers is None else _FirstConformers(chosen, conformers)


def _by_size(molecules: Molecules) -> np.ndarray:
    """The order of molecules from small to large."""
    return np.argsort(_num_atoms(molecules), kind="stable")


def _num_atoms(molecules: Molecules) -> np.ndarray:
    """Atoms of each molecule; a data set that knows them is not read for it."""
    if hasattr(molecules, "num_atoms"):
        return molecules.num_atoms
    return np.array([data.z.numel() for data in molecules])


def _check_valid(y: torch.Tensor, model: PropertyModel) -> None:
    """A validation set on which the metric is undefined cannot choose an epoch."""
    labelled = [column[~column.isnan()] for column in y.T]
    if model.task_type == "classification" and all(c.unique().numel() < 2 for c in labelled):
        raise ValueError(
            "no task has both classes in the validation set, so no epoch can be chosen by "
            "ROC-AUC: use another split or more molecules"
        )
    if all(c.numel() == 0 for c in labelled):
        raise ValueError("the validation set has no label")
