"""Choosing atoms and disturbing coordinates, for the transforms of this package."""

import math
from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor
from torch_geometric.data import Batch, Data
from torch_geometric.utils import cumsum, degree

NoiseKind = Literal["uniform", "normal", "truncated_normal"]
NOISE_KINDS = ("uniform", "normal", "truncated_normal")


def check_settings(ratio: float, noise: float, kind: str, **shares: float) -> None:
    """Raises ValueError for settings that make no sense.

    Args:
        ratio: Share of atoms to choose.
        noise: Size of the noise in Å.
        kind: Of the noise.
        shares: Of the chosen atoms, by name; together at most 1.
    """
    for name, value in {"ratio": ratio, **shares}.items():
        if not _is_number(value) or not 0 <= value <= 1:
            raise ValueError(f"{name} must be between 0 and 1, not {value}")
    if not _is_number(noise) or not 0 <= noise < math.inf:
        raise ValueError(f"noise must not be negative, not {noise} Å")
    if kind not in NOISE_KINDS:
        raise ValueError(f"kind must be one of {', '.join(NOISE_KINDS)}, not {kind!r}")
    if sum(shares.values()) > 1:
        names = " and ".join(shares)
        raise ValueError(f"{names} must together be between 0 and 1, not {sum(shares.values())}")


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def elements_of(data: Data) -> Tensor:
    """Atomic numbers ``[N]`` of any integer type; raises ValueError where there are none."""
    z = data.get("z")
    if z is None or z.dim() != 1:
        found = "no z" if z is None else f"z {list(z.shape)}"
        raise ValueError(f"expected atomic numbers z [N], but the data has {found}")
    if z.is_floating_point() or z.is_complex() or z.dtype == torch.bool:
        raise ValueError(f"z must be atomic numbers of an integer dtype (int64), got {z.dtype}")
    return z


def places_of(data: Data) -> Tensor:
    """Coordinates ``[N, 3]``; raises ValueError where there are none, with the remedy."""
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
    """Raises ValueError if one of these fields, where it is there, has not an entry per atom."""
    for name in names:
        value = data.get(name)
        if value is not None and (getattr(value, "ndim", 1) == 0 or len(value) != num_atoms):
            shape = list(value.shape) if isinstance(value, Tensor) else f"of {len(value)} entries"
            raise ValueError(f"{name} {shape} must have one entry for each of {num_atoms} atoms")


def molecules_of(data: Data, per_atom: Tensor) -> tuple[Tensor, int]:
    """``batch [N]`` int64 and the number of molecules B.

    Args:
        data: One molecule, several with a ``batch`` vector, or a ``Batch``.
        per_atom: Any tensor ``[N, ...]`` with an entry per atom.

    Raises:
        ValueError: ``z``, ``pos`` or ``batch`` has not an entry per atom, or ``batch`` is not
            sorted (which is looked at on a CPU only, as a GPU would have to wait).
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

    Args:
        batch: Molecule of each atom ``[N]``, sorted. batch_size: B.

    Returns:
        bool ``[N]``. Within a molecule every atom is equally likely.
    """
    num_atoms = degree(batch, batch_size, dtype=torch.long)  # [B]
    u = torch.rand(batch_size, device=batch.device)
    num_chosen = (ratio * num_atoms + u).long().clamp(max=num_atoms)  # [B]
    # A random order within each molecule; float64 keeps the fraction exact for many molecules.
    key = batch + torch.rand(batch.size(0), device=batch.device, dtype=torch.float64)
    rank = torch.empty_like(batch)
    rank[key.argsort()] = torch.arange(batch.size(0), device=batch.device)
    return rank - cumsum(num_atoms)[batch] < num_chosen[batch]


def coordinate_noise(pos: Tensor, noise: float, kind: NoiseKind) -> Tensor:
    """Noise in Å, as ``pos``: uniform in ±noise per axis, or normal of that standard deviation.

    ``"truncated_normal"`` clips at two standard deviations, as the reference does.
    """
    if kind == "uniform":
        return (2 * torch.rand_like(pos) - 1) * noise
    normal = torch.randn_like(pos) * noise
    return normal.clamp(-2 * noise, 2 * noise) if kind == "truncated_normal" else normal
