"""Uni-Mol: an encoder that is pre-trained by rebuilding masked and noised atoms."""

import os
from typing import Literal, NamedTuple, get_args

from torch import Tensor, nn

from molae_pyg.models.encoder import MolAEEncoder, init_weights
from molae_pyg.models.encoding import Encodes
from molae_pyg.models.positioned import PositionedEncoder
from molae_pyg.models.pretrained import Pretrained
from molae_pyg.models.reference import padded_length, padding_pull
from molae_pyg.nn.arguments import ShowsArguments
from molae_pyg.nn.checks import check_cloze
from molae_pyg.nn.dense import Slots
from molae_pyg.nn.gaussian import GaussianInit
from molae_pyg.nn.heads import CoordinateHead, DistanceHead, TokenHead
from molae_pyg.nn.transformer import TransformerOutput
from molae_pyg.official_checkpoint import load_official_uni_mol, read_official, to_official

#: ``"corrected"``: the rule of 2022 without its dependence on padding. ``"2022"``: the official
#: code of the released weights, and that of Mol-AE. ``"2024"``: the official code since April 2024.
Rule = Literal["corrected", "2022", "2024"]


class UniMolOutput(NamedTuple):
    """What :class:`UniMol` rebuilds. M: chosen atoms; L: 2 + atoms of the largest molecule."""

    token_logits: Tensor  #: ``[M, 31]``, chosen atoms in flat order (all atoms if none chosen).
    pos: Tensor  #: Å ``[N, 3]``, in the frame of the input.
    distance: Tensor  #: Å ``[N, L]``: each atom to CLS, SEP and the atoms of its molecule.
    encoder_x_norm: Tensor  #: Scalar, norm excess of the token states.
    encoder_pair_norm: Tensor  #: Scalar, norm excess of the change of the pair tensor.


