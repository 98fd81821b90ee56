"""The helpers for symmetries pass what is symmetric, and name what is not."""

import re

import pytest
import torch
from torch import Tensor, nn
from torch_geometric.nn import SchNet
from torch_geometric.utils import scatter

from molae_pyg import MolAE, MolAEEncoder
from molae_pyg.testing import assert_equivariant, assert_invariant

Z = torch.tensor([6, 8, 7, 6, 1, 16, 6])
POS = 2 * torch.randn(7, 3, generator=torch.Generator().manual_seed(0))
BATCH = torch.tensor([0, 0, 0, 0, 1, 1, 1])


def distances(z: Tensor, pos: Tensor, batch: Tensor | None = None) -> Tensor:
    """The sum of the distances of each atom to the others of its molecule ``[N]``."""
    d = torch.linalg.vector_norm(pos[:, None] - pos[None], dim=-1)
    return (d if batch is None else d * (batch[:, None] == batch)).sum(1) + z


def forces(z: Tensor, pos: Tensor, batch: Tensor) -> Tensor:
    same = (batch[:, None] == batch)[..., None]
    return ((pos[:, None] - pos[None]) * same * z[:, None]).sum(1)


def centroid(z: Tensor, pos: Tensor, batch: Tensor) -> Tensor:
    return scatter(pos, batch, reduce="mean")


def chirality(z: Tensor, pos: Tensor) -> Tensor:
    a, b, c = pos[1:4] - pos[:1]
    return torch.linalg.cross(a, b) @ c


def test_what_is_invariant_passes():
    for dtype in (torch.float32, torch.float64):
        assert_invariant(distances, Z, POS.to(dtype))
        assert_invariant(distances, Z, POS.to(dtype), BATCH, permutation="equivariant")
    assert_invariant(lambda *a: {"sum": [distances(*a).sum()], "n": 7}, Z, POS, BATCH)
    assert_invariant(lambda *a: distances(*a).sum(), Z, POS, permutation="invariant")
    assert_invariant(chirality, Z, POS, reflection=False)


@pytest.mark.parametrize("drop", [0.0, 0.1])
def test_modules_are_checked_in_both_types_and_stay_as_they_are(drop):
    torch.manual_seed(0)
    model = MolAEEncoder(16, 16, 4, 1, 4, dropout=drop, attn_dropout=drop).eval()
    assert_invariant(model, Z, POS, BATCH)
    assert model.embedding.weight.dtype == torch.float32
    if drop:
        with pytest.raises(AssertionError, match="two calls with the same molecules"):
            assert_invariant(model.train(), Z, POS, BATCH)


def all_pairs(pos: Tensor, batch: Tensor) -> tuple[Tensor, Tensor]:
    same = (batch[:, None] == batch) & ~torch.eye(len(pos), dtype=torch.bool)
    edge_index = same.nonzero().T
    return edge_index, (pos[edge_index[0]] - pos[edge_index[1]]).norm(dim=1)


def test_models_of_other_packages():
    torch.manual_seed(0)
    model = SchNet(16, 16, 2, 8, interaction_graph=all_pairs).eval()
    assert_invariant(model, Z, POS, BATCH, permutation="invariant", tolerance=1e-4)


def test_what_is_equivariant_passes():
    assert_equivariant(forces, Z, POS, BATCH, permutation="equivariant")
    assert_equivariant(centroid, Z, POS, BATCH, kind="position", permutation="invariant")


def broken(text: str) -> set[str]:
    """The symmetries that a message names."""
    return {line.strip().partition(":")[0] for line in text.splitlines()[1:]}


MOVES = {"rotation", "rotation, reflection and translation"}


@pytest.mark.parametrize(
    ("function", "expected"),
    [
        (lambda z, pos: pos.norm(dim=1), {"translation", "rotation, reflection and translation"}),
        (lambda z, pos: pos - pos.mean(0), {*MOVES, "reflection"}),
        (chirality, {"reflection", "rotation, reflection and translation"}),
        (lambda z, pos: distances(z, pos).cumsum(0), {"order of the atoms"}),
        (lambda z, pos: distances(z, pos).sort().values, {"order of the atoms"}),
    ],
)
def test_a_broken_symmetry_is_named(function, expected):
    with pytest.raises(AssertionError, match="not invariant") as error:
        assert_invariant(
            function, Z, POS, permutation="equivariant" if function is not chirality else None
        )
    assert broken(str(error.value)) == expected


