"""PReLU equals that of PyTorch, with its gradients."""

import pytest
import torch
from torch import nn

from molae_pyg.nn.prelu import PReLU


@pytest.mark.parametrize("slope", [0.25, 0.0, 1.0, -0.5, 3.0])
def test_equals_that_of_pytorch(slope):
    torch.manual_seed(0)
    x = torch.randn(7, 5, dtype=torch.double)
    x[0] = 0
    grad = torch.randn_like(x)
    found = []
    for act in (PReLU().double(), nn.PReLU().double()):
        nn.init.constant_(act.weight, slope)
        leaf = x.clone().requires_grad_()
        y = act(leaf)
        y.backward(grad)
        found.append([y, leaf.grad, act.weight.grad])
    torch.testing.assert_close(*found, atol=1e-14, rtol=1e-12)


def test_gradient():
    torch.manual_seed(0)
    act = PReLU().double()
    x = torch.randn(6, 3, dtype=torch.double, requires_grad=True)
    assert torch.autograd.gradcheck(lambda x, w: act(x), (x, act.weight))


def test_bf16_and_other_layouts():
    torch.manual_seed(0)
    x = torch.randn(64, 33)
    found = []
    for values in (x, x.bfloat16(), x.t().contiguous().t()):
        act, leaf = PReLU(), values.clone(memory_format=torch.preserve_format).requires_grad_()
        y = act(leaf)
        assert y.dtype == values.dtype
        y.backward(torch.ones_like(y))
        found.append((y.float(), leaf.grad.float(), act.weight.grad))
    torch.testing.assert_close(found[1], found[0], atol=1e-2, rtol=1e-2)
    torch.testing.assert_close(found[2], found[0])


def test_weights_are_those_of_pytorch():
    torch.manual_seed(0)
    act, plain = PReLU(), nn.PReLU()
    nn.init.normal_(plain.weight)
    act.load_state_dict(plain.state_dict())
    assert torch.equal(act.weight, plain.weight)
