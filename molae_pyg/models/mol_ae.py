"""Mol-AE: encode -> refill -> decode -> heads."""

import os
from collections.abc import Iterable
from typing import Literal, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from molae_pyg import official_checkpoint
from molae_pyg.chem.elements import MASK
from molae_pyg.chem.recipes import DEFAULT_RECIPE
from molae_pyg.models.encoder import EncoderOutput, MolAEEncoder, init_weights
from molae_pyg.models.encoding import Encodes
from molae_pyg.models.pretrained import Pretrained
from molae_pyg.nn.arguments import ShowsArguments, size
from molae_pyg.nn.checks import ClozeTest, check_cloze
from molae_pyg.nn.dense import Slots
from molae_pyg.nn.gaussian import GaussianInit
from molae_pyg.nn.graph_bias import Graph, GraphClozeOutput, atom_head
from molae_pyg.nn.heads import CoordinateHead, DistanceHead, TokenHead
from molae_pyg.nn.transformer import PairTransformer, SinusoidalPosition, TransformerOutput


class ClozeOutput(NamedTuple):
    """What :class:`MolAE` rebuilds. M: dropped atoms; L: 2 + atoms of the largest molecule."""

    token_logits: Tensor  #: ``[M, 31]``, dropped atoms in flat order (all atoms if none dropped).
    pos: Tensor  #: Å ``[N, 3]``, in the frame of the input.
    distance: Tensor  #: Å ``[N, L]``: each atom to CLS, SEP and the atoms of its molecule.
    encoder_x_norm: Tensor  #: Scalar, norm excess of the encoder's token states.
    encoder_pair_norm: Tensor  #: Scalar, norm excess of the encoder's change of the pair tensor.
    decoder_x_norm: Tensor  #: Scalar, norm excess of the decoder's token states.
    decoder_pair_norm: Tensor  #: Scalar, norm excess of the decoder's change of the pair tensor.


class MolAEDecoder(ShowsArguments, nn.Module):
    """The decoder: it receives the positions of atoms in the record, but no coordinates.

    Its pair bias is zero.

    Args:
        transformer: The stack of layers.

    Shapes:
        x ``[N, C]`` atoms, special ``[B, 2, C]`` CLS and SEP, slots of the atoms, positions of the
        atoms ``[N]`` or None for their slots -> dense :class:`~molae_pyg.nn.TransformerOutput`.
    """

    def __init__(self, transformer: PairTransformer):
        super().__init__()
        self.position = SinusoidalPosition(transformer.channels)
        self.transformer = transformer

    def forward(
        self, x: Tensor, special: Tensor, slots: Slots, position: Tensor | None = None
    ) -> TransformerOutput:
        num_tokens = slots.mask.sum(1)  # [B]
        ends = torch.stack([torch.ones_like(num_tokens), num_tokens], dim=1)  # [B, 2]
        x = x + self.position(slots.slot if position is None else position)  # 2, 3, ...
        special = special + self.position(ends)
        return self.transformer(slots.dense(x, special), None, slots.mask)  # [B, L, C]


