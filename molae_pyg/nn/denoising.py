"""The head of Transformer-M that predicts the direction of the noise of each atom."""

import torch
from torch import Tensor, nn

from molae_pyg.nn.arguments import ShowsArguments
from molae_pyg.nn.dropout import dropout


class DenoisingHead(ShowsArguments, nn.Module):
    r"""Attention over the atoms whose values are weighted by the directions to them.

    .. math::
        P^h_{ij} &= \mathrm{softmax}_j(q^h_i \cdot k^h_j / \sqrt{d} + b^h_{ij}), \qquad
        u_{ij} = \frac{x_j - x_i}{|x_j - x_i| + 10^{-5}} \\
        o_i &= \sum_j u_{ij} \; w \cdot \mathrm{concat}_h (P^h_{ij} \, v^h_j) \in \mathbb{R}^3

    It turns with the molecule. The official code has another w, and a bias, for each axis, so that
    it does not (``reference=True``).

    Args:
        channels: Width C.
        heads: Number of heads H.
        reference: See above, default: False.

    Shapes:
        x ``[B, n, C]``, bias ``[B, H, n, n]``, pos ``[B, n, 3]``, mask ``[B, n]`` ->
        ``[B, n, 3]``.
    """

    DROPOUT = 0.1

    def __init__(self, channels: int, heads: int, reference: bool = False):
        super().__init__()
        self.channels, self.heads, self.reference = channels, heads, reference
        self.in_proj = nn.Linear(channels, 3 * channels)
        self.out = nn.Linear(channels, 3 if reference else 1, bias=reference)

    def forward(self, x: Tensor, bias: Tensor, pos: Tensor, mask: Tensor) -> Tensor:
        B, n, C = x.shape
        H, D = self.heads, C // self.heads
        q, k, v = self.in_proj(x).view(B, n, 3, H, D).permute(2, 0, 3, 1, 4)  # [B, H, n, D]
        logits = q @ k.transpose(-1, -2) * D**-0.5 + bias  # [B, H, n, n]
        logits = logits.masked_fill(~mask[:, None, None, :], torch.finfo(logits.dtype).min)
        p = logits.softmax(-1)
        p = dropout(p, self.DROPOUT) if self.training else p
        vector = pos[:, None, :] - pos[:, :, None]  # [B, n, n, 3], x_j - x_i
        unit = vector / (torch.linalg.vector_norm(vector, dim=-1, keepdim=True) + 1e-5)
        # [B, 3, H, n, D]: what each axis sums up
        axis = (p[:, None] * unit.permute(0, 3, 1, 2)[:, :, None]) @ v[:, None]
        axis = axis.permute(0, 3, 1, 2, 4).reshape(B, n, 3, C)
        if not self.reference:
            return self.out(axis).squeeze(-1)  # [B, n, 3]
        return (axis * self.out.weight).sum(-1) + self.out.bias
