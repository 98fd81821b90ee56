"""The cloze test and its masked variant: which atoms leave, and how coordinates are disturbed."""

import math
from collections.abc import Sequence
from typing import Literal, get_args

import torch
from torch import Tensor
from torch_geometric.data import Batch, Data
from torch_geometric.transforms import BaseTransform
from torch_geometric.utils import cumsum, degree

from molae_pyg.chem.elements import ELEMENTS, MASKED_Z

NoiseKind = Literal["uniform", "normal", "truncated_normal"]


class ClozeDrop(BaseTransform):
    r"""Sets the 3D Cloze Test: chooses the atoms that leave the molecule.

    It marks :math:`\lfloor 0.15 n + u \rfloor` atoms of each molecule of n atoms, with u from
    U[0, 1). It adds ``drop_mask [N]`` (True = dropped) and ``pos_noisy [N, 3]``, the start of the
    coordinate head: the true coordinates, plus noise for dropped atoms. ``z`` and ``pos`` stay as
    they are; the model has to rebuild them. The transform works on a ``Data``, on a ``Data`` with
    a ``batch`` vector and on a ``Batch`` (vectorised). Random numbers come from torch.

    It comes last, after transforms that move atoms: ``Compose([RandomRotate(180), ClozeDrop()])``.
    In the other order kept atoms would start elsewhere than they are; a model in training raises
    an error for such a batch.

    Args:
        ratio: Share of atoms that are dropped, default: 0.15.
        noise: Size of the noise in Å, default: 1.
        kind: ``"uniform"`` in ±noise per axis (default), ``"normal"`` or ``"truncated_normal"``.
        keep: Share of dropped atoms without noise, default: 0.05. The reference leaves this share
            of masked atoms as they are; the encoder does not see dropped atoms, so that only the
            noise depends on it here.
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
        z, pos = elements_of(data), coordinates_of(data)
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


class CoordinateNoise(BaseTransform):
    """Masks and noises atoms instead of dropping them (Uni-Mol; the paper's table 5).

    It chooses atoms as :class:`~molae_pyg.ClozeDrop` does. Most become [MASK] with noised
    coordinates; a share ``keep`` keeps element and coordinates; a share ``random`` gets a random
    element and noise. It adds ``drop_mask`` (the chosen atoms, all of which the loss asks for),
    ``pos_noisy [N, 3]`` and ``z_noisy [N]`` (0 = [MASK]), for an
    :class:`~molae_pyg.models.AblatedMolAE` with ``drop=False``. It works on the same data as
    ClozeDrop and also comes last, after transforms that move atoms.

    Args:
        noise: Size of the noise in Å (the paper: 0.5, 1, 3, 5), default: 1.
        kind: ``"uniform"`` in ±noise per axis (default), ``"normal"`` or ``"truncated_normal"``.
        ratio: Share of atoms that are chosen, default: 0.15.
        keep: Share of chosen atoms left as they are, default: 0.05.
        random: Share of chosen atoms with a random element of the vocabulary, default: 0.05.
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
        z, pos = elements_of(data).long(), coordinates_of(data)
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


def check_settings(ratio: float, noise: float, kind: str, **shares: float) -> None:
    """Raises ValueError for settings that make no sense.

    ``shares`` are shares of the chosen atoms, by name; their sum is at most 1.
    """

    def is_number(value: object) -> bool:
        return isinstance(value, int | float) and not isinstance(value, bool)

    for name, value in {"ratio": ratio, **shares}.items():
        if not is_number(value) or not 0 <= value <= 1:
            raise ValueError(f"{name} must be between 0 and 1, not {value}")
    if not is_number(noise) or not 0 <= noise < math.inf:
        raise ValueError(f"noise must not be negative, not {noise} Å")
    kinds = get_args(NoiseKind)
    if kind not in kinds:
        raise ValueError(f"kind must be one of {', '.join(kinds)}, not {kind!r}")
    if sum(shares.values()) > 1:
        names = " and ".join(shares)
        raise ValueError(f"{names} must together be between 0 and 1, not {sum(shares.values())}")


def elements_of(data: Data) -> Tensor:
    """Returns atomic numbers ``[N]`` of any integer type; raises ValueError without any."""
    z = data.get("z")
    if z is None or z.dim() != 1:
        found = "no z" if z is None else f"z {list(z.shape)}"
        raise ValueError(f"expected atomic numbers z [N], but the data has {found}")
    if z.is_floating_point() or z.is_complex() or z.dtype == torch.bool:
        raise ValueError(f"z must be atomic numbers of an integer dtype (int64), got {z.dtype}")
    return z


def coordinates_of(data: Data) -> Tensor:
    """Returns coordinates ``[N, 3]``; raises ValueError without any, with the remedy."""
    pos = data.get("pos")
    if pos is None:
        remedy = "apply SampleConformer first" if data.get("conformers") is not None else "set pos"
        raise ValueError(f"the data has no pos [N, 3]: {remedy}")
    if not pos.is_floating_point() or pos.dim() != 2 or pos.size(1) != 3:
        raise ValueError(
            f"expected pos [N, 3] of a floating-point dtype (float32), "
            f"got {list(pos.shape)} of {pos.dtype}"
        )
    return pos


def check_rows(data: Data, num_atoms: int, names: Sequence[str]) -> None:
    """Raises ValueError if one of these fields exists without one entry per atom."""
    for name in names:
        value = data.get(name)
        if value is not None and (getattr(value, "ndim", 1) == 0 or len(value) != num_atoms):
            shape = list(value.shape) if isinstance(value, Tensor) else f"of {len(value)} entries"
            raise ValueError(f"{name} {shape} must have one entry for each of {num_atoms} atoms")


def molecules_of(data: Data, per_atom: Tensor) -> tuple[Tensor, int]:
    """Returns ``batch [N]`` int64 and the number of molecules B.

    Args:
        data: One molecule, several with a ``batch`` vector, or a ``Batch``.
        per_atom: Any tensor ``[N, ...]`` with an entry per atom.

    Raises:
        ValueError: ``z``, ``pos`` or ``batch`` does not have one entry per atom, or ``batch`` is
            not sorted (compared on a CPU only, as a GPU would have to wait).
    """
    num_atoms = per_atom.size(0)
    check_rows(data, num_atoms, ("z", "pos", "conformers", "batch"))
    batch = data.get("batch")
    if batch is None:
        if isinstance(data, Batch):
            raise ValueError(
                "the batch does not say which atom is in which molecule: PyTorch Geometric counts "
                "atoms by pos, so without it set num_nodes = z.numel() on every Data"
            )
        return torch.zeros(num_atoms, dtype=torch.long, device=per_atom.device), 1
    is_wrong = batch.is_floating_point() or batch.dim() != 1
    if is_wrong or (batch.is_cpu and ((batch[1:] < batch[:-1]).any() or (batch < 0).any())):
        raise ValueError("batch must be sorted integers (int64) from 0, one entry per atom")
    batch = batch.long()
    if isinstance(data, Batch):
        return batch, data.num_graphs  # molecules at the end may have no atom
    return batch, int(batch[-1]) + 1 if num_atoms else 1


def choose_atoms(batch: Tensor, batch_size: int, ratio: float) -> Tensor:
    r"""Chooses :math:`\lfloor ratio \cdot n + u \rfloor` atoms of each molecule, u from U[0, 1).

    Shapes:
        batch ``[N]``, sorted -> bool ``[N]``. Within a molecule every atom is equally likely.
    """
    num_atoms = degree(batch, batch_size, dtype=torch.long)  # [B]
    u = torch.rand(batch_size, device=batch.device)
    return choose_number(batch, num_atoms, (ratio * num_atoms + u).long())


def choose_number(
    batch: Tensor, num_atoms: Tensor, num_chosen: Tensor, draw: Tensor | None = None
) -> Tensor:
    """Chooses a number of atoms of each molecule (at most all), those with the smallest draw.

    Shapes:
        molecule of each atom ``[N]``, sorted, its size ``[B]``, number ``[B]``, draw in [0, 1)
        ``[N]`` float64 (default: each atom is equally likely) -> bool ``[N]``.
    """
    if draw is None:
        draw = torch.rand(batch.size(0), device=batch.device, dtype=torch.float64)
    key = batch + draw  # an order within each molecule; float64 keeps the fraction exact
    rank = torch.empty_like(batch)
    rank[key.argsort()] = torch.arange(batch.size(0), device=batch.device)
    return rank - cumsum(num_atoms)[batch] < num_chosen[batch]


def coordinate_noise(pos: Tensor, noise: float, kind: NoiseKind) -> Tensor:
    """Noise in Å ``[N, 3]``, uniform in ±noise per axis or normal of that standard deviation.

    ``"truncated_normal"`` clips at two standard deviations, as the reference does.
    """
    if kind == "uniform":
        return (2 * torch.rand_like(pos) - 1) * noise
    normal = torch.randn_like(pos) * noise
    return normal.clamp(-2 * noise, 2 * noise) if kind == "truncated_normal" else normal
