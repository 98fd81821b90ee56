"""The graph channel: what an encoder is told of bonds and atoms besides elements and distances."""

import torch
from torch import Tensor, nn

#: Values of each feature of an atom; the columns of :func:`molae_pyg.chem.graph.mol_graph`.
ATOM_SIZES = (8, 6, 8, 3, 8, 4)
#: Codes of a pair: 0 unknown, 1 an atom with itself, 2 to 6 bonded (single, double, triple,
#: aromatic, other), 7 to 11 a shortest path of 2 to 6 bonds, 12 a longer one or none.
NUM_PAIR_CODES = 13
MAX_PATH = 6
_BONDED, _PATH = 1, 5  # added to a bond's type, and to a path's length


def pair_codes(bonds: Tensor, real: Tensor) -> Tensor:
    """Codes of all ordered pairs of atoms from the types of the bonds.

    Args:
        bonds: Type of the bond between two atoms ``[B, n, n]``, symmetric, 0 where there is none.
        real: True = an atom, False = padding ``[B, n]``.

    Returns:
        int64 ``[B, n, n]``, see :data:`NUM_PAIR_CODES`; 0 where padded.
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


class GraphBias(nn.Module):
    r"""Embeddings of an atom's features, added to its token's, and of a pair's code, added to the bias.

    .. math::
        x_i \leftarrow x_i + \sum_f E_f[c_{if}], \qquad
        a^0_{ij} \leftarrow a^0_{ij} + P[g_{ij}] \in \mathbb{R}^H

    with :math:`E_f[0] = 0` and :math:`P[0] = 0`: what is not known adds nothing.

    Args:
        channels: Width C.
        heads: Attention heads H.
    """

    def __init__(self, channels: int, heads: int):
        super().__init__()
        self.atom = nn.Embedding(sum(ATOM_SIZES), channels)
        self.pair = nn.Embedding(NUM_PAIR_CODES, heads)
        first = torch.tensor([0, *ATOM_SIZES[:-1]]).cumsum(0)  # row of each feature's 0
        self.register_buffer("first", first, persistent=False)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        nn.init.normal_(self.atom.weight, std=0.02)
        nn.init.normal_(self.pair.weight, std=0.02)

    def atoms(self, features: Tensor) -> Tensor:
        """Features ``[..., 6]`` -> what is added to the tokens ``[..., C]``."""
        known = (features > 0).unsqueeze(-1)
        return (self.atom(features.long() + self.first) * known).sum(-2)

    def pairs(self, codes: Tensor) -> Tensor:
        """Codes ``[B, L, L]`` -> what is added to the pair bias ``[B, H, L, L]``."""
        return (self.pair(codes) * (codes > 0).unsqueeze(-1)).permute(0, 3, 1, 2)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.atom.embedding_dim}, heads={self.pair.embedding_dim})"
