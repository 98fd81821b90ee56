"""Views and tasks of graphs of :func:`~molae_pyg.chem.hu_graph.hu_graph`; inputs stay as they are.

Each works on a ``Data``, on a ``Data`` with a ``batch`` vector and on a ``Batch``. Random numbers
come from torch.
"""

from typing import Literal, get_args

import torch
from torch import Tensor
from torch_geometric.data import Data
from torch_geometric.transforms import BaseTransform
from torch_geometric.utils import degree

from molae_pyg.transforms.cloze import choose_number, molecules_of

FAR = 10_000  #: Bonds to an atom that is too far, or in another fragment.


class MaskAtoms(BaseTransform):
    r"""Chooses the atoms whose elements are to be predicted, :math:`\lfloor 0.15 n + 1 \rfloor`.

    It adds ``masked [N]`` bool, as attribute masking does (Hu et al. 2020).

    Args:
        ratio: Share of the atoms, default: 0.15.
    """

    def __init__(self, ratio: float = 0.15):
        self.ratio = _ratio(ratio)

    def forward(self, data: Data) -> Data:
        batch, num_graphs = molecules_of(data, data.x)
        num_atoms = degree(batch, num_graphs, dtype=torch.long)  # [B]
        data.masked = choose_number(batch, num_atoms, (num_atoms.double() * self.ratio + 1).long())
        return data

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.ratio})"


class ContextRoot(BaseTransform):
    """Draws a root in each molecule and counts the bonds from it to every atom.

    It adds ``hops [N]`` int64; atoms farther than ``farthest``, and those of other fragments, have
    10,000. Context prediction takes the substructure and the context from it.

    Args:
        farthest: Largest number of bonds that is counted, default: 7.
    """

    def __init__(self, farthest: int = 7):
        if not isinstance(farthest, int) or isinstance(farthest, bool) or farthest < 1:
            raise ValueError(f"farthest must be an integer of at least 1, got {farthest!r}")
        self.farthest = farthest

    def forward(self, data: Data) -> Data:
        batch, num_graphs = molecules_of(data, data.x)
        num_atoms = degree(batch, num_graphs, dtype=torch.long)  # [B]
        root = choose_number(batch, num_atoms, torch.ones_like(num_atoms))
        data.hops = hops_from(root, data.edge_index, self.farthest)
        return data

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.farthest})"


def hops_from(root: Tensor, edge_index: Tensor, farthest: int) -> Tensor:
    """Number of bonds to the nearest root; :data:`FAR` for atoms that are farther.

    Shapes:
        root ``[N]`` bool, edge_index ``[2, E]`` -> int64 ``[N]``.
    """
    hops = torch.where(root, 0, FAR)
    source, target = edge_index
    for _ in range(farthest):
        hops = hops.scatter_reduce(0, target, hops[source] + 1, "amin")
    return hops


#: How a view of :class:`GraphViews` is made.
ViewKind = Literal["node", "subgraph", "mix"]
_LARGEST_PART = 0.2  # share of the atoms that "mix" removes as a part, at most


class GraphViews(BaseTransform):
    r"""Draws two views of each molecule, in which atoms are masked and bonds are deleted (MolCLR).

    A view masks :math:`\max(1, \lfloor n / 4 \rfloor)` atoms and deletes
    :math:`\lfloor m / 4 \rfloor` of the m bonds, both directions of each. It adds
    ``masked [N, 2]`` and ``deleted [E, 2]``, bool, a column for each view.

    Args:
        ratio: Share of atoms and of bonds, default: 0.25.
        kind: ``"node"`` (default): atoms and bonds are drawn one by one. ``"subgraph"``: the
            :math:`\lfloor n / 4 \rfloor` atoms nearest to a random one are masked, and their bonds
            deleted. ``"mix"``: the same with a random share of up to 0.2, then single atoms and
            bonds until the shares of ``"node"`` are reached.
    """

    def __init__(self, ratio: float = 0.25, kind: ViewKind = "node"):
        self.ratio, self.kind = _ratio(ratio), kind
        if kind not in get_args(ViewKind):
            raise ValueError(f"kind must be one of {', '.join(get_args(ViewKind))}, got {kind!r}")

    def forward(self, data: Data) -> Data:
        batch, num_graphs = molecules_of(data, data.x)
        views = [self._view(data.edge_index, batch, num_graphs) for _ in "ij"]
        data.masked, data.deleted = (torch.stack(part, 1) for part in zip(*views, strict=True))
        return data

    def _view(self, edge_index: Tensor, batch: Tensor, num_graphs: int) -> tuple[Tensor, Tensor]:
        """Masked atoms ``[N]`` and deleted bonds ``[E]`` of a view."""
        num_atoms = degree(batch, num_graphs, dtype=torch.long)  # [B]
        bonds = edge_index[:, ::2]  # [2, m]; bond b is the columns 2 b and 2 b + 1
        part = torch.zeros_like(batch, dtype=torch.bool)
        if self.kind != "node":
            share = torch.rand(num_graphs, dtype=torch.double, device=batch.device) * _LARGEST_PART
            share = share if self.kind == "mix" else torch.full_like(share, self.ratio)
            part = _part(edge_index, batch, num_atoms, (num_atoms * share).long())
        gone = part[bonds].any(0)  # [m]
        if self.kind == "subgraph":
            return part, gone.repeat_interleave(2)
        masked = _filled_up(part, batch, num_atoms, self.ratio, least=1)
        of_bond = batch[bonds[0]]
        num_bonds = degree(of_bond, num_graphs, dtype=torch.long)
        return masked, _filled_up(gone, of_bond, num_bonds, self.ratio).repeat_interleave(2)

    def __repr__(self) -> str:
        kind = "" if self.kind == "node" else f", kind={self.kind!r}"
        return f"{type(self).__name__}({self.ratio}{kind})"


