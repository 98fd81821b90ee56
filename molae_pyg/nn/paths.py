"""Shortest paths between the atoms of molecules, and the attention bias of Transformer-M."""

from typing import NamedTuple

import torch
import torch.nn.functional as F
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


def path_bonds(paths: Paths, most: int = MAX_BONDS) -> Tensor:
    """The first bonds of each path.

    Returns:
        The atoms i and j of the k-th bond as the number ``i * n + j`` ``[B, n, n, most]``; -1: the
        path has ended.
    """
    B, n = paths.length.shape[:2]
    length, middle, hops = (part.flatten() for part in paths)  # [P] each, P = B n^2
    pair = torch.arange(n * n, device=length.device).repeat(B)
    molecule = torch.arange(B, device=pair.device).repeat_interleave(n * n) * n * n
    before = molecule + pair // n * n + middle  # from the first atom to the middle
    behind = molecule + middle * n + pair % n
    bond = torch.full((B * n * n, most), -1, device=pair.device)  # [P, most]
    bond[:, 0] = torch.where(hops == 1, pair, -1)
    place = torch.arange(most, device=pair.device)
    by_length = length.where(middle >= 0, 0).sort()  # the two halves of a path are shorter ones
    counts = by_length.values.bincount().tolist()
    for these in by_length.indices.split(counts)[1:]:
        rest = place - hops[before[these], None]  # [p, most]; from 0 on: bonds behind the middle
        second = bond[behind[these]].gather(1, rest.clamp(min=0))
        bond[these] = torch.where(rest < 0, bond[before[these]], second)
    return bond.view(B, n, n, most)


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
        total = self._bonds(features, linked, path_bonds(paths))
        steps = torch.where(paths.length < 0, MAX_BONDS, paths.length).clamp(1, MAX_BONDS)
        length, bonds = self.length(row), total / steps[..., None]  # [B, n, n, H]
        return length.permute(0, 3, 1, 2), bonds.permute(0, 3, 1, 2)

    def _bonds(self, features: Tensor, linked: Tensor, place: Tensor) -> Tensor:
        """Sums of the bonds at ``place [B, n, n, 5]``, see :func:`path_bonds`: ``[B, n, n, H]``."""
        bond = self.bond(features[linked] + self.first).mean(1)  # [E, H]
        number = torch.ones_like(linked, dtype=torch.long)  # [B, n, n], row of the table
        number[linked] = torch.arange(2, 2 + len(bond), device=linked.device)
        # Row 0: the path has ended. Row 1: not bonded, for which only the reference asks.
        table = torch.cat([bond.new_zeros(1, self.heads), self.bond.weight[1:2], bond])
        table = torch.einsum("eh,khg->ekg", table, self.hop[:MAX_BONDS])  # [2 + E, 5, H]
        row = number.flatten(1).gather(1, place.clamp(min=0).flatten(1)).view_as(place)
        row = row.masked_fill(place < 0, 0) * MAX_BONDS + torch.arange(MAX_BONDS, device=row.device)
        return F.embedding(row, table.flatten(0, 1)).sum(-2)
