"""The task of MoleBLEND: one channel for each pair of atoms and for each atom, and noise."""

import math
from collections.abc import Sequence

import torch
from torch import Tensor
from torch_geometric.data import Data
from torch_geometric.transforms import BaseTransform

from molae_pyg.transforms.cloze import check_settings, coordinates_of, molecules_of


class BlendChannels(BaseTransform):
    """Draws what each pair of atoms and each atom is shown as, and adds normal noise to all atoms.

    It adds ``pos_noisy [N, 3]``, ``pair_channel [sum of n^2]`` (all ordered pairs of each molecule,
    row by row; 0: length of the path, 1: bonds on it, 2: distance) and ``atom_channel [N]`` (0:
    degree, 1: distances), and works on the same data as :class:`~molae_pyg.ClozeDrop`. Random
    numbers come from torch. In the official code, the molecules of a batch share the draw of pairs.

    Args:
        noise: Standard deviation of the noise in Å, default: 0.2.
        pairs: Weights of the three channels of pairs; default: 0.2, 0.2, 0.6, as published.
        atoms: Weights of the two channels of atoms; default: 0.4, 0.6, as published.
    """

    def __init__(
        self,
        noise: float = 0.2,
        pairs: Sequence[float] = (0.2, 0.2, 0.6),
        atoms: Sequence[float] = (0.4, 0.6),
    ):
        check_settings(1.0, noise, "normal")
        self.noise = noise
        self.pairs, self.atoms = _weights("pairs", pairs, 3), _weights("atoms", atoms, 2)

    def forward(self, data: Data) -> Data:
        pos = coordinates_of(data)
        batch, _ = molecules_of(data, pos)
        data.pos_noisy = pos + self.noise * torch.randn_like(pos)
        data.pair_channel = _draw(self.pairs, int(batch.bincount().square().sum()), pos)
        data.atom_channel = _draw(self.atoms, pos.size(0), pos)
        return data

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.noise}, pairs={self.pairs}, atoms={self.atoms})"


def _weights(name: str, weights: Sequence[float], number: int) -> tuple[float, ...]:
    weights = tuple(weights)
    sound = len(weights) == number and all(0 <= w < math.inf for w in weights)
    if not sound or sum(weights) == 0:
        raise ValueError(f"{name} must be {number} weights, not all of them 0, got {weights}")
    return weights


def _draw(weights: Sequence[float], number: int, like: Tensor) -> Tensor:
    weights = torch.tensor(weights, dtype=torch.double, device=like.device)
    return torch.multinomial(weights, number, replacement=True)
