"""Fine-tuning runs: molecules with labels and a model in, the best epoch out."""

import time
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import lightning as L
import numpy as np
import torch
from lightning.pytorch.callbacks import Checkpoint, EMAWeightAveraging
from torch import Tensor

from molae_pyg.fingerprint import digest, of_weights
from molae_pyg.inference.molecules import Molecules
from molae_pyg.inference.precision import precision
from molae_pyg.kinds import class_weights
from molae_pyg.metrics import LOWER_IS_BETTER, choosing_metric, evaluate
from molae_pyg.models import PropertyModel
from molae_pyg.models.encoding import sees_graph
from molae_pyg.training.course import CourseLogger
from molae_pyg.training.linear_start import LinearStart
from molae_pyg.training.molecules import PropertyData, check_labelled
from molae_pyg.training.property import PropertyModule
from molae_pyg.training.run import DurableCheckpoints, RunFolder
from molae_pyg.training.settings import Finetuning
from molae_pyg.training.trainer import ProgressBar, fit, make_trainer


@dataclass
class Progress:
    """The state of a fine-tuning run."""

    seconds: float = 0.0  # time spent in finished epochs
    done: bool = False  # whether no epoch follows
    wait: int = 0  # number of epochs since the best one
    epoch: int = -1  # the best epoch so far, -1: none
    scores: dict[str, float] | None = None  # of the best epoch
    weights: dict[str, Tensor] | None = None


class HeadFirst(L.Callback):
    """Trains the head alone in the first epochs.

    Args:
        model: A model with an ``encoder``.
        epochs: Number of epochs in which the encoder stays as it is.

    Raises:
        ValueError: The model has no encoder that can be trained.
    """

    def __init__(self, model: PropertyModel, epochs: int):
        encoder = getattr(model, "encoder", None)
        # Parameters that are frozen already stay frozen.
        self.parameters = [p for p in encoder.parameters() if p.requires_grad] if encoder else []
        self.epochs = epochs
        if not self.parameters:
            raise ValueError(
                f"head_epochs trains a head before the encoder, but {type(model).__name__} has no "
                "encoder that can be trained: leave it out"
            )

    def on_train_epoch_start(self, trainer: L.Trainer, module: L.LightningModule) -> None:
        for parameter in self.parameters:
            parameter.requires_grad_(trainer.current_epoch >= self.epochs)

    def teardown(self, trainer: L.Trainer, module: L.LightningModule, stage: str) -> None:
        for parameter in self.parameters:
            parameter.requires_grad_(True)


