import torch
from torch_geometric.data import Data
from torch_geometric.transforms import BaseTransform

from molae_pyg.transforms.corrupt import (
    NoiseKind,
    check_settings,
    choose_atoms,
    coordinate_noise,
    elements_of,
    molecules_of,
    places_of,
)


class ClozeDrop(BaseTransform):
    r"""Sets the 3D Cloze Test: chooses the atoms that leave the molecule.

    Of each molecule of n atoms :math:`\lfloor 0.15 n + u \rfloor` atoms, u from U[0, 1), are
    marked. Adds ``drop_mask [N]`` (True = dropped) and ``pos_noisy [N, 3]``, where the coordinate
    head starts: the true place plus noise for dropped atoms, the true place for all others. ``z``
    and ``pos`` stay as they are: they are what the model has to rebuild. Works on a ``Data``, on a
    ``Data`` with a ``batch`` vector and on a ``Batch`` (vectorised). Randomness is torch's.

    It comes last, after transforms that move atoms: ``Compose([RandomRotate(180), ClozeDrop()])``.
    In the other order kept atoms would start elsewhere than they are; a model in training raises
    an error for such a batch.

    Args:
        ratio: Share of atoms to drop, default 0.15.
        noise: Size of the noise in Å, default 1.
        kind: ``"uniform"`` in ±noise per axis (default), ``"normal"`` or ``"truncated_normal"``.
        keep: Share of dropped atoms that get no noise, default 0.05, the reference's share of
            masked atoms left as they are. Dropped atoms are out of the encoder's sight, so that
            nothing else is left of that setting.
    """

    def __init__(
        self,
        ratio: float = 0.15,
        noise: float = 1.0,
        kind: NoiseKind = "uniform",
        keep: float = 0.05,
    ):
        check_settings(ratio, noise, kind, keep=keep)
        self.ratio = ratio
        self.noise = noise
        self.kind = kind
        self.keep = keep

    def forward(self, data: Data) -> Data:
        z, pos = elements_of(data), places_of(data)
        batch, batch_size = molecules_of(data, z)
        drop = choose_atoms(batch, batch_size, self.ratio)
        noised = drop & (torch.rand(drop.shape, device=drop.device) >= self.keep)
        noise = coordinate_noise(pos, self.noise, self.kind)
        data.drop_mask = drop
        data.pos_noisy = pos + noise * noised[:, None]
        return data

    def __repr__(self) -> str:
        return (
            f"{type(self).__name__}({self.ratio}, noise={self.noise}, kind={self.kind!r}, "
            f"keep={self.keep})"
        )
