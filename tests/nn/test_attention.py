import math

import pytest
import torch
from symmetry import assert_close

from molae_pyg.nn import PairBiasAttention

B, L, H, C = 2, 4, 2, 6
MASK = torch.tensor([[True, True, True, True], [True, True, True, False]])


@pytest.fixture
def attention():
    torch.manual_seed(0)
    return PairBiasAttention(C, H, dropout=0.5).double().eval()


@pytest.fixture
def x():
    return torch.randn(B, L, C, dtype=torch.float64, generator=torch.Generator().manual_seed(1))


@pytest.fixture
def pair():
    return torch.randn(B, H, L, L, dtype=torch.float64, generator=torch.Generator().manual_seed(2))


def naive(layer, x, pair, mask):
    """The definition, element by element; padded keys are left out, not masked."""
    D = C // H
    out, logits = torch.zeros_like(x), torch.zeros_like(pair)
    for b in range(B):
        q, k, v = layer.in_proj(x[b]).split(C, dim=1)  # each [L, C]
        for h in range(H):
            head = slice(h * D, (h + 1) * D)
            for i in range(L):
                for j in range(L):
                    score = sum(a * c for a, c in zip(q[i, head], k[j, head], strict=True))
                    logits[b, h, i, j] = pair[b, h, i, j] + score / math.sqrt(D)
                keys = [j for j in range(L) if mask[b, j]]
                weight = [logits[b, h, i, j].exp() for j in keys]
                for p, j in zip(weight, keys, strict=True):
                    out[b, i, head] += p / sum(weight) * v[j, head]
    return layer.out_proj(out), logits


@pytest.mark.parametrize("gradients", [True, False])
def test_equals_the_definition(attention, x, pair, gradients):
    with torch.set_grad_enabled(gradients):
        assert_close(attention(x, pair, MASK), naive(attention, x, pair, MASK), atol=1e-12)


def test_padded_keys_have_no_influence(attention, x, pair):
    out, logits = attention(x, pair, MASK)
    x[1, 3], pair[1, :, :, 3] = 100.0, -50.0
    other, other_logits = attention(x, pair, MASK)
    assert_close(other[MASK], out[MASK], atol=1e-12)
    assert_close(other_logits[1, :, :3, :3], logits[1, :, :3, :3], atol=1e-12)


def test_pair_stays_finite(attention, x, pair):
    out, logits = attention(x, pair, MASK)
    assert out.isfinite().all()
    assert logits.isfinite().all()


def test_gradients(attention, x, pair):
    x.requires_grad_()
    pair.requires_grad_()
    assert torch.autograd.gradcheck(lambda x, pair: attention(x, pair, MASK), (x, pair))


def test_dropout_of_probabilities_only_in_training(attention, x, pair):
    out, logits = attention(x, pair, MASK)
    assert torch.equal(attention(x, pair, MASK)[0], out)
    dropped, same_logits = attention.train()(x, pair, MASK)
    assert not torch.allclose(dropped, out)
    assert torch.equal(same_logits, logits)


@torch.no_grad()
def test_the_pair_is_overwritten_only_on_request(attention, x, pair):
    before = pair.clone()
    out, logits = attention(x, pair, MASK)
    assert torch.equal(pair, before)
    for one, other in zip(attention(x, pair, MASK, overwrite=True), (out, logits), strict=True):
        assert torch.equal(one, other)


def test_heads_must_divide_the_width():
    with pytest.raises(ValueError, match="hidden_channels=10 is not divisible by heads=4"):
        PairBiasAttention(10, 4)


@pytest.mark.parametrize("train", [False, True])
def test_bf16_on_a_cpu_keeps_the_logits_in_fp32(attention, x, pair, train):
    attention, x, pair = attention.float(), x.float(), pair.float()
    attention.dropout = 0.0
    with torch.set_grad_enabled(train):
        exact, exact_logits = attention(x, pair, MASK)
        with torch.autocast("cpu", torch.bfloat16):
            out, logits = attention(x, pair, MASK)
    assert out.dtype == torch.bfloat16  # as any product under autocast
    assert logits.dtype == torch.float32
    assert not torch.equal(logits, exact_logits)  # queries and keys were rounded
    torch.testing.assert_close(logits, exact_logits, atol=0.02, rtol=0)
    torch.testing.assert_close(out.float(), exact, atol=0.02, rtol=0)
    with torch.autocast("cpu", torch.bfloat16):  # the answer is the same with a pair in bf16
        _, rounded = attention(x, pair.bfloat16(), MASK)
    assert rounded.dtype == torch.float32


def test_a_model_in_bf16_stays_in_bf16(attention, x, pair):
    out, logits = attention.bfloat16()(x.bfloat16(), pair.bfloat16(), MASK)
    assert out.dtype == logits.dtype == torch.bfloat16