class MolAE(ShowsArguments, Encodes, Pretrained, nn.Module):
    r"""Mol-AE, a 3D molecular auto-encoder pre-trained with the 3D Cloze Test.

    From `"Mol-AE: Auto-Encoder Based Molecular Representation Learning With 3D Cloze Test
    Objective" <https://proceedings.mlr.press/v235/yang24al.html>`_ (ICML 2024). The encoder
    receives the kept atoms at their true coordinates. Dropped atoms come back as ``[MASK]``
    embeddings. The decoder receives positions in the record, no coordinates, and the heads rebuild
    elements, coordinates and distances. The default size is the published one (63,383,011
    parameters); :meth:`small` and :meth:`tiny` are smaller.

    Args:
        hidden_channels: Width C, default: 512.
        ffn_channels: Width of the feed-forward parts, default: 2048.
        heads: Number of attention heads H of encoder and decoder, default: 64.
        num_layers: Number of encoder layers, default: 15.
        num_decoder_layers: Number of decoder layers, default: 5.
        num_gaussians: Number of Gaussians per distance K, default: 128.
        dropout: Dropout of embeddings and hidden states, default: 0.1.
        attn_dropout: Dropout of attention probabilities, default: 0.1.
        gaussian_init: See :class:`~molae_pyg.nn.PairGaussian`, default: ``"reference"``.
        decoder_ffn_channels: As ``ffn_channels``, of the decoder; default: the same width.
        graph: As in :class:`MolAEEncoder`; charges and hydrogens are rebuilt too; default: False.
    """

    def __init__(
        self,
        hidden_channels: int = 512,
        ffn_channels: int = 2048,
        heads: int = 64,
        num_layers: int = 15,
        num_decoder_layers: int = 5,
        num_gaussians: int = 128,
        dropout: float = 0.1,
        attn_dropout: float = 0.1,
        gaussian_init: GaussianInit = "reference",
        decoder_ffn_channels: int | None = None,
        graph: bool = False,
    ):
        super().__init__()
        self.encoder = MolAEEncoder(
            hidden_channels, ffn_channels, heads, num_layers,
            num_gaussians, dropout, attn_dropout, gaussian_init, graph,
        )  # fmt: skip
        depth = size("num_decoder_layers", num_decoder_layers, least=0)
        c = self.config = {**self.encoder.config, "num_decoder_layers": depth}
        width = c["ffn_channels"] if decoder_ffn_channels is None else decoder_ffn_channels
        if size("decoder_ffn_channels", width) != c["ffn_channels"]:
            c["decoder_ffn_channels"] = width
        channels, heads = c["hidden_channels"], c["heads"]
        stack = PairTransformer(channels, width, heads, depth, dropout, attn_dropout)
        self.decoder = MolAEDecoder(stack)
        self.make_heads(channels, heads, graph)
        self.reset_parameters()

    def make_heads(self, channels: int, heads: int, graph: bool) -> None:
        """Makes the heads, whose weights :meth:`reset_parameters` sets."""
        self.token_head = TokenHead(channels)
        self.coordinate_head = CoordinateHead(heads)
        self.distance_head = DistanceHead(heads)
        self.atom_head = atom_head(channels) if graph else None

    @classmethod
    def small(cls, gaussian_init: GaussianInit = "reference") -> "MolAE":
        """6 + 3 layers, 256 wide, 32 heads (about 7.2 million parameters): for a laptop."""
        return cls(256, 1024, 32, 6, 3, gaussian_init=gaussian_init)

    @classmethod
    def tiny(cls, gaussian_init: GaussianInit = "reference") -> "MolAE":
        """2 + 1 layers, 64 wide, 8 heads (about 0.11 million parameters): for tests and trials."""
        return cls(64, 128, 8, 2, 1, num_gaussians=32, gaussian_init=gaussian_init)

    def reset_parameters(self) -> None:
        init_weights(self)

    def forward(
        self,
        z: Tensor,
        pos: Tensor,
        batch: Tensor | None = None,
        drop_mask: Tensor | None = None,
        pos_noisy: Tensor | None = None,
        z_noisy: Tensor | None = None,
        batch_size: int | None = None,
        graph: Graph | None = None,
    ) -> ClozeOutput | GraphClozeOutput:
        """The cloze test: :class:`~molae_pyg.ClozeDrop` makes ``drop_mask`` and ``pos_noisy``.

        Args:
            z: Atomic numbers ``[N]``.
            pos: True coordinates in Å ``[N, 3]``.
            batch: Molecule of each atom ``[N]``, sorted; default: one molecule.
            drop_mask: True = dropped ``[N]``; default: nothing is dropped, and the token head
                answers for every atom.
            pos_noisy: Start of the coordinate head in Å ``[N, 3]``; required with ``drop_mask``
                (a start at the true coordinates would give the answer away).
            z_noisy: Elements as corrupted ``[N]``; used by :class:`AblatedMolAE` only.
            batch_size: Number of molecules B; default: the last entry of ``batch`` plus 1.
            graph: As in :meth:`MolAEEncoder.forward`.

        Returns:
            :class:`ClozeOutput`, with a graph channel :class:`GraphClozeOutput`.

        Raises:
            ValueError: As :meth:`MolAEEncoder.forward`; ``drop_mask`` without ``pos_noisy``; in
                training, ``pos_noisy`` moves a kept atom (in evaluation this is a warning).
        """
        dtype, B = self.encoder.embedding.weight.dtype, batch_size
        test = check_cloze(z, pos, batch, drop_mask, pos_noisy, z_noisy, B, dtype, self.training)
        molecules = test.z, test.pos, test.batch, drop_mask, test.origin, test.batch_size
        return self.answer(self.encoder(*molecules, graph), test)

    def answer(self, enc: EncoderOutput, test: ClozeTest) -> ClozeOutput | GraphClozeOutput:
        """Refills the dropped atoms, decodes and applies the heads."""
        x, drop_mask = enc.x, test.drop_mask  # [N', C], the atoms that were kept
        if drop_mask is not None:  # refill with [MASK]
            mask = self.encoder.embedding.weight[MASK].to(x.dtype)  # [C]
            kept = (~drop_mask).nonzero().squeeze(1)  # [N']
            x = mask.repeat(drop_mask.numel(), 1).index_copy(0, kept, x)  # [N, C]
        dec = self.decoder(x, torch.stack([enc.molecule, enc.sep], dim=1), test.slots)
        out = ClozeOutput(*self.rebuild(dec, test), *enc.state.norms(), *dec.norms())
        if self.atom_head is None:
            return out
        x = test.slots.flat(dec.x)  # [N, C]
        return GraphClozeOutput(*out, self.atom_head(x if drop_mask is None else x[drop_mask]))

    def rebuild(self, dec: TransformerOutput, test: ClozeTest) -> tuple[Tensor, Tensor, Tensor]:
        """The heads: token logits ``[M, 31]``, coordinates ``[N, 3]``, distances ``[N, L]``."""
        slots = test.slots
        x = slots.flat(dec.x)  # [N, C]
        if test.drop_mask is not None:  # numbers, as a mask makes a GPU wait in the backward pass
            x = x[test.drop_mask.nonzero().squeeze(1)]  # [M, C]
        pos = self.coordinate_head(dec.delta(), test.start(), dec.mask)  # [B, L, 3]
        distance = self.distance_head(dec.pair)  # [B, L, L]
        pos = slots.flat(pos) + test.origin[test.batch]  # [N, 3]
        return self.token_head(x), pos, slots.flat(distance)

    def embed(
        self,
        smiles: Iterable[str],
        num_conformers: int = 1,
        batch_size: int = 32,
        cache: bool = True,
        precision: str = "auto",
        on_error: Literal["raise", "nan"] = "raise",
        readout: Literal["cls", "mean", "cls, mean"] = "cls, mean",
        recipe: str = DEFAULT_RECIPE,
    ) -> np.ndarray:
        """Vectors of n SMILES, float32 ``[n, 2 C]``, each the mean over its conformers.

        Arguments and errors are those of :func:`molae_pyg.inference.embed`.
        """
        from molae_pyg.inference import embed  # loads RDKit

        how = batch_size, cache, precision, on_error, readout, recipe
        return embed(self, smiles, num_conformers, *how)

    @classmethod
    def from_official(cls, checkpoint_path: str | os.PathLike) -> "MolAE":
        """Reads a checkpoint file of the official Mol-AE code, in the size of its tensors.

        Raises :class:`~molae_pyg.checkpoint.CheckpointError` if keys are missing or unknown (a
        Uni-Mol checkpoint has no decoder: use :meth:`MolAEEncoder.from_official`).
        """
        file = official_checkpoint.read_official(checkpoint_path)
        return official_checkpoint.load_official(cls, file).eval()

    def to_official(self) -> dict[str, Tensor]:
        """Returns the weights under the official key names, in the official shapes.

        Raises ValueError for a model with a graph channel, which the official code does not have.
        """
        return official_checkpoint.to_official(self)
