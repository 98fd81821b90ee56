"""The published optimiser and learning-rate schedule."""

import re
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


_LAYER = re.compile(r"encoder\.(?:.*\.)?layers\.\d+\.")  # in the name of an encoder's parameter


def layer_scales(model: nn.Module, layer_decay: float) -> dict[str, float]:
    r"""Returns the factor of the learning rate of each parameter, by name.

    .. math::
        s_{head} = 1, \qquad s_l = \gamma^{L - l}, \quad l = 0, \dots, L - 1, \qquad
        s_{input} = \gamma^{L + 1}

    with :math:`\gamma` the decay and l the layer of the encoder. The norm after the last layer
    belongs to it, everything else outside the layers to the input (embeddings, pair bias).

    Args:
        model: A model with an ``encoder`` that has ``layers``; every other part is the head.
        layer_decay: Factor from one layer to the one below it.

    Raises:
        ValueError: The model has no such encoder.
    """
    names = [name for name, _ in model.named_parameters()]
    found = {name: _LAYER.match(name) for name in names}
    # In the order of the model: an encoder may have two stacks, one after the other.
    stack = list(dict.fromkeys(match[0] for match in found.values() if match))
    if not stack:
        raise ValueError(
            f"layer_decay lowers the learning rate of lower layers, but {type(model).__name__} has "
            "no encoder with layers: leave it out"
        )
    scales = {}
    for name in names:
        if not name.startswith("encoder."):
            below = 0  # of the head
        elif ".final_norm." in name:
            below = 1
        else:
            below = len(stack) - (stack.index(found[name][0]) if found[name] else -1)
        scales[name] = layer_decay**below
    return scales


def configure_adam(
    model: nn.Module,
    lr: float,
    weight_decay: float,
    total_steps: int,
    warmup_steps: int,
    layer_decay: float = 1.0,
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
        layer_decay: See :func:`layer_scales`; default: 1, one rate for all layers.
    """
    scales = layer_scales(model, layer_decay) if layer_decay != 1 else {}
    groups: dict[tuple[float, bool], dict[str, Any]] = {}
    for is_matrix in (True, False):
        for name, parameter in model.named_parameters():
            if parameter.requires_grad and (parameter.dim() > 1) == is_matrix:
                scale = scales.get(name, 1.0)
                empty = {
                    "params": [],
                    "weight_decay": weight_decay if is_matrix else 0.0,
                    "lr": lr * scale,
                }
                groups.setdefault((scale, is_matrix), empty)["params"].append(parameter)
    optimizer = torch.optim.AdamW(list(groups.values()), lr=lr, betas=(0.9, 0.99), eps=1e-6)
    factor = partial(polynomial_decay, total_steps=total_steps, warmup_steps=warmup_steps)
    scheduler = torch.optim.lr_scheduler.LambdaLR(optimizer, factor)
    return {
        "optimizer": optimizer,
        "lr_scheduler": {"scheduler": scheduler, "interval": "step"},
    }
