"""The task of Transformer-M: noise on every atom, and channels that a molecule is shown without."""

import math
from collections.abc import Sequence

import torch
from torch_geometric.data import Data
from torch_geometric.transforms import BaseTransform

from molae_pyg.transforms.cloze import check_settings, coordinates_of, molecules_of


class DenoiseAtoms(BaseTransform):
    """Adds normal noise to all atoms, and draws what each molecule is shown as.

    It adds ``pos_noisy [N, 3]`` and ``mode [B]`` (0: graph and coordinates, 1: graph only, 2:
    coordinates only), and works on the same data as :class:`~molae_pyg.ClozeDrop`. Atoms exactly
    at the origin stay there, as in the reference. Random numbers come from torch.

    Args:
        noise: Standard deviation of the noise in Å, default: 0.2.
        modes: Weights of the three modes, in that order; default: 0.2, 0.2, 0.6, as published. Only
            molecules of the last one have a denoising loss. Molecules without a graph need
            ``(0, 0, 1)``, and so do those without labels, which have no loss in the other modes.
    """

    def __init__(self, noise: float = 0.2, modes: Sequence[float] = (0.2, 0.2, 0.6)):
        check_settings(1.0, noise, "normal")
        modes = tuple(modes)
        if len(modes) != 3 or not all(0 <= m < math.inf for m in modes) or sum(modes) == 0:
            raise ValueError(f"modes must be three weights, not all of them 0, got {modes}")
        self.noise, self.modes = noise, modes

    def forward(self, data: Data) -> Data:
        pos = coordinates_of(data)
        _, batch_size = molecules_of(data, pos)
        weights = torch.tensor(self.modes, dtype=torch.double, device=pos.device)
        noise = self.noise * torch.randn_like(pos) * (pos != 0).any(1, keepdim=True)
        data.pos_noisy = pos + noise
        data.mode = torch.multinomial(weights, batch_size, replacement=True)  # [B]
        return data

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.noise}, modes={self.modes})"
