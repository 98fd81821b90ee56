"""Comparison of float64 tensors, and motions of coordinates.

A symmetry that holds does so to rounding in float64: the tolerance is 1e-9.
"""

from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor

from molae_pyg import testing

ATOL = testing.TOLERANCE[torch.float64]


def motions() -> Iterator[tuple[str, Callable[[Tensor], Tensor]]]:
    """The motions of :mod:`molae_pyg.testing`, acting on float64 ``[..., 3]``."""
    for name, matrix, shift in testing.motions():
        yield name, lambda x, matrix=matrix, shift=shift: x @ matrix + shift


def assert_close(actual: Any, expected: Any, where: str = "", atol: float = ATOL) -> None:
    """Compares float64 tensors and nested tuples of them; NaN is never equal."""
    if isinstance(expected, tuple):
        assert len(actual) == len(expected), where
        names = getattr(expected, "_fields", range(len(expected)))
        for name, a, e in zip(names, actual, expected, strict=True):
            assert_close(a, e, f"{where} {name}", atol)
        return
    assert not expected.is_floating_point() or expected.dtype == torch.float64, where
    torch.testing.assert_close(actual, expected, rtol=0, atol=atol, msg=lambda m: f"{where}: {m}")
