"""Positions of tokens beside the published ones: other orders, and codes at any layer of a stack.

The decoder of Mol-AE receives :class:`~molae_pyg.nn.SinusoidalPosition` at its input, in the order
of the record. Uni-Mol-PE and the ablations need what is here.
"""

from typing import Literal, NamedTuple, get_args

import numpy as np
import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from molae_pyg.nn.arguments import size
from molae_pyg.nn.dense import NUM_SPECIAL, Slots
from molae_pyg.nn.transformer import PairTransformer, SinusoidalPosition, TransformerOutput

#: ``"record"``: the order of the atoms as they are given. ``"random"``: a new permutation of the
#: atoms of each molecule at each call. ``"relabelled"``: the order of the record, but position p
#: has the code of another position, the same one in all molecules.
Order = Literal["record", "random", "relabelled"]

#: Number of positions that ``"relabelled"`` permutes; the permutation is that of the official code.
NUM_LABELS = 512


class Positions(NamedTuple):
    """Positions of the tokens of a batch: CLS has 1, SEP the last."""

    atom: Tensor  #: Positions of the atoms ``[N]``.
    ends: Tensor  #: Positions of CLS and SEP ``[B, 2]``.

    def code(
        self, position: SinusoidalPosition, slots: Slots, keep: Tensor | None = None
    ) -> Tensor:
        """Codes ``[B, L, C]``, 0 at padding.

        Args:
            position: Gives the code of a position.
            slots: Slots of the atoms that the stack sees.
            keep: Numbers of these atoms ``[N']``; default: all.
        """
        atom = self.atom if keep is None else self.atom[keep]
        return slots.dense(position(atom), position(self.ends))


def check_order(order: str) -> None:
    if order not in get_args(Order):
        raise ValueError(f"order must be one of {', '.join(get_args(Order))}, not {order!r}")


def number_tokens(slots: Slots, order: Order = "record") -> Positions:
    """Numbers the tokens of each molecule from 1: CLS, its n atoms, SEP.

    Args:
        slots: Slots of all atoms, which are 2 to n + 1.
        order: See :data:`Order`; ``"random"`` draws from torch's generator.

    Raises:
        ValueError: ``"relabelled"`` has no label for a molecule of more than 510 atoms.
    """
    num_tokens = slots.mask.sum(1)  # [B]
    ends = torch.stack([torch.ones_like(num_tokens), num_tokens], dim=1)  # [B, 2]
    if order == "random":
        key = slots.batch + torch.rand(slots.slot.shape, device=ends.device, dtype=torch.float64)
        atom = torch.empty_like(slots.slot)
        atom[key.argsort()] = slots.slot  # sorted by molecule, shuffled inside
        return Positions(atom, ends)
    if order == "record":
        return Positions(slots.slot, ends)
    if slots.mask.size(1) > NUM_LABELS:
        raise ValueError(
            f"order='relabelled' has {NUM_LABELS - NUM_SPECIAL} positions for atoms, a molecule "
            f"has {slots.mask.size(1) - NUM_SPECIAL}"
        )
    label = 1 + np.random.RandomState(0).permutation(NUM_LABELS)  # of the positions 1 to 512
    table = torch.from_numpy(label).to(ends.device)
    return Positions(table[slots.slot - 1], table[ends - 1])


class PositionedTransformer(PairTransformer):
    """A :class:`~molae_pyg.nn.PairTransformer` that receives codes of positions at one layer.

    Args:
        stack: The stack whose layers it takes over.
        layer: Where the codes are added, 0: before the first layer norm; k: to the residual stream
            that enters layer k, counted from 0; ``num_layers``: before the final layer norm only,
            so that neither the pair tensor nor the norm terms depend on them.

    Shapes:
        x ``[B, L, C]``, pair ``[B, H, L, L]`` or None, mask ``[B, L]``, code ``[B, L, C]`` (None:
        no positions) -> :class:`~molae_pyg.nn.TransformerOutput`.
    """

    def __init__(self, stack: PairTransformer, layer: int):
        sizes = stack.channels, stack.ffn_channels, stack.heads
        super().__init__(*sizes, 0, stack.dropout.p, stack.attn_dropout)
        self.num_layers, self.layer = stack.num_layers, size("position_layer", layer, least=0)
        if self.layer > self.num_layers:
            raise ValueError(f"position_layer must be in 0...{self.num_layers}, not {layer}")
        self.input_norm, self.layers, self.final_norm = (
            stack.input_norm, stack.layers, stack.final_norm,
        )  # fmt: skip

    def __repr__(self) -> str:
        sizes = f"{self.channels}, {self.ffn_channels}, {self.heads}, {self.num_layers}"
        return f"{type(self).__name__}(PairTransformer({sizes}), layer={self.layer})"

    def forward(
        self, x: Tensor, pair: Tensor | None, mask: Tensor, code: Tensor | None = None
    ) -> TransformerOutput:
        if code is None or self.layer == 0:
            return super().forward(x if code is None else x + code, pair, mask)
        x = self.dropout(self.input_norm(x)) * mask.unsqueeze(-1)  # [B, L, C]
        pair_in = pair
        for number, layer in enumerate(self.layers):
            if number == self.layer:
                x = x + code
            if self.recompute and torch.is_grad_enabled():
                x, pair = checkpoint(layer, x, pair, mask, use_reentrant=False)
            else:
                x, pair = layer(x, pair, mask)
        last = x + code if self.layer == self.num_layers else x
        return TransformerOutput(self.final_norm(last), x, pair, pair_in, mask)
