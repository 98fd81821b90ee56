"""One bar for a whole training run."""

import lightning as L
from tqdm.auto import tqdm


class StepBar(L.Callback):
    """A progress bar over all steps with rate, time left and the newest metrics, on a terminal.

    Args:
        description: Shown in front.
        metrics: Names of logged metrics to show.
    """

    def __init__(self, description: str, metrics: tuple[str, ...]):
        self.description = description
        self.metrics = metrics
        self.bar: tqdm | None = None

    def on_train_start(self, trainer: L.Trainer, module: L.LightningModule) -> None:
        if trainer.is_global_zero:
            self.bar = tqdm(
                total=int(trainer.estimated_stepping_batches),
                initial=trainer.global_step,
                desc=self.description,
                unit="step",
                mininterval=0.5,
                disable=None,  # a log file is no terminal
            )

    def on_train_batch_end(self, trainer: L.Trainer, *_) -> None:
        if self.bar is None:
            return
        values = {k: f"{trainer.callback_metrics[k]:.3f}" for k in self._known(trainer)}
        self.bar.set_postfix(epoch=trainer.current_epoch, **values, refresh=False)
        self.bar.update(trainer.global_step - self.bar.n)

    def _known(self, trainer: L.Trainer) -> list[str]:
        return [name for name in self.metrics if name in trainer.callback_metrics]

    def on_exception(self, trainer: L.Trainer, module: L.LightningModule, error: Exception):
        self.teardown(trainer, module, "")

    def teardown(self, trainer: L.Trainer, module: L.LightningModule, stage: str) -> None:
        if self.bar is not None:
            self.bar.close()
            self.bar = None
