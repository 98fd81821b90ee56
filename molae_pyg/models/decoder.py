"""The decoder: told where atoms stand in the record, blind to coordinates."""

import torch
from torch import Tensor, nn

from molae_pyg.nn.dense import Slots, atom_slots
from molae_pyg.nn.positional import SinusoidalPosition
from molae_pyg.nn.transformer import PairTransformer, TransformerOutput


class MolAEDecoder(nn.Module):
    """The decoder: position-aware, blind to coordinates.

    Shapes:
        x ``[N, C]`` atoms, special ``[B, 2, C]`` CLS and SEP, batch ``[N]``, pair
        ``[B, H, L, L]`` or None for zeros -> dense :class:`~molae_pyg.nn.TransformerOutput`.
        The slots of the atoms, where the caller has them, are not computed again.
    """

    def __init__(self, position: bool, transformer: PairTransformer, heads: int, channels: int):
        super().__init__()
        self.heads = heads
        self.position = SinusoidalPosition(channels) if position else None
        self.transformer = transformer

    def forward(
        self,
        x: Tensor,
        special: Tensor,
        batch: Tensor,
        pair: Tensor | None,
        slots: Slots | None = None,
    ) -> TransformerOutput:
        if slots is None:
            slots = atom_slots(batch, special.size(0))
        if self.position is not None:
            num_tokens = slots.mask.sum(1)  # [B]
            ends = torch.stack([torch.ones_like(num_tokens), num_tokens], dim=1)  # [B, 2]
            x = x + self.position(slots.slot)  # 2, 3, ...: a slot is a position
            special = special + self.position(ends)
        x = slots.dense(x, special)  # [B, L, C]
        if pair is None and not self.transformer.layers:
            pair = x.new_zeros(x.size(0), self.heads, x.size(1), x.size(1))
        return self.transformer(x, pair, slots.mask)
