"""The graph channel: bonds and integer features of atoms, added to what an encoder starts from."""

from typing import NamedTuple

import torch
from torch import Tensor, nn

from molae_pyg.nn.arguments import ShowsArguments, size
from molae_pyg.nn.dense import NUM_SPECIAL, Slots

#: Number of values of each feature: charge, hydrogens, degree, aromatic, ring, chirality.
#: The value 0 means unknown. ``molae_pyg.chem.graph`` makes them.
ATOM_SIZES = (8, 6, 8, 3, 8, 4)
#: Number of types of a bond: single, double, triple, aromatic, other; 0 is no bond.
NUM_BOND_TYPES = 6
#: Codes of a pair of atoms: 0 unknown, 1 an atom with itself, 2 to 6 bonded (by type), 7 to 11
#: a shortest path of 2 to 6 bonds, 12 a longer one or none.
NUM_PAIR_CODES = 13
MAX_PATH = 6
_BONDED, _PATH = 1, 5  # added to the type of a bond, and to the length of a path


class Graph(NamedTuple):
    """The graph of a batch of molecules, flat; ``edge_index`` counts atoms of the whole batch."""

    atom: Tensor  #: Features of the atoms ``[N, 6]``, integers, see :data:`ATOM_SIZES`.
    edge_index: Tensor  #: Atoms of each bond ``[2, E]``; in one direction or in both.
    bond_type: Tensor  #: Types of the bonds ``[E]``, 1 to 5.

    def of_atoms(self, atoms: Tensor) -> "Graph":
        """Returns the graph of some atoms ``[n]``, with the bonds between them."""
        place = torch.full_like(self.atom[:, 0], -1, dtype=torch.long)  # [N]
        place[atoms] = torch.arange(len(atoms), device=place.device)
        ends = place[self.edge_index]  # [2, E]
        kept = (ends >= 0).all(0)
        return Graph(self.atom[atoms], ends[:, kept], self.bond_type[kept])


class GraphClozeOutput(NamedTuple):
    """Output of a :class:`~molae_pyg.models.MolAE` with a graph channel: one field more."""

    token_logits: Tensor
    pos: Tensor
    distance: Tensor
    encoder_x_norm: Tensor
    encoder_pair_norm: Tensor
    decoder_x_norm: Tensor
    decoder_pair_norm: Tensor
    atom_logits: Tensor  #: ``[M, 12]``: logits of 7 charges and of 5 numbers of hydrogens.


def atom_head(channels: int) -> nn.Linear:
    """Returns the layer that predicts charge and hydrogens: ``[M, C]`` -> ``[M, 12]``."""
    return nn.Linear(channels, ATOM_SIZES[0] + ATOM_SIZES[1] - 2)  # without "unknown", twice


def pair_codes(bonds: Tensor, real: Tensor) -> Tensor:
    """Codes of all ordered pairs of atoms from the types of the bonds.

    Args:
        bonds: Type of the bond between two atoms ``[B, n, n]``, symmetric, 0 where there is none.
        real: True = an atom with known bonds, False = another, or padding ``[B, n]``.

    Returns:
        int64 ``[B, n, n]``, see :data:`NUM_PAIR_CODES`; 0 where not real.
    """
    eye = torch.eye(real.size(1), dtype=torch.bool, device=real.device)
    linked = bonds > 0
    step = linked.to(torch.float32)
    code = torch.where(linked, bonds.long() + _BONDED, 0) + eye.long()
    seen = linked | eye  # reached so far
    for length in range(2, MAX_PATH + 1):
        reached = torch.bmm(seen.to(step.dtype), step) > 0
        code = code + (reached & ~seen).long() * (length + _PATH)
        seen = seen | reached
    code = torch.where(code == 0, NUM_PAIR_CODES - 1, code)
    return code * (real[:, :, None] & real[:, None, :])


