"""The published optimiser and learning-rate schedule."""

from functools import partial
from typing import Any

import torch
from torch import nn


def polynomial_decay(step: int, total_steps: int, warmup_steps: int, power: float = 1.0) -> float:
    r"""Returns the factor of the learning rate: linear warm-up, then polynomial decay to zero.

    .. math::
        f(k) = \begin{cases} k / w & k \le w \\
        \left( 1 - \frac{k - w}{T - w} \right)^p & w < k < T \\ 0 & k \ge T \end{cases}

    Args:
        step: Number of updates made so far, k. With warm-up the first update has factor 0.
        total_steps: Number of all updates, T.
        warmup_steps: Number of updates of warm-up, w.
        power: Power p, default: 1, as published.
    """
    if step >= total_steps:
        return 0.0
    if step <= warmup_steps:
        return step / warmup_steps if warmup_steps else 1.0
    return (1 - (step - warmup_steps) / (total_steps - warmup_steps)) ** power


def configure_adam(
    model: nn.Module, lr: float, weight_decay: float, total_steps: int, warmup_steps: int
) -> dict[str, Any]:
    """Returns Adam and its schedule in the form of Lightning's ``configure_optimizers``.

    Betas are (0.9, 0.99), eps is 1e-6. Weight decay is decoupled and applies to matrices only, not
    to biases and layer norms.

    Args:
        model: The model whose trainable parameters are optimised.
        lr: Peak learning rate.
        weight_decay: Weight decay of matrices.
        total_steps: Number of updates until the rate is zero.
        warmup_steps: Number of updates until the rate is at its peak.
    """
    parameters = [p for p in model.parameters() if p.requires_grad]
    groups = [
        {"params": [p for p in parameters if p.dim() > 1], "weight_decay": weight_decay},
        {"params": [p for p in parameters if p.dim() <= 1], "weight_decay": 0.0},
    ]
    optimizer = torch.optim.AdamW(groups, lr=lr, betas=(0.9, 0.99), eps=1e-6)
    factor = partial(polynomial_decay, total_steps=total_steps, warmup_steps=warmup_steps)
    scheduler = torch.optim.lr_scheduler.LambdaLR(optimizer, factor)
    return {
        "optimizer": optimizer,
        "lr_scheduler": {"scheduler": scheduler, "interval": "step"},
    }
