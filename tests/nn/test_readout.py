import pytest
import torch
import torch_geometric.typing
from symmetry import ATOL, assert_close

from molae_pyg.nn import PropertyHead
from molae_pyg.nn.readout import flat_pairs


@pytest.fixture(autouse=True)
def _seed():
    torch.manual_seed(0)


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


@pytest.mark.parametrize("pool", ["mean", "sum"])
def test_cls_and_pooled_atoms_have_one_linear_layer(kernels, pool):
    head = PropertyHead(3, num_tasks=2, readout=f"cls, {pool}").double()
    x = torch.randn(5, 3, dtype=torch.float64, requires_grad=True)
    cls = torch.randn(2, 3, dtype=torch.float64, requires_grad=True)
    ptr = torch.tensor([0, 2, 5])
    pooled = [POOL[pool](x[:2], 0), POOL[pool](x[2:], 0)]
    joined = torch.cat([cls, torch.stack(pooled)], 1)
    assert_close(head(x, cls, ptr), joined @ head.out.weight.T + head.out.bias)
    assert {name for name, _ in head.named_parameters()} == {"out.weight", "out.bias"}
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


def test_pairs_name_the_flat_atoms():
    """Three molecules of 3, 0 and 1 atoms."""
    mask = torch.arange(5) < torch.tensor([[5], [2], [3]])
    value = torch.arange(3 * 5 * 5).view(3, 5, 5)
    index, pair = flat_pairs(value, mask)
    assert index.tolist() == [[0, 0, 0, 1, 1, 1, 2, 2, 2, 3], [0, 1, 2, 0, 1, 2, 0, 1, 2, 3]]
    # molecule 0: rows and columns 2, 3, 4; molecule 2: its only atom is in slot 2
    assert pair.tolist() == [12, 13, 14, 17, 18, 19, 22, 23, 24, 62]