class GraphBias(ShowsArguments, nn.Module):
    r"""Embeds the features of atoms and the graph distance of pairs.

    .. math::
        x_i \leftarrow x_i + \sum_f E_f[c_{if}], \qquad
        a^0_{ij} \leftarrow a^0_{ij} + P[g_{ij}] \in \mathbb{R}^H

    with :math:`E_f[0] = 0` and :math:`P[0] = 0`: unknown values add nothing. A dropped atom takes
    its features and its pairs along. Paths between other atoms still lead through it. An atom
    whose features are all unknown has no pairs, so that molecules with and without a graph can be
    in one batch.

    Args:
        channels: Width C.
        heads: Number of attention heads H.

    Shapes:
        A :class:`Graph` of N atoms, the slots of all atoms, the slots of those kept and their
        numbers ``[N']`` (None: all) -> ``[B, L, C]`` for the tokens and ``[B, H, L, L]`` for the
        pair bias.
    """

    def __init__(self, channels: int, heads: int):
        super().__init__()
        self.channels, self.heads = channels, heads
        self.atom = nn.Embedding(sum(ATOM_SIZES), size("hidden_channels", channels))
        self.pair = nn.Embedding(NUM_PAIR_CODES, size("heads", heads))
        first = torch.tensor([0, *ATOM_SIZES[:-1]]).cumsum(0)  # row of each feature's 0
        self.register_buffer("first", first, persistent=False)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        nn.init.normal_(self.atom.weight, std=0.02)
        nn.init.normal_(self.pair.weight, std=0.02)

    def forward(
        self, graph: Graph, every: Slots, kept: Slots, keep: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        _check(graph, every.batch.numel())
        known = (graph.atom > 0).any(1)  # [N]
        known = every.dense(known, known.new_zeros(NUM_SPECIAL))  # [B, L]
        codes = pair_codes(dense_bonds(graph.edge_index, graph.bond_type, every), known)
        x = self.atoms(graph.atom)  # [N, C]
        if keep is not None:
            x = x[keep]
            # Where a kept atom was; CLS, SEP and padding are at slots 0 and 1, whose codes are 0.
            place = kept.dense(every.slot[keep], keep.new_zeros(NUM_SPECIAL))  # [B, L']
            codes = codes.gather(1, place[:, :, None].expand(-1, -1, codes.size(2)))
            codes = codes.gather(2, place[:, None, :].expand(-1, place.size(1), -1))
        return kept.dense(x, x.new_zeros(NUM_SPECIAL, x.size(1))), self.pairs(codes)

    def atoms(self, features: Tensor) -> Tensor:
        """Features ``[..., 6]`` -> what is added to the tokens ``[..., C]``."""
        known = (features > 0).unsqueeze(-1)
        return (self.atom(features.long() + self.first) * known).sum(-2)

    def pairs(self, codes: Tensor) -> Tensor:
        """Codes ``[B, L, L]`` -> what is added to the pair bias ``[B, H, L, L]``."""
        return (self.pair(codes) * (codes > 0).unsqueeze(-1)).permute(0, 3, 1, 2)


def dense_bonds(edge_index: Tensor, kinds: Tensor, slots: Slots) -> Tensor:
    """Types or features of the bonds, ``[E]`` or ``[E, F]`` -> ``[B, L, L]`` or ``[B, L, L, F]``.

    They are symmetric, and 0 where there is no bond.
    """
    batch_size, length = slots.mask.shape
    first, second = edge_index
    bonds = kinds.new_zeros(batch_size, length, length, *kinds.shape[1:], dtype=torch.long)
    molecule, kinds = slots.batch[first], kinds.long()
    bonds[molecule, slots.slot[first], slots.slot[second]] = kinds
    bonds[molecule, slots.slot[second], slots.slot[first]] = kinds
    return bonds


def _check(graph: Graph, num_atoms: int) -> None:
    """Raises ValueError unless the graph is one of that many atoms."""
    wanted = [num_atoms, len(ATOM_SIZES)]
    if list(graph.atom.shape) != wanted:
        raise ValueError(f"expected graph.atom {wanted}, got {list(graph.atom.shape)}")
    number = graph.bond_type.numel()
    if graph.bond_type.dim() != 1 or list(graph.edge_index.shape) != [2, number]:
        raise ValueError(
            f"expected graph.edge_index [2, E] and graph.bond_type [E], got "
            f"{list(graph.edge_index.shape)} and {list(graph.bond_type.shape)}"
        )
