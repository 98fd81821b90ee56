"""Self-attention whose logits start from, and are handed on as, a pair tensor."""

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class PairBiasAttention(nn.Module):
    r"""Multi-head self-attention with a running pair tensor (Uni-Mol, Mol-AE).

    .. math::
        a^l_{ij} &= a^{l-1}_{ij} + \frac{q_i \cdot k_j}{\sqrt{d}} \\
        o_i &= \sum_j \mathrm{dropout}(\mathrm{softmax}_j(a^l_{ij})) \, v_j

    The logits :math:`a^l` are the pair representation. They stay finite: padded keys are hidden
    in the softmax only.

    Args:
        channels: C, divisible by ``heads``.
        heads: Number of heads H.
        dropout: Dropout of the attention probabilities, default 0.1.

    Shapes:
        x ``[B, L, C]``, pair ``[B, H, L, L]``, mask ``[B, L]`` (True = real) ->
        ``[B, L, C]`` and the new pair tensor ``[B, H, L, L]``.
    """

    def __init__(self, channels: int, heads: int, dropout: float = 0.1):
        super().__init__()
        if channels % heads:
            raise ValueError(f"hidden_channels={channels} is not divisible by heads={heads}")
        self.heads = heads
        self.dropout = dropout
        self.in_proj = nn.Linear(channels, 3 * channels)
        self.out_proj = nn.Linear(channels, channels)

    def forward(self, x: Tensor, pair: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        B, L, C = x.shape
        H, D = self.heads, C // self.heads
        q, k, v = self.in_proj(x).view(B, L, 3, H, D).permute(2, 0, 3, 1, 4)  # each [B, H, L, D]
        pair = pair + (q / math.sqrt(D)) @ k.transpose(-1, -2)  # [B, H, L, L]
        attn = pair.masked_fill(~mask[:, None, None, :], -torch.inf).softmax(dim=-1)
        attn = F.dropout(attn, self.dropout, self.training)
        out = (attn @ v).transpose(1, 2).reshape(B, L, C)  # [B, H, L, D] -> [B, L, C]
        return self.out_proj(out), pair
