"""The encoder: molecules with coordinates in, atom and molecule representations out."""

import os
from typing import NamedTuple

from torch import Tensor, nn
from torch_geometric.utils import scatter

from molae_pyg.chem.elements import CLS, NUM_TOKENS, PAD, SEP, token_table
from molae_pyg.models.encoding import Encodes
from molae_pyg.models.pretrained import Pretrained, load_encoder
from molae_pyg.nn.arguments import ShowsArguments, share, size
from molae_pyg.nn.checks import check_mask, check_molecules
from molae_pyg.nn.dense import Slots, atom_slots
from molae_pyg.nn.gaussian import GaussianInit, PairBias, PairGaussian
from molae_pyg.nn.graph_bias import Graph, GraphBias
from molae_pyg.nn.heads import TokenHead
from molae_pyg.nn.transformer import PairTransformer, TransformerOutput
from molae_pyg.official_checkpoint import OfficialReport, load_official_encoder, read_official


def init_weights(module: nn.Module) -> None:
    """Initialises as the reference: matrices and embeddings from N(0, 0.02), biases 0.

    Layer norms keep 1 and 0. The Gaussian layer and the last matrix of the token head have
    initialisations of their own.
    """
    for m in module.modules():
        if isinstance(m, nn.Linear | nn.Embedding):
            nn.init.normal_(m.weight, std=0.02)
        if isinstance(m, nn.Linear) and m.bias is not None:
            nn.init.zeros_(m.bias)
        elif isinstance(m, nn.Embedding) and m.padding_idx is not None:
            nn.init.zeros_(m.weight[m.padding_idx])
    for m in module.modules():
        if isinstance(m, PairGaussian | TokenHead):
            m.reset_parameters()


class EncoderOutput(NamedTuple):
    """Output of :class:`MolAEEncoder`; N counts the atoms that were not dropped."""

    x: Tensor  #: Atom representations ``[N, C]``, in the order of the input.
    molecule: Tensor  #: Molecule representations ``[B, C]`` (the token CLS).
    sep: Tensor  #: Representations of the token SEP ``[B, C]``.
    state: TransformerOutput  #: The dense state: pair tensor, mask and the norm terms.


