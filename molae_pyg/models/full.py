"""Mol-AE-full: encoder and decoder together as the encoder that is fine-tuned."""

from collections.abc import Mapping
from typing import Any

from torch import Tensor

from molae_pyg.models.encoder import EncoderOutput, MolAEEncoder
from molae_pyg.models.mol_ae import MolAE, MolAEDecoder
from molae_pyg.models.positioned import PositionedEncoder
from molae_pyg.models.transformer_m_encoder import TransformerMEncoder
from molae_pyg.nn.dense import NUM_SPECIAL, atom_slots
from molae_pyg.nn.gaussian import GaussianInit
from molae_pyg.nn.graph_bias import Graph
from molae_pyg.nn.transformer import PairTransformer


class FullMolAE(MolAEEncoder):
    """An encoder whose output the decoder of :class:`MolAE` has processed (the paper's table 9).

    The molecule is complete and nothing is masked; the decoder receives the encoder's output and
    the positions, with a zero pair bias. Its CLS is the vector of the molecule. Fine-tune it as any
    encoder: ``MolAEPredictor(FullMolAE.of(model))``.

    The arguments not listed are those of :class:`MolAEEncoder`.

    Args:
        num_decoder_layers: Number of decoder layers, default: 5.
        decoder_ffn_channels: Width of the decoder's feed-forward parts; default: the encoder's.
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
        num_decoder_layers: int = 5,
        decoder_ffn_channels: int | None = None,
    ):
        super().__init__(
            hidden_channels, ffn_channels, heads, num_layers,
            num_gaussians, dropout, attn_dropout, gaussian_init, graph,
        )  # fmt: skip
        width = ffn_channels if decoder_ffn_channels is None else decoder_ffn_channels
        stack = PairTransformer(
            hidden_channels, width, heads, num_decoder_layers, dropout, attn_dropout
        )
        self.decoder = MolAEDecoder(stack)
        self.config |= {"num_decoder_layers": stack.num_layers}
        if width != ffn_channels:
            self.config["decoder_ffn_channels"] = width
        self.reset_parameters()

    @classmethod
    def of(cls, model: MolAE) -> "FullMolAE":
        """Returns encoder and decoder of a model, with copies of its weights."""
        full = cls(**{k: v for k, v in model.config.items() if k != "ablation"})
        full.load_state_dict(
            model.encoder.state_dict()
            | {f"decoder.{k}": v for k, v in model.decoder.state_dict().items()}
        )
        return full.train(model.training)

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
        """Does what :meth:`MolAEEncoder.forward` does; the state is that of the decoder.

        Dropped atoms are in neither stack; the others keep their positions.
        """
        molecules = z, pos, batch, drop_mask, origin, batch_size
        x, pair, slots, keep, whole = self._inputs(*molecules, graph)
        x, position = self.transformer(x, pair, slots.mask).x, slots.slot  # [B, L, C], [N]
        if keep is not None:
            position = atom_slots(whole, slots.mask.size(0)).slot[keep]  # [N']
        dec = self.decoder(slots.flat(x), x[:, :NUM_SPECIAL], slots, position=position)
        return EncoderOutput(slots.flat(dec.x), dec.x[:, 0], dec.x[:, 1], dec)


def build_encoder(config: Mapping[str, Any]) -> MolAEEncoder | TransformerMEncoder:
    """Returns the encoder, with new weights, whose ``config`` is given."""
    if "drop_path" in config:
        return TransformerMEncoder(**config)
    if "num_decoder_layers" in config:
        return FullMolAE(**config)
    return (PositionedEncoder if "position_layer" in config else MolAEEncoder)(**config)
