import pytest
import torch
import torch_geometric.typing
from symmetry import ATOL, assert_close, assert_equivariant
from torch.nn.functional import gelu

from molae_pyg.nn import CoordinateHead, DistanceHead, PropertyHead, TokenHead

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
    assert_equivariant(lambda x: head(delta, x, MASK), pos)


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


@pytest.fixture(params=["torch", pytest.param("torch-scatter", marks=pytest.mark.scatter)])
def kernels(request, monkeypatch):
    """Both ways PyG may pool atoms."""
    if request.param == "torch":
        monkeypatch.setattr(torch_geometric.typing, "WITH_TORCH_SCATTER", False)
    else:
        pytest.importorskip("torch_scatter", reason="torch-scatter is not installed")
        assert torch_geometric.typing.WITH_TORCH_SCATTER
    return request.param


POOL = {"mean": torch.mean, "sum": torch.sum, "max": torch.amax}


@pytest.mark.parametrize("readout", ["cls", "mean", "sum", "max"])
def test_property_head_is_a_plain_loop(kernels, readout):
    head = PropertyHead(6, num_tasks=2, readout=readout).double()
    x = torch.randn(6, 6, dtype=torch.float64, requires_grad=True)
    cls = torch.randn(3, 6, dtype=torch.float64, requires_grad=True)
    ptr = torch.tensor([0, 2, 3, 6])
    out = head(x, cls, ptr)
    assert out.shape == (3, 2)
    for b, (first, last) in enumerate([(0, 2), (2, 3), (3, 6)]):
        h = cls[b] if readout == "cls" else POOL[readout](x[first:last], 0)
        h = torch.tanh(head.dense.weight @ h + head.dense.bias)
        assert_close(out[b], head.out.weight @ h + head.out.bias, f"molecule {b}")
    assert torch.autograd.gradcheck(lambda x, cls: head(x, cls, ptr), (x, cls))


def test_atomwise_is_a_sum_of_contributions(kernels):
    head = PropertyHead(4, num_tasks=2, readout="atomwise").double()
    x, ptr = torch.randn(5, 4, dtype=torch.double), torch.tensor([0, 2, 2, 5])
    out = head(x, torch.zeros(3, 4, dtype=torch.double), ptr)
    of_atoms = torch.cat(
        [head(x[i : i + 1], x[:1], torch.tensor([0, 1])) for i in range(5)]
    )  # [5, 2]
    expected = torch.stack([of_atoms[:2].sum(0), torch.zeros(2).double(), of_atoms[2:].sum(0)])
    torch.testing.assert_close(out, expected)


@pytest.mark.parametrize("readout", ["mean", "sum", "max"])
def test_pooling_a_molecule_without_atoms_gives_zero(kernels, readout):
    head = PropertyHead(4, num_tasks=1, readout=readout).double()
    x = torch.randn(3, 4, dtype=torch.float64)
    out = head(x, x, torch.tensor([0, 2, 2, 3]))
    assert_close(out[1], head.out(torch.tanh(head.dense.bias)))


@pytest.mark.scatter
@pytest.mark.parametrize("readout", ["mean", "sum", "max"])
def test_kernels_agree(monkeypatch, readout):
    pytest.importorskip("torch_scatter", reason="torch-scatter is not installed")
    head = PropertyHead(4, num_tasks=1, readout=readout).double()
    x, ptr = torch.randn(6, 4, dtype=torch.float64), torch.tensor([0, 1, 4, 6])
    ours = head(x, x, ptr)
    monkeypatch.setattr(torch_geometric.typing, "WITH_TORCH_SCATTER", False)
    torch.testing.assert_close(head(x, x, ptr), ours, atol=ATOL, rtol=0)


def test_property_head_drops_out_only_in_training():
    head = PropertyHead(16, num_tasks=1, dropout=0.5)
    cls, ptr = torch.randn(4, 16), torch.arange(5)
    assert not torch.allclose(head(cls, cls, ptr), head(cls, cls, ptr))
    head.eval()
    assert torch.equal(head(cls, cls, ptr), head(cls, cls, ptr))


def test_property_head_drops_out_before_both_layers():
    head = PropertyHead(16, num_tasks=1, dropout=1.0)
    seen = []
    for layer in (head.dense, head.out):
        layer.register_forward_pre_hook(lambda _, args: seen.append(args[0]))
    head(torch.randn(4, 16), torch.randn(4, 16), torch.arange(5))
    assert [bool((x == 0).all()) for x in seen] == [True, True]


def test_unknown_readout():
    with pytest.raises(ValueError, match=r"readout must be one of .*'atomwise'.*, not 'median'"):
        PropertyHead(4, 1, readout="median")
