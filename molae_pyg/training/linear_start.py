"""A head that begins as the best linear model of the frozen encoder's vectors.

Fine-tuning from a random head moves the encoder before the head can read it, and loses some of what
pre-training has learned (`Kumar et al., ICLR 2022 <https://arxiv.org/abs/2202.10054>`_).
"""

from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import lightning as L
import torch
from torch import Tensor, nn
from tqdm.auto import tqdm

from molae_pyg.inference.readouts import vectors_of
from molae_pyg.loss import property_loss
from molae_pyg.metrics import LOWER_IS_BETTER, evaluate
from molae_pyg.models import PropertyModel
from molae_pyg.nn.readout import LINEAR_READOUTS
from molae_pyg.training.molecules import Labelled, PropertyData
from molae_pyg.training.property import PropertyModule

#: Penalties on the squared weights that are tried, from strong to weak.
PENALTIES = tuple(10.0**power for power in range(5, -3, -1))


class _Part(NamedTuple):
    """The molecules of a part: vectors ``[n, 2 C]``, labels ``[n, T]`` and bounds ``[n, T]``."""

    x: Tensor
    y: Tensor
    bound: Tensor | None


class LinearStart(L.Callback):
    r"""Fits the head to the vectors of the frozen encoder before the first update.

    With standardised vectors :math:`x_i`, the loss :math:`\ell` of fine-tuning and m labels,

    .. math::
        \min_{W, b} \frac{1}{m} \sum_i \ell(W x_i + b, y_i) + \frac{\lambda}{m} \lVert W \rVert^2

    so that it is a ridge regression for values and a logistic regression for classes. The penalty
    :math:`\lambda` is the one of :data:`PENALTIES` that is best on the validation molecules.

    Args:
        model: A model with an ``encoder`` and the readout ``"cls, mean"`` or ``"cls, sum"``.
        metric: Name of the score that chooses.

    Raises:
        ValueError: The model has no encoder or another readout.
    """

    def __init__(self, model: PropertyModel, metric: str):
        self.metric = metric
        readout = getattr(getattr(model, "head", None), "readout", None)
        if not hasattr(model, "encoder"):
            raise ValueError(
                f"linear_start reads vectors of an encoder, but {type(model).__name__} has no "
                "encoder: leave it out"
            )
        if readout not in LINEAR_READOUTS:
            raise ValueError(
                "linear_start needs a head that is one linear layer: readout must be "
                f"{' or '.join(map(repr, LINEAR_READOUTS))}, got {readout!r}"
            )

    def on_fit_start(self, trainer: L.Trainer, module: PropertyModule) -> None:
        if trainer.ckpt_path is not None:  # resumes
            return
        model, data = module.model, trainer.datamodule
        train, valid = (_vectors(module, data, part) for part in (data.train, data.valid))
        center, width = train.x.mean(0), train.x.std(0)
        width[width == 0] = 1.0
        train, valid = (part._replace(x=(part.x - center) / width) for part in (train, valid))
        loss, num_labels = _loss_of(module, train), int((~train.y.isnan()).sum())
        sign = 1 if self.metric in LOWER_IS_BETTER else -1
        head = nn.Linear(train.x.size(1), sum(model.num_outputs), dtype=torch.float64)
        nn.init.zeros_(head.weight)
        nn.init.zeros_(head.bias)
        found = []
        for penalty in PENALTIES:  # each begins at the weights of the last one
            _fit(head, train.x, loss, penalty / num_labels)
            score = sign * _scores(model, head, valid)[self.metric]
            found.append((score, head.weight.detach().clone(), head.bias.detach().clone()))
        defined = [entry for entry in found if entry[0] == entry[0]]  # a score may be NaN
        _, weight, bias = min(defined or found[-1:], key=lambda entry: entry[0])
        with torch.no_grad():
            out = model.head.out
            out.weight.copy_(weight / width)
            out.bias.copy_(bias - weight @ (center / width))


def _vectors(module: PropertyModule, data: PropertyData, part: Labelled) -> _Part:
    """Returns the vectors of molecules by the frozen encoder, as float64 on the CPU."""
    encoder, readout = module.model.encoder, module.model.head.readout
    vectors, was_training, found = vectors_of(encoder, readout), encoder.training, []
    encoder.eval()
    with torch.no_grad():
        for batch in tqdm(data.all_of(part), "vectors", delay=2.0, leave=False, disable=None):
            found.append(vectors(batch.to(module.device)).double().cpu())
    encoder.train(was_training)
    order = torch.from_numpy(part.by_size)
    bound = None if part.side is None else part.side[order]
    return _Part(torch.cat(found), part.y[order].double(), bound)


def _loss_of(module: PropertyModule, train: _Part) -> Callable[[Tensor], Tensor]:
    """Returns the loss of fine-tuning as a function of standardised predictions ``[n, O]``."""
    model, weights = module.model, module.class_weights
    mean, std = (model.of_tasks(x).double().cpu() for x in (model.mean, model.std))
    if weights is not None:
        weights = [None if w is None else w.double().cpu() for w in weights]
    return partial(
        property_loss, y=(train.y - mean) / std, kind=module.losses, bound=train.bound,
        num_outputs=model.num_outputs, class_weights=weights,
    )  # fmt: skip


def _fit(head: nn.Linear, x: Tensor, loss: Callable[[Tensor], Tensor], penalty: float) -> None:
    """Minimises the loss with a penalty on the squared weights."""
    solver = torch.optim.LBFGS(
        head.parameters(), max_iter=200, tolerance_grad=1e-6, line_search_fn="strong_wolfe"
    )

    def closure() -> Tensor:
        solver.zero_grad()
        total = loss(head(x)) + penalty * head.weight.square().sum()
        total.backward()
        return total

    with torch.enable_grad():
        solver.step(closure)


@torch.no_grad()
def _scores(model: PropertyModel, head: nn.Linear, valid: _Part) -> dict[str, float]:
    """Returns the scores of a linear model on the validation molecules."""
    mean, std = (x.double().cpu() for x in (model.mean, model.std))
    predicted = model.probabilities(head(valid.x) * std + mean)  # [n, O]
    y, scale = valid.y.numpy(), model.of_tasks(std)
    return evaluate(y, predicted.numpy(), model.task_types, scale, model.num_outputs)
