"""Training on one batch: every objective must learn eight molecules by heart."""

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn


def course(
    model: nn.Module,
    objective: Callable[[nn.Module, Any], Mapping[str, Tensor]],
    batch: Any,
    steps: int,
    lr: float = 5e-3,
) -> list[dict[str, float]]:
    """Trains a model on one batch by Adam, and returns the terms of the objective at each step."""
    optimizer, found = torch.optim.Adam(model.parameters(), lr=lr), []
    for _ in range(steps):
        terms = objective(model, batch)
        optimizer.zero_grad()
        terms["loss"].backward()
        optimizer.step()
        found.append({name: value.item() for name, value in terms.items()})
    return found
