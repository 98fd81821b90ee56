"""Mol-AE with the paper's ablations."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Literal, get_args

import torch
from torch import Tensor

from molae_pyg.chem.elements import CLS, MASK, SEP
from molae_pyg.models.encoder import EncoderOutput
from molae_pyg.models.mol_ae import ClozeOutput, MolAE
from molae_pyg.models.positioned import PositionedEncoder
from molae_pyg.nn.arguments import size
from molae_pyg.nn.checks import ClozeTest, check_cloze
from molae_pyg.nn.dense import Slots
from molae_pyg.nn.gaussian import GaussianInit
from molae_pyg.nn.positions import (
    Order,
    PositionedTransformer,
    Positions,
    check_order,
    number_tokens,
)
from molae_pyg.nn.transformer import TransformerOutput

DecoderToken = Literal["mask", "encoder"]
DecoderPair = Literal["zero", "noisy", "encoder"]


@dataclass(frozen=True)
class Ablation:
    """Variants of the auto-encoder in the paper and in the reference; the defaults are Mol-AE.

    Args:
        drop: True: dropped atoms are removed from the encoder (3D Cloze Test). False: they stay,
            masked and noised, as in Uni-Mol (the paper's table 5, with
            :class:`~molae_pyg.CoordinateNoise` of 0.5, 1, 3 or 5 Å).
        decoder_position: Whether the input of the decoder receives atom positions (table 4).
        decoder_token: ``"mask"`` refills dropped atoms with the [MASK] embedding;
            ``"encoder"`` passes the encoder's output on (needs ``drop=False``).
        decoder_pair: The decoder's pair bias: ``"zero"``, ``"noisy"`` (Gaussian features of
            the noised molecule) or ``"encoder"`` (the encoder's pair tensor, 0 at dropped atoms).
        position_layer: A layer that receives the positions too, or alone if ``decoder_position``
            is False; default: none. Layers are counted from 0 through encoder and decoder (tables
            4 and 10): 0 is the input of the encoder, ``num_layers`` that of the decoder, and
            ``num_layers + num_decoder_layers`` is behind the last layer.
        order: Order of the positions, see :data:`~molae_pyg.nn.positions.Order`; default:
            ``"record"``. Both stacks have the same positions.
    """

    drop: bool = True
    decoder_position: bool = True
    decoder_token: DecoderToken = "mask"
    decoder_pair: DecoderPair = "zero"
    position_layer: int | None = None
    order: Order = "record"

    def __post_init__(self):
        for name in ("drop", "decoder_position"):
            value = getattr(self, name)
            if not isinstance(value, bool):
                raise ValueError(f"{name} must be true or false, got {value!r}")
        if self.decoder_token not in get_args(DecoderToken):
            raise ValueError(f"decoder_token must be 'mask' or 'encoder': {self.decoder_token!r}")
        if self.decoder_pair not in get_args(DecoderPair):
            raise ValueError(
                f"decoder_pair must be 'zero', 'noisy' or 'encoder': {self.decoder_pair!r}"
            )
        check_order(self.order)
        if self.position_layer is not None:
            size("position_layer", self.position_layer, least=0)

    @classmethod
    def at_layer(cls, layer: int, num_layers: int, once: bool = False) -> "Ablation":
        """Positions at a layer, as a row of the paper's table 10.

        Args:
            layer: Where, counted through both stacks, see :class:`Ablation`.
            num_layers: Number of encoder layers, below which the decoder's input receives the
                positions too.
            once: True: it does not. Then all dropped atoms of a molecule are alike to the decoder,
                which predicts the same for each. Default: False.
        """
        return cls(decoder_position=layer < num_layers and not once, position_layer=layer)

    @classmethod
    def of(cls, given: "Ablation | Mapping | None") -> "Ablation":
        """Returns an ablation from a mapping of its fields, or the default for None.

        Raises:
            TypeError: ``given`` is no mapping, or it has an unknown field.
            ValueError: A field has a value that is not allowed.
        """
        if given is None or isinstance(given, Ablation):
            return given or cls()
        known = [field.name for field in fields(cls)]
        if not isinstance(given, Mapping):
            raise TypeError(f"ablation must be a mapping of {', '.join(known)}, got {given!r}")
        if unknown := [name for name in given if name not in known]:
            raise TypeError(
                f"ablation has no {', '.join(map(repr, unknown))}; the fields are "
                f"{', '.join(known)}"
            )
        return cls(**given)


class AblatedMolAE(MolAE):
    """:class:`MolAE` with an :class:`Ablation`: the same weights, another path through them.

    All arguments but one are those of :class:`MolAE`.

    Args:
        ablation: The differences from Mol-AE, an :class:`Ablation` or a mapping of its fields;
            default: none.

    Raises:
        TypeError: The ablation is no mapping, or it has an unknown field.
        ValueError: An argument has a value that is not allowed.
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
        ablation: Ablation | Mapping | None = None,
        decoder_ffn_channels: int | None = None,
    ):
        ablation = Ablation.of(ablation)
        super().__init__(
            hidden_channels, ffn_channels, heads, num_layers, num_decoder_layers, num_gaussians,
            dropout, attn_dropout, gaussian_init, decoder_ffn_channels,
        )  # fmt: skip
        self.ablation = ablation
        self.config["ablation"] = asdict(ablation)
        self._place_positions(ablation)
        self._check_ablation()

    def _place_positions(self, ablation: Ablation) -> None:
        """Gives positions to the layer ``position_layer``."""
        layer, border = ablation.position_layer, self.config["num_layers"]
        if layer is None:
            return
        last = border + self.config["num_decoder_layers"]
        if layer > last:
            raise ValueError(f"position_layer must be in 0...{last}, not {layer}")
        if layer < border:
            self.encoder = PositionedEncoder.like(self.encoder, layer, ablation.order)
        elif layer == border and ablation.decoder_position:
            raise ValueError(
                f"position_layer={layer} is the decoder's input: leave it out, or set "
                "decoder_position=False"
            )
        else:
            self.decoder.transformer = PositionedTransformer(
                self.decoder.transformer, layer - border
            )

    def _check_ablation(self) -> None:
        if self.ablation.drop and self.ablation.decoder_token == "encoder":
            raise ValueError(
                "decoder_token='encoder' needs drop=False: a dropped atom has no encoder output"
            )

    def forward(
        self,
        z: Tensor,
        pos: Tensor,
        batch: Tensor | None = None,
        drop_mask: Tensor | None = None,
        pos_noisy: Tensor | None = None,
        z_noisy: Tensor | None = None,
        batch_size: int | None = None,
    ) -> ClozeOutput:
        """The cloze test as in :meth:`MolAE.forward`, and the same arguments and errors.

        ``z_noisy`` and ``pos_noisy`` enter the networks where the :class:`Ablation` shows them
        dropped atoms.
        """
        dtype, B = self.encoder.embedding.weight.dtype, batch_size
        test = check_cloze(z, pos, batch, drop_mask, pos_noisy, z_noisy, B, dtype, self.training)
        positions = number_tokens(test.slots, self.ablation.order)
        enc = self._encode(test, positions)
        x = self._refill(enc.x, test)  # [N, C]
        x = test.slots.dense(x, torch.stack([enc.molecule, enc.sep], dim=1))  # [B, L, C]
        dec = self._decode(x, self._decoder_pair(enc, test), test.slots, positions)
        return ClozeOutput(*self.rebuild(dec, test), *enc.state.norms(), *dec.norms())

    def _encode(self, test: ClozeTest, positions: Positions) -> EncoderOutput:
        z, pos, drop_mask = test.z, test.pos, test.drop_mask
        if not self.ablation.drop:
            z, pos, drop_mask = test.z_noisy, test.pos_noisy, None
        positioned = isinstance(self.encoder, PositionedEncoder)
        more = {"positions": positions} if positioned else {}
        return self.encoder(z, pos, test.batch, drop_mask, test.origin, test.batch_size, **more)

    def _decode(
        self, x: Tensor, pair: Tensor | None, slots: Slots, positions: Positions
    ) -> TransformerOutput:
        code, stack = positions.code(self.decoder.position, slots), self.decoder.transformer
        if self.ablation.decoder_position:
            x = x + code  # [B, L, C]
        if isinstance(stack, PositionedTransformer):
            return stack(x, pair, slots.mask, code)
        return stack(x, pair, slots.mask)

    def _refill(self, x: Tensor, test: ClozeTest) -> Tensor:
        """Encoder output, of all atoms or of kept ones -> all atoms ``[N, C]``."""
        if self.ablation.decoder_token == "encoder" or test.drop_mask is None:
            return x
        mask = self.encoder.embedding.weight[MASK].to(x.dtype)  # [C]
        if x.size(0) == test.z.size(0):  # dropped atoms have rows too, which are replaced
            return torch.where(test.drop_mask[:, None], mask, x)
        kept = (~test.drop_mask).nonzero().squeeze(1)  # [N']
        return mask.repeat(test.z.size(0), 1).index_copy(0, kept, x)

    def _decoder_pair(self, enc: EncoderOutput, test: ClozeTest) -> Tensor | None:
        """The decoder's pair bias ``[B, H, L, L]``, None for zeros."""
        if self.ablation.decoder_pair == "zero":
            return None
        if self.ablation.decoder_pair == "noisy":
            return self.encoder.pair_bias(*self._dense_noisy(test))
        if not self.ablation.drop:
            return enc.state.pair
        kept = dense_kept(test)  # [B, L]
        pair = enc.state.pair.permute(0, 2, 3, 1)  # [B, L', L', H]
        inner = enc.state.mask[:, :, None] & enc.state.mask[:, None, :]  # [B, L', L']
        full = pair.new_zeros(*kept.shape, kept.size(1), pair.size(-1))  # [B, L, L, H]
        full[kept[:, :, None] & kept[:, None, :]] = pair[inner]
        return full.permute(0, 3, 1, 2)  # [B, H, L, L]

    def _dense_noisy(self, test: ClozeTest) -> tuple[Tensor, Tensor]:
        """Token ids ``[B, L]`` and centred coordinates ``[B, L, 3]`` of the corrupted molecule."""
        token = self.encoder.token_of_z[test.z_noisy]  # [N]
        return test.slots.dense(token, token.new_tensor([CLS, SEP])), test.start()


def dense_kept(test: ClozeTest) -> Tensor:
    """Returns True for CLS, SEP and the atoms that were kept ``[B, L]``."""
    if test.drop_mask is None:
        return test.slots.mask
    return test.slots.dense(~test.drop_mask, test.drop_mask.new_ones(2))
