"""Graph isomorphism networks with bond features, as pre-trained by Hu et al. and others."""

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch_geometric.nn import GINEConv

from molae_pyg.nn.arguments import ShowsArguments, share, size
from molae_pyg.nn.dropout import Dropout

MASKED_ATOM = 119  #: Row of masked and unknown atoms in the layout of Hu et al.
SELF_LOOP, MASKED_BOND = 4, 5  #: Types of bonds besides single, double, triple, aromatic.
_CHIRALITIES = _DIRECTIONS = 3


class GINTables(NamedTuple):
    """Number of rows of the embeddings; the last rows are those of masked atoms and bonds."""

    atoms: int
    bonds: int


HU = GINTables(MASKED_ATOM + 1, MASKED_BOND + 1)  #: Hu et al. and GraphMVP.
MOL_CLR = GINTables(119, 5)  #: MolCLR, which masks no bonds.


class EdgeGIN(ShowsArguments, nn.Module):
    r"""The graph isomorphism network of `"Strategies for Pre-training Graph Neural Networks"
    <https://openreview.net/forum?id=HJlWWJSFDH>`_ (ICLR 2020).

    .. math::
        m_i = \sum_{j \in N(i) \cup \{i\}} (h_j + E_\mathrm{type}(ij) + E_\mathrm{dir}(ij)), \qquad
        h_i' = \mathrm{BN}(W_2\, \mathrm{ReLU}(W_1 m_i))

    with ReLU between layers and not after the last one. The bond of an atom with itself has a type
    of its own. An atom or bond above the last row of a table has the last row.

    Args:
        hidden_channels: Width C, default: 300.
        num_layers: Number of layers, default: 5.
        dropout: Dropout after each layer, default: 0.
        atom_rows: Rows of the table of elements, default: 120 (Hu et al., GraphMVP); MolCLR: 119.
            The last row is that of masked atoms.
        bond_rows: Rows of the tables of bond types, default: 6; MolCLR: 5.
    """

    def __init__(
        self,
        hidden_channels: int = 300,
        num_layers: int = 5,
        dropout: float = 0.0,
        atom_rows: int = HU.atoms,
        bond_rows: int = HU.bonds,
    ):
        super().__init__()
        C = size("hidden_channels", hidden_channels)
        self.config = {
            "hidden_channels": C,
            "num_layers": size("num_layers", num_layers),
            "dropout": share("dropout", dropout),
            "atom_rows": size("atom_rows", atom_rows, 2),
            "bond_rows": size("bond_rows", bond_rows, SELF_LOOP + 1),
        }
        self.element = nn.Embedding(atom_rows, C)
        self.chirality = nn.Embedding(_CHIRALITIES, C)
        self.layers = nn.ModuleList(EdgeGINLayer(C, bond_rows) for _ in range(num_layers))
        self.dropout = Dropout(dropout)
        for module in self.modules():
            if isinstance(module, nn.Embedding):
                nn.init.xavier_uniform_(module.weight)

    def forward(self, x: Tensor, edge_index: Tensor, edge_attr: Tensor) -> Tensor:
        """Returns the states of the atoms ``[N, C]``.

        Args:
            x: Element and chiral tag ``[N, 2]``, see :func:`~molae_pyg.chem.hu_graph.hu_graph`.
            edge_index: Bonds in both directions ``[2, E]``.
            edge_attr: Type and direction ``[E, 2]``.
        """
        last = self.config["atom_rows"] - 1
        h = self.element(x[:, 0].clamp(max=last)) + self.chirality(x[:, 1])  # [N, C]
        for number, layer in enumerate(self.layers, start=1):
            h = layer(h, edge_index, edge_attr)
            h = self.dropout(h if number == len(self.layers) else h.relu())
        return h