def test_the_message_has_the_largest_deviation_and_its_place():
    def model(z, pos):
        is_moved = torch.tanh(100 * (pos[0] - POS[0]).norm())
        d = distances(z, pos)
        return d, [d + 0.5 * is_moved * (z == 8)]

    with pytest.raises(AssertionError) as error:
        assert_invariant(model, Z, POS)
    first, line, *_ = str(error.value).splitlines()
    assert first == "model is not invariant:"
    pattern = r"  rotation: output\[1\]\[0\] deviates by up to (\S+) \(allowed: (\S+)\), at \[1\] "
    deviation, allowed = re.match(pattern + re.escape("(torch.float32)"), line).groups()
    assert float(deviation) == pytest.approx(0.5, abs=1e-3)
    assert float(allowed) == pytest.approx(1e-4 * distances(Z, POS).max().item(), rel=1e-2)


@pytest.mark.parametrize(
    ("function", "kind", "expected"),
    [
        (centroid, "vector", {"translation", "rotation, reflection and translation"}),
        (forces, "position", {"translation", "rotation, reflection and translation"}),
        (lambda z, pos, batch: forces(z, pos, batch).abs(), "vector", {*MOVES, "reflection"}),
    ],
)
def test_a_broken_equivariance_is_named(function, kind, expected):
    with pytest.raises(AssertionError, match="not equivariant") as error:
        assert_equivariant(function, Z, POS, BATCH, kind=kind)
    assert broken(str(error.value)) - {"reflection"} == expected - {"reflection"}


def test_a_test_of_nothing_fails():
    with pytest.raises(AssertionError, match="nothing was tested: the output does not depend on"):
        assert_invariant(lambda z, pos: 1.0 * z, Z, POS)
    with pytest.raises(AssertionError, match="nothing was tested: the output is pos"):
        assert_equivariant(lambda z, pos: pos, Z, POS, kind="position")
    with pytest.raises(AssertionError, match="no floating-point tensor"):
        assert_invariant(lambda z, pos: z, Z, POS)
    with pytest.raises(AssertionError, match=r"output\['y'\] is not finite"):
        assert_invariant(lambda z, pos: {"y": distances(z, pos).log() / 0}, Z, POS)


class Scaled(nn.Module):
    """Right in float64; float32 loses what is small beside a large coordinate."""

    def forward(self, z: Tensor, pos: Tensor) -> Tensor:
        return distances(z, (pos + 1e5) - 1e5)


def test_rounding_in_one_type_is_named():
    with pytest.raises(AssertionError, match=r"Scaled is not invariant") as error:
        assert_invariant(Scaled(), Z, POS)
    assert "float64" not in str(error.value)
    assert_invariant(Scaled(), Z, POS, dtypes=[torch.float64])


def test_arguments_that_are_not_allowed():
    with pytest.raises(ValueError, match="kind must be 'vector' or 'position', not 'scalar'"):
        assert_equivariant(forces, Z, POS, BATCH, kind="scalar")
    with pytest.raises(ValueError, match="permutation: 'invariant' or 'equivariant', not True"):
        assert_invariant(distances, Z, POS, permutation=True)
    with pytest.raises(ValueError, match=r"expected outputs \[..., 3\], got \[7\]"):
        assert_equivariant(distances, Z, POS)
    with pytest.raises(ValueError, match=r"give a tolerance for torch\.float16"):
        assert_invariant(distances, Z, POS, dtypes=[torch.float16])


def test_the_whole_auto_encoder():
    torch.manual_seed(0)
    model = MolAE.tiny(gaussian_init="intended").eval()
    assert_invariant(lambda *a: model.encode(*a)[:3], Z, POS.double(), BATCH, tolerance=1e-4)
    vectors = lambda *a: model.double().encode(*a).atom  # noqa: E731
    assert_invariant(vectors, Z, POS.double(), BATCH, permutation="equivariant")
