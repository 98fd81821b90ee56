"""The decoder: told where atoms stand in the record, blind to coordinates."""

import torch
from torch import Tensor, nn
from torch_geometric.utils import cumsum, degree

from molae_pyg.nn.dense import dense_tokens
from molae_pyg.nn.positional import SinusoidalPosition
from molae_pyg.nn.transformer import PairTransformer, TransformerOutput


class MolAEDecoder(nn.Module):
    """The decoder: position-aware, blind to coordinates.

    Shapes:
        x ``[N, C]`` atoms, special ``[B, 2, C]`` CLS and SEP, batch ``[N]``, pair
        ``[B, H, L, L]`` or None for zeros -> dense :class:`~molae_pyg.nn.TransformerOutput`.
    """

    def __init__(self, position: bool, transformer: PairTransformer, heads: int, channels: int):
        super().__init__()
        self.heads = heads
        self.position = SinusoidalPosition(channels) if position else None
        self.transformer = transformer

    def forward(
        self, x: Tensor, special: Tensor, batch: Tensor, pair: Tensor | None
    ) -> TransformerOutput:
        if self.position is not None:
            num_atoms = degree(batch, special.size(0), dtype=torch.long)  # [B]
            first = cumsum(num_atoms)[:-1]  # [B]
            rank = torch.arange(x.size(0), device=x.device) - first[batch]  # [N], 0, 1, ...
            ends = torch.stack([torch.ones_like(num_atoms), num_atoms + 2], dim=1)  # [B, 2]
            x = x + self.position(rank + 2)
            special = special + self.position(ends)
        x, mask = dense_tokens(x, special, batch, special.size(0))  # [B, L, C], [B, L]
        if pair is None and not self.transformer.layers:
            pair = x.new_zeros(x.size(0), self.heads, x.size(1), x.size(1))
        return self.transformer(x, pair, mask)
