"""The layers of Transformer-M: layer norms behind each part, and whole parts dropped."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from molae_pyg.nn.arguments import ShowsArguments, share, size
from molae_pyg.nn.attention import PairBiasAttention
from molae_pyg.nn.dropout import Dropout


class DropPath(ShowsArguments, nn.Module):
    """Sets a whole part of a layer to 0, molecule by molecule, and scales the others up.

    Args:
        p: Share that is dropped.
        by_position: True: a position of all molecules of the batch is dropped, as in the official
            code; default: False.

    Shapes:
        ``[B, L, C]`` -> ``[B, L, C]``.
    """

    def __init__(self, p: float, by_position: bool = False):
        super().__init__()
        self.p, self.by_position = share("drop_path", p), by_position

    def forward(self, x: Tensor) -> Tensor:
        if self.p == 0 or not self.training:
            return x
        shape = (1, x.size(1), 1) if self.by_position else (x.size(0), 1, 1)
        return x * (torch.rand(shape, device=x.device) >= self.p) / (1 - self.p)


class PostNormLayer(ShowsArguments, nn.Module):
    r"""Layer whose attention has the same bias in every layer.

    .. math::
        x &\leftarrow \mathrm{LN}(x + \mathrm{attention}(x, b)) \\
        x &\leftarrow \mathrm{LN}(x + W_2 \, \mathrm{GELU}(W_1 \, x))

    Args:
        channels: Width C.
        ffn_channels: Width of the feed-forward part.
        heads: Number of heads H.
        drop: Acts on the output of both parts, such as :class:`DropPath`.
        attn_dropout: Dropout of the attention probabilities, default: 0.1.
        act_dropout: Dropout behind the GELU, default: 0.1.

    Shapes:
        x ``[B, L, C]``, bias ``[B, H, L, L]``, mask ``[B, L]`` (True = real) -> ``[B, L, C]``.
    """

    def __init__(
        self,
        channels: int,
        ffn_channels: int,
        heads: int,
        drop: nn.Module,
        attn_dropout: float = 0.1,
        act_dropout: float = 0.1,
    ):
        super().__init__()
        self.channels, self.heads = channels, heads
        self.attn_dropout, self.act_dropout = attn_dropout, act_dropout
        self.ffn_channels = size("ffn_channels", ffn_channels)
        self.attention = PairBiasAttention(channels, heads, attn_dropout)
        self.attn_norm = nn.LayerNorm(channels)
        self.linear1 = nn.Linear(channels, ffn_channels)
        self.activation_dropout = Dropout(act_dropout)
        self.linear2 = nn.Linear(ffn_channels, channels)
        self.ffn_norm = nn.LayerNorm(channels)
        self.drop = drop

    def forward(self, x: Tensor, bias: Tensor, mask: Tensor) -> Tensor:
        out, _ = self.attention(x, bias, mask)  # the logits are not passed on
        x = self.attn_norm(x + self.drop(out))
        out = self.linear2(self.activation_dropout(F.gelu(self.linear1(x))))
        return self.ffn_norm(x + self.drop(out))
