"""The Transformer stack of encoder and decoder, and the positions of the decoder."""

import math
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from molae_pyg.nn.arguments import ShowsArguments, size
from molae_pyg.nn.attention import PairBiasAttention
from molae_pyg.nn.dropout import Dropout


def norm_excess(x: Tensor, mask: Tensor, dim: int) -> Tensor:
    r"""How far the norms of vectors are from :math:`\sqrt{dim}`, beyond a tolerance of 1.

    .. math::
        \mathrm{mean}_{b} \; \mathrm{mean}_{i \in b} \;
        \mathrm{relu} \left( \left| \sqrt{|x_i|^2 + 10^{-10}} - \sqrt{dim} \right| - 1 \right)

    Shapes:
        x ``[B, ...]`` squared norms, mask ``[B, ...]`` (True = counts) -> a scalar.
    """
    excess = F.relu(((x + 1e-10).sqrt() - math.sqrt(dim)).abs() - 1) * mask
    return (excess.flatten(1).sum(1) / (mask.flatten(1).sum(1) + 1e-10)).mean()


class TransformerOutput(NamedTuple):
    """Dense state after a stack, with the two loss terms that keep activations small."""

    x: Tensor  #: ``[B, L, C]``, after the final layer norm.
    hidden: Tensor  #: ``[B, L, C]``, before it.
    pair: Tensor  #: ``[B, H, L, L]``, attention logits of the last layer.
    pair_in: Tensor | None  #: ``[B, H, L, L]``, the bias that entered the first layer; None: zeros.
    mask: Tensor  #: ``[B, L]``, True = real token.

    def delta(self) -> Tensor:
        """What the stack added to the pair tensor, ``[B, H, L, L]``; 0 at padded keys."""
        delta = self.pair if self.pair_in is None else self.pair - self.pair_in
        return delta * self.mask[:, None, None, :]

    def x_norm(self) -> Tensor:
        """Norm excess of the token states, over all tokens including CLS and SEP."""
        return norm_excess(self.hidden.pow(2).sum(-1), self.mask, self.hidden.size(-1))

    def pair_norm(self) -> Tensor:
        """Norm excess of :meth:`delta` (vectors over heads), over pairs of real tokens."""
        valid = self.mask[:, :, None] & self.mask[:, None, :]  # [B, L, L]
        return norm_excess(self.delta().pow(2).sum(1), valid, self.pair.size(1))

    def norms(self) -> tuple[Tensor, Tensor]:
        """Both loss terms, :meth:`x_norm` and :meth:`pair_norm`."""
        return self.x_norm(), self.pair_norm()


class TransformerLayer(ShowsArguments, nn.Module):
    r"""Pre-norm layer that updates tokens and passes the attention logits on.

    .. math::
        x &\leftarrow x + \mathrm{attention}(\mathrm{LN}(x), a) \\
        x &\leftarrow x + W_2 \, \mathrm{GELU}(W_1 \, \mathrm{LN}(x))

    Args:
        channels: Width C.
        ffn_channels: Width of the feed-forward part.
        heads: Number of heads H.
        dropout: Dropout after attention and after the feed-forward part, default: 0.1.
        attn_dropout: Dropout of the attention probabilities, default: 0.1.

    Shapes:
        Those of :class:`PairBiasAttention`.
    """

    def __init__(
        self,
        channels: int,
        ffn_channels: int,
        heads: int,
        dropout: float = 0.1,
        attn_dropout: float = 0.1,
    ):
        super().__init__()
        self.channels, self.heads, self.attn_dropout = channels, heads, attn_dropout
        self.ffn_channels = size("ffn_channels", ffn_channels)
        self.attn_norm = nn.LayerNorm(channels)
        self.attention = PairBiasAttention(channels, heads, attn_dropout)
        self.ffn_norm = nn.LayerNorm(channels)
        self.linear1 = nn.Linear(channels, ffn_channels)
        self.linear2 = nn.Linear(ffn_channels, channels)
        self.dropout = Dropout(dropout)

    def forward(
        self, x: Tensor, pair: Tensor | None, mask: Tensor, overwrite: bool = False
    ) -> tuple[Tensor, Tensor]:
        out, pair = self.attention(self.attn_norm(x), pair, mask, overwrite)
        x = x + self.dropout(out)
        out = self.linear2(F.gelu(self.linear1(self.ffn_norm(x))))
        return x + self.dropout(out), pair


class PairTransformer(ShowsArguments, nn.Module):
    """A stack of :class:`TransformerLayer` between two layer norms.

    Set ``recompute = True`` to train with less memory: each layer keeps only its input and is
    computed again in the backward pass, which takes about a third longer. Results are the same.

    Args:
        channels: Width C, default: 512.
        ffn_channels: Width of the feed-forward parts, default: 2048.
        heads: Number of heads H, default: 64.
        num_layers: Number of layers, default: 15; 0 leaves the two norms.
        dropout: Dropout of the input, the attention and the feed-forward outputs, default: 0.1.
        attn_dropout: Dropout of the attention probabilities, default: 0.1.

    Shapes:
        x ``[B, L, C]``, pair ``[B, H, L, L]`` (None: zeros), mask ``[B, L]`` (True = real) ->
        :class:`TransformerOutput`.
    """

    def __init__(
        self,
        channels: int = 512,
        ffn_channels: int = 2048,
        heads: int = 64,
        num_layers: int = 15,
        dropout: float = 0.1,
        attn_dropout: float = 0.1,
    ):
        super().__init__()
        self.channels, self.ffn_channels, self.heads = channels, ffn_channels, heads
        self.num_layers, self.attn_dropout = num_layers, attn_dropout
        self.recompute = False
        self.input_norm = nn.LayerNorm(size("hidden_channels", channels))
        self.dropout = Dropout(dropout)
        self.layers = nn.ModuleList(
            TransformerLayer(channels, ffn_channels, heads, dropout, attn_dropout)
            for _ in range(size("num_layers", num_layers, least=0))
        )
        self.final_norm = nn.LayerNorm(channels)

    def forward(self, x: Tensor, pair: Tensor | None, mask: Tensor) -> TransformerOutput:
        x = self.dropout(self.input_norm(x)) * mask.unsqueeze(-1)  # [B, L, C]
        if pair is None and not self.layers:
            pair = x.new_zeros(x.size(0), self.heads, x.size(1), x.size(1))
        pair_in = pair
        for layer in self.layers:
            if self.recompute and torch.is_grad_enabled():
                x, pair = checkpoint(layer, x, pair, mask, use_reentrant=False)
            else:  # without gradients, one tensor holds the logits of all layers
                overwrite = pair is not pair_in and not torch.is_grad_enabled()
                x, pair = layer(x, pair, mask, overwrite)
        return TransformerOutput(self.final_norm(x), x, pair, pair_in, mask)


class SinusoidalPosition(ShowsArguments, nn.Module):
    r"""Fixed positional encoding, sines first, then cosines (Vaswani et al. 2017, tensor2tensor).

    .. math::
        e(p) = [\sin(p \, f_0), \ldots, \sin(p \, f_{C/2-1}), \cos(p \, f_0), \ldots],
        \qquad f_m = 10000^{-m / (C/2 - 1)}

    In Mol-AE CLS has position 1, the atoms 2, 3, ... in the order of the record, SEP the last.

    Args:
        channels: Width C, even and at least 4.

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
