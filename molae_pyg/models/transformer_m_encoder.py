"""The encoder of Transformer-M, which reads molecules as graphs, in 3D, or both."""

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from molae_pyg.models.encoder import init_weights
from molae_pyg.models.pretrained import Pretrained
from molae_pyg.nn.arguments import ShowsArguments, share, size
from molae_pyg.nn.checks import Molecules, check_mask, check_molecules
from molae_pyg.nn.dense import NUM_SPECIAL, Slots, atom_slots
from molae_pyg.nn.dropout import Dropout
from molae_pyg.nn.element_gaussian import DistanceBias, ElementGaussian
from molae_pyg.nn.graph_bias import Graph, dense_bonds
from molae_pyg.nn.paths import NUM_BOND_FEATURES, VALUES, PathBias
from molae_pyg.nn.post_norm import DropPath, PostNormLayer
from molae_pyg.nn.transformer import TransformerOutput

NUM_ATOM_FEATURES = 9
_MAX_DEGREE = 510
HIDDEN = VALUES - 2  #: Feature of an atom that is masked: no other one has this row of its table.
#: What a molecule is shown as, see ``mode`` of :meth:`TransformerM.forward`.
BOTH, ONLY_2D, ONLY_3D = range(3)


class Blend(NamedTuple):
    """Which channel each pair of atoms, and each atom, is shown in: MoleBLEND's task."""

    pair: Tensor  #: Of all ordered pairs of each molecule ``[sum of n^2]``, row by row; 0: length
    #: of the path, 1: bonds on the path, 2: distance.
    atom: Tensor  #: ``[N]``; 0: degree, 1: distances.


class TransformerMEncoding(NamedTuple):
    """Output of :class:`TransformerMEncoder`."""

    x: Tensor  #: Atom representations ``[N, C]``.
    molecule: Tensor  #: Molecule representations ``[B, C]`` (the graph token).
    state: TransformerOutput  #: Dense, the graph token first; its pair tensor is the bias.
    pos: Tensor  #: Dense coordinates of the atoms ``[B, n, 3]``; 0 if not shown in 3D.
    slots: Slots  #: Places of the atoms in the dense state, from 1 on.


