import math

import goldens
import pytest
import torch
import torch.nn.functional as F
from symmetry import assert_close

from molae_pyg.nn import PairTransformer, SinusoidalPosition, TransformerLayer, TransformerOutput
from molae_pyg.nn.transformer import norm_excess

B, L, H, C = 2, 5, 4, 8
MASK = torch.tensor([[True] * 5, [True] * 3 + [False] * 2])


@pytest.fixture
def stack():
    torch.manual_seed(0)
    return PairTransformer(C, 16, H, num_layers=3, dropout=0.3, attn_dropout=0).double().eval()


@pytest.fixture
def inputs():
    generator = torch.Generator().manual_seed(1)
    x = torch.randn(B, L, C, dtype=torch.float64, generator=generator)
    return x, torch.randn(B, H, L, L, dtype=torch.float64, generator=generator)


def layer_by_layer(stack, x, pair, mask):
    """The formulas of the docstrings, with the logits of every layer."""
    logits = []
    x = stack.input_norm(x).masked_fill(~mask[..., None], 0)
    for layer in stack.layers:
        h = layer.attn_norm(x)
        q, k, v = (t.unflatten(-1, (H, -1)) for t in layer.attention.in_proj(h).chunk(3, -1))
        logits.append(torch.einsum("bihd,bjhd->bhij", q, k) / math.sqrt(C // H))
        weight = (pair + sum(logits)).masked_fill(~mask[:, None, None, :], -1e9).softmax(-1)
        mixed = torch.einsum("bhij,bjhd->bihd", weight, v).flatten(-2)
        x = x + layer.attention.out_proj(mixed)
        x = x + layer.linear2(F.gelu(layer.linear1(layer.ffn_norm(x))))
    return x, logits


def test_equals_the_formulas_and_pair_is_the_sum_of_logits(stack, inputs):
    x, pair = inputs
    out = stack(x, pair, MASK)
    hidden, logits = layer_by_layer(stack, x, pair, MASK)
    assert_close(out.hidden, hidden, atol=1e-12)
    assert_close(out.x, stack.final_norm(hidden), atol=1e-12)
    assert_close(out.pair, pair + sum(logits), atol=1e-12)
    assert torch.equal(out.pair_in, pair)
    assert_close(out.delta(), sum(logits) * MASK[:, None, None, :], atol=1e-12)


def test_padding_has_no_influence(stack, inputs):
    x, pair = inputs
    out = stack(x, pair, MASK)
    x[~MASK] = 7.0
    pair[1, :, :, 3:] = 30.0
    other = stack(x, pair, MASK)
    assert_close(other.x[MASK], out.x[MASK], atol=1e-12)
    assert_close(other.delta()[1, :, :3], out.delta()[1, :, :3], atol=1e-12)
    assert_close(other.x_norm(), out.x_norm(), atol=1e-12)
    assert_close(other.pair_norm(), out.pair_norm(), atol=1e-12)
    short = stack(x[1:, :3], pair[1:, :, :3, :3], MASK[1:, :3])
    assert_close(short.x, out.x[1:, :3], atol=1e-12)
    assert_close(short.pair, out.pair[1:, :, :3, :3], atol=1e-12)


def test_finite_with_gradients(stack, inputs):
    x, pair = (t.requires_grad_() for t in inputs)
    out = stack(x, pair, MASK)
    assert out.pair.isfinite().all()
    (out.x[MASK].sum() + out.x_norm() + out.pair_norm()).backward()
    assert x.grad.isfinite().all()
    assert pair.grad.isfinite().all()


@pytest.mark.parametrize("with_pair", [True, False])
def test_same_without_gradients(stack, inputs, with_pair):
    """One tensor holds the logits of all layers then, but not those that came in."""
    x, pair = inputs
    before = pair.clone()
    expected = stack(x, pair if with_pair else None, MASK)
    with torch.no_grad():
        found = stack(x, pair if with_pair else None, MASK)
    assert torch.equal(pair, before)
    for name in ("x", "hidden", "pair"):
        assert_close(getattr(found, name), getattr(expected, name), atol=1e-12)
    assert_close(found.delta(), expected.delta(), atol=1e-12)


def test_no_layers(inputs):
    stack = PairTransformer(C, 16, H, num_layers=0).double().eval()
    x, pair = inputs
    out = stack(x, pair, MASK)
    assert_close(out.x, stack.final_norm(stack.input_norm(x) * MASK[..., None]))
    assert torch.equal(out.pair, pair)
    assert torch.all(out.delta() == 0)
    # a vector of norm 0 (1e-5, to be exact) is sqrt(4) away from sqrt(H), 1 of which is free
    assert out.pair_norm().item() == pytest.approx(1.0, abs=2e-5)


def test_norm_excess_by_hand():
    squared = torch.tensor([[9.0, 1e6], [25.0, 100.0]])  # norms 3, (padding), 5, 10
    mask = torch.tensor([[True, False], [True, True]])
    # molecule 0: |3 - 2| - 1 = 0; molecule 1: mean of 5 - 2 - 1 = 2 and 10 - 2 - 1 = 7
    assert norm_excess(squared, mask, dim=4).item() == pytest.approx((0 + 4.5) / 2)
    # vectors that are too short count too: |0.5 - 2| - 1
    short = norm_excess(torch.tensor([[0.25]]), torch.tensor([[True]]), dim=4)
    assert short.item() == pytest.approx(0.5)


def test_norm_terms_by_hand():
    """One molecule of two tokens and a padded slot; C = 4, H = 1."""
    hidden = torch.tensor([[[5.0, 0, 0, 0], [0, 3, 4, 0], [9, 9, 9, 9]]])
    pair_in = torch.ones(1, 1, 3, 3)
    pair = pair_in + torch.tensor([[4.0, -3.0, 50], [1.5, 2.5, 50], [50, 50, 50]])
    mask = torch.tensor([[True, True, False]])
    out = TransformerOutput(hidden, hidden, pair, pair_in, mask)
    assert out.x_norm().item() == pytest.approx(5 - 2 - 1)
    # excesses | |a| - 1 | - 1 of 4, -3, 1.5, 2.5: 2, 1, 0, 0.5
    assert out.pair_norm().item() == pytest.approx(3.5 / 4)


def test_dropout_only_in_training(stack, inputs):
    x, pair = inputs
    assert torch.equal(stack(x, pair, MASK).x, stack(x, pair, MASK).x)
    stack.train()
    assert not torch.allclose(stack(x, pair, MASK).x, stack(x, pair, MASK).x)
    plain = PairTransformer(C, 16, H, 3, dropout=0, attn_dropout=0).double()
    assert torch.equal(plain.train()(x, pair, MASK).x, plain.eval()(x, pair, MASK).x)


def test_dropout_of_everything(inputs):
    """With everything dropped a layer adds nothing, and nothing enters the stack."""
    x, pair = inputs
    layer = TransformerLayer(C, 16, H, dropout=1.0, attn_dropout=0).double()
    assert torch.equal(layer(x, pair, MASK)[0], x)
    stack = PairTransformer(C, 16, H, num_layers=1, dropout=1.0, attn_dropout=0).double()
    assert torch.all(stack(x, pair, MASK).hidden == 0)


def test_a_layer_passes_the_logits_on(inputs):
    layer = TransformerLayer(C, 16, H).double().eval()
    x, pair = inputs
    out, new = layer(x, pair, MASK)
    assert out.shape == x.shape
    assert_close(new, layer.attention(layer.attn_norm(x), pair, MASK)[1], atol=1e-12)


def test_heads_must_divide_the_width():
    with pytest.raises(ValueError, match="hidden_channels=8 is not divisible by heads=3"):
        PairTransformer(8, 16, 3, 1)


@pytest.mark.parametrize("dropout", [0.0, 0.3])
def test_recomputing_changes_memory_and_nothing_else(inputs, dropout):
    """Dropout included: it is drawn again from the same state."""
    torch.manual_seed(0)
    stack = PairTransformer(C, 16, H, num_layers=3, dropout=dropout, attn_dropout=dropout).double()
    x, pair = (tensor.requires_grad_() for tensor in inputs)
    results, kept = [], {False: [], True: []}
    for stack.recompute, tensors in kept.items():
        torch.manual_seed(1)
        with torch.autograd.graph.saved_tensors_hooks(Keeper(tensors), lambda tensor: tensor):
            out = stack(x, pair, MASK)
        loss = out.x.square().sum() + out.pair_norm()
        gradients = torch.autograd.grad(loss, [x, pair, *stack.parameters()])
        results.append([out.x, out.pair, *gradients])
    for one, other in zip(*results, strict=True):
        assert torch.equal(one, other)
    assert len(kept[True]) < 0.5 * len(kept[False])


class Keeper:
    """Notes what autograd keeps for the backward pass."""

    def __init__(self, tensors: list[torch.Tensor]):
        self.tensors = tensors

    def __call__(self, tensor: torch.Tensor) -> torch.Tensor:
        self.tensors.append(tensor)
        return tensor


# -------------------------------------------------------------------------------- positions


@pytest.mark.parametrize("channels", [64, 512])
def test_recorded_table(channels):
    """Row p of the table is position p; row 0 is padding, which no token has."""
    table = goldens.arrays("positional")[f"pe{channels}"]
    position = torch.arange(1, len(table))
    encoding = SinusoidalPosition(channels)(position)
    torch.testing.assert_close(encoding, table[1:], atol=1e-5, rtol=0)
    assert torch.all(table[0] == 0)


def test_recorded_batch():
    """CLS is position 1, atoms count on, SEP is the last, and padding has none."""
    recorded = goldens.arrays("positional")
    tokens, table = recorded["tokens"], recorded["pe64_on_batch"]
    real = tokens != 0
    encoding = SinusoidalPosition(64)(real.cumsum(1)) * real[..., None]
    torch.testing.assert_close(encoding, table, atol=1e-5, rtol=0)


def test_positions_by_hand():
    encoding = SinusoidalPosition(6)(torch.tensor([3]))  # frequencies 1, 1/100, 1/10000
    angles = [3.0, 0.03, 0.0003]
    expected = [*map(math.sin, angles), *map(math.cos, angles)]
    assert encoding[0].tolist() == pytest.approx(expected, abs=1e-6)


def test_shapes_and_buffer():
    layer = SinusoidalPosition(8)
    assert layer(torch.zeros(2, 3, dtype=torch.long)).shape == (2, 3, 8)
    assert not layer.state_dict()


@pytest.mark.parametrize("channels", [2, 7])
def test_impossible_width(channels):
    with pytest.raises(ValueError, match=f"even and at least 4, not {channels}"):
        SinusoidalPosition(channels)
