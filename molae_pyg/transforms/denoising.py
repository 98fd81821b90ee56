"""The task of Transformer-M: noise on every atom, and channels that a molecule is shown without."""

import math
from collections.abc import Sequence

import torch
from torch_geometric.data import Data
from torch_geometric.transforms import BaseTransform
from torch_geometric.utils import degree

from molae_pyg.transforms.cloze import (
    check_settings,
    choose_number,
    coordinates_of,
    molecules_of,
)

ONLY_3D = 2  # mode of a molecule that is shown with coordinates only


class DenoiseAtoms(BaseTransform):
    r"""Adds normal noise to all atoms, and draws what each molecule is shown as.

    It adds ``pos_noisy [N, 3]`` and ``mode [B]`` (0: graph and coordinates, 1: graph only, 2:
    coordinates only), and works on the same data as :class:`~molae_pyg.ClozeDrop`. Atoms exactly
    at the origin stay there, as in the reference. Random numbers come from torch. With ``mask`` it
    adds ``masked [N]`` bool, the atoms whose elements are to be predicted.

    Args:
        noise: Standard deviation of the noise in Å, default: 0.2.
        modes: Weights of the three modes, in that order; default: 0.2, 0.2, 0.6, as published. Only
            molecules of the last one have a denoising loss. Molecules without a graph need
            ``(0, 0, 1)``, and so do those without labels, which have no loss in the other modes
            unless atoms are masked.
        mask: Share of the atoms of a molecule that are masked, :math:`\lfloor r n + 1 \rfloor`;
            default: none, as published.
    """

    def __init__(
        self,
        noise: float = 0.2,
        modes: Sequence[float] = (0.2, 0.2, 0.6),
        mask: float | None = None,
    ):
        check_settings(1.0, noise, "normal", mask=mask or 0.0)
        modes = tuple(modes)
        if len(modes) != 3 or not all(0 <= m < math.inf for m in modes) or sum(modes) == 0:
            raise ValueError(f"modes must be three weights, not all of them 0, got {modes}")
        self.noise, self.modes, self.mask = noise, modes, mask

    @property
    def shows_graphs(self) -> bool:
        """Whether a molecule may be shown as a graph."""
        return any(self.modes[:ONLY_3D])

    def forward(self, data: Data) -> Data:
        pos = coordinates_of(data)
        batch, batch_size = molecules_of(data, pos)
        weights = torch.tensor(self.modes, dtype=torch.double, device=pos.device)
        noise = self.noise * torch.randn_like(pos) * (pos != 0).any(1, keepdim=True)
        data.pos_noisy = pos + noise
        data.mode = torch.multinomial(weights, batch_size, replacement=True)  # [B]
        if self.mask is not None:
            num_atoms = degree(batch, batch_size, dtype=torch.long)  # [B]
            number = (num_atoms.double() * self.mask + 1).long()
            data.masked = choose_number(batch, num_atoms, number)
        return data

    def __repr__(self) -> str:
        mask = "" if self.mask is None else f", mask={self.mask}"
        return f"{type(self).__name__}({self.noise}, modes={self.modes}{mask})"
