"""MoleBLEND: a Transformer that is shown each pair of atoms in one channel and predicts all."""

import os
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from molae_pyg.models.encoder import init_weights
from molae_pyg.models.pretrained import Pretrained
from molae_pyg.models.transformer_m_encoder import Blend, TransformerMEncoder, bonds_of
from molae_pyg.nn.arguments import ShowsArguments, size
from molae_pyg.nn.denoising import DenoisingHead
from molae_pyg.nn.dense import NUM_SPECIAL, atom_slots
from molae_pyg.nn.graph_bias import Graph
from molae_pyg.nn.paths import MAX_BONDS, path_bonds, shortest_paths
from molae_pyg.official_file import read_official
from molae_pyg.official_transformer_m import load_transformer_m, to_official

NUM_LENGTH_CLASSES = 11  # paths of 1 to 10 bonds, and longer ones
#: Number of types, of stereo labels and of conjugations of a bond; the official code has fewer.
BOND_SIZES, OFFICIAL_BOND_SIZES = (5, 6, 2), (4, 3, 2)
_OFFICIAL_LONGEST = 19


class PairHead(ShowsArguments, nn.Module):
    r"""Predicts values of ordered pairs of atoms from an outer product.

    .. math::
        r_i = \mathrm{LN}(\mathrm{GELU}(W_r x_i)), \qquad c_j = \mathrm{LN}(\mathrm{GELU}(W_c x_j)),
        \qquad y_{ijo} = r_i^\top M_o \, c_j + b_o

    Args:
        channels: Width C.
        out_channels: Number of values O.

    Shapes:
        ``[B, n, C]`` -> ``[B, n, n, O]``.
    """

    RANK = 32

    def __init__(self, channels: int, out_channels: int):
        super().__init__()
        self.channels, self.out_channels = channels, size("out_channels", out_channels)
        self.row = nn.Linear(channels, self.RANK)
        self.row_norm = nn.LayerNorm(self.RANK, eps=1e-12)
        self.column = nn.Linear(channels, self.RANK)
        self.column_norm = nn.LayerNorm(self.RANK, eps=1e-12)
        self.out = nn.Linear(self.RANK**2, out_channels)

    def forward(self, x: Tensor) -> Tensor:
        row = self.row_norm(F.gelu(self.row(x)))  # [B, n, R]
        column = self.column_norm(F.gelu(self.column(x)))  # [B, n, R]
        matrix = self.out.weight.view(-1, self.RANK, self.RANK)  # [O, R, R]
        left = torch.einsum("bir,orc->bioc", row, matrix)  # smaller than the outer product
        return torch.einsum("bioc,bjc->bijo", left, column) + self.out.bias


class MoleBlendOutput(NamedTuple):
    """Output of :class:`MoleBlend`; the P pairs are all of each molecule, row by row."""

    length_logits: Tensor  #: Number of bonds of the shortest path, 1 to 10 and more, ``[P, 11]``.
    bond_logits: Tensor  #: The first bonds of the path, 60 kinds (or 24), ``[P, 5, K]``.
    distance: Tensor  #: Distance in Å ``[P]`` (``reference``: the direction ``[P, 3]``).
    noise: Tensor  #: Direction of the noise of the atoms ``[N, 3]``.


