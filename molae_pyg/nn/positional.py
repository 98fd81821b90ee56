"""Sinusoidal positions, the atomic identifiers of the decoder."""

import math

import torch
from torch import Tensor, nn


class SinusoidalPosition(nn.Module):
    r"""Fixed positional encoding, sines first, then cosines (Vaswani et al. 2017, tensor2tensor).

    .. math::
        e(p) = [\sin(p \, f_0), \ldots, \sin(p \, f_{C/2-1}), \cos(p \, f_0), \ldots],
        \qquad f_m = 10000^{-m / (C/2 - 1)}

    In Mol-AE CLS is position 1, the atoms are 2, 3, ... in the order of the record, SEP is the
    last.

    Args:
        channels: C, even and at least 4.

    Shapes:
        positions ``[...]`` -> ``[..., C]``.
    """

    def __init__(self, channels: int):
        super().__init__()
        if channels % 2 or channels < 4:
            raise ValueError(f"channels must be even and at least 4, not {channels}")
        self.channels = channels
        half = channels // 2
        freq = torch.exp(torch.arange(half) * (-math.log(10000) / (half - 1)))
        self.register_buffer("freq", freq, persistent=False)

    def forward(self, position: Tensor) -> Tensor:
        angle = position.unsqueeze(-1).to(self.freq.dtype) * self.freq  # [..., C / 2]
        return torch.cat([angle.sin(), angle.cos()], dim=-1)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.channels})"