class BestEpoch(Checkpoint):
    """Chooses the best epoch by a score, stops early, and saves a checkpoint after each epoch."""

    def __init__(self, run: RunFolder, metric: str, patience: int, progress: Progress):
        self.run, self.metric, self.patience, self.progress = run, metric, patience, progress
        self._is_best = False
        self._start = time.perf_counter()

    def on_train_epoch_start(self, trainer: L.Trainer, module: L.LightningModule) -> None:
        self._start = time.perf_counter()

    def on_train_epoch_end(self, trainer: L.Trainer, module: PropertyModule) -> None:
        progress, scores = self.progress, module.scores
        self._is_best = self._is_better(scores[self.metric])
        if self._is_best:
            progress.epoch, progress.scores, progress.wait = trainer.current_epoch, scores, 0
        else:
            progress.wait += 1
        stop = progress.wait >= self.patience
        progress.done = stop or trainer.current_epoch + 1 == trainer.max_epochs
        trainer.should_stop = stop
        row = {"step": trainer.global_step - 1, "epoch": trainer.current_epoch}
        row["train_loss_epoch"] = float(trainer.callback_metrics["train_loss_epoch"])
        self.run.course.append(row | {f"val_{name}": value for name, value in scores.items()})
        progress.seconds += time.perf_counter() - self._start
        trainer.save_checkpoint(self.run.state_file)

    def on_save_checkpoint(
        self, trainer: L.Trainer, module: PropertyModule, checkpoint: dict[str, Any]
    ) -> None:
        if self._is_best:
            # A moving average is in the checkpoint by now: its weights were validated.
            self.progress.weights = {
                name.removeprefix("model."): value.detach().to("cpu", copy=True)
                for name, value in checkpoint["state_dict"].items()
                if name.startswith("model.")
            }
        checkpoint["progress"] = dict(vars(self.progress))

    def _is_better(self, score: float) -> bool:
        """Whether a score is better than the best one; NaN never is."""
        if self.progress.scores is None:
            return score == score
        best = self.progress.scores[self.metric]
        return score < best if self.metric in LOWER_IS_BETTER else score > best


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

    Adam and polynomial decay are as published, gradients are clipped at norm 1, and each epoch
    takes a random conformer of each molecule. Validation averages over conformers and chooses the
    epoch by RMSE or ROC-AUC, or by the metric of ``settings``.

    A killed run resumes when it is called again with the same arguments, and gives what an
    uninterrupted run gives, bit by bit on a CPU. A finished run that is called again returns its
    result at once.

    Args:
        model: A fresh model, with a pre-trained or random encoder. One with a graph channel
            receives the graph of molecules with ``smiles``, or the one that they have, see
            :class:`~molae_pyg.inference.graphs.Graphs`.
        train: Molecules with ``conformers [n, K, 3]`` or ``pos [n, 3]``, and ``y [1, T]`` (or
            ``[T]``), NaN = missing. For a model of atoms such as
            :class:`~molae_pyg.models.AtomPredictor`, ``y [n, T]`` (or ``[n]``): a row for each
            atom. ``bound [1, T]`` beside it marks labels that are bounds: 1 = the true value is at
            least y, -1 = it is at most y, 0 = it is y. They have a one-sided loss; scaling and
            validation use exact labels only.
        valid: Held-out molecules of the same form.
        folder: Gets ``model/`` (the best weights), ``metrics.csv`` (the course of the run) and
            ``run.json`` (settings, checksums of the data, number of starts, result).
        settings: See :class:`Finetuning`.
        seed: Seed of the order, the choice of conformers and dropout.
        scale: Targets ``[m, T]`` whose mean and standard deviation standardise all others; default:
            the targets of ``train``. As published: those of the whole data set, test part included.
        recipe: How the molecules were made, which is saved with the model; default: the recipe of
            ``train``, if it is a data set that has one.

    Returns:
        The validation metric of the best epoch, ``epoch``, and ``seconds`` of training, including
        those before a kill. With several tasks also every score of each, named
        ``val_<task>_<metric>``.

    Raises:
        ValueError: Molecules, labels or settings cannot be used, or nothing can be learned or
            chosen from the labels (all before the work starts), or the folder holds another run or
            something else.
        BlockingIOError: Another process trains in the folder.
        NonFiniteLossError: The loss became NaN or infinite.
    """
    metric = choosing_metric(model.task_types, len(model.task_types), settings.metric)
    module = PropertyModule(
        model, settings.lr, settings.warmup, settings.weight_decay,
        settings.loss, settings.pair_budget, seed, layer_decay=settings.layer_decay,
    )  # fmt: skip
    starts: list[L.Callback] = [LinearStart(model, metric)] if settings.linear_start else []
    starts += [HeadFirst(model, settings.head_epochs)] if settings.head_epochs else []
    recipe = getattr(train, "recipe", None) if recipe is None else recipe
    train = check_labelled(train, "train", model)
    valid = check_labelled(valid, "valid", model, True, settings.valid_conformers)
    valid = valid._replace(y=valid.exact)
    if settings.class_weights:
        module.class_weights = _class_weights(train.y, model)
    weights = of_weights(model)
    _set_scale(model, train.exact if scale is None else scale, train.z)
    _check_choice(valid.y, model, metric)
    identity = {
        "kind": "fine-tuning",
        "settings": {**settings.identity(), "precision": precision(settings.precision)},
        "seed": seed,
        "model": {"class": type(model).__name__, "config": model.config, "weights": weights},
        "train": train.fingerprint,
        "valid": valid.fingerprint,
        "scale": None if scale is None else digest(torch.as_tensor(scale)),
        "recipe": recipe,
    }
    if sees_graph(model):  # runs of models without a graph keep their identity
        identity["graph"] = True
    with RunFolder(folder, identity) as run:
        if run.result is not None:
            result = run.restore(model)
        else:
            data = PropertyData(train, valid, model, settings, seed, recipe)
            progress = _train(module, data, run, metric, starts)
            if progress.weights is None:
                raise ValueError(
                    "the validation metric was NaN in every epoch: no epoch can be chosen"
                )
            model.load_state_dict(progress.weights)
            model.recipe = recipe or model.recipe
            result = run.finish(_result(progress, metric, model), model)
    if recipe is not None:
        model.recipe = recipe
    model.eval()
    return result


def _train(
    module: PropertyModule,
    data: PropertyData,
    run: RunFolder,
    metric: str,
    starts: list[L.Callback],
) -> Progress:
    """Trains to the last epoch, from the checkpoint if there is one."""
    settings, state = data.settings, run.state()
    progress = Progress() if state is None else Progress(**state["progress"])
    if progress.done:
        return progress
    module.model.train()  # from_pretrained gives evaluation mode, which Lightning does not change
    ema = [EMAWeightAveraging(decay=settings.ema_decay)] if settings.ema_decay else []
    bar = ProgressBar("fine-tuning", ("train_loss_epoch", f"val_{metric}"))
    trainer = make_trainer(
        [bar, *starts, *ema, BestEpoch(run, metric, settings.patience, progress)],
        devices=1,
        logger=CourseLogger(run.course),
        log_every_n_steps=10,
        max_epochs=settings.epochs,
        reload_dataloaders_every_n_epochs=1,  # the order of the batches depends on the epoch
        precision=precision(settings.precision),
        plugins=[DurableCheckpoints(run)],
    )
    with torch.random.fork_rng(devices=[]):  # each step seeds the generator
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


def _set_scale(model: PropertyModel, y: Tensor, z: Tensor | None) -> None:
    """Sets mean and standard deviation from labels ``[m, T]``, of atoms also from ``z [m]``."""
    y = torch.as_tensor(y)
    if z is not None and len(z) != len(y):
        raise ValueError("scale is for targets of molecules: those of atoms have their own")
    if y.dim() != 2 or y.size(1) != len(model.task_names) or y.isinf().any():
        raise ValueError(
            f"scale must be finite targets [m, {len(model.task_names)}] (NaN = missing), got shape "
            f"{list(y.shape)}"
        )
    if y.isnan().all():
        raise ValueError("the training set has no label")
    model.set_scaling(y) if z is None else model.set_scaling(y, z)


def _class_weights(y: Tensor, model: PropertyModel) -> list[Tensor | None]:
    """Returns the weights of the classes of each task; those of values are None."""
    found = []
    for labels, kind, number in zip(y.T, model.task_types, model.num_outputs, strict=True):
        weights = None
        if kind != "regression":
            weights = torch.from_numpy(class_weights(labels.numpy(), max(2, number)))
        found.append(weights)
    return found


def _check_choice(y: Tensor, model: PropertyModel, metric: str) -> None:
    """Checks that the metric is defined on the validation labels, so that it can choose."""
    if y.isnan().all():
        raise ValueError("the validation set has no label")
    scale, nothing = model.of_tasks(model.std), torch.zeros(len(y), sum(model.num_outputs))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of other scores
        chosen = evaluate(y, nothing, model.task_types, scale, model.num_outputs)[metric]
    if np.isnan(chosen):
        what = "both classes" if metric in ("roc_auc", "average_precision") else "different labels"
        raise ValueError(
            f"no task has {what} in the validation set, so no epoch can be chosen by {metric}: "
            "use another split or more molecules"
        )
