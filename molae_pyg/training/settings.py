"""Settings of runs, which are checked before any work starts."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, fields
from numbers import Real
from typing import Any

from molae_pyg.inference.precision import NAMES
from molae_pyg.kinds import KINDS
from molae_pyg.loss import PROPERTY_LOSSES, PropertyLoss
from molae_pyg.metrics import metric_names
from molae_pyg.nn.arguments import size

_METRICS = dict.fromkeys(
    name
    for types in (["regression"] * 2, *([kind] for kind in KINDS), ["regression", "classification"])
    for name in metric_names(types, len(types))
)


@dataclass(frozen=True)
class Finetuning:
    """Settings of a fine-tuning run. Their names are the keys of the YAML files.

    Args:
        epochs: Largest number of epochs.
        batch_size: Number of molecules of a batch.
        lr: Peak learning rate.
        warmup: Share of all updates spent warming up, from 0 to 1.
        loss: Loss of regression targets: ``"mse"`` (default), ``"mae"`` or ``"smooth_l1"``. Classes
            always use ``"bce"``, which may be given if all targets are classes; several classes
            use cross entropy. Bounds have the one-sided form of the loss.
        weight_decay: Weight decay of matrices, default: 0, as published.
        patience: Number of epochs without a better validation metric before stopping, default: 20.
        metric: Validation metric that chooses the epoch, a name of
            :func:`~molae_pyg.metrics.evaluate`; default: RMSE, ROC-AUC, macro ROC-AUC, or the mixed
            error if there are targets of several types. RMSE and MAE of several targets are divided
            by the standard deviation of each target's training labels, so that units do not matter.
        pool: Number of batches within which molecules are sorted by size, which saves padding;
            default: 1, batches are drawn at random, as published.
        pair_budget: Largest number of pair cells (molecules times the square of the length of the
            largest) of a training batch that is computed at once. Larger batches are computed in
            parts of similar size; default: no batch is.
        valid_conformers: Largest number of conformers of a validation molecule; default: all, as
            published. Test predictions average over all conformers in any case.
        ema_decay: Decay per update (such as 0.999) of an exponential moving average of the
            weights, which is validated and saved instead of them; default: none, as published.
        precision: ``"auto"`` (default): bf16 where the hardware is faster in it, fp32 otherwise;
            or ``"32-true"``, ``"bf16-mixed"``.
        class_weights: Whether rare classes weigh as much as frequent ones in the loss; default:
            false. Probabilities of rare classes are then too high.
        head_epochs: Number of epochs at the beginning in which the head is trained alone and the
            encoder stays as it is; default: 0, as published. The learning rate has one course over
            all epochs.
        layer_decay: Factor of the learning rate from one layer of the encoder to the one below it
            (such as 0.8); default: 1, as published. See
            :func:`~molae_pyg.training.schedule.layer_scales`.
        linear_start: Whether the head begins as the linear model of the frozen encoder's vectors
            that predicts the validation molecules best, so that training refines what the encoder
            knows already; default: false, as published. The model's readout must be
            ``"cls, mean"`` or ``"cls, sum"``. See
            :class:`~molae_pyg.training.linear_start.LinearStart`.

    Raises:
        ValueError: A setting is out of range, has another type, or is an unknown name.
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
    class_weights: bool = False
    head_epochs: int = 0
    layer_decay: float = 1.0
    linear_start: bool = False

    def __post_init__(self) -> None:
        for name in ("epochs", "batch_size", "patience", "pool"):
            size(name, getattr(self, name))
        for name in ("pair_budget", "valid_conformers"):
            if getattr(self, name) is not None:
                size(name, getattr(self, name))
        check_number("lr", self.lr, above=0)
        check_number("warmup", self.warmup, at_least=0, at_most=1)
        check_number("weight_decay", self.weight_decay, at_least=0)
        if self.ema_decay is not None:
            check_number("ema_decay", self.ema_decay, above=0, below=1)
        if self.loss is not None:
            check_choice("loss", self.loss, PROPERTY_LOSSES)
        if self.metric is not None:
            check_choice("metric", self.metric, _METRICS)
        check_choice("precision", self.precision, NAMES)
        for name in ("class_weights", "linear_start"):
            if not isinstance(getattr(self, name), bool):
                raise ValueError(f"{name} must be True or False, got {getattr(self, name)!r}")
        size("head_epochs", self.head_epochs, least=0)
        if self.head_epochs >= self.epochs:
            raise ValueError(
                f"head_epochs must be less than epochs ({self.epochs}), else the encoder is never "
                f"trained, got {self.head_epochs}"
            )
        check_number("layer_decay", self.layer_decay, above=0, at_most=1)

    def identity(self) -> dict[str, Any]:
        """Returns what identifies a run; settings of later versions only if they are not default.

        Folders of earlier versions are those of the same run.
        """
        later = {"head_epochs", "layer_decay", "linear_start"}
        return {
            field.name: getattr(self, field.name)
            for field in fields(self)
            if field.name not in later or getattr(self, field.name) != field.default
        }


