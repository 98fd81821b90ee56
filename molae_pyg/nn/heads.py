"""Heads of the auto-encoder: tokens, coordinates and distances from the decoder's state."""

import math

import torch.nn.functional as F
from torch import Tensor, nn

from molae_pyg.chem.elements import NUM_TOKENS
from molae_pyg.nn.arguments import ShowsArguments


class TokenHead(ShowsArguments, nn.Module):
    """Logits of an atom's element: ``LN(GELU(dense(x))) W^T + b``.

    Shapes:
        x ``[M, C]`` -> logits ``[M, 31]`` over the vocabulary.
    """

    def __init__(self, channels: int):
        super().__init__()
        self.channels = channels
        self.dense = nn.Linear(channels, channels)
        self.norm = nn.LayerNorm(channels)
        self.out = nn.Linear(channels, NUM_TOKENS)

    def reset_parameters(self) -> None:
        # The one matrix the reference leaves at the framework's default, U(-1/sqrt(C), 1/sqrt(C)).
        bound = 1 / math.sqrt(self.out.in_features)
        nn.init.uniform_(self.out.weight, -bound, bound)

    def forward(self, x: Tensor) -> Tensor:
        return self.out(self.norm(F.gelu(self.dense(x))))


class CoordinateHead(ShowsArguments, nn.Module):
    r"""Moves each atom along the lines to all others, with weights from the pair vectors.

    .. math::
        w_{ij} &= W_2 \, \mathrm{GELU}(W_1 \, \mathrm{LN}(\Delta_{ij})) \in \mathbb{R} \\
        x'_i &= x_i + \frac{1}{n - 1} \sum_j w_{ij} (x_j - x_i)

    with :math:`\Delta` the decoder's change of the pair tensor and n the number of tokens of the
    molecule (atoms, CLS and SEP). E(3)-equivariant in x.

    Shapes:
        delta ``[B, H, L, L]``, pos ``[B, L, 3]``, mask ``[B, L]`` -> ``[B, L, 3]``.
    """

    def __init__(self, heads: int):
        super().__init__()
        self.heads = heads
        self.norm = nn.LayerNorm(heads)
        self.linear1 = nn.Linear(heads, heads)
        self.linear2 = nn.Linear(heads, 1)

    def weight(self, delta: Tensor) -> Tensor:
        """Weights from pair vectors: ``[..., H]`` -> ``[...]``."""
        return self.linear2(F.gelu(self.linear1(self.norm(delta)))).squeeze(-1)

    def forward(self, delta: Tensor, pos: Tensor, mask: Tensor) -> Tensor:
        w = self.weight(delta.permute(0, 2, 3, 1)) * mask[:, None, :]  # [B, L, L]
        num_tokens = mask.sum(1)[:, None, None]  # [B, 1, 1]
        # sum_j w_ij (x_j - x_i), without the [B, L, L, 3] differences
        move = w @ pos - w.sum(-1, keepdim=True) * pos  # [B, L, 3]
        return pos + move / (num_tokens - 1)


class DistanceHead(ShowsArguments, nn.Module):
    r"""Distance of two tokens from their pair vector.

    .. math::
        u_{ij} = W_2 \, \mathrm{LN}(\mathrm{GELU}(W_1 \, a_{ij})), \qquad
        d_{ij} = \mu + \sigma \, (u_{ij} + u_{ji}) / 2

    The published mean and standard deviation of ZINC-like distances give the network a target of
    unit scale; the head returns Å.

    Shapes:
        pair ``[B, H, L, L]`` -> ``[B, L, L]`` in Å.
    """

    MEAN = 6.312581655060595
    STD = 3.3899264663911888

    def __init__(self, heads: int):
        super().__init__()
        self.heads = heads
        self.dense = nn.Linear(heads, heads)
        self.norm = nn.LayerNorm(heads)
        self.out = nn.Linear(heads, 1)

    def forward(self, pair: Tensor) -> Tensor:
        u = self.out(self.norm(F.gelu(self.dense(pair.permute(0, 2, 3, 1))))).squeeze(-1)
        return self.MEAN + self.STD * (u + u.transpose(1, 2)) / 2
