"""Mol-AE exactly as the official code computes it, errors included."""

import torch
import torch.nn.functional as F
from torch import Tensor

from molae_pyg.models.cloze import ClozeTest
from molae_pyg.models.encoder import EncoderOutput
from molae_pyg.models.mol_ae import MolAE
from molae_pyg.nn.dense import flat_atoms
from molae_pyg.nn.gaussian import token_pairs
from molae_pyg.nn.transformer import TransformerOutput


class ReferenceMolAE(MolAE):
    r"""The single switch to the reference's behaviour: same weights, same calls, its errors.

    Use it to compare with numbers of the official code; ``ReferenceMolAE.from_pretrained`` reads
    any saved :class:`MolAE`. It differs in three places (``docs/fidelity.md``):

    1. Dropped atoms keep their slot in the encoder. No other token attends to them, but they
       attend to the rest, with their noised distances. Matters only where an
       :class:`~molae_pyg.models.Ablation` feeds encoder output of dropped atoms to the decoder.
    2. The coordinate head also sums over padding. A padded slot has :math:`\Delta = 0`, hence a
       constant weight, and sits at the origin, so that atoms are pulled towards the origin in
       proportion to the padding of the batch.
    3. ``decoder_pair="encoder"``: the pair tensor is reshaped where it should be permuted, which
       scrambles heads and positions.
    """

    #: The official collater pads the tokens of a batch to a multiple of this.
    pad_to_multiple = 8

    def _check_ablation(self) -> None:
        """Everything the official flags allow is allowed: dropped atoms have encoder output."""

    def _dropped_stay(self) -> bool:
        return True

    def _padded_length(self, num_tokens: int) -> int:
        return -(-num_tokens // self.pad_to_multiple) * self.pad_to_multiple

    def _encode(self, test: ClozeTest) -> EncoderOutput:
        token = test.dense_token(self.encoder.token_of_z)  # [B, L], all atoms
        start, mask = test.dense_start()  # [B, L, 3], [B, L]
        visible = mask
        if self.ablation.drop:
            visible = test.dense_kept()
        extra = self._padded_length(mask.size(1)) - mask.size(1)
        token, padded, visible = (F.pad(t, (0, extra)) for t in (token, mask, visible))
        distance, pair_type = token_pairs(token, F.pad(start, (0, 0, 0, extra)))
        real = padded[:, :, None] & padded[:, None, :]  # pairs with padding: type 0, distance 0
        bias = self.encoder.pair_bias.project(distance * real, pair_type * real)
        state = self.encoder.transformer(self.encoder.embedding(token), bias, visible)
        return EncoderOutput(flat_atoms(state.x, padded), state.x[:, 0], state.x[:, 1], state)

    def _decoder_pair(self, enc: EncoderOutput, test: ClozeTest) -> Tensor | None:
        if self.ablation.decoder_pair != "encoder":
            return super()._decoder_pair(enc, test)
        mask = test.dense_start()[1]  # [B, L]
        pair = enc.state.pair * enc.state.mask[:, None, None, :]  # hidden keys are set to 0
        order = official_order(mask, pair.size(-1))  # [B, L_pad]
        pair = reorder_pairs(pair, order)  # [B, H, L_pad, L_pad]
        pair = pair.permute(0, 2, 3, 1).reshape(pair.shape)  # the error: not permuted back
        return reorder_pairs(pair, order.argsort(dim=1))[..., : mask.size(1), : mask.size(1)]

    def _coordinates(self, dec: TransformerOutput, start: Tensor) -> Tensor:
        pos = super()._coordinates(dec, start)  # [B, L, 3]
        num_tokens = dec.mask.sum(1)[:, None, None]  # [B, 1, 1]
        num_padded = self._padded_length(dec.mask.size(1)) - num_tokens
        w = self.coordinate_head.weight(dec.pair.new_zeros(dec.pair.size(1)))  # of a padded slot
        return pos + num_padded * w * (0 - start) / (num_tokens - 1)


def official_order(mask: Tensor, length: int) -> Tensor:
    """Our slot of each official slot: CLS, atoms, SEP, padding instead of CLS, SEP, atoms.

    Args:
        mask: ``[B, L]``. length: L_pad, at least L.

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
