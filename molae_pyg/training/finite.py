"""Stopping at a loss that is not a number, and saying why."""

from collections import deque
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch_geometric.data import Data


class NonFiniteLossError(RuntimeError):
    """The loss became NaN or infinite; the message is a diagnosis."""


class _Step(NamedTuple):
    is_finite: Tensor  # on the CPU, valid when the event has happened
    event: torch.cuda.Event | None
    loss: Tensor
    batch: Data
    lr: float
    terms: dict[str, Tensor]


class FiniteCheck:
    """Looks at the loss of every step without making a GPU wait.

    On a GPU a step's loss is looked at as soon as it is there, two steps later at the latest.

    Args:
        model: Searched for weights that are no longer finite.
    """

    LAG = 2  # steps that may be under way

    def __init__(self, model: nn.Module):
        self.model = model
        self._steps: deque[_Step] = deque()

    def __call__(
        self, loss: Tensor, batch: Data, lr: float, terms: dict[str, Tensor] | None = None
    ) -> None:
        """Raises :class:`NonFiniteLossError` if ``loss``, or that of a step before, is not finite.

        Args:
            loss: The scalar to be minimised.
            batch: Searched for inputs that are not finite; its ``smiles`` are named.
            lr: Learning rate of this step, for the message.
            terms: The loss's terms, to name the ones that failed.
        """
        loss = loss.detach()
        terms = {name: term.detach() for name, term in (terms or {}).items()}
        if not loss.is_cuda:
            check_finite(loss, self.model, batch, lr, terms)
            return
        is_finite = torch.isfinite(loss).to("cpu", non_blocking=True)
        event = torch.cuda.Event()
        event.record()
        self._steps.append(_Step(is_finite, event, loss, batch, lr, terms))
        while self._steps and (len(self._steps) > self.LAG or self._steps[0].event.query()):
            self._judge(self._steps.popleft())

    def finish(self) -> None:
        """Looks at the steps that are still under way."""
        while self._steps:
            self._judge(self._steps.popleft())

    def _judge(self, step: _Step) -> None:
        step.event.synchronize()
        if not step.is_finite:
            check_finite(step.loss, self.model, step.batch, step.lr, step.terms)


def check_finite(
    loss: Tensor, model: nn.Module, batch: Data, lr: float, terms: dict[str, Tensor] | None = None
) -> None:
    """Raises :class:`NonFiniteLossError` unless ``loss`` is finite.

    Args:
        loss: The scalar to be minimised.
        model: Searched for weights that are no longer finite.
        batch: Searched for inputs that are not finite; its ``smiles`` are named.
        lr: Learning rate of this step, for the message.
        terms: The loss's terms, to name the ones that failed.
    """
    if torch.isfinite(loss):
        return
    findings = [f"the loss is {loss.item()} at learning rate {lr:.3g}"]
    bad = [name for name, term in (terms or {}).items() if not torch.isfinite(term)]
    if bad:
        findings.append(f"terms that are not finite: {', '.join(bad)}")
    for key in ("pos", "pos_noisy", "conformers"):
        value = batch.get(key)
        if value is not None and not torch.isfinite(value).all():
            atoms = (~torch.isfinite(value)).flatten(1).any(1).nonzero()[:, 0]
            where = batch.batch[atoms].unique().tolist() if batch.get("batch") is not None else [0]
            findings.append(f"{key} is not finite in molecule(s) {where} of the batch")
    weights = [name for name, p in model.named_parameters() if not torch.isfinite(p).all()]
    if weights:
        findings.append(f"{len(weights)} weights are not finite, the first: {weights[0]}")
        findings.append("an earlier step was too large: lower the learning rate or warm up longer")
    smiles = batch.get("smiles")
    if smiles is not None:
        shown = [smiles] if isinstance(smiles, str) else list(smiles)
        findings.append(f"molecules of the batch: {', '.join(shown[:5])}")
    raise NonFiniteLossError("; ".join(findings))
