"""The Triton kernels against the plain path: on a GPU where there is one, else interpreted."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

pytest.importorskip("triton", reason="Triton is not installed")

import triton
import triton.language as tl

from molae_pyg.nn import attention
from molae_pyg.nn.attention import PairBiasAttention, plain_attention
from molae_pyg.nn.fused_attention import _kept, _keys, pair_attention
from molae_pyg.nn.transformer import PairTransformer

DEVICE = "cuda" if torch.cuda.is_available() else "cpu"
TOLERANCE = {torch.float32: 2e-5, torch.bfloat16: 3e-2}


def inputs(B: int, L: int, H: int, D: int, dtype=torch.float32) -> tuple[torch.Tensor, ...]:
    torch.manual_seed(0)
    qkv = torch.randn(B, L, 3 * H * D).to(DEVICE, dtype).requires_grad_()
    pair = torch.randn(B, H, L, L).to(DEVICE, dtype).requires_grad_()
    num_tokens = torch.tensor([L, *(2 + torch.randint(0, L - 1, (B - 1,))).tolist()])
    return qkv, pair, torch.arange(L).to(DEVICE) < num_tokens[:, None].to(DEVICE)


def distance(a: torch.Tensor, b: torch.Tensor) -> float:
    """Largest difference, relative to the largest value."""
    return float(((a - b).abs().max() / b.abs().max().clamp(min=1e-3)).detach())


# Sizes below, at and above those of a tile, and with several tiles of keys.
@pytest.mark.parametrize("L", [2, 15, 16, 17, 64, 129, pytest.param(256, marks=pytest.mark.slow)])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
def test_equals_the_plain_path(L, dtype):
    B, H, D = (2, 3, 8) if L < 100 else (2, 1, 8)
    qkv, pair, mask = inputs(B, L, H, D, dtype)
    out, logits, lse = pair_attention(qkv, pair, mask, None, H, 0.0)
    # The plain path in fp32 on the same numbers: what bf16 may differ from by rounding alone.
    wide = qkv.float(), pair.float()
    plain_out, plain_logits = plain_attention(*wide, mask, H, 0.0)
    expected_lse = plain_logits.masked_fill(~mask[:, None, None], -torch.inf).logsumexp(-1)
    assert distance(out, plain_out) < TOLERANCE[dtype]
    assert distance(logits, plain_logits) < TOLERANCE[dtype]
    assert distance(lse, expected_lse) < TOLERANCE[dtype]
    grads = torch.randn_like(out), torch.randn_like(logits)
    found = torch.autograd.grad([out, logits], [qkv, pair], grads)
    wide_grads = [grad.float() for grad in grads]
    expected = torch.autograd.grad([plain_out, plain_logits], [qkv, pair], wide_grads)
    for one, other in zip(found, expected, strict=True):
        assert one.dtype == dtype
        assert distance(one, other) < TOLERANCE[dtype]


@pytest.mark.parametrize("D", [4, 16, 24, 64])
def test_head_sizes(D):
    qkv, pair, mask = inputs(2, 19, 2, D)
    for one, other in zip(
        pair_attention(qkv, pair, mask, None, 2, 0.0),
        plain_attention(qkv, pair, mask, 2, 0.0),
        strict=False,
    ):
        assert distance(one, other) < 2e-5


@pytest.mark.parametrize("used", ["out", "logits"])
def test_gradients_where_one_result_is_unused(used):
    """The last layer's logits, or its output, may lead nowhere."""
    qkv, pair, mask = inputs(2, 9, 2, 8)
    number = ("out", "logits").index(used)
    fused = pair_attention(qkv, pair, mask, None, 2, 0.0)[number].square().sum()
    plain = plain_attention(qkv, pair, mask, 2, 0.0)[number].square().sum()
    found = torch.autograd.grad(fused, [qkv, pair])
    expected = torch.autograd.grad(plain, [qkv, pair])
    for one, other in zip(found, expected, strict=True):
        assert distance(one, other) < 2e-5


