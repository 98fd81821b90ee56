"""An encoder that receives the positions of atoms in the record: Uni-Mol-PE, and ablations."""

from torch import Tensor

from molae_pyg.models.encoder import EncoderOutput, MolAEEncoder
from molae_pyg.nn.dense import atom_slots
from molae_pyg.nn.gaussian import GaussianInit
from molae_pyg.nn.graph_bias import Graph
from molae_pyg.nn.positions import (
    Order,
    PositionedTransformer,
    Positions,
    check_order,
    number_tokens,
)
from molae_pyg.nn.transformer import SinusoidalPosition


class PositionedEncoder(MolAEEncoder):
    r"""A :class:`MolAEEncoder` with codes of positions: the same weights, another path.

    .. math::
        x_i \leftarrow \mathrm{LN}(E[token_i] + e(p_i))

    with :math:`e` of :class:`~molae_pyg.nn.SinusoidalPosition`; CLS has position 1, the atoms 2,
    3, ... in the order of the record, SEP the last one. The encoder is no longer equivariant to
    the order of the atoms: give equal molecules in the same order (canonical SMILES) if they must
    have equal vectors.

    The arguments not listed are those of :class:`MolAEEncoder`; there is no graph channel.

    Args:
        position_layer: Where the codes are added, see
            :class:`~molae_pyg.nn.positions.PositionedTransformer`; default: 0.
        order: See :data:`~molae_pyg.nn.positions.Order`; with ``"random"``, each call has new
            permutations, so that two vectors of a molecule differ. Default: ``"record"``.
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
        position_layer: int = 0,
        order: Order = "record",
    ):
        super().__init__(
            hidden_channels, ffn_channels, heads, num_layers,
            num_gaussians, dropout, attn_dropout, gaussian_init,
        )  # fmt: skip
        check_order(order)
        self.transformer = PositionedTransformer(self.transformer, position_layer)
        self.position = SinusoidalPosition(hidden_channels)
        self.variant = {"position_layer": self.transformer.layer, "order": order}
        self.config |= self.variant

    @classmethod
    def like(cls, encoder: MolAEEncoder, position_layer: int, order: Order) -> "PositionedEncoder":
        """Returns one with the arguments and the weights of an encoder."""
        new = cls(**encoder.config, position_layer=position_layer, order=order)
        new.load_state_dict(encoder.state_dict())
        return new

    def forward(
        self,
        z: Tensor,
        pos: Tensor,
        batch: Tensor | None = None,
        drop_mask: Tensor | None = None,
        origin: Tensor | None = None,
        batch_size: int | None = None,
        graph: Graph | None = None,
        positions: Positions | None = None,
    ) -> EncoderOutput:
        """Does what :meth:`MolAEEncoder.forward` does; atoms that stay keep their positions.

        Args:
            positions: Positions of all atoms, the dropped ones included; default: those of the
                ``order`` of the encoder. The other arguments are those of :class:`MolAEEncoder`.
        """
        if graph is not None:
            raise ValueError("an encoder with positions has no graph channel")
        molecules = z, pos, batch, drop_mask, origin, batch_size
        x, pair, slots, keep, whole = self._inputs(*molecules)
        if positions is None:
            every = slots if keep is None else atom_slots(whole, slots.mask.size(0))
            positions = number_tokens(every, self.config["order"])
        code = positions.code(self.position, slots, keep)  # [B, L, C]
        state = self.transformer(x, pair, slots.mask, code.to(x.dtype))
        return EncoderOutput(slots.flat(state.x), state.x[:, 0], state.x[:, 1], state)
