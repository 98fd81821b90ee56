"""Checks of what goes into a model: shapes, types, and values that would be wrong silently.

Values are compared at once on a CPU. A GPU would have to wait for the answer, so there it asserts
by itself, later. A compiler or an exporter could not follow, so there values are not compared.
"""

import warnings
from typing import NamedTuple

import torch
from torch import Tensor
from torch_geometric.utils import scatter

from molae_pyg.chem.elements import MASKED_Z, MAX_Z
from molae_pyg.nn.dense import NUM_SPECIAL, Slots, atom_slots

#: Å by which the noisy position of an atom that was kept may differ from its true one.
POSITION_TOLERANCE = 1e-3

ORDER = (
    "pos_noisy differs from pos for atoms that were not dropped: ClozeDrop and CoordinateNoise "
    "come last, after transforms that move atoms (such as RandomRotate)"
)
_BATCH = "batch must be sorted and have one entry per atom: integers (int64) from 0"


class Molecules(NamedTuple):
    """Checked input of an encoder."""

    z: Tensor  #: Atomic numbers ``[N]``, int64.
    pos: Tensor  #: Coordinates in Å ``[N, 3]``, of the type of the weights.
    batch: Tensor  #: Molecule of each atom ``[N]``, int64, sorted.
    batch_size: int  #: Number of molecules B.


class ClozeTest(NamedTuple):
    """Checked input of an auto-encoder."""

    z: Tensor  #: Atomic numbers ``[N]``, int64.
    pos: Tensor  #: True coordinates in Å ``[N, 3]``, of the type of the weights.
    batch: Tensor  #: Molecule of each atom ``[N]``, int64, sorted.
    batch_size: int  #: Number of molecules B.
    drop_mask: Tensor | None  #: True = dropped ``[N]``; None: nothing is dropped.
    pos_noisy: Tensor  #: Start of the coordinate head in Å ``[N, 3]``.
    z_noisy: Tensor  #: Elements as corrupted ``[N]``, int64; 0 is ``[MASK]``.
    slots: Slots  #: Slots of all atoms.
    origin: Tensor  #: Centroids of the true coordinates in Å ``[B, 3]``.

    def start(self) -> Tensor:
        """Centred start of the coordinate head ``[B, L, 3]``; CLS and SEP are at the origin."""
        pos = self.pos_noisy - self.origin[self.batch]  # [N, 3]
        return self.slots.dense(pos, pos.new_zeros(NUM_SPECIAL, 3))


def check_molecules(
    z: Tensor, pos: Tensor, batch: Tensor | None, batch_size: int | None, dtype: torch.dtype
) -> Molecules:
    """Checks the flat input of an encoder and converts it to the types that it computes in.

    Args:
        z: Atomic numbers ``[N]``, of any integer type.
        pos: Coordinates in Å ``[N, 3]``, of any floating-point type.
        batch: Molecule of each atom ``[N]``, sorted, of any integer type; None: one molecule.
        batch_size: Number of molecules B; None: the last entry of ``batch`` plus 1.
        dtype: Type of the weights.

    Raises:
        ValueError: A shape, a type or a value is wrong; the message says what is allowed.
    """
    if z.dim() != 1 or pos.shape != (z.size(0), 3):
        raise ValueError(
            f"expected z [N] and pos [N, 3], got {list(z.shape)} and {list(pos.shape)}; "
            "with several conformers choose one first (SampleConformer)"
        )
    if z.size(0) == 0:
        raise ValueError("there is no atom in the batch")
    if not pos.is_floating_point():
        raise ValueError(f"pos must be floating-point numbers in Å (float32), got {pos.dtype}")
    z = check_elements("z", z)
    if batch is None:
        if batch_size not in (None, 1):
            raise ValueError(f"without batch there is one molecule, got batch_size={batch_size}")
        return Molecules(z, pos.to(dtype), torch.zeros_like(z), 1)
    if batch.shape != z.shape or not _is_integer(batch):
        raise ValueError(
            f"{_BATCH}; got {list(batch.shape)} of {batch.dtype} for {z.size(0)} atoms"
        )
    batch = batch.long()
    require((batch[1:] >= batch[:-1]).all() & (batch[0] >= 0), _BATCH)
    if batch_size is None:
        batch_size = batch[-1].item() + 1
    elif not torch.compiler.is_compiling():  # which could not put the number into the message
        require(
            batch[-1] < batch_size,
            f"batch_size={batch_size} is too small: it must be more than the last entry of batch",
        )
    return Molecules(z, pos.to(dtype), batch, batch_size)


