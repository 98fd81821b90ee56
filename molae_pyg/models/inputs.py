"""Checks of what goes into a model: shapes, types, and values that would be wrong silently.

Values are compared at once on a CPU. A GPU would have to wait for the answer, so there it asserts
by itself, later; a compiler or an exporter could not follow, so there they are not compared.
"""

from typing import NamedTuple

import torch
from torch import Tensor

from molae_pyg.chem.elements import MAX_Z

_BATCH = "batch must be sorted and have one entry per atom: integers (int64) from 0"


class Molecules(NamedTuple):
    """Checked input of a model."""

    z: Tensor  #: ``[N]`` int64.
    pos: Tensor  #: ``[N, 3]``, of the type of the weights.
    batch: Tensor  #: ``[N]`` int64, sorted.
    batch_size: int  #: B.


def check_molecules(
    z: Tensor, pos: Tensor, batch: Tensor | None, batch_size: int | None, dtype: torch.dtype
) -> Molecules:
    """Checks the flat input of an encoder and gives it the types that it computes in.

    Args:
        z: Atomic numbers ``[N]``, of any integer type.
        pos: Coordinates in Å ``[N, 3]``, of any floating-point type.
        batch: Molecule of each atom ``[N]``, sorted, of any integer type; None: one molecule.
        batch_size: Number of molecules B; None: the last entry of ``batch`` plus 1.
        dtype: Of the weights.

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
    z = elements("z", z)
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
    else:
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


def _is_integer(x: Tensor) -> bool:
    return not (x.is_floating_point() or x.is_complex() or x.dtype == torch.bool)


def elements(name: str, z: Tensor) -> Tensor:
    """Atomic numbers as int64."""
    allowed = f"{name} must be atomic numbers: integers (int64) of 1 to {MAX_Z}, or 0 for [MASK]"
    if not _is_integer(z):
        raise ValueError(f"{allowed}; got {z.dtype}")
    z = z.long()
    require(((z >= 0) & (z <= MAX_Z)).all(), allowed)
    return z


def require(condition: Tensor, message: str) -> None:
    """Raises ValueError on a CPU; a GPU asserts when it comes to it."""
    if torch.compiler.is_compiling():
        return
    if condition.is_cuda:
        torch._assert_async(condition, message)
    elif not condition:
        raise ValueError(message)
