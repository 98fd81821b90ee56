"""Heads: what the decoder rebuilds (token, coordinate, distance), and molecular properties."""

import math
from typing import Literal, get_args

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch_geometric.utils import segment

from molae_pyg.chem.elements import NUM_TOKENS
from molae_pyg.nn.arguments import size


class TokenHead(nn.Module):
    """Element of an atom: ``LN(GELU(dense(x))) W^T + b``.

    Shapes:
        x ``[M, C]`` -> logits ``[M, 31]`` over the vocabulary.
    """

    def __init__(self, channels: int):
        super().__init__()
        self.dense = nn.Linear(channels, channels)
        self.norm = nn.LayerNorm(channels)
        self.out = nn.Linear(channels, NUM_TOKENS)

    def reset_parameters(self) -> None:
        # The one matrix the reference leaves at the framework's default, U(-1/sqrt(C), 1/sqrt(C)).
        bound = 1 / math.sqrt(self.out.in_features)
        nn.init.uniform_(self.out.weight, -bound, bound)

    def forward(self, x: Tensor) -> Tensor:
        return self.out(self.norm(F.gelu(self.dense(x))))


class CoordinateHead(nn.Module):
    r"""Moves atoms along the lines to all others, weighted by what the decoder learned of pairs.

    .. math::
        w_{ij} &= W_2 \, \mathrm{GELU}(W_1 \, \mathrm{LN}(\Delta_{ij})) \in \mathbb{R} \\
        x'_i &= x_i + \frac{1}{n - 1} \sum_j w_{ij} (x_j - x_i)

    with :math:`\Delta` the decoder's change of the pair tensor and n the tokens of the molecule
    (atoms, CLS and SEP). E(3)-equivariant in x.

    Shapes:
        delta ``[B, H, L, L]``, pos ``[B, L, 3]``, mask ``[B, L]`` -> ``[B, L, 3]``.
    """

    def __init__(self, heads: int):
        super().__init__()
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


class DistanceHead(nn.Module):
    r"""Distance of two tokens from their pair vector, symmetrised.

    .. math::
        u_{ij} = W_2 \, \mathrm{LN}(\mathrm{GELU}(W_1 \, a_{ij})), \qquad
        d_{ij} = \mu + \sigma \, (u_{ij} + u_{ji}) / 2

    The published mean and standard deviation of ZINC-like distances make the network's target
    of unit scale; the head returns Å.

    Shapes:
        pair ``[B, H, L, L]`` -> ``[B, L, L]`` in Å.
    """

    MEAN = 6.312581655060595
    STD = 3.3899264663911888

    def __init__(self, heads: int):
        super().__init__()
        self.dense = nn.Linear(heads, heads)
        self.norm = nn.LayerNorm(heads)
        self.out = nn.Linear(heads, 1)

    def forward(self, pair: Tensor) -> Tensor:
        u = self.out(self.norm(F.gelu(self.dense(pair.permute(0, 2, 3, 1))))).squeeze(-1)
        return self.MEAN + self.STD * (u + u.transpose(1, 2)) / 2


Readout = Literal["cls", "mean", "sum", "max", "atomwise"]


class PropertyHead(nn.Module):
    """Molecular properties from the molecule token or from pooled atoms.

    ``out(drop(tanh(dense(drop(h)))))``, where h is the CLS representation (as published) or the
    atoms pooled by :func:`torch_geometric.utils.segment` (which runs on torch-scatter's kernels
    where that package is installed). ``"atomwise"`` applies the head to each atom and adds up: for
    properties that grow with the molecule, such as energies, as in `SchNet
    <https://arxiv.org/abs/1706.08566>`_.

    Args:
        channels: Width C.
        num_tasks: Number of tasks T.
        dropout: Before both linear layers, default 0.
        readout: ``"cls"`` (default), ``"mean"``, ``"sum"``, ``"max"`` or ``"atomwise"``.

    Shapes:
        x ``[N, C]``, molecule ``[B, C]``, ptr ``[B + 1]`` (first atom of each molecule) ->
        ``[B, T]``.
    """

    def __init__(
        self, channels: int, num_tasks: int, dropout: float = 0.0, readout: Readout = "cls"
    ):
        super().__init__()
        if readout not in get_args(Readout):
            raise ValueError(f"readout must be one of {get_args(Readout)}, not {readout!r}")
        self.readout = readout
        self.dropout = nn.Dropout(dropout)
        self.dense = nn.Linear(channels, channels)
        self.out = nn.Linear(channels, size("num_tasks", num_tasks))

    def forward(self, x: Tensor, molecule: Tensor, ptr: Tensor) -> Tensor:
        if self.readout == "atomwise":
            return segment(self._head(x), ptr, reduce="sum")
        pooled = molecule if self.readout == "cls" else segment(x, ptr, reduce=self.readout)
        return self._head(pooled)  # [B, C] -> [B, T]

    def _head(self, h: Tensor) -> Tensor:
        h = torch.tanh(self.dense(self.dropout(h)))
        return self.out(self.dropout(h))
