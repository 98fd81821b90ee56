import torch
from torch import Tensor
from torch_geometric.data import Data
from torch_geometric.transforms import BaseTransform

from molae_pyg.chem.elements import ELEMENTS, MASKED_Z
from molae_pyg.transforms.corrupt import (
    NoiseKind,
    check_settings,
    choose_atoms,
    coordinate_noise,
    elements_of,
    molecules_of,
    places_of,
)


class CoordinateNoise(BaseTransform):
    r"""Masks and noises atoms instead of dropping them (Uni-Mol; the paper's table 5).

    Of each molecule of n atoms :math:`\lfloor 0.15 n + u \rfloor` are chosen. Most become [MASK]
    with noised coordinates; a share ``keep`` keeps element and place; a share ``random`` gets a
    random element and noise. Adds ``drop_mask`` (the chosen atoms: the loss asks for all of
    them), ``pos_noisy [N, 3]`` and ``z_noisy [N]`` (0 = [MASK]), for a model with
    ``ablation={"drop": False}``. Works on a ``Data``, on a ``Data`` with a ``batch`` vector and on
    a ``Batch`` (vectorised). As :class:`~molae_pyg.ClozeDrop`, it comes last, after transforms that
    move atoms.

    Args:
        noise: Size of the noise in Å (the paper: 0.5, 1, 3, 5), default 1.
        kind: ``"uniform"`` in ±noise per axis (default), ``"normal"`` or ``"truncated_normal"``.
        ratio: Share of atoms to choose, default 0.15.
        keep: Share of chosen atoms left as they are, default 0.05.
        random: Share of chosen atoms with a random element of the vocabulary, default 0.05.
    """

    def __init__(
        self,
        noise: float = 1.0,
        kind: NoiseKind = "uniform",
        ratio: float = 0.15,
        keep: float = 0.05,
        random: float = 0.05,
    ):
        check_settings(ratio, noise, kind, keep=keep, random=random)
        self.noise = noise
        self.kind = kind
        self.ratio = ratio
        self.keep = keep
        self.random = random

    def forward(self, data: Data) -> Data:
        z, pos = elements_of(data).long(), places_of(data)
        batch, batch_size = molecules_of(data, z)
        chosen = choose_atoms(batch, batch_size, self.ratio)
        fate = torch.rand(chosen.shape, device=chosen.device)  # keep | random | mask
        corrupted = chosen & (fate >= self.keep)
        masked = chosen & (fate >= self.keep + self.random)
        noise = coordinate_noise(pos, self.noise, self.kind)
        data.drop_mask = chosen
        data.pos_noisy = pos + noise * corrupted[:, None]
        data.z_noisy = torch.where(corrupted & ~masked, _random_elements(z), z)
        data.z_noisy = data.z_noisy.masked_fill(masked, MASKED_Z)
        return data

    def __repr__(self) -> str:
        return (
            f"{type(self).__name__}({self.noise}, kind={self.kind!r}, ratio={self.ratio}, "
            f"keep={self.keep}, random={self.random})"
        )


def _random_elements(z: Tensor) -> Tensor:
    """Elements drawn evenly from the 26 of the vocabulary (the true one may come up)."""
    elements = torch.tensor(list(ELEMENTS.values()), device=z.device)
    return elements[torch.randint(len(elements), z.shape, device=z.device)]
