"""Checks of symmetries for models and layers of your own, for use in tests.

A model of molecules should not notice how a molecule is placed in space, or in which order its
atoms are listed. :func:`assert_invariant` and :func:`assert_equivariant` move and reorder molecules
and compare what a function returns.
"""

from collections.abc import Callable, Iterator, Sequence
from copy import deepcopy
from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor, nn

#: Largest deviation that rounding explains, per unit of the output.
TOLERANCE = {torch.float32: 1e-4, torch.float64: 1e-9}

Order = Literal["invariant", "equivariant"]


class Motion(NamedTuple):
    """A symmetry of space: ``x -> x matrix + shift``."""

    name: str
    matrix: Tensor  #: Orthogonal ``[3, 3]``.
    shift: Tensor  #: Å ``[3]``.


def motions(seed: int = 0) -> Iterator[Motion]:
    """Yields a random rotation, a reflection, a random translation, and all three at once."""
    generator = torch.Generator().manual_seed(seed)
    q, _ = torch.linalg.qr(torch.randn(3, 3, generator=generator, dtype=torch.float64))
    rotation, one = q * q.det(), torch.eye(3, dtype=torch.float64)
    shift = 5 * torch.randn(3, generator=generator, dtype=torch.float64)
    mirror = torch.diag(torch.tensor([1.0, 1.0, -1.0], dtype=torch.float64))
    yield Motion("rotation", rotation, 0 * shift)
    yield Motion("reflection", mirror, 0 * shift)
    yield Motion("translation", one, shift)
    yield Motion("rotation, reflection and translation", rotation @ mirror, shift)


def assert_invariant(
    function: Callable[..., Any],
    z: Tensor,
    pos: Tensor,
    batch: Tensor | None = None,
    *,
    reflection: bool = True,
    permutation: Order | None = None,
    dtypes: Sequence[torch.dtype] | None = None,
    tolerance: float | None = None,
    seed: int = 0,
) -> None:
    """Checks that a function of molecules does not depend on their place and orientation.

    The function gets the molecules as they are, then rotated, reflected, translated, and all at
    once. Every output must be the same up to ``tolerance``, per unit of its largest value (at least
    1).

    Args:
        function: ``f(z, pos, batch)``, such as a model in evaluation mode, which returns a tensor
            or a (nested) tuple, list or mapping of tensors; other values are ignored.
        z: Atomic numbers ``[N]``, or whatever describes the atoms.
        pos: Coordinates ``[N, 3]``.
        batch: Molecule of each atom ``[N]``, sorted; default: one molecule, and the function is
            called as ``f(z, pos)``.
        reflection: Whether mirror images must be equal too, default: true. False is for models that
            tell enantiomers apart.
        permutation: What another order of the atoms does: ``"invariant"``, nothing (outputs of
            molecules); ``"equivariant"``, the rows of every output are reordered in the same way
            (outputs of atoms). Default: not checked.
        dtypes: Types to check in. Default: float32 and float64 for a module, on copies of it, and
            the type of ``pos`` for another function.
        tolerance: Largest deviation; default: 1e-4 in float32, 1e-9 in float64.
        seed: Seed of rotation, translation and order, default: 0.

    Raises:
        AssertionError: An output changed. The message names each broken symmetry, the output, and
            the largest deviation. It also fails if two equal calls differ (dropout), if an output
            is not finite, or if stretching the molecules changes nothing, as nothing would be
            tested.
    """
    check = _Check(z, pos, batch, reflection, permutation, tolerance, seed, kind=None)
    check.run(function, dtypes)


def assert_equivariant(
    function: Callable[..., Any],
    z: Tensor,
    pos: Tensor,
    batch: Tensor | None = None,
    *,
    kind: Literal["vector", "position"] = "vector",
    reflection: bool = True,
    permutation: Order | None = None,
    dtypes: Sequence[torch.dtype] | None = None,
    tolerance: float | None = None,
    seed: int = 0,
) -> None:
    """Checks that the outputs of a function turn with the molecules.

    Arguments, defaults and errors are those of :func:`assert_invariant`, except:

    Args:
        function: Every output is ``[..., 3]``: forces, dipoles or coordinates. Here, outputs that
            are equal to ``pos`` fail as well, as nothing would be tested.
        z: Atomic numbers ``[N]``.
        pos: Coordinates ``[N, 3]``.
        batch: Molecule of each atom ``[N]``, sorted; default: one molecule.
        kind: ``"vector"`` (default): a translation does not change the outputs, as for forces.
            ``"position"``: they are translated as well, as coordinates are.
        reflection: Whether outputs of mirror images must be reflected, default: true.
        permutation: ``"invariant"`` (a vector for each molecule), ``"equivariant"`` (one for each
            atom), or not checked (default).
        dtypes: Types to check in.
        tolerance: Largest deviation.
        seed: Seed of rotation, translation and order, default: 0.
    """
    if kind not in ("vector", "position"):
        raise ValueError(f"kind must be 'vector' or 'position', not {kind!r}")
    check = _Check(z, pos, batch, reflection, permutation, tolerance, seed, kind)
    check.run(function, dtypes)


