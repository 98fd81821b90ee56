import pytest
import torch
import torch.nn.functional as F

from molae_pyg.nn.dropout import Dropout, dropout


@pytest.mark.parametrize("p", [0.1, 0.25, 0.9])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
def test_share_of_zeros_and_scale(p, dtype):
    torch.manual_seed(0)
    x = torch.ones(1000, 999, dtype=dtype)  # no multiple of four
    out = dropout(x, p)
    assert out.dtype == dtype
    assert out.shape == x.shape
    kept = out != 0
    # Five standard deviations of a binomial count.
    assert abs(kept.double().mean() - (1 - p)) < 5 * (p * (1 - p) / x.numel()) ** 0.5
    stays = round((1 - p) * 2**16) / 2**16
    torch.testing.assert_close(out[kept].unique(), torch.tensor([1 / stays], dtype=dtype))


def test_all_four_parts_of_a_draw_are_random_and_independent():
    torch.manual_seed(0)
    kept = (dropout(torch.ones(400_000), 0.5) != 0).double().view(-1, 4)  # [draws, 4]
    assert ((kept.mean(0) - 0.5).abs() < 5 * 0.5 / 100_000**0.5).all()
    correlation = torch.corrcoef(kept.T) - torch.eye(4)
    assert correlation.abs().max() < 5 / 100_000**0.5


def test_gradient_is_that_of_the_same_values():
    torch.manual_seed(0)
    x = torch.randn(7, 5, dtype=torch.float64, requires_grad=True)
    out = dropout(x, 0.3)
    (gradient,) = torch.autograd.grad(out.sum(), x)
    torch.testing.assert_close(gradient, (out / x).detach())


def test_the_seed_of_torch_decides():
    x = torch.ones(100)
    first, second = (dropout(x, 0.5) for _ in range(2) if torch.manual_seed(3))
    assert torch.equal(first, second)
    assert not torch.equal(first, dropout(x, 0.5))


@pytest.mark.parametrize("p", [0.0, 1.0, 1e-6])
def test_ends_are_those_of_pytorch(p):
    x = torch.randn(10)
    torch.manual_seed(1)
    expected = F.dropout(x, p)
    torch.manual_seed(1)
    assert torch.equal(dropout(x, p), expected)


def test_layer():
    layer = Dropout(0.5)
    x = torch.ones(1000)
    assert (layer(x) == 0).any()
    assert layer.eval()(x) is x
    assert dropout(torch.empty(0, 3), 0.5).shape == (0, 3)


def test_p_is_checked():
    with pytest.raises(ValueError, match="between 0 and 1"):
        dropout(torch.ones(3), 1.5)