class TransformerMEncoder(ShowsArguments, Pretrained, nn.Module):
    r"""The encoder of Transformer-M: atoms, and a bias of attention from bonds and distances.

    .. math::
        h_i &= \sum_f A_f[c_{if}] + c_2 \, D[\deg_i] + c_3 \, 0.01 \, W \sum_j g_{ij} \\
        b_{ij} &= c_2 \, b^{2D}_{ij} + c_3 \, b^{3D}_{ij}

    where :math:`c_2, c_3` are 0 or 1 for the channels that a molecule has, with
    :class:`~molae_pyg.nn.paths.PathBias` and :class:`~molae_pyg.nn.element_gaussian.DistanceBias`.
    A graph token in front of the atoms gives the vector of the molecule. The bias is the same in
    all layers, and there is no pair representation. The default size is the published L12.

    Args:
        hidden_channels: Width C, default: 768.
        ffn_channels: Width of the feed-forward parts, default: 768.
        heads: Number of attention heads H, default: 32.
        num_layers: Number of layers, default: 12.
        num_gaussians: Number of Gaussians per distance K, default: 128.
        dropout: Dropout of the embeddings, and of the parts of layers that drop no paths, default:
            0.
        attn_dropout: Dropout of attention probabilities, default: 0.1.
        act_dropout: Dropout in the feed-forward parts, default: 0.1.
        drop_path: Share of dropped parts in the last layer, rising from 0 in the first; default:
            0.1.
        reference: Whether to repeat the errors of the official code (``docs/fidelity.md``);
            default: False.
    """

    def __init__(
        self,
        hidden_channels: int = 768,
        ffn_channels: int = 768,
        heads: int = 32,
        num_layers: int = 12,
        num_gaussians: int = 128,
        dropout: float = 0.0,
        attn_dropout: float = 0.1,
        act_dropout: float = 0.1,
        drop_path: float = 0.1,
        reference: bool = False,
    ):
        super().__init__()
        self.config = {
            "hidden_channels": size("hidden_channels", hidden_channels),
            "ffn_channels": size("ffn_channels", ffn_channels),
            "heads": size("heads", heads),
            "num_layers": size("num_layers", num_layers, least=0),
            "num_gaussians": size("num_gaussians", num_gaussians),
            "dropout": share("dropout", dropout),
            "attn_dropout": share("attn_dropout", attn_dropout),
            "act_dropout": share("act_dropout", act_dropout),
            "drop_path": share("drop_path", drop_path),
            "reference": reference,
        }
        self.variant = {"reference": reference}
        C, H = hidden_channels, heads
        self.atom = nn.Embedding(VALUES * NUM_ATOM_FEATURES + 1, C, padding_idx=0)
        self.in_degree = nn.Embedding(VALUES, C, padding_idx=0)
        self.out_degree = nn.Embedding(VALUES, C, padding_idx=0)
        self.graph_token = nn.Parameter(torch.empty(1, C))
        self.token_bias = nn.Parameter(torch.empty(1, H))  # between the graph token and all others
        self.path_bias = PathBias(H, reference)
        self.distance_bias = DistanceBias(C, H, num_gaussians)
        self.input_norm = nn.LayerNorm(C)
        self.dropout = Dropout(dropout)
        rates = torch.linspace(0, drop_path, max(num_layers, 1)).tolist()
        self.layers = nn.ModuleList(
            PostNormLayer(
                C, ffn_channels, H,
                DropPath(rate, by_position=reference) if rate > 0 else Dropout(dropout),
                attn_dropout, act_dropout,
            )
            for rate in rates[:num_layers]
        )  # fmt: skip
        first = 2 + VALUES * torch.arange(NUM_ATOM_FEATURES)  # row of each feature's 0
        self.register_buffer("first", first, persistent=False)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        init_weights(self)
        for m in self.modules():
            if isinstance(m, PathBias | ElementGaussian):
                m.reset_parameters()
        nn.init.normal_(self.graph_token, std=0.02)
        nn.init.normal_(self.token_bias, std=0.02)

    def forward(
        self,
        z: Tensor,
        pos: Tensor,
        batch: Tensor | None = None,
        drop_mask: Tensor | None = None,
        origin: Tensor | None = None,
        batch_size: int | None = None,
        graph: Graph | None = None,
        mode: Tensor | None = None,
        blend: Blend | None = None,
    ) -> TransformerMEncoding:
        """Encodes molecules; heavy atoms only, as in the reference.

        Args:
            z: Atomic numbers ``[N]``.
            pos: Coordinates in Å ``[N, 3]``. A molecule of several atoms that are all at 0 has no
                coordinates and is shown as a graph only.
            batch: Molecule of each atom ``[N]``, sorted; default: one molecule.
            drop_mask: True = the atom is left out ``[N]``; default: none. Not with a graph.
            origin: Not used: only differences of coordinates count.
            batch_size: Number of molecules B; default: the last entry of ``batch`` plus 1.
            graph: The features of the Open Graph Benchmark: ``atom [N, 9]``, ``edge_index [2, E]``
                and ``bond_type [E, 3]``, see :func:`~molae_pyg.chem.ogb_graph.add_ogb_graph`;
                default: molecules are shown in 3D only, and an atom has its element alone.
            mode: What each molecule is shown as ``[B]``: 0 both, 1 as a graph only, 2 in 3D only;
                default: all that it has.
            blend: Channel of each pair and of each atom; default: the sum of those of ``mode``.

        Raises:
            ValueError: As :meth:`MolAEEncoder.forward`; a mode needs the graph, which is missing;
                the graph has other sizes; ``drop_mask`` with a graph.
        """
        one_molecule = batch is None
        m = check_molecules(z, pos, batch, batch_size, self.graph_token.dtype)
        if drop_mask is not None:
            check_mask(drop_mask, z)
            if graph is not None:
                raise ValueError("atoms cannot be left out of a graph: give z and pos alone")
            m = Molecules(*(t[~drop_mask] for t in m[:3]), m.batch_size)
        slots = atom_slots(m.batch, m.batch_size, one_molecule)
        if blend is not None:
            _check_blend(blend, m.batch, graph)
        shown = self._channels(m, graph, mode)  # [B] each
        x, bias, pos = self._inputs(m, slots, graph, *shown, blend)
        mask = slots.mask[:, NUM_SPECIAL - 1 :]  # [B, n + 1]
        x = self.dropout(self.input_norm(x))  # [B, n + 1, C]
        for layer in self.layers:
            x = layer(x, bias, mask)
        slots = slots._replace(slot=slots.slot - 1, mask=mask)
        state = TransformerOutput(x, x, bias, bias, mask)
        return TransformerMEncoding(slots.flat(x), x[:, 0], state, pos, slots)

    def _channels(
        self, m: Molecules, graph: Graph | None, mode: Tensor | None
    ) -> tuple[Tensor, Tensor]:
        """Whether each molecule is shown as a graph, and in 3D ``[B]``."""
        if mode is None:
            mode = torch.full((m.batch_size,), BOTH if graph is not None else ONLY_3D)
            mode = mode.to(m.batch.device)
        elif mode.shape != (m.batch_size,):
            raise ValueError(f"expected mode [{m.batch_size}], got {list(mode.shape)}")
        elif graph is None and (mode != ONLY_3D).any():
            raise ValueError("without a graph, molecules can be shown in 3D only (mode 2)")
        somewhere = (m.pos != 0).any(1)  # [N]
        if self.config["reference"]:
            known = somewhere.any().expand(m.batch_size)
        else:  # each molecule for itself; one atom alone has no distances to lack
            count = torch.bincount(m.batch, somewhere, m.batch_size)
            known = (count > 0) | (torch.bincount(m.batch, minlength=m.batch_size) == 1)
        return mode != ONLY_3D, (mode != ONLY_2D) & known

    def _inputs(
        self,
        m: Molecules,
        slots: Slots,
        graph: Graph | None,
        has_2d: Tensor,
        has_3d: Tensor,
        blend: Blend | None,
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Tokens ``[B, n + 1, C]``, bias ``[B, H, n + 1, n + 1]``, coordinates ``[B, n, 3]``."""

        def dense(x: Tensor) -> Tensor:  # [N, ...] -> [B, n, ...]
            return slots.dense(x, x.new_zeros(NUM_SPECIAL, *x.shape[1:]))[:, NUM_SPECIAL:]

        mask = slots.mask[:, NUM_SPECIAL:]  # [B, n]
        pos = dense(m.pos) * has_3d[:, None, None]
        if has_3d.any():
            bias_3d, x_3d = self.distance_bias(dense(m.z), pos, mask)
            bias = bias_3d * has_3d[:, None, None, None]  # [B, H, n, n]
            x = x_3d * has_3d[:, None, None]  # [B, n, C]
        else:  # half of the time saved; several processes need a gradient of every parameter
            zero = 0 * sum(p.sum() for p in self.distance_bias.parameters())
            bias = zero.expand(*mask.shape, mask.size(1))[:, None]  # [B, 1, n, n]
            x = zero.expand(*mask.shape, 1)  # [B, n, 1]
        if graph is None:
            x = x + dense(self.atom(m.z + 1))  # row of the element: z - 1 is its first feature
        else:
            _check(graph, m.z.numel())
            atoms = dense(self.atom(graph.atom.long() + self.first).sum(1))
            bonds, linked = bonds_of(graph, slots)  # [B, n, n, 3], [B, n, n]
            degree = linked.sum(-1).clamp(max=_MAX_DEGREE) + 1  # [B, n]
            x_2d = self.in_degree(degree) + self.out_degree(degree)
            if blend is None:
                x = x + atoms + x_2d * has_2d[:, None, None]
                bias = bias + self.path_bias(bonds, linked) * has_2d[:, None, None, None]
            else:
                shown = dense(blend.atom)[..., None]  # [B, n, 1]
                x = atoms + torch.where(shown == 0, x_2d, x)
                shown = torch.full_like(linked, -1, dtype=torch.long)  # [B, n, n]
                shown[mask[:, :, None] & mask[:, None, :]] = blend.pair.long()
                parts = *self.path_bias.parts(bonds, linked), bias
                bias = sum(part * (shown == i)[:, None] for i, part in enumerate(parts))
        token = self.graph_token.expand(x.size(0), 1, -1)
        bias = F.pad(bias, (1, 0, 1, 0))  # [B, H, n + 1, n + 1]
        edge = torch.zeros_like(bias[0, 0], dtype=torch.bool)
        edge[0] = edge[:, 0] = True  # first row and first column
        bias = torch.where(edge, self.token_bias.view(1, -1, 1, 1), bias)
        return torch.cat([token, x], dim=1), bias, pos


def bonds_of(graph: Graph, slots: Slots) -> tuple[Tensor, Tensor]:
    """Features of bonds ``[B, n, n, 3]`` (-1: none), and whether there is one ``[B, n, n]``."""
    places = slots._replace(mask=slots.mask[:, NUM_SPECIAL:], slot=slots.slot - NUM_SPECIAL)
    bonds = dense_bonds(graph.edge_index, graph.bond_type.long() + 1, places)
    return bonds - 1, (bonds > 0).any(-1)


def _check_blend(blend: Blend, batch: Tensor, graph: Graph | None) -> None:
    """Raises ValueError unless there is a graph, and a channel for each pair and atom."""
    if graph is None:
        raise ValueError("a blend of channels needs the graph")
    pairs = int(batch.bincount().square().sum())
    wanted, found = [[pairs], [batch.numel()]], [list(blend.pair.shape), list(blend.atom.shape)]
    if found != wanted:
        raise ValueError(
            f"expected blend.pair {wanted[0]} and blend.atom {wanted[1]}, got {found[0]} and "
            f"{found[1]}"
        )


def _check(graph: Graph, num_atoms: int) -> None:
    """Raises ValueError unless the graph has the Open Graph Benchmark's features of that many."""
    wanted = [num_atoms, NUM_ATOM_FEATURES], [graph.edge_index.size(-1), NUM_BOND_FEATURES]
    found = list(graph.atom.shape), list(graph.bond_type.shape)
    if found != wanted:
        raise ValueError(
            f"expected graph.atom {wanted[0]} and graph.bond_type {wanted[1]} (add_ogb_graph makes "
            f"them), got {found[0]} and {found[1]}"
        )
