"""Flat PyG tensors <-> the dense token layout of encoder and decoder."""

import torch
import torch.nn.functional as F
from torch import Tensor
from torch_geometric.utils import to_dense_batch

#: Tokens in front of the atoms: CLS in slot 0, SEP in slot 1.
NUM_SPECIAL = 2


def dense_tokens(
    x: Tensor, special: Tensor, batch: Tensor, batch_size: int
) -> tuple[Tensor, Tensor]:
    """Puts CLS and SEP in front of every molecule's atoms and pads to the longest molecule.

    The reference puts SEP behind the last atom. The encoder is permutation-equivariant and the
    decoder is told every token's position, so the slot makes no difference, and slots 0 and 1
    are the same in every molecule.

    Args:
        x: Per-atom values ``[N, ...]``.
        special: Values of CLS and SEP, ``[2, ...]`` (shared) or ``[B, 2, ...]``.
        batch: Molecule of each atom ``[N]``, sorted.
        batch_size: Number of molecules B (a molecule may have lost all of its atoms).

    Returns:
        The dense tensor ``[B, L, ...]`` with ``L = 2 + most atoms``, zeros where padded, and the
        mask ``[B, L]``, True where there is a token.
    """
    dense, mask = to_dense_batch(x, batch, batch_size=batch_size)  # [B, L - 2, ...]
    special = special.to(x.dtype).expand(batch_size, NUM_SPECIAL, *x.shape[1:])
    return torch.cat([special, dense], dim=1), F.pad(mask, (NUM_SPECIAL, 0), value=True)


def flat_atoms(dense: Tensor, mask: Tensor) -> Tensor:
    """Takes the atoms, without CLS, SEP and padding: ``[B, L, ...]`` -> ``[N, ...]``."""
    return dense[:, NUM_SPECIAL:][mask[:, NUM_SPECIAL:]]


def flat_pairs(dense: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
    """Takes all ordered atom pairs of each molecule, in PyG's edge layout.

    Args:
        dense: Pair values ``[B, L, L, ...]``.
        mask: True where there is a token, ``[B, L]``.

    Returns:
        ``pair_index [2, P]`` into the flat atoms and the values ``[P, ...]``, where P is the sum
        of the squared atom counts (an atom is paired with itself too).
    """
    atom = mask[:, NUM_SPECIAL:]
    number = atom.new_zeros(atom.shape, dtype=torch.long)  # [B, L - 2], flat number of an atom
    number[atom] = torch.arange(int(atom.sum()), device=atom.device)
    valid = atom[:, :, None] & atom[:, None, :]  # [B, L - 2, L - 2]
    row = number[:, :, None].expand_as(valid)[valid]
    col = number[:, None, :].expand_as(valid)[valid]
    return torch.stack([row, col]), dense[:, NUM_SPECIAL:, NUM_SPECIAL:][valid]