class MoleBlend(ShowsArguments, Pretrained, nn.Module):
    """MoleBLEND: the encoder of Transformer-M with heads for paths, bonds, distances and noise.

    From `"Multimodal Molecular Pretraining via Modality Blending"
    <https://openreview.net/forum?id=oM7Jbxdk6Z>`_ (ICLR 2024). The arguments before
    ``direction_channels`` are those of :class:`TransformerMEncoder`. The default has 49,527,209
    parameters with ``reference=True``.

    Args:
        direction_channels: Width of the head of directions, with ``reference=True`` only; default:
            256.
        reference: Whether to predict what the official code does: directions of pairs, which no
            invariant input determines, in place of distances; 24 kinds of bonds in place of 60;
            and noise by a head that does not turn with the molecule. Default: False.
    """

    TITLE = "MoleBLEND"

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
        direction_channels: int = 256,
        reference: bool = False,
    ):
        super().__init__()
        self.encoder = TransformerMEncoder(
            hidden_channels, ffn_channels, heads, num_layers, num_gaussians,
            dropout, attn_dropout, act_dropout, drop_path, reference,
        )  # fmt: skip
        self.config = {**self.encoder.config, "direction_channels": direction_channels}
        C, self.bond_sizes = hidden_channels, OFFICIAL_BOND_SIZES if reference else BOND_SIZES
        kinds = self.bond_sizes[0] * self.bond_sizes[1] * self.bond_sizes[2]
        self.length_head = PairHead(C, NUM_LENGTH_CLASSES)
        self.bond_head = PairHead(C, MAX_BONDS * kinds)
        self.distance_head = PairHead(C, direction_channels if reference else 1)
        self.axes = nn.Linear(direction_channels, 3) if reference else nn.Identity()
        self.denoising_head = DenoisingHead(C, heads, reference)
        for name, part in self.named_children():
            if name != "encoder":
                init_weights(part)

    @classmethod
    def small(cls) -> "MoleBlend":
        """4 layers, 192 wide, 12 heads: about as large as ``molae-small``."""
        return cls(192, 192, 12, 4)

    @classmethod
    def tiny(cls) -> "MoleBlend":
        """2 layers, 64 wide, 8 heads: for tests and trials."""
        return cls(64, 64, 8, 2, 32)

    def forward(
        self,
        z: Tensor,
        pos: Tensor,
        batch: Tensor | None,
        graph: Graph,
        blend: Blend | None = None,
        batch_size: int | None = None,
    ) -> MoleBlendOutput:
        """Predicts all pairs and the noise in ``pos``; see :meth:`TransformerMEncoder.forward`."""
        enc = self.encoder(z, pos, batch, batch_size=batch_size, graph=graph, blend=blend)
        x, bias, mask = enc.state.x[:, 1:], enc.state.pair[..., 1:, 1:], enc.state.mask[:, 1:]
        pairs = mask[:, :, None] & mask[:, None, :]  # [B, n, n]
        noise = self.denoising_head(x, bias, enc.pos, mask)  # [B, n, 3]
        return MoleBlendOutput(
            self.length_head(x)[pairs],
            self.bond_head(x)[pairs].unflatten(-1, (MAX_BONDS, -1)),
            self.axes(self.distance_head(x)[pairs]).squeeze(-1),
            enc.slots.flat(F.pad(noise, (0, 0, 1, 0))),
        )

    @classmethod
    def from_official(cls, path: str | os.PathLike) -> "MoleBlend":
        """Reads a pre-training checkpoint of the official code, with ``reference=True``."""
        return load_transformer_m(cls, read_official(path)).eval()

    def to_official(self) -> dict[str, Tensor]:
        """Returns the weights under the official keys (needs ``reference=True``)."""
        return to_official(self)


class PairTargets(NamedTuple):
    """What :class:`MoleBlend` predicts of the P ordered pairs of a batch."""

    ends: Tensor  #: The two atoms ``[2, P]``.
    length: Tensor  #: Class of the path ``[P]``, -1: no path, or the atom itself.
    bonds: Tensor  #: Class of the first bonds of the path ``[P, 5]``, -1: none.


@torch.no_grad()
def pair_targets(
    graph: Graph, batch: Tensor, batch_size: int, reference: bool = False
) -> PairTargets:
    """Returns the paths of all pairs, and the bonds on them, as classes.

    Args:
        graph: See :meth:`TransformerMEncoder.forward`.
        batch: Molecule of each atom ``[N]``, sorted.
        batch_size: Number of molecules B.
        reference: Whether bonds have the 24 classes of the official code; default: False.

    Raises:
        ValueError: With ``reference``, a path has more than 19 bonds, or a bond has no class.
    """
    slots = atom_slots(batch, batch_size)
    features, linked = bonds_of(graph, slots)
    paths = shortest_paths(linked, reference)
    mask = slots.mask[:, NUM_SPECIAL:]  # [B, n]
    pairs = mask[:, :, None] & mask[:, None, :]  # [B, n, n]
    length = paths.length[pairs]  # [P]
    sizes = OFFICIAL_BOND_SIZES if reference else BOND_SIZES
    kind = (features[..., 0] * sizes[1] + features[..., 1]) * sizes[2] + features[..., 2]
    if reference:
        over = (features >= torch.tensor(sizes, device=kind.device))[pairs].any()
        if over or (length > _OFFICIAL_LONGEST).any():
            raise ValueError(
                "the official code has no class for a path of more than 19 bonds, for another bond "
                "than single, double, triple and aromatic, or for a stereo label but Z and E: "
                "leave such molecules out, or use reference=False"
            )
    place = path_bonds(paths)[pairs]  # [P, 5]
    molecule, *ends = pairs.nonzero().T  # [P] each
    bonds = kind.flatten(1)[molecule[:, None], place.clamp(min=0)]  # [P, 5]
    number = batch.bincount(minlength=batch_size)  # [B]
    start = number.cumsum(0) - number
    ends = start[molecule] + torch.stack(ends)  # [2, P]
    classes = (length - 1).clamp(max=NUM_LENGTH_CLASSES - 1)
    return PairTargets(ends, classes.masked_fill(length < 1, -1), bonds.masked_fill(place < 0, -1))