class MolAEEncoder(ShowsArguments, Encodes, Pretrained, nn.Module):
    """The encoder of `Mol-AE <https://proceedings.mlr.press/v235/yang24al.html>`_ (ICML 2024).

    It is a Transformer over atoms whose attention starts from a bias of pair distances, as in
    Uni-Mol. It is invariant to rotations, reflections and translations of ``pos``, equivariant to
    the order of the atoms, and needs only ``z`` and ``pos``.

    Args:
        hidden_channels: Width C, default: 512.
        ffn_channels: Width of the feed-forward parts, default: 2048.
        heads: Number of attention heads H, default: 64.
        num_layers: Number of layers, default: 15.
        num_gaussians: Number of Gaussians per distance K, default: 128.
        dropout: Dropout of embeddings and hidden states, default: 0.1.
        attn_dropout: Dropout of attention probabilities, default: 0.1.
        gaussian_init: See :class:`~molae_pyg.nn.PairGaussian`, default: ``"reference"``.
        graph: Whether the encoder has a graph channel, :class:`~molae_pyg.nn.GraphBias`, for bonds
            and features of atoms; default: False, the published encoder.

    Shapes:
        z ``[N]``, pos ``[N, 3]`` in Å, batch ``[N]`` -> :class:`EncoderOutput` with atoms
        ``[N, C]`` and molecules ``[B, C]``.
    """

    def __init__(
        self,
        hidden_channels: int = 512,
        ffn_channels: int = 2048,
        heads: int = 64,
        num_layers: int = 15,
        num_gaussians: int = 128,
        dropout: float = 0.1,
        attn_dropout: float = 0.1,
        gaussian_init: GaussianInit = "reference",
        graph: bool = False,
    ):
        super().__init__()
        self.config = c = {
            "hidden_channels": size("hidden_channels", hidden_channels),
            "ffn_channels": size("ffn_channels", ffn_channels),
            "heads": size("heads", heads),
            "num_layers": size("num_layers", num_layers, least=0),
            "num_gaussians": size("num_gaussians", num_gaussians),
            "dropout": share("dropout", dropout),
            "attn_dropout": share("attn_dropout", attn_dropout),
            "gaussian_init": gaussian_init,
        }
        if graph:  # else the config is that of the published encoder
            c["graph"] = True
        channels, heads = c["hidden_channels"], c["heads"]
        self.embedding = nn.Embedding(NUM_TOKENS, channels, padding_idx=PAD)
        self.pair_bias = PairBias(heads, c["num_gaussians"], gaussian_init)
        self.transformer = PairTransformer(
            channels, c["ffn_channels"], heads, c["num_layers"], c["dropout"], c["attn_dropout"]
        )
        self.graph_bias = GraphBias(channels, heads) if graph else None
        # Every official checkpoint holds it and nothing uses it: kept, frozen, for a round trip.
        self.pair_norm = nn.LayerNorm(heads).requires_grad_(False)
        self.register_buffer("token_of_z", token_table(), persistent=False)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        init_weights(self)

    def forward(
        self,
        z: Tensor,
        pos: Tensor,
        batch: Tensor | None = None,
        drop_mask: Tensor | None = None,
        origin: Tensor | None = None,
        batch_size: int | None = None,
        graph: Graph | None = None,
    ) -> EncoderOutput:
        """Encodes the atoms that are not dropped.

        Args:
            z: Atomic numbers ``[N]``; 0 is ``[MASK]``, elements of 1 to 118 that are not in the
                vocabulary become ``[UNK]``.
            pos: Coordinates in Å ``[N, 3]``; converted to the type of the weights.
            batch: Molecule of each atom ``[N]``, sorted; default: one molecule.
            drop_mask: True = the atom is removed before the first layer ``[N]``; default: none.
            origin: Position of CLS and SEP ``[B, 3]``; default: the centroid of all atoms,
                the dropped ones included, as in the reference.
            batch_size: Number of molecules B; default: the last entry of ``batch`` plus 1. Give
                it if molecules at the end may have no atom, and to save a GPU from waiting.
            graph: Bonds and features of all atoms, the dropped ones included; default: unknown.
                Needs an encoder with a graph channel.

        Returns:
            :class:`EncoderOutput`; its ``x`` has a row for each atom that is not dropped.

        Raises:
            ValueError: Wrong shapes, types, elements or molecule numbers. Values on a GPU fail
                an assertion there instead, and are not compared in a compiled or exported model.
        """
        x, pair, slots, *_ = self._inputs(z, pos, batch, drop_mask, origin, batch_size, graph)
        state = self.transformer(x, pair, slots.mask)
        return EncoderOutput(slots.flat(state.x), state.x[:, 0], state.x[:, 1], state)

    def _inputs(
        self,
        z: Tensor,
        pos: Tensor,
        batch: Tensor | None,
        drop_mask: Tensor | None,
        origin: Tensor | None,
        batch_size: int | None,
        graph: Graph | None = None,
    ) -> tuple[Tensor, Tensor, Slots, Tensor | None, Tensor]:
        """Input of the transformer, for subclasses too.

        Returns:
            Tokens ``[B, L, C]``, pair bias ``[B, H, L, L]``, slots and numbers of the atoms that
            are kept (None: all), and the molecule of every atom ``[N]``.
        """
        one_molecule, dtype = batch is None, self.embedding.weight.dtype
        z, pos, batch, batch_size = check_molecules(z, pos, batch, batch_size, dtype)
        if origin is None:
            origin = scatter(pos, batch, dim_size=batch_size, reduce="mean")  # [B, 3]
        elif origin.shape != (batch_size, 3):
            raise ValueError(f"expected origin [{batch_size}, 3], got {list(origin.shape)}")
        if graph is not None and self.graph_bias is None:
            raise ValueError("the encoder has no graph channel: build it with graph=True")
        token, pos = self.token_of_z[z], pos - origin[batch]  # [N], [N, 3]
        keep, whole = None, batch
        if drop_mask is not None:  # the atoms are really removed: shorter sequences
            check_mask(drop_mask, z)
            keep = (~drop_mask).nonzero().squeeze(1)  # [N']
            token, pos, batch = token[keep], pos[keep], batch[keep]
        slots = atom_slots(batch, batch_size, one_molecule)
        token = slots.dense(token, token.new_tensor([CLS, SEP]))  # [B, L]
        pos = slots.dense(pos, pos.new_zeros(2, 3))  # [B, L, 3]
        x, pair = self.embedding(token), self.pair_bias(token, pos)
        if graph is not None:
            every = slots if keep is None else atom_slots(whole, batch_size, one_molecule)
            x_graph, pair_graph = self.graph_bias(graph, every, slots, keep)
            x, pair = x + x_graph, pair + pair_graph
        return x, pair, slots, keep, whole

    @classmethod
    def from_pretrained(cls, name_or_path: str | os.PathLike | None = None) -> "MolAEEncoder":
        """Reads a saved encoder, or that of a saved :class:`MolAE` or :class:`MolAEPredictor`.

        Names, default, mode and errors are those of :meth:`MolAE.from_pretrained`.
        """
        return load_encoder(cls, name_or_path).eval()

    @classmethod
    def from_official(cls, path: str | os.PathLike) -> tuple["MolAEEncoder", OfficialReport]:
        """Reads the encoder of an official ``.pt`` file, Mol-AE or Uni-Mol (no hydrogens).

        Returns it with a report of missing and unexpected keys. The full Mol-AE checkpoint has 0
        missing and 82 unexpected ones, which belong to decoder and heads. Raises
        :class:`~molae_pyg.checkpoint.CheckpointError` if the file lacks an encoder key.
        """
        return load_official_encoder(cls, read_official(path))