class _Check:
    """The check of one function; ``kind`` is None for outputs that are invariant."""

    def __init__(
        self,
        z: Tensor,
        pos: Tensor,
        batch: Tensor | None,
        reflection: bool,
        permutation: Order | None,
        tolerance: float | None,
        seed: int,
        kind: str | None,
    ):
        if permutation not in (None, "invariant", "equivariant"):
            raise ValueError(f"permutation: 'invariant' or 'equivariant', not {permutation!r}")
        self.z, self.pos, self.batch = z, pos, batch
        self.permutation, self.tolerance, self.kind = permutation, tolerance, kind
        self.motions = [m for m in motions(seed) if reflection or m.matrix.det() > 0]
        generator = torch.Generator().manual_seed(seed)
        shuffle = torch.rand(len(z), generator=generator, dtype=torch.float64)
        molecule = torch.zeros_like(shuffle) if batch is None else batch.cpu()
        self.order = (molecule + shuffle).argsort().to(z.device)  # within each molecule

    def run(self, function: Callable, dtypes: Sequence[torch.dtype] | None) -> None:
        is_module = isinstance(function, nn.Module)
        if dtypes is None:
            dtypes = tuple(TOLERANCE) if is_module else (self.pos.dtype,)
        self.dtypes, failures = dtypes, []
        for dtype in dtypes:
            tolerance = TOLERANCE.get(dtype) if self.tolerance is None else self.tolerance
            if tolerance is None:
                raise ValueError(f"give a tolerance for {dtype}")
            own = deepcopy(function).to(dtype) if is_module else function
            failures += [f"  {line} ({dtype})" for line in self._broken(own, dtype, tolerance)]
        name = type(function).__name__ if is_module else getattr(function, "__name__", "function")
        wanted = "equivariant" if self.kind else "invariant"
        assert not failures, "\n".join([f"{name} is not {wanted}:", *failures])

    def _broken(self, function: Callable, dtype: torch.dtype, tolerance: float) -> Iterator[str]:
        """Yields a line for each symmetry that does not hold."""
        pos = self.pos.to(dtype)

        def call(z: Tensor, pos: Tensor) -> dict[str, Tensor]:
            with torch.no_grad():
                out = function(z, pos) if self.batch is None else function(z, pos, self.batch)
            return dict(_tensors(out, ""))

        before = call(self.z, pos)
        assert before, "the function returned no floating-point tensor"
        if bad := [name for name, value in before.items() if not value.isfinite().all()]:
            yield f"output{bad[0]} is not finite"
            return
        if line := _compare(before, call(self.z, pos), tolerance):
            yield f"two calls with the same molecules: {line}; is it in training mode?"
            return
        # A weak dependence may be below the tolerance of float32.
        if dtype != torch.float32 or torch.float64 not in self.dtypes:
            if not _compare(before, call(self.z, 1.1 * pos), tolerance):
                yield "nothing was tested: the output does not depend on distances"
            if self.kind and not _compare(before, dict.fromkeys(before, pos), tolerance):
                yield "nothing was tested: the output is pos"
        for motion in self.motions:
            matrix, shift = motion.matrix.to(pos), motion.shift.to(pos)
            expected = {name: self._moved(y, matrix, shift) for name, y in before.items()}
            if line := _compare(expected, call(self.z, pos @ matrix + shift), tolerance):
                yield f"{motion.name}: {line}"
        if self.permutation is not None:
            order = self.order
            same = self.permutation == "invariant"
            expected = {name: y if same else y[order] for name, y in before.items()}
            if line := _compare(expected, call(self.z[order], pos[order]), tolerance):
                yield f"order of the atoms: {line}"

    def _moved(self, y: Tensor, matrix: Tensor, shift: Tensor) -> Tensor:
        """Returns what the output becomes if the molecules are moved."""
        if self.kind is None:
            return y
        if y.dim() == 0 or y.size(-1) != 3:
            raise ValueError(f"expected outputs [..., 3], got {list(y.shape)}")
        y = y @ matrix.to(y)
        return y + shift.to(y) if self.kind == "position" else y


def _tensors(out: Any, name: str) -> Iterator[tuple[str, Tensor]]:
    """Yields the floating-point tensors of a nested output with their names."""
    if isinstance(out, Tensor):
        if out.is_floating_point():
            yield name, out
    elif isinstance(out, dict):
        for key, value in out.items():
            yield from _tensors(value, f"{name}[{key!r}]")
    elif isinstance(out, tuple | list):
        fields = getattr(out, "_fields", None)
        for index, value in enumerate(out):
            yield from _tensors(value, f"{name}.{fields[index]}" if fields else f"{name}[{index}]")


def _compare(expected: dict[str, Tensor], found: dict[str, Tensor], tolerance: float) -> str:
    """Describes the largest deviation beyond the tolerance; empty if there is none."""
    worst, line = 0.0, ""
    for name, one in expected.items():
        other = found.get(name)
        if other is None or other.shape != one.shape:
            shape = None if other is None else list(other.shape)
            return f"output{name} has shape {shape} instead of {list(one.shape)}"
        if one.numel() == 0:
            continue
        allowed = tolerance * max(1.0, one.abs().max().item())
        deviation = (other - one).abs().nan_to_num(torch.inf)
        largest = deviation.max().item()
        if largest > allowed and largest / allowed > worst:
            worst = largest / allowed
            place = [int(i) for i in torch.unravel_index(deviation.argmax(), one.shape)]
            size = f"{largest:.3g} (allowed: {allowed:.3g})"
            line = f"output{name} deviates by up to {size}, at {place}"
    return line
