"""The cloze test's variants, input and output."""

from dataclasses import dataclass
from typing import Literal, NamedTuple

from torch import Tensor

from molae_pyg.chem.elements import CLS, SEP
from molae_pyg.nn.dense import dense_tokens


@dataclass(frozen=True)
class Ablation:
    """What the paper and the reference vary about the auto-encoder; the defaults are Mol-AE.

    Args:
        drop: True: dropped atoms leave the encoder (3D Cloze Test). False: they stay, masked
            and noised, as in Uni-Mol (the paper's table 5).
        decoder_position: Whether the decoder is told atom positions (table 4).
        decoder_token: ``"mask"`` refills dropped atoms with the [MASK] embedding;
            ``"encoder"`` hands the encoder's output on (needs ``drop=False``).
        decoder_pair: The decoder's pair bias: ``"zero"``, ``"noisy"`` (Gaussian features of
            the noised molecule) or ``"encoder"`` (the encoder's pair tensor, 0 at dropped atoms).
    """

    drop: bool = True
    decoder_position: bool = True
    decoder_token: Literal["mask", "encoder"] = "mask"
    decoder_pair: Literal["zero", "noisy", "encoder"] = "zero"

    def __post_init__(self):
        if self.decoder_token not in ("mask", "encoder"):
            raise ValueError(f"decoder_token must be 'mask' or 'encoder': {self.decoder_token!r}")
        if self.decoder_pair not in ("zero", "noisy", "encoder"):
            raise ValueError(
                f"decoder_pair must be 'zero', 'noisy' or 'encoder': {self.decoder_pair!r}"
            )


class ClozeTest(NamedTuple):
    """One batch of the cloze test, all flat; ``origin [B, 3]`` is where CLS and SEP sit."""

    z: Tensor
    pos: Tensor
    batch: Tensor
    drop_mask: Tensor
    pos_noisy: Tensor
    z_noisy: Tensor
    origin: Tensor

    def dense_start(self) -> tuple[Tensor, Tensor]:
        """Centred noisy coordinates ``[B, L, 3]`` and the mask ``[B, L]`` of all tokens."""
        pos = self.pos_noisy - self.origin[self.batch]
        return dense_tokens(pos, pos.new_zeros(2, 3), self.batch, self.origin.size(0))

    def dense_token(self, token_of_z: Tensor) -> Tensor:
        """Token ids of the corrupted molecule ``[B, L]``."""
        token = token_of_z[self.z_noisy]
        special = token.new_tensor([CLS, SEP])
        return dense_tokens(token, special, self.batch, self.origin.size(0))[0]


class ClozeOutput(NamedTuple):
    """What :class:`MolAE` rebuilds. M: dropped atoms; L: 2 + atoms of the largest molecule."""

    token_logits: Tensor  #: ``[M, 31]``, dropped atoms in flat order (all atoms if none dropped).
    pos: Tensor  #: Å ``[N, 3]``, in the frame of the input.
    distance: Tensor  #: Å ``[N, L]``: each atom to CLS, SEP and the atoms of its molecule.
    encoder_x_norm: Tensor  #: Scalar, norm excess of the encoder's token states.
    encoder_pair_norm: Tensor  #: Scalar, of its pair tensor.
    decoder_x_norm: Tensor  #: Scalar, of the decoder's token states.
    decoder_pair_norm: Tensor  #: Scalar, of its pair tensor.
