"""Rotations, reflections and translations: the checks behind every symmetry test.

All run in float64, where a symmetry that holds does so to rounding: the tolerance is 1e-9.
"""

from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor

ATOL = 1e-9

Motion = Callable[[Tensor], Tensor]


def motions() -> Iterator[tuple[str, Motion]]:
    """A random rotation, reflection, translation, and all at once, acting on ``[..., 3]``."""
    generator = torch.Generator().manual_seed(0)
    q, _ = torch.linalg.qr(torch.randn(3, 3, generator=generator, dtype=torch.float64))
    rotation = q * q.det()
    shift = 5 * torch.randn(3, generator=generator, dtype=torch.float64)
    yield "rotation", lambda x: x @ rotation
    yield "reflection", lambda x: x * x.new_tensor([1.0, 1.0, -1.0])
    yield "translation", lambda x: x + shift
    yield "all", lambda x: -x @ rotation + shift


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


def assert_invariant(f: Callable[[Tensor], Any], pos: Tensor) -> None:
    """``f(motion(pos)) = f(pos)``, for an f that depends on ``pos`` at all."""
    _check(f, pos, lambda motion, y: y)


def assert_equivariant(f: Callable[[Tensor], Tensor], pos: Tensor) -> None:
    """``f(motion(pos)) = motion(f(pos))``, for an f that is not just ``pos``."""
    _check(f, pos, lambda motion, y: motion(y))
    assert not torch.allclose(f(pos), pos, atol=1e-3), "f returns what it was given"


def _check(f: Callable, pos: Tensor, expected: Callable[[Motion, Any], Any]) -> None:
    assert pos.dtype == torch.float64, "symmetries are tested in float64"
    y = f(pos)
    for name, motion in motions():
        assert_close(f(motion(pos)), expected(motion, y), name)
    stretched = f(1.1 * pos)
    first, other = (t[0] if isinstance(t, tuple) else t for t in (y, stretched))
    assert (first - other).abs().max() > 1e-4, "f does not depend on distances: nothing is tested"
