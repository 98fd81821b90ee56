"""Callbacks that keep the state of a run in its folder, and choose the best epoch."""

import time
from dataclasses import dataclass
from typing import Any

import lightning as L
from lightning.pytorch.callbacks import Checkpoint
from torch import Tensor

from molae_pyg.metrics import LOWER_IS_BETTER
from molae_pyg.training.property import PropertyModule
from molae_pyg.training.run import RunFolder


@dataclass
class Progress:
    """How far a fine-tuning run has come.

    Args:
        seconds: Time spent in epochs that are finished.
        done: Whether there is no epoch to come.
        wait: Epochs since the best one.
        epoch, scores, weights: Of the best epoch so far; -1 and empty: none yet.
    """

    seconds: float = 0.0
    done: bool = False
    wait: int = 0
    epoch: int = -1
    scores: dict[str, float] | None = None
    weights: dict[str, Tensor] | None = None


class BestKeeper(Checkpoint):
    """Chooses the best epoch, stops, and saves all that is needed to resume in one file.

    Args:
        run: The folder.
        metric: The score that chooses, a name of :attr:`PropertyModule.scores`.
        patience: Epochs without a better score before stopping.
        progress: Of the checkpoint that the run resumes from; default: none.
    """

    def __init__(
        self, run: RunFolder, metric: str, patience: int, progress: Progress | None = None
    ):
        self.run = run
        self.metric = metric
        self.patience = patience
        self.progress = progress or Progress()
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
        loss = float(trainer.callback_metrics["train_loss_epoch"])
        row = {"step": trainer.global_step - 1, "epoch": trainer.current_epoch}
        row["train_loss_epoch"] = loss
        self.run.course.append(row | {f"val_{name}": value for name, value in scores.items()})
        progress.seconds += time.perf_counter() - self._start
        trainer.save_checkpoint(self.run.state_file)

    def on_save_checkpoint(
        self, trainer: L.Trainer, module: PropertyModule, checkpoint: dict[str, Any]
    ) -> None:
        if self._is_best:
            # A moving average has put itself into the checkpoint by now: these were validated.
            self.progress.weights = {
                name.removeprefix("model."): value.detach().to("cpu", copy=True)
                for name, value in checkpoint["state_dict"].items()
                if name.startswith("model.")
            }
        progress = dict(vars(self.progress))
        checkpoint["progress"] = progress

    def _is_better(self, score: float) -> bool:
        """Whether a score is better than the best; NaN never is."""
        if self.progress.scores is None:
            return score == score
        best = self.progress.scores[self.metric]
        return score < best if self.metric in LOWER_IS_BETTER else score > best


def best_of(progress: Progress) -> dict[str, Tensor]:
    """The weights of the best epoch.

    Raises:
        ValueError: No epoch had a score.
    """
    if progress.weights is None:
        raise ValueError("the validation metric was NaN in every epoch: no epoch can be chosen")
    return progress.weights