def test_no_incoming_pairs_are_zeros():
    qkv, pair, mask = inputs(2, 9, 2, 8)
    found = pair_attention(qkv, None, mask, None, 2, 0.0)
    expected = pair_attention(qkv, torch.zeros_like(pair), mask, None, 2, 0.0)
    for one, other in zip(found, expected, strict=True):
        assert torch.equal(one, other)
    (grad,) = torch.autograd.grad(found[0].sum() + found[1].sum(), qkv)
    (other,) = torch.autograd.grad(expected[0].sum() + expected[1].sum(), qkv)
    assert torch.equal(grad, other)


def test_strided_pairs():
    """The Gaussian features come with the heads last."""
    qkv, pair, mask = inputs(2, 9, 3, 8)
    heads_last = pair.permute(0, 2, 3, 1).contiguous().permute(0, 3, 1, 2)
    for one, other in zip(
        pair_attention(qkv, heads_last, mask, None, 3, 0.0),
        pair_attention(qkv, pair, mask, None, 3, 0.0),
        strict=True,
    ):
        assert torch.equal(one, other)


def test_dropout_is_fair_and_differentiable():
    """Values of ones show the kept probabilities; the gradient is that of the same mask."""
    B, L, H, D, rate = 2, 40, 2, 8, 0.25
    qkv, pair, mask = inputs(B, L, H, D)
    seed = torch.tensor([1234], device=DEVICE)
    with torch.no_grad():
        # With values e_d for key j = d + shift, the output holds single probabilities.
        kept = []
        for shift in range(0, L, D):
            one_hot = qkv.clone().view(B, L, 3, H, D)
            one_hot[:, :, 2] = 0
            for d in range(D):
                one_hot[:, shift + d, 2, :, d] = 1
            out, _, _ = pair_attention(one_hot.view(B, L, -1), pair, mask, seed, H, rate)
            kept.append(out.view(B, L, H, D))
        kept = torch.cat(kept, -1).transpose(1, 2)  # [B, H, L, L], dropped probabilities
    logits = plain_attention(qkv, pair, mask, H, 0.0)[1]
    attn = logits.masked_fill(~mask[:, None, None], -torch.inf).softmax(-1)
    real = attn > 0
    share = float((kept[real] > 0).float().mean())
    assert share == pytest.approx(1 - rate, abs=0.02)
    pattern = (kept > 0) / (1 - rate)
    assert distance(attn * pattern, kept) < 2e-5
    v = qkv.view(B, L, 3, H, D)[:, :, 2].transpose(1, 2)
    expected = (attn * pattern) @ v
    out, _, _ = pair_attention(qkv, pair, mask, seed, H, rate)
    assert distance(out.view(B, L, H, D).transpose(1, 2), expected) < 2e-5
    grad = torch.randn_like(out)
    found = torch.autograd.grad(out, [qkv, pair], grad)
    grad = grad.view(B, L, H, D).transpose(1, 2)
    for one, other in zip(found, torch.autograd.grad(expected, [qkv, pair], grad), strict=True):
        assert distance(one, other) < 2e-5
    other_seed = pair_attention(qkv, pair, mask, seed + 1, H, rate)[0]
    assert not torch.equal(other_seed, out)


@triton.jit
def kept_kernel(seed, out, L, BLOCK: tl.constexpr):
    """A head a program: which of its pairs are kept at a rate of 1/4."""
    bh = tl.program_id(0).to(tl.int64)
    first, second = _keys(seed, bh)
    place = tl.arange(0, BLOCK)
    kept = _kept(first, second, place, place, L, 0.25)
    at = out + bh * L * L + place[:, None] * L + place[None, :]
    tl.store(at, kept.to(tl.uint8), mask=(place[:, None] < L) & (place[None, :] < L))