def check_mask(drop_mask: Tensor, z: Tensor) -> None:
    """Raises ValueError unless ``drop_mask`` is bool ``[N]``."""
    if drop_mask.dtype != torch.bool or drop_mask.shape != z.shape:
        raise ValueError(
            f"expected a bool drop_mask {list(z.shape)}, "
            f"got tensor {list(drop_mask.shape)} of {drop_mask.dtype}"
        )


def check_elements(name: str, z: Tensor) -> Tensor:
    """Returns atomic numbers as int64; ``name`` is that of the argument, for the message."""
    allowed = f"{name} must be atomic numbers: integers (int64) of 1 to {MAX_Z}, or 0 for [MASK]"
    if not _is_integer(z):
        raise ValueError(f"{allowed}; got {z.dtype}")
    z = z.long()
    require(((z >= 0) & (z <= MAX_Z)).all(), allowed)
    return z


def check_cloze(
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
    """Checks the input of :meth:`MolAE.forward <molae_pyg.MolAE.forward>`.

    Args:
        z: As in :func:`check_molecules`, like ``pos``, ``batch``, ``batch_size`` and ``dtype``.
        drop_mask: True = dropped ``[N]``; None: nothing is dropped, and the start is ``pos``.
        pos_noisy: Start of the coordinate head in Å ``[N, 3]``; given where ``drop_mask`` is.
        z_noisy: Elements as corrupted ``[N]``; None: ``[MASK]`` where dropped.
        training: True: a kept atom that starts elsewhere than it is, is an error. False: it is a
            warning.

    Raises:
        ValueError: A shape, a type or a value is wrong, ``pos_noisy`` and ``drop_mask`` are not
            given together, or, in training, a kept atom starts elsewhere than it is.
    """
    if drop_mask is None and pos_noisy is not None:
        raise ValueError("pos_noisy needs drop_mask: apply ClozeDrop, which makes both")
    if drop_mask is not None and pos_noisy is None:
        raise ValueError("drop_mask needs pos_noisy: apply ClozeDrop, which makes both")
    m = check_molecules(z, pos, batch, batch_size, dtype)
    if z_noisy is not None and z_noisy.shape != z.shape:
        raise ValueError(f"expected z_noisy {list(z.shape)}, got {list(z_noisy.shape)}")
    noisy = m.z if z_noisy is None else check_elements("z_noisy", z_noisy)
    slots = atom_slots(m.batch, m.batch_size, one_molecule=batch is None)
    origin = scatter(m.pos, m.batch, dim_size=m.batch_size, reduce="mean")  # [B, 3]
    if drop_mask is None:
        return ClozeTest(*m, None, m.pos, noisy, slots, origin)
    check_mask(drop_mask, z)
    _check_start(pos, drop_mask, pos_noisy, training)
    if z_noisy is None:
        noisy = noisy.masked_fill(drop_mask, MASKED_Z)
    return ClozeTest(*m, drop_mask, pos_noisy.to(dtype), noisy, slots, origin)


def _check_start(pos: Tensor, drop_mask: Tensor, pos_noisy: Tensor, training: bool) -> None:
    if pos_noisy.shape != pos.shape or not pos_noisy.is_floating_point():
        raise ValueError(
            f"expected pos_noisy {list(pos.shape)} of floating-point numbers, "
            f"got {list(pos_noisy.shape)} of {pos_noisy.dtype}"
        )
    if training:
        require(~kept_atoms_moved(pos, drop_mask, pos_noisy), ORDER)
        return
    can_look = pos.is_cpu and not torch.compiler.is_compiling()
    if can_look and kept_atoms_moved(pos, drop_mask, pos_noisy):
        warnings.warn(ORDER, stacklevel=4)


def kept_atoms_moved(pos: Tensor, drop_mask: Tensor, pos_noisy: Tensor) -> Tensor:
    """Whether the noisy position of any kept atom differs from its true one (a bool scalar)."""
    moved = (pos_noisy - pos).abs() > POSITION_TOLERANCE + 1e-5 * pos.abs()  # [N, 3]
    return (moved & ~drop_mask[:, None]).any()


def _is_integer(x: Tensor) -> bool:
    return not (x.is_floating_point() or x.is_complex() or x.dtype == torch.bool)


def require(condition: Tensor, message: str) -> None:
    """Raises ValueError on a CPU unless the condition holds; a GPU asserts it later."""
    if torch.compiler.is_compiling():
        return
    if condition.is_cuda:
        torch._assert_async(condition, message)
    elif not condition:
        raise ValueError(message)
