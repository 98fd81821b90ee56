"""The layers of GROVER: message passing of random depth, and attention among heads."""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from molae_pyg.nn.arguments import ShowsArguments
from molae_pyg.nn.dropout import Dropout
from molae_pyg.nn.prelu import PReLU

Sum = Callable[[Tensor], Tensor]


class Messages(ShowsArguments, nn.Module):
    r"""A message-passing network whose layers share their weights.

    .. math::
        m^0_i = x_i, \qquad m^{t+1}_i = \mathrm{PReLU}(x_i + W \sum_{j \in N(i)} m^t_j)

    Args:
        channels: Width C.
        depth: Number of layers K, the input included. In training, each call draws it anew: the
            whole part of a normal number around K.
        dropout: Dropout behind each layer.
    """

    SPREAD = 3.0  # the number of layers is at most so far from the depth

    def __init__(self, channels: int, depth: int, dropout: float):
        super().__init__()
        self.channels, self.depth, self.dropout = channels, depth, Dropout(dropout)
        self.linear = nn.Linear(channels, channels, bias=False)
        self.act = PReLU()

    def forward(self, x: Tensor, neighbours: Sum) -> Tensor:
        depth = self.depth
        if self.training:
            low, high = depth - self.SPREAD, depth + self.SPREAD
            depth = int(nn.init.trunc_normal_(torch.empty(1), depth, 1.0, low, high))
        m = x
        for _ in range(depth - 1):
            m = self.act(x + self.linear(neighbours(m)))
            m = self.dropout(m)
        return m


class HeadAttention(ShowsArguments, nn.Module):
    """Attention among the H heads of one atom or bond: the sequence is the heads.

    Args:
        channels: Width C, divisible by the number of heads.
        heads: Number of heads H, of the sequence and of the attention.
        dropout: Dropout of the probabilities.

    Shapes:
        q, k, v ``[N, H, C]`` -> ``[N, H, C]``.
    """

    def __init__(self, channels: int, heads: int, dropout: float):
        super().__init__()
        self.channels, self.heads, self.dropout = channels, heads, dropout
        self.inputs = nn.ModuleList(nn.Linear(channels, channels) for _ in "qkv")
        self.out = nn.Linear(channels, channels, bias=False)

    def forward(self, *qkv: Tensor) -> Tensor:
        q, k, v = (
            linear(x).unflatten(-1, (self.heads, -1)).transpose(1, 2)  # [N, H, H, C / H]
            for linear, x in zip(self.inputs, qkv, strict=True)
        )
        p = self.dropout if self.training else 0.0
        x = F.scaled_dot_product_attention(q, k, v, dropout_p=p)
        return self.out(x.transpose(1, 2).flatten(2))


class View(ShowsArguments, nn.Module):
    """A block over atoms or over directed bonds: three networks a head, and their attention.

    Args:
        in_channels: Number of raw features F.
        channels: Width C.
        heads: Number of heads H.
        depth: See :class:`Messages`.
        dropout: Dropout.

    Shapes:
        ``[N, F]`` and the sum over neighbours ``[N, C] -> [N, C]`` -> ``[N, C]``.
    """

    def __init__(self, in_channels: int, channels: int, heads: int, depth: int, dropout: float):
        super().__init__()
        self.in_channels, self.channels = in_channels, channels
        self.depth, self.dropout = depth, Dropout(dropout)
        self.linear = nn.Linear(in_channels, channels, bias=False)
        self.act = PReLU()
        self.input_norm = nn.LayerNorm(channels)
        self.heads = nn.ModuleList(
            nn.ModuleDict({part: Messages(channels, depth, dropout) for part in "qkv"})
            for _ in range(heads)
        )
        self.attention = HeadAttention(channels, heads, dropout)
        self.out = nn.Linear(heads * channels, channels, bias=False)
        self.norm = nn.LayerNorm(channels)

    def forward(self, features: Tensor, neighbours: Sum) -> Tensor:
        x = self.input_norm(self.act(self.linear(features)))
        x = self.dropout(x)
        qkv = (
            torch.stack([head[part](x, neighbours) for head in self.heads], dim=1) for part in "qkv"
        )
        x = self.norm(self.out(self.attention(*qkv).flatten(1)))
        return self.dropout(x)


class Output(ShowsArguments, nn.Module):
    """Raw features joined with what a view sends: ``[N, F]``, ``[N, C]`` -> ``[N, C]``."""

    def __init__(self, in_channels: int, channels: int, dropout: float):
        super().__init__()
        self.in_channels, self.channels = in_channels, channels
        self.dropout = Dropout(dropout)
        self.linear1 = nn.Linear(in_channels + channels, 4 * channels)
        self.act = PReLU()
        self.linear2 = nn.Linear(4 * channels, channels)
        self.norm = nn.LayerNorm(channels)

    def forward(self, features: Tensor, sent: Tensor) -> Tensor:
        x = self.act(self.linear1(torch.cat([features, sent], dim=1)))
        x = self.linear2(self.dropout(x))
        return self.dropout(self.norm(x))