@dataclass(frozen=True)
class Pretraining:
    """Settings of a pre-training run. Their names are the keys of the YAML files.

    Args:
        steps: Number of updates, after which the learning rate is zero.
        pair_budget: Pair cells of a batch, :math:`B L^2`. The default is about 128 molecules of
            ZINC's size, the published batch.
        accumulate: Number of batches of each process in one update.
        lr: Peak learning rate.
        warmup_steps: Number of updates of warm-up.
        weight_decay: Weight decay of matrices.
        validate_every: Number of updates between validations, each of which saves a checkpoint.
        precision: ``"auto"``: bf16 where the hardware is faster in it, fp32 otherwise; or
            ``"32-true"``, ``"bf16-mixed"``, ``"64-true"`` (for data in float64).
        workers: Number of processes that make batches ahead of a GPU.
        recompute: Whether to train with less memory and a third more time, see
            :class:`~molae_pyg.nn.PairTransformer`.

    Raises:
        ValueError: A setting is out of range, has another type, or is an unknown name.
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

    def __post_init__(self) -> None:
        for name in ("steps", "pair_budget", "accumulate", "validate_every"):
            size(name, getattr(self, name))
        for name in ("warmup_steps", "workers"):
            size(name, getattr(self, name), least=0)
        check_number("lr", self.lr, above=0)
        check_number("weight_decay", self.weight_decay, at_least=0)
        check_choice("precision", self.precision, (*NAMES, "64-true"))
        if not isinstance(self.recompute, bool):
            raise ValueError(f"recompute must be True or False, got {self.recompute!r}")


def check_number(
    name: str,
    value: Any,
    at_least: float = -math.inf,
    at_most: float = math.inf,
    above: float = -math.inf,
    below: float = math.inf,
) -> None:
    """Raises ValueError unless the value is a finite number within the bounds."""
    if isinstance(value, str):
        raise ValueError(
            f"{name} must be a number, got the text {value!r} (YAML: 1.0e-4, not 1e-4)"
        )
    if not isinstance(value, Real) or isinstance(value, bool) or not math.isfinite(value):
        raise ValueError(f"{name} must be a finite number, got {value!r}")
    for fits, bound in (
        (value >= at_least, f"at least {at_least}"),
        (value <= at_most, f"at most {at_most}"),
        (value > above, f"above {above}"),
        (value < below, f"below {below}"),
    ):
        if not fits:
            raise ValueError(f"{name} must be {bound}, got {value!r}")


def check_choice(name: str, value: Any, known: Sequence[str]) -> None:
    """Raises ValueError with the known names unless the value is one of them."""
    if not isinstance(value, str) or value not in known:
        raise ValueError(f"{name} must be one of {', '.join(known)}, got {value!r}")