def test_dropout_is_random_in_every_direction():
    """Pairs nearby, the same pair of the next head, and of another seed, are independent."""
    heads, L = 64, 30
    numbers = []
    for seed in (7, 8):
        out = torch.zeros(heads, L, L, dtype=torch.uint8, device=DEVICE)
        kept_kernel[(heads,)](torch.tensor([seed], device=DEVICE), out, L, BLOCK=32)
        numbers.append(out.double().cpu() - 0.75)
    one, other = numbers
    error = 0.1875 / one.numel() ** 0.5  # of a mean of products of independent numbers
    assert one.mean().abs() < 5 * 0.1875**0.5 / one.numel() ** 0.5
    assert one.mean((1, 2)).abs().max() < 6 * 0.1875**0.5 / L
    assert (one * other).mean().abs() < 5 * error
    for dim in range(3):
        for step in (1, 2, 3, 16):
            nearby = one * one.roll(step, dim)
            assert nearby.mean().abs() < 5 * error, (dim, step)
    turned = one * one.transpose(1, 2) * (1 - torch.eye(L))
    assert turned.mean().abs() < 8 * error  # each product comes twice


def test_kernels_compile_for_gpus(tmp_path):
    """For two generations, whether or not one is there; a few bytes at most leave the registers."""
    command = [sys.executable, str(Path(__file__).with_name("compile_kernels.py"))]
    environment = {**os.environ, "TRITON_INTERPRET": "0", "TRITON_CACHE_DIR": str(tmp_path)}
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-3000:]
    kernels = [json.loads(line) for line in done.stdout.splitlines()]
    assert len(kernels) == 8
    for kernel in kernels:
        assert kernel["spilled"] <= 32, kernel
        assert kernel["shared"] <= 48 * 1024, kernel  # bytes that every GPU grants a program


def test_the_layer_runs_it(monkeypatch):
    """What the layer does on a GPU, in value and gradient."""
    torch.manual_seed(0)
    layer = PairBiasAttention(24, 3, dropout=0.0).to(DEVICE)
    _, pair, mask = inputs(2, 11, 3, 8)
    x = torch.randn(2, 11, 24, device=DEVICE, requires_grad=True)
    results = []
    for fused in (True, False):
        monkeypatch.setattr(attention, "_is_fused", lambda qkv, fused=fused: fused)
        out, logits = layer(x, pair, mask)
        loss = out.square().sum() + logits.square().sum()
        results.append([out, logits, *torch.autograd.grad(loss, [x, pair, *layer.parameters()])])
    for one, other in zip(*results, strict=True):
        assert distance(one, other) < 2e-5


@pytest.mark.parametrize("fused", [True, False])
def test_compiles_to_one_graph(monkeypatch, fused):
    monkeypatch.setattr(attention, "_is_fused", lambda qkv: fused)
    torch.manual_seed(0)
    model = PairTransformer(24, 48, 3, num_layers=2, dropout=0.0, attn_dropout=0.0).to(DEVICE)
    _, pair, mask = inputs(2, 11, 3, 8)
    x = torch.randn(2, 11, 24, device=DEVICE, requires_grad=True)
    results = []
    for run in (model, torch.compile(model, backend="aot_eager", fullgraph=True)):
        out = run(x, pair, mask)
        loss = out.x.square().sum() + out.pair.square().sum()
        results.append([out.x, out.pair, *torch.autograd.grad(loss, [x, pair])])
    for one, other in zip(*results, strict=True):
        assert distance(one, other) < 1e-6


def test_compiles_with_dropout(monkeypatch):
    monkeypatch.setattr(attention, "_is_fused", lambda qkv: True)
    model = PairTransformer(24, 48, 3, num_layers=1).to(DEVICE)
    _, pair, mask = inputs(2, 11, 3, 8)
    x = torch.randn(2, 11, 24, device=DEVICE)
    out = torch.compile(model, backend="aot_eager", fullgraph=True)(x, pair, mask)
    out.x.sum().backward()
    assert all(torch.isfinite(p.grad).all() for p in model.parameters())


def test_the_operator_passes_the_checks_of_torch():
    qkv, pair, mask = inputs(2, 9, 2, 8)
    torch.library.opcheck(
        torch.ops.molae_pyg.pair_attention.default, (qkv, pair, mask, None, 2, 0.0),
        test_utils=("test_schema", "test_faketensor", "test_autograd_registration"),
    )  # fmt: skip
