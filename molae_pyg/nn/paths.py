"""Shortest paths between the atoms of molecules, and the attention bias of Transformer-M."""

from typing import NamedTuple

import torch
from torch import Tensor, nn

from molae_pyg.nn.arguments import ShowsArguments, size

#: Rows of the table of path lengths: length + 1; the last one: no path.
NUM_LENGTHS = 512
#: Number of values of a feature of atoms or bonds, each of which has rows of its own.
VALUES = 512
NUM_BOND_FEATURES = 3
MAX_BONDS = 5  # of a path that are embedded
_HOPS = 128  # matrices in official files, of which the first five are used


class Paths(NamedTuple):
    """One shortest path between each two atoms of a molecule."""

    length: Tensor  #: Number of bonds ``[B, n, n]``; 0: the atom itself, -1: no path.
    middle: Tensor  #: An atom on the path ``[B, n, n]``; -1: none.
    hops: Tensor  #: Number of bonds that :func:`path_bonds` finds ``[B, n, n]``.


def shortest_paths(linked: Tensor, reference: bool = False) -> Paths:
    """Floyd and Warshall's algorithm over the atoms in their order, for a batch.

    Args:
        linked: True where two atoms are bonded ``[B, n, n]``, symmetric.
        reference: True: atom 0 is never the middle of a path, as in the official code, where its
            number also means "none": a path through it counts as one hop, though its ends are not
            bonded. Default: False.
    """
    n = linked.size(-1)
    eye = torch.eye(n, dtype=torch.bool, device=linked.device)
    length = torch.where(linked, 1, n).masked_fill(eye, 0)  # n: no path
    middle, hops = torch.full_like(length, -1), (linked & ~eye).long()
    for k in range(n):
        through = length[:, :, k, None] + length[:, None, k, :]
        shorter = through < length
        length = torch.where(shorter, through, length)
        if k == 0 and reference:
            hops = hops.masked_fill(shorter, 1)
            continue
        middle = middle.masked_fill(shorter, k)
        hops = torch.where(shorter, hops[:, :, k, None] + hops[:, None, k, :], hops)
    return Paths(length.masked_fill(length == n, -1), middle, hops)


def path_bonds(paths: Paths, most: int = MAX_BONDS) -> tuple[Tensor, Tensor, Tensor]:
    """The first bonds of each path.

    Returns:
        The two atoms of the k-th bond, ``[most, B, n, n]`` each, and whether there is one.
    """
    B, n = paths.length.shape[:2]
    atom = torch.arange(n, device=paths.length.device)
    molecule = torch.arange(B, device=atom.device)[:, None, None]
    first = atom[:, None].expand(most, B, n, n)
    second = atom[None, :].expand(most, B, n, n)
    rest = torch.arange(1, most + 1, device=atom.device)[:, None, None, None].expand_as(first)
    valid = rest <= paths.hops
    for _ in range(n):  # each step takes one half of a path
        middle = paths.middle[molecule, first, second]
        inner = valid & (middle >= 0)
        if not inner.any():
            break
        left = paths.hops[molecule, first, middle.clamp(min=0)]  # bonds before the middle
        behind = inner & (rest > left)
        second = torch.where(inner & ~behind, middle, second)
        first = torch.where(behind, middle, first)
        rest = torch.where(behind, rest - left, rest)
    return first, second, valid


class PathBias(ShowsArguments, nn.Module):
    r"""Attention bias from the graph: the length of a shortest path, and the bonds on it.

    .. math::
        b_{ij} = S[s_{ij}] + \frac{1}{\max(1, \min(s_{ij}, 5))}
            \sum_{k=1}^{\min(s_{ij}, 5)} \bar E[bond_k] \, M_k \in \mathbb{R}^H

    with :math:`s_{ij}` the number of bonds, :math:`\bar E` the mean of the embeddings of a bond's
    three features and :math:`M_k` an ``H x H`` matrix. Atoms without a path between them have
    :math:`S[\infty]` alone.

    Args:
        heads: Number of attention heads H.
        reference: See :func:`shortest_paths`, default: False.

    Shapes:
        features of bonds ``[B, n, n, 3]`` from 0, linked ``[B, n, n]`` -> ``[B, H, n, n]``.
    """

    def __init__(self, heads: int, reference: bool = False):
        super().__init__()
        self.heads, self.reference = size("heads", heads), reference
        self.length = nn.Embedding(NUM_LENGTHS, heads, padding_idx=0)
        self.bond = nn.Embedding(VALUES * NUM_BOND_FEATURES + 1, heads, padding_idx=0)
        self.hop = nn.Parameter(torch.empty(_HOPS, heads, heads))
        first = 3 + VALUES * torch.arange(NUM_BOND_FEATURES)  # row of each feature's 0
        self.register_buffer("first", first, persistent=False)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        for parameter in self.parameters():
            nn.init.normal_(parameter, std=0.02)
        for table in (self.length, self.bond):
            nn.init.zeros_(table.weight[0])

    def forward(self, features: Tensor, linked: Tensor) -> Tensor:
        length, bonds = self.parts(features, linked)
        return length + bonds

    def parts(self, features: Tensor, linked: Tensor) -> tuple[Tensor, Tensor]:
        """Returns the two summands, of lengths and of bonds, ``[B, H, n, n]`` each."""
        paths = shortest_paths(linked, self.reference)
        last = torch.full_like(paths.length, NUM_LENGTHS - 1)
        row = torch.where(paths.length < 0, last, (paths.length + 1).clamp(max=NUM_LENGTHS - 2))
        # Two atoms that are not bonded have row 1; only the reference asks for them.
        rows = torch.where(linked[..., None], features + self.first, 1)  # [B, n, n, 3]
        bond = self.bond(rows).mean(-2)  # [B, n, n, H]
        molecule = torch.arange(len(linked), device=linked.device)[:, None, None]
        total = bond.new_zeros(())
        for k, (first, second, valid) in enumerate(zip(*path_bonds(paths), strict=True)):
            total = total + (bond @ self.hop[k])[molecule, first, second] * valid[..., None]
        steps = torch.where(paths.length < 0, MAX_BONDS, paths.length).clamp(1, MAX_BONDS)
        length, bonds = self.length(row), total / steps[..., None]  # [B, n, n, H]
        return length.permute(0, 3, 1, 2), bonds.permute(0, 3, 1, 2)
