import pytest
import torch
from symmetry import assert_close
from torch.nn.functional import gelu

from molae_pyg.nn import CoordinateHead, DistanceHead, TokenHead
from molae_pyg.testing import assert_equivariant

B, H, L = 2, 4, 5
MASK = torch.tensor([[True] * 5, [True] * 3 + [False] * 2])


@pytest.fixture(autouse=True)
def _seed():
    torch.manual_seed(0)


@pytest.fixture
def delta():
    """A change of the pair tensor, 0 at padded keys as the stack leaves it."""
    return torch.randn(B, H, L, L, dtype=torch.float64) * MASK[:, None, None, :]


@pytest.fixture
def pos():
    return torch.randn(B, L, 3, dtype=torch.float64)


def test_token_head():
    head = TokenHead(8).double()
    x = torch.randn(5, 8, dtype=torch.float64)
    h = gelu(x @ head.dense.weight.T + head.dense.bias)
    h = (h - h.mean(1, keepdim=True)) / (h.var(1, unbiased=False, keepdim=True) + 1e-5).sqrt()
    assert_close(head(x), h @ head.out.weight.T + head.out.bias)
    assert head(x).shape == (5, 31)


def test_coordinate_head_is_the_double_sum(delta, pos):
    head = CoordinateHead(H).double()
    out = head(delta, pos, MASK)
    for b, n in enumerate([5, 3]):
        for i in range(n):
            move = sum(head.weight(delta[b, :, i, j]) * (pos[b, j] - pos[b, i]) for j in range(n))
            assert_close(out[b, i], pos[b, i] + move / (n - 1), f"molecule {b} atom {i}")


def test_coordinate_head_does_not_see_padding(delta, pos):
    head = CoordinateHead(H).double()
    out = head(delta, pos, MASK)
    pos[~MASK] = 1000.0
    assert torch.equal(head(delta, pos, MASK)[MASK], out[MASK])


def test_coordinate_head_is_equivariant(delta, pos):
    head = CoordinateHead(H).double()
    assert_equivariant(
        lambda z, x: head(delta, x.view(pos.shape), MASK),
        torch.zeros(B * L),
        pos.view(-1, 3),
        kind="position",
    )


def test_coordinate_head_gradients(delta, pos):
    head = CoordinateHead(H).double()
    arguments = (delta.requires_grad_(), pos.requires_grad_(), MASK)
    assert torch.autograd.gradcheck(head, arguments)


def test_distance_head_is_symmetric_and_in_angstrom():
    head = DistanceHead(H).double()
    pair = torch.randn(B, H, L, L, dtype=torch.float64)
    u = head.out(head.norm(gelu(head.dense(pair.permute(0, 2, 3, 1)))))[..., 0]
    out = head(pair)
    assert_close(out, out.transpose(1, 2))
    for i, j in [(0, 1), (3, 2), (4, 4)]:
        normalised = (u[1, i, j] + u[1, j, i]) / 2
        assert_close(out[1, i, j], normalised * 3.3899264663911888 + 6.312581655060595)
    with torch.no_grad():
        head.out.weight.zero_()
        head.out.bias.fill_(-1.0)  # one standard deviation below the mean
    assert_close(head(pair), torch.full_like(out, 6.312581655060595 - 3.3899264663911888))
