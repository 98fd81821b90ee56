"""The cloze test's variants, input and output."""

import warnings
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Literal, NamedTuple, get_args

import torch
from torch import Tensor
from torch_geometric.utils import scatter

from molae_pyg.chem.elements import CLS, MASKED_Z, SEP
from molae_pyg.models.inputs import check_mask, check_molecules, elements, require
from molae_pyg.nn.dense import Slots, atom_slots

#: Å, by which the noisy place of an atom that was kept may differ from its true one.
PLACE_TOLERANCE = 1e-3

ORDER = (
    "pos_noisy differs from pos for atoms that were not dropped: ClozeDrop and CoordinateNoise "
    "come last, after transforms that move atoms (such as RandomRotate)"
)

DecoderToken = Literal["mask", "encoder"]
DecoderPair = Literal["zero", "noisy", "encoder"]


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
    decoder_token: DecoderToken = "mask"
    decoder_pair: DecoderPair = "zero"

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

    @classmethod
    def of(cls, given: "Ablation | Mapping | None") -> "Ablation":
        """Returns an ablation from a mapping of its fields, or the default for None.

        Raises:
            TypeError: It is no mapping, or has an unknown field.
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


class ClozeTest(NamedTuple):
    """One batch of the cloze test, all flat; ``origin [B, 3]`` is where CLS and SEP sit."""

    z: Tensor
    pos: Tensor
    batch: Tensor
    drop_mask: Tensor
    pos_noisy: Tensor
    z_noisy: Tensor
    origin: Tensor
    slots: Slots  #: Of all atoms, the dropped ones included.

    def dense_start(self) -> tuple[Tensor, Tensor]:
        """Centred noisy coordinates ``[B, L, 3]`` and the mask ``[B, L]`` of all tokens."""
        pos = self.pos_noisy - self.origin[self.batch]
        return self.slots.dense(pos, pos.new_zeros(2, 3)), self.slots.mask

    def dense_token(self, token_of_z: Tensor) -> Tensor:
        """Token ids of the corrupted molecule ``[B, L]``."""
        token = token_of_z[self.z_noisy]
        return self.slots.dense(token, token.new_tensor([CLS, SEP]))

    def dense_kept(self) -> Tensor:
        """True for CLS, SEP and the atoms that were kept ``[B, L]``."""
        kept = ~self.drop_mask
        return self.slots.dense(kept, kept.new_ones(2))


def cloze_test(
    z: Tensor,
    pos: Tensor,
    batch: Tensor | None,
    drop_mask: Tensor | None,
    pos_noisy: Tensor | None,
    z_noisy: Tensor | None,
    batch_size: int | None,
    dtype: torch.dtype,
    training: bool,
) -> ClozeTest:
    """Checks the input of :meth:`MolAE.forward` and adds what it may lack.

    Args:
        dtype: Of the weights, in which coordinates are computed.
        training: Whether a start that gives other answers away is an error or a warning.

    Raises:
        ValueError: A shape, a type or a value is wrong, ``pos_noisy`` and ``drop_mask`` are not
            given together, or, in training, kept atoms start elsewhere than they are.
    """
    if drop_mask is None and pos_noisy is not None:
        raise ValueError("pos_noisy needs drop_mask: apply ClozeDrop, which makes both")
    if drop_mask is not None and pos_noisy is None:
        raise ValueError("drop_mask needs pos_noisy: apply ClozeDrop, which makes both")
    molecules = check_molecules(z, pos, batch, batch_size, dtype)
    if drop_mask is None:
        drop_mask, pos_noisy = torch.zeros_like(molecules.z, dtype=torch.bool), pos
    check_mask(drop_mask, z)
    _check_places(pos, drop_mask, pos_noisy, training)
    if z_noisy is None:
        z_noisy = molecules.z.masked_fill(drop_mask, MASKED_Z)
    elif z_noisy.shape != z.shape:
        raise ValueError(f"expected z_noisy {list(z.shape)}, got {list(z_noisy.shape)}")
    origin = scatter(molecules.pos, molecules.batch, dim_size=molecules.batch_size, reduce="mean")
    slots = atom_slots(molecules.batch, molecules.batch_size, one_molecule=batch is None)
    return ClozeTest(
        molecules.z, molecules.pos, molecules.batch, drop_mask, pos_noisy.to(dtype),
        elements("z_noisy", z_noisy), origin, slots,
    )  # fmt: skip


def _check_places(pos: Tensor, drop_mask: Tensor, pos_noisy: Tensor, training: bool) -> None:
    if pos_noisy.shape != pos.shape or not pos_noisy.is_floating_point():
        raise ValueError(
            f"expected pos_noisy {list(pos.shape)} of floating-point numbers, "
            f"got {list(pos_noisy.shape)} of {pos_noisy.dtype}"
        )
    if training:
        require(~kept_atoms_moved(pos, drop_mask, pos_noisy), ORDER)
        return
    # On a GPU the answer would cost a wait.
    can_look = pos.is_cpu and not torch.compiler.is_compiling()
    if can_look and kept_atoms_moved(pos, drop_mask, pos_noisy):
        warnings.warn(ORDER, stacklevel=4)


def kept_atoms_moved(pos: Tensor, drop_mask: Tensor, pos_noisy: Tensor) -> Tensor:
    """Whether any atom that was kept has a noisy place that is not its true one."""
    moved = (pos_noisy - pos).abs() > PLACE_TOLERANCE + 1e-5 * pos.abs()  # [N, 3]
    return (moved & ~drop_mask[:, None]).any()


class ClozeOutput(NamedTuple):
    """What :class:`MolAE` rebuilds. M: dropped atoms; L: 2 + atoms of the largest molecule."""

    token_logits: Tensor  #: ``[M, 31]``, dropped atoms in flat order (all atoms if none dropped).
    pos: Tensor  #: Å ``[N, 3]``, in the frame of the input.
    distance: Tensor  #: Å ``[N, L]``: each atom to CLS, SEP and the atoms of its molecule.
    encoder_x_norm: Tensor  #: Scalar, norm excess of the encoder's token states.
    encoder_pair_norm: Tensor  #: Scalar, of its pair tensor.
    decoder_x_norm: Tensor  #: Scalar, of the decoder's token states.
    decoder_pair_norm: Tensor  #: Scalar, of its pair tensor.