class EdgeGINLayer(nn.Module):
    """A layer of :class:`EdgeGIN`, ``[N, C]`` to ``[N, C]``."""

    def __init__(self, hidden_channels: int, bond_rows: int = HU.bonds):
        super().__init__()
        self.bond = nn.Embedding(bond_rows, hidden_channels)
        self.direction = nn.Embedding(_DIRECTIONS, hidden_channels)
        self.linear1 = nn.Linear(hidden_channels, 2 * hidden_channels)
        self.linear2 = nn.Linear(2 * hidden_channels, hidden_channels)
        self.norm = AtomNorm(hidden_channels)

    def forward(self, h: Tensor, edge_index: Tensor, edge_attr: Tensor) -> Tensor:
        kind = edge_attr[:, 0].clamp(max=self.bond.num_embeddings - 1)
        bond = self.bond(kind) + self.direction(edge_attr[:, 1])  # [E, C]
        loop = self.bond.weight[SELF_LOOP] + self.direction.weight[0]  # [C]
        source, target = edge_index
        # m_i = sum over N(i) and i of h_j + E_type + E_dir
        m = (h + loop).index_add(0, target, h[source] + bond)  # [N, C]
        return self.norm(self.linear2(self.linear1(m).relu()))


class AtomNorm(nn.BatchNorm1d):
    """Batch normalisation over atoms ``[N, C]``; a lone atom, which has no statistics of its own,
    is normalised by the running ones, also in training."""

    def forward(self, h: Tensor) -> Tensor:
        if self.training and len(h) == 1:
            return F.batch_norm(
                h, self.running_mean, self.running_var, self.weight, self.bias, eps=self.eps
            )
        return super().forward(h)


#: Number of values of each feature of :func:`~molae_pyg.chem.ogb_graph.add_ogb_graph`.
OGB_ATOMS, OGB_BONDS = (119, 5, 12, 12, 10, 6, 6, 2, 2), (5, 6, 2)


class OGBGIN(ShowsArguments, nn.Module):
    r"""The graph isomorphism network of the Open Graph Benchmark, which GraphMVP fine-tunes on
    numbers.

    .. math::
        h_i' = \mathrm{BN}(\mathrm{MLP}((1 + \epsilon) h_i + \sum_{j \in N(i)}
        \mathrm{ReLU}(h_j + E(ij))))

    Args:
        hidden_channels: Width C, default: 300.
        num_layers: Number of layers, default: 5.
        dropout: Dropout after each layer, default: 0.
    """

    def __init__(self, hidden_channels: int = 300, num_layers: int = 5, dropout: float = 0.0):
        super().__init__()
        C = size("hidden_channels", hidden_channels)
        size("num_layers", num_layers)
        self.config = {"hidden_channels": C, "num_layers": num_layers, "dropout": dropout}
        self.atom = _tables(OGB_ATOMS, C)
        self.bonds = nn.ModuleList(_tables(OGB_BONDS, C) for _ in range(num_layers))
        self.convs = nn.ModuleList(
            GINEConv(
                nn.Sequential(nn.Linear(C, 2 * C), AtomNorm(2 * C), nn.ReLU(), nn.Linear(2 * C, C)),
                train_eps=True,
            )
            for _ in range(num_layers)
        )
        self.norms = nn.ModuleList(AtomNorm(C) for _ in range(num_layers))
        self.dropout = Dropout(share("dropout", dropout))

    def forward(self, x: Tensor, edge_index: Tensor, edge_attr: Tensor) -> Tensor:
        """Returns the states of the atoms ``[N, C]`` of ``x [N, 9]`` and ``edge_attr [E, 3]``."""
        h = _sum(self.atom, x)  # [N, C]
        for number, (bond, conv, norm) in enumerate(
            zip(self.bonds, self.convs, self.norms, strict=True), start=1
        ):
            h = norm(conv(h, edge_index, _sum(bond, edge_attr)))
            h = self.dropout(h if number == len(self.norms) else h.relu())
        return h


def _tables(sizes: tuple[int, ...], channels: int) -> nn.ModuleList:
    tables = nn.ModuleList(nn.Embedding(number, channels) for number in sizes)
    for table in tables:
        nn.init.xavier_uniform_(table.weight)
    return tables


def _sum(tables: nn.ModuleList, features: Tensor) -> Tensor:
    parts = [table(column) for table, column in zip(tables, features.T, strict=True)]
    return torch.stack(parts).sum(0)