class UniMol(ShowsArguments, Encodes, Pretrained, nn.Module):
    r"""Uni-Mol's pre-training: the encoder sees all atoms, some masked and moved.

    From `"Uni-Mol: A Universal 3D Molecular Representation Learning Framework"
    <https://openreview.net/forum?id=6K2RM6wVqKu>`_ (ICLR 2023). The encoder is that of Mol-AE. The
    heads of :class:`MolAE` use its output, and there is no decoder:

    .. math::
        x'_i = \tilde x_i + \frac{1}{q} \sum_j w_{ij} (\tilde x_j - \tilde x_i), \qquad
        w_{ij} = \mathrm{MLP}(\mathrm{LN}(a^L_{ij} - a^0_{ij}))

    with :math:`\tilde x` the noised coordinates and :math:`q` the number of tokens minus 1. The
    default size is the published one (47,618,915 parameters). With ``position=True`` it is
    Uni-Mol-PE of the Mol-AE paper.

    Args:
        hidden_channels: Width C, default: 512.
        ffn_channels: Width of the feed-forward parts, default: 2048.
        heads: Number of attention heads H, default: 64.
        num_layers: Number of layers, default: 15.
        num_gaussians: Number of Gaussians per distance K, default: 128.
        dropout: Dropout of embeddings and hidden states, default: 0.1.
        attn_dropout: Dropout of attention probabilities, default: 0.1.
        gaussian_init: See :class:`~molae_pyg.nn.PairGaussian`, default: ``"reference"``.
        position: Whether the encoder receives the positions of atoms in the record, see
            :class:`~molae_pyg.models.PositionedEncoder`; default: False.
        rule: ``"corrected"`` (default): a molecule's result does not depend on the others of the
            batch. ``"2022"``: the coordinate head also sums over padding, which pulls atoms to
            the origin. ``"2024"``: q is the number of tokens, and :func:`uni_mol_objective
            <molae_pyg.training.uni_mol_objective>` asks for the distance of an atom to itself too.
    """

    #: The official collater pads the tokens of a batch to a multiple of this (rule ``"2022"``).
    pad_to_multiple = 8

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
        position: bool = False,
        rule: Rule = "corrected",
    ):
        super().__init__()
        if rule not in get_args(Rule):
            raise ValueError(f"rule must be one of {', '.join(get_args(Rule))}, not {rule!r}")
        self.encoder = (PositionedEncoder if position else MolAEEncoder)(
            hidden_channels, ffn_channels, heads, num_layers,
            num_gaussians, dropout, attn_dropout, gaussian_init,
        )  # fmt: skip
        variant = self.encoder.variant if position else {}
        self.config = {k: v for k, v in self.encoder.config.items() if k not in variant}
        self.config |= {"position": position, "rule": rule}
        self.token_head = TokenHead(self.config["hidden_channels"])
        self.coordinate_head = CoordinateHead(heads)
        self.coordinate_head.norm = nn.Identity()  # the encoder's pair_norm is applied before it
        self.encoder.pair_norm.requires_grad_(True)
        self.distance_head = DistanceHead(heads)
        self.reset_parameters()

    @classmethod
    def small(cls, gaussian_init: GaussianInit = "reference", position: bool = False) -> "UniMol":
        """The size of :meth:`MolAE.small` without its decoder."""
        return cls(256, 1024, 32, 6, gaussian_init=gaussian_init, position=position)

    @classmethod
    def tiny(cls, gaussian_init: GaussianInit = "reference", position: bool = False) -> "UniMol":
        """The size of :meth:`MolAE.tiny` without its decoder."""
        return cls(64, 128, 8, 2, 32, gaussian_init=gaussian_init, position=position)

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
    ) -> UniMolOutput:
        """Rebuilds chosen atoms; :class:`~molae_pyg.CoordinateNoise` chooses and corrupts them.

        The encoder sees ``z_noisy`` and ``pos_noisy`` alone. ``pos`` gives the centroid, on which
        CLS and SEP are placed as in the reference.

        Args:
            z: Atomic numbers ``[N]``.
            pos: True coordinates in Å ``[N, 3]``.
            batch: Molecule of each atom ``[N]``, sorted; default: one molecule.
            drop_mask: True = chosen ``[N]``; default: none, and the token head answers for every
                atom.
            pos_noisy: Coordinates with noise in Å ``[N, 3]``; required with ``drop_mask``.
            z_noisy: Elements as corrupted ``[N]``, 0 = [MASK]; default: [MASK] where chosen.
            batch_size: Number of molecules B; default: the last entry of ``batch`` plus 1.

        Raises:
            ValueError: As :meth:`MolAE.forward`.
        """
        dtype, B = self.encoder.embedding.weight.dtype, batch_size
        test = check_cloze(z, pos, batch, drop_mask, pos_noisy, z_noisy, B, dtype, self.training)
        noisy, slots = (test.z_noisy, test.pos_noisy, test.batch), test.slots
        enc = self.encoder(*noisy, origin=test.origin, batch_size=test.batch_size)
        pos = slots.flat(self.move(enc.state, test.start(), slots)) + test.origin[test.batch]
        logits = self.token_head(enc.x if drop_mask is None else enc.x[drop_mask])
        distance = slots.flat(self.distance_head(enc.state.pair))  # [N, L]
        return UniMolOutput(logits, pos, distance, *enc.state.norms())

    def move(self, state: TransformerOutput, start: Tensor, slots: Slots) -> Tensor:
        """The coordinate head by the ``rule``: centred coordinates ``[B, L, 3]``, before, after."""
        delta = self.encoder.pair_norm(state.delta().permute(0, 2, 3, 1))  # [B, L, L, H]
        pos = self.coordinate_head(delta.permute(0, 3, 1, 2), start, slots.mask)  # [B, L, 3]
        if self.config["rule"] == "2024":
            num_tokens = slots.mask.sum(1)[:, None, None]  # [B, 1, 1]
            return start + (pos - start) * (num_tokens - 1) / num_tokens
        if self.config["rule"] == "2022":
            weight = self.coordinate_head.weight(self.encoder.pair_norm.bias)  # of a padded slot
            length = padded_length(slots.mask.size(1), self.pad_to_multiple)
            return pos + padding_pull(weight, start, slots.mask, length)
        return pos

    @classmethod
    def from_official(cls, path: str | os.PathLike, rule: Rule = "corrected") -> "UniMol":
        """Reads a pre-training checkpoint of the official Uni-Mol code, encoder and heads.

        Raises :class:`~molae_pyg.checkpoint.CheckpointError` if keys are missing or unknown (the
        encoder of a fine-tuned file is read by :meth:`MolAEEncoder.from_official`).
        """
        return load_official_uni_mol(cls, read_official(path), rule).eval()

    def to_official(self) -> dict[str, Tensor]:
        """Returns the weights under the official key names, in the official shapes."""
        return to_official(self)
