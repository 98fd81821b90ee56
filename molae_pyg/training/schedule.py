"""Optimiser and learning-rate schedule, as published."""

from functools import partial
from typing import Any

import torch
from torch import nn


def polynomial_decay(step: int, total_steps: int, warmup_steps: int, power: float = 1.0) -> float:
    r"""Factor on the learning rate: linear warm-up, then polynomial decay to zero.

    .. math::
        f(k) = \begin{cases} k / w & k \le w \\
        \left( 1 - \frac{k - w}{T - w} \right)^p & w < k < T \\ 0 & k \ge T \end{cases}

    Args:
        step: k, updates already made (so that the first update has factor 0 if there is warm-up).
        total_steps: All updates T.
        warmup_steps: Updates of warm-up w.
        power: p, default 1, as published.
    """
    if step >= total_steps:
        return 0.0
    if step <= warmup_steps:
        return step / warmup_steps if warmup_steps else 1.0
    return (1 - (step - warmup_steps) / (total_steps - warmup_steps)) ** power


def configure_adam(
    model: nn.Module, lr: float, weight_decay: float, total_steps: int, warmup_steps: int
) -> dict[str, Any]:
    """Adam with the published settings and decay, as Lightning's ``configure_optimizers`` wants it.

    Betas (0.9, 0.99), eps 1e-6, decoupled weight decay on matrices only (biases and layer norms
    are spared).

    Args:
        model: Its trainable parameters are optimised.
        lr: Peak learning rate. weight_decay: Default of the callers 0 (fine-tuning) or 1e-4.
        total_steps: Updates until the rate is zero. warmup_steps: Updates until its peak.
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
