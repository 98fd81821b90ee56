"""Flat PyG tensors <-> the dense token layout of encoder and decoder."""

from typing import NamedTuple

import torch
from torch import Tensor

#: Number of tokens in front of the atoms: CLS in slot 0, SEP in slot 1.
NUM_SPECIAL = 2


class Slots(NamedTuple):
    """Where each atom is in the dense layout, see :func:`atom_slots`."""

    batch: Tensor  #: Molecule of each atom ``[N]``.
    slot: Tensor  #: Slot of each atom in its molecule ``[N]``: 2, 3, ... in flat order.
    mask: Tensor  #: True where there is a token ``[B, L]``.

    def dense(self, x: Tensor, special: Tensor) -> Tensor:
        """Puts per-atom values into their slots, behind those of CLS and SEP.

        Shapes:
            x ``[N, ...]`` atoms, special ``[2, ...]`` or ``[B, 2, ...]`` CLS and SEP ->
            ``[B, L, ...]``, zeros where padded.
        """
        dense = x.new_zeros(*self.mask.shape, *x.shape[1:])  # [B, L, ...]
        dense[:, :NUM_SPECIAL] = special.to(x.dtype)
        dense[self.batch, self.slot] = x
        return dense

    def flat(self, dense: Tensor) -> Tensor:
        """Takes the atoms, without CLS, SEP and padding: ``[B, L, ...]`` -> ``[N, ...]``."""
        return dense[self.batch, self.slot]


def atom_slots(
    batch: Tensor, batch_size: int, one_molecule: bool = False, length: int | None = None
) -> Slots:
    """Gives each atom its slot: behind CLS and SEP, in flat order.

    The reference puts SEP behind the last atom. Results are equal: the encoder is equivariant to
    permutations, and the decoder receives the position of every token.

    Args:
        batch: Molecule of each atom ``[N]``, sorted.
        batch_size: Number of molecules B (a molecule may have lost all of its atoms).
        one_molecule: Whether there is one molecule only, which saves a GPU from waiting for the
            size of the largest; default: False.
        length: L, if it is known, which saves a GPU from waiting too; default: 2 + most atoms.

    Returns:
        :class:`Slots`.
    """
    num_atoms = batch.new_zeros(batch_size).scatter_add(0, batch, torch.ones_like(batch))  # [B]
    first = num_atoms.cumsum(0) - num_atoms  # [B]
    slot = torch.arange(batch.size(0), device=batch.device) - first[batch] + NUM_SPECIAL  # [N]
    if length is None:
        length = NUM_SPECIAL + (batch.size(0) if one_molecule else num_atoms.max().item())
    torch._check(length >= NUM_SPECIAL)  # torch.compile does not know the value
    number = torch.arange(length, device=batch.device)  # [L]
    return Slots(batch, slot, number < (num_atoms + NUM_SPECIAL)[:, None])