def _part(edge_index: Tensor, batch: Tensor, num_atoms: Tensor, number: Tensor) -> Tensor:
    """The atoms nearest to a random one of each molecule, a given number ``[B]`` -> ``[N]``."""
    root = choose_number(batch, num_atoms, torch.ones_like(num_atoms))
    farthest = int(number.max()) if len(number) else 0  # so many atoms are not farther
    hops = hops_from(root, edge_index, farthest)
    draw = (hops + torch.rand(len(batch), dtype=torch.double, device=batch.device)) / (FAR + 1)
    return choose_number(batch, num_atoms, number, draw)


def _filled_up(first: Tensor, batch: Tensor, size: Tensor, ratio: float, least: int = 0) -> Tensor:
    """The first atoms, and random others until the share of each molecule is reached ``[N]``."""
    number = (size.double() * ratio).long().clamp(min=least)
    there = torch.zeros_like(size).index_add(0, batch, first.long())  # [B]
    draw = torch.rand(len(batch), dtype=torch.double, device=batch.device)
    return choose_number(batch, size, number.maximum(there), (draw + ~first) / 2)


class ConnectedPart(BaseTransform):
    r"""Chooses a connected part of each molecule that remains, as GraphMVP does.

    The part begins with a random atom and takes random neighbours of it, one by one, until it has
    :math:`\lfloor (1 - ratio) n \rfloor + 1` atoms, at most all; if a fragment is used up, a random
    atom of another one follows. It adds ``kept [N]`` bool.

    Args:
        ratio: Share of the atoms that leave, default: 0.15.
    """

    def __init__(self, ratio: float = 0.15):
        self.ratio = _ratio(ratio)

    def forward(self, data: Data) -> Data:
        batch, num_graphs = molecules_of(data, data.x)
        num_atoms = degree(batch, num_graphs, dtype=torch.long)  # [B]
        wanted = ((num_atoms.double() * (1 - self.ratio)).long() + 1).minimum(num_atoms)
        kept = torch.zeros_like(batch, dtype=torch.bool)
        source, target = data.edge_index
        for number in range(int(wanted.max()) if len(wanted) else 0):
            near = torch.zeros_like(kept).index_put((target[kept[source]],), kept.new_tensor(True))
            # A neighbour of the part if there is one, else any other atom: the largest draw.
            draw = torch.rand(len(batch), dtype=torch.double, device=batch.device)
            draw = torch.where(kept, -1.0, draw + near)  # [N]
            most = draw.new_full((num_graphs,), -1.0).scatter_reduce(0, batch, draw, "amax")  # [B]
            kept = kept | ((draw == most[batch]) & (number < wanted)[batch] & ~kept)
        data.kept = kept
        return data

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.ratio})"


class NonBonds(BaseTransform):
    """Draws pairs of atoms of a molecule without a bond, at most as many as it has bonds.

    It adds ``nonbond_index [2, K]``, each pair once, for edge prediction (Hu et al. 2020).
    """

    def forward(self, data: Data) -> Data:
        batch, num_graphs = molecules_of(data, data.x)
        num_atoms = degree(batch, num_graphs, dtype=torch.long)  # [B]
        molecule = batch[data.edge_index[0, ::2]]  # [m], one draw for each bond
        draw = torch.rand(2, len(molecule), dtype=torch.double, device=batch.device)
        start = (num_atoms.cumsum(0) - num_atoms)[molecule]
        pair = (draw * num_atoms[molecule]).long() + start  # [2, m]
        pair = torch.unique(pair.sort(0).values, dim=1)
        bonded = torch.isin(
            pair[0] * len(batch) + pair[1], data.edge_index[0] * len(batch) + data.edge_index[1]
        )
        data.nonbond_index = pair[:, ~bonded & (pair[0] != pair[1])]
        return data

    def __repr__(self) -> str:
        return f"{type(self).__name__}()"


def _ratio(ratio: float) -> float:
    is_number = isinstance(ratio, int | float) and not isinstance(ratio, bool)
    if not is_number or not 0 <= ratio < 1:
        raise ValueError(f"ratio must be a number in [0, 1), got {ratio!r}")
    return ratio
