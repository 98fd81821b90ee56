"""Choosing atoms and disturbing coordinates, for the transforms of this package."""

from typing import Literal

import torch
from torch import Tensor
from torch_geometric.data import Batch, Data
from torch_geometric.utils import cumsum, degree

NoiseKind = Literal["uniform", "normal", "truncated_normal"]
NOISE_KINDS = ("uniform", "normal", "truncated_normal")


def check_settings(ratio: float, noise: float, kind: str, share: float) -> None:
    """Raises ValueError for settings that make no sense; ``share`` is keep + random."""
    if not 0 <= ratio <= 1:
        raise ValueError(f"ratio must be between 0 and 1, not {ratio}")
    if noise < 0:
        raise ValueError(f"noise must not be negative, not {noise} Å")
    if kind not in NOISE_KINDS:
        raise ValueError(f"kind must be one of {', '.join(NOISE_KINDS)}, not {kind!r}")
    if not 0 <= share <= 1:
        raise ValueError(f"keep and random must together be between 0 and 1, not {share}")


def molecules_of(data: Data) -> tuple[Tensor, int]:
    """``batch [N]`` and the number of molecules, for a Data (one molecule) and a Batch."""
    if data.get("batch") is None:
        if isinstance(data, Batch):
            raise ValueError(
                "the batch does not say which atom is in which molecule: PyTorch Geometric counts "
                "atoms by pos, so without it set num_nodes = z.numel() on every Data"
            )
        return torch.zeros_like(data.z), 1
    return data.batch, data.num_graphs


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
