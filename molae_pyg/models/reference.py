"""Mol-AE exactly as the official code computes it."""

import torch
import torch.nn.functional as F
from torch import Tensor

from molae_pyg.models.ablations import AblatedMolAE, dense_kept
from molae_pyg.models.encoder import EncoderOutput
from molae_pyg.models.positioned import PositionedEncoder
from molae_pyg.nn.checks import ClozeTest
from molae_pyg.nn.gaussian import token_pairs
from molae_pyg.nn.positions import Positions
from molae_pyg.nn.transformer import TransformerOutput


class ReferenceMolAE(AblatedMolAE):
    r"""Mol-AE with the behaviour of the official code, errors included: same weights, same calls.

    Use it to compare with numbers of the official code; ``ReferenceMolAE.from_pretrained`` reads
    any saved :class:`MolAE`. It differs in three places (``docs/fidelity.md``):

    1. Dropped atoms keep their slot in the encoder. No other token attends to them, but they
       attend to the rest, with their noised distances. This matters only if an
       :class:`~molae_pyg.models.Ablation` feeds encoder output of dropped atoms to the decoder.
    2. The coordinate head also sums over padding. A padded slot has :math:`\Delta = 0`, hence a
       constant weight, and sits at the origin, so that atoms are pulled towards the origin in
       proportion to the padding of the batch.
    3. ``decoder_pair="encoder"``: the pair tensor is reshaped instead of permuted, which
       scrambles heads and positions.

    The arguments are those of :class:`AblatedMolAE`.
    """

    #: The official collater pads the tokens of a batch to a multiple of this.
    pad_to_multiple = 8

    def _check_ablation(self) -> None:
        """Allows all that the official flags allow: dropped atoms have encoder output."""

    def padded_length(self, num_tokens: int) -> int:
        """Number of slots L_pad that the official collater gives a batch."""
        return padded_length(num_tokens, self.pad_to_multiple)

    def _encode(self, test: ClozeTest, positions: Positions) -> EncoderOutput:
        slots = test.slots
        token, start = self._dense_noisy(test)  # [B, L], [B, L, 3], all atoms
        visible = dense_kept(test) if self.ablation.drop else slots.mask
        extra = self.padded_length(token.size(1)) - token.size(1)
        token, padded, visible = (F.pad(t, (0, extra)) for t in (token, slots.mask, visible))
        distance, pair_type = token_pairs(token, F.pad(start, (0, 0, 0, extra)))
        real = padded[:, :, None] & padded[:, None, :]  # pairs with padding: type 0, distance 0
        bias = self.encoder.pair_bias.project(distance * real, pair_type * real)
        more = ()
        if isinstance(self.encoder, PositionedEncoder):
            code = positions.code(self.encoder.position, slots)  # [B, L, C]
            more = (F.pad(code, (0, 0, 0, extra)),)
        state = self.encoder.transformer(self.encoder.embedding(token), bias, visible, *more)
        return EncoderOutput(slots.flat(state.x), state.x[:, 0], state.x[:, 1], state)

    def _decoder_pair(self, enc: EncoderOutput, test: ClozeTest) -> Tensor | None:
        if self.ablation.decoder_pair != "encoder":
            return super()._decoder_pair(enc, test)
        length = test.slots.mask.size(1)
        pair = enc.state.pair * enc.state.mask[:, None, None, :]  # hidden keys are set to 0
        order = official_order(test.slots.mask, pair.size(-1))  # [B, L_pad]
        pair = reorder_pairs(pair, order)  # [B, H, L_pad, L_pad]
        pair = pair.permute(0, 2, 3, 1).reshape(pair.shape)  # the error: not permuted back
        return reorder_pairs(pair, order.argsort(dim=1))[..., :length, :length]

    def rebuild(self, dec: TransformerOutput, test: ClozeTest) -> tuple[Tensor, Tensor, Tensor]:
        logits, pos, distance = super().rebuild(dec, test)
        return logits, pos + test.slots.flat(self.pull(dec, test.start())), distance

    def pull(self, dec: TransformerOutput, start: Tensor) -> Tensor:
        """Moves of the coordinate head due to padding ``[B, L, 3]``."""
        w = self.coordinate_head.weight(dec.pair.new_zeros(dec.pair.size(1)))  # of a padded slot
        return padding_pull(w, start, dec.mask, self.padded_length(dec.mask.size(1)))


def padded_length(num_tokens: int, multiple: int) -> int:
    """Returns the number of tokens, rounded up to a multiple."""
    return -(-num_tokens // multiple) * multiple


def padding_pull(weight: Tensor, start: Tensor, mask: Tensor, length: int) -> Tensor:
    """Returns the moves of the official coordinate head due to padding ``[B, L, 3]``.

    Args:
        weight: Weight of a padded slot, a scalar.
        start: Centred coordinates ``[B, L, 3]``.
        mask: True where there is a token ``[B, L]``.
        length: Number of official slots.
    """
    num_tokens = mask.sum(1)[:, None, None]  # [B, 1, 1]
    return (length - num_tokens) * weight * (0 - start) / (num_tokens - 1)


def official_order(mask: Tensor, length: int) -> Tensor:
    """Returns our slot of each official slot: CLS, atoms, SEP, padding; ours: CLS, SEP, atoms.

    Args:
        mask: True where there is a token ``[B, L]``.
        length: Number of official slots L_pad, at least L.

    Returns:
        ``[B, L_pad]``; slots from L on are padding in both orders.
    """
    slot = torch.arange(length, device=mask.device)  # [L_pad]
    last = mask.sum(1, keepdim=True) - 1  # [B, 1], the official slot of SEP
    order = torch.where((slot > 0) & (slot < last), slot + 1, slot)
    return torch.where(slot == last, 1, order)


def reorder_pairs(pair: Tensor, order: Tensor) -> Tensor:
    """Gathers rows and columns of ``[B, H, L, L]`` in the order ``[B, L]``."""
    batch = torch.arange(pair.size(0), device=pair.device)[:, None, None]
    return pair[batch, :, order[:, :, None], order[:, None, :]].permute(0, 3, 1, 2)
