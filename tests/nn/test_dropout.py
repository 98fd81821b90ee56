import pytest
import torch
from symmetry import assert_close

from molae_pyg.nn import dropout as module
from molae_pyg.nn.dropout import Dropout, dropout

N = 200_003  # not divisible by 4


@pytest.fixture(autouse=True)
def any_processor(monkeypatch):
    """On Intel's processors PyTorch's own is used."""
    monkeypatch.setattr(module, "_is_intel", lambda: False)
    torch.manual_seed(0)


@pytest.mark.parametrize("p", [1e-4, 0.1, 0.5, 0.9])
def test_drops_its_share_and_keeps_the_mean(p):
    out = dropout(torch.ones(N, dtype=torch.float64), p)
    dropped = (out == 0).double().mean().item()
    assert abs(dropped - p) < 5 * (p * (1 - p) / N) ** 0.5 + 1 / 131072
    kept = out[out != 0]
    assert_close(kept, torch.full_like(kept, 1 / (1 - p)), atol=1e-3)


def test_neighbours_are_independent():
    keep = (dropout(torch.ones(N), 0.5) != 0).double() - 0.5
    for lag in range(1, 9):  # numbers from one draw and from two
        assert abs((keep[lag:] * keep[:-lag]).mean()) < 5 * 0.25 / N**0.5


@pytest.mark.parametrize("shape", [(0,), (1,), (3, 5), (2, 3, 7, 7)])
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16])
def test_gradient_is_the_mask(shape, dtype):
    x = torch.ones(shape, dtype=dtype, requires_grad=True)
    out = dropout(x, 0.25)
    assert (out.dtype, out.shape) == (dtype, x.shape)
    out.sum().backward()
    assert torch.equal(x.grad, out.detach())


def test_same_seed_same_mask_and_other_calls_another():
    x = torch.ones(1000)
    first, second = dropout(x, 0.5), dropout(x, 0.5)
    torch.manual_seed(0)
    assert torch.equal(dropout(x, 0.5), first)
    assert not torch.equal(first, second)


def test_strided_input_keeps_its_values_in_place():
    x = torch.arange(1.0, 13).view(3, 4).t()
    out = dropout(x, 0.5)
    assert torch.equal(out[out != 0], 2 * x[out != 0])


def test_idle_where_nothing_is_dropped():
    x = torch.randn(5)
    assert dropout(x, 0.0) is x
    assert dropout(x, 0.5, training=False) is x
    assert Dropout(0.5).eval()(x) is x
    assert torch.equal(dropout(x, 1.0), torch.zeros(5))


def test_share_outside_0_to_1_is_refused():
    with pytest.raises(ValueError, match="between 0 and 1"):
        dropout(torch.ones(3), 1.5)
    with pytest.raises(ValueError, match="between 0 and 1"):
        Dropout(-0.1)


def test_intel_and_compilers_get_pytorchs(monkeypatch):
    x = torch.ones(1000)
    torch.manual_seed(0)
    theirs = torch.nn.functional.dropout(x, 0.5)
    for place, name in ((module, "_is_intel"), (torch.compiler, "is_compiling")):
        with monkeypatch.context() as patch:
            patch.setattr(place, name, lambda: True)
            torch.manual_seed(0)
            assert torch.equal(dropout(x, 0.5), theirs)
