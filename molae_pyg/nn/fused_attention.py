"""Attention with a running pair tensor for CUDA: one Triton kernel forward, one backward.

The result is that of the plain path of :class:`~molae_pyg.nn.PairBiasAttention`. The forward kernel
reads the incoming pair tensor once and writes the new one once; probabilities are not written to
memory. The backward kernel reads the new pair tensor and its gradient once each and writes the
gradient of the incoming one once; it computes probabilities again from the logits and the saved
log-sum-exp.
"""

import torch
import triton
import triton.language as tl
from torch import Tensor

BLOCK_QUERIES = 16  # rows of a tile
MAX_BLOCK_KEYS = 64  # columns of a tile; longer molecules take several
NUM_WARPS = 4  # per program: with these tiles, the registers suffice
MIN_DOT = 16  # smallest side of a tile in tl.dot


@triton.jit
def _tile(pointer, rows, cols, row_stride, num_rows, num_cols):
    """Returns addresses and validity of the tile ``[rows, cols]`` of a matrix."""
    inside = (rows[:, None] < num_rows) & (cols[None, :] < num_cols)
    return pointer + rows[:, None] * row_stride + cols[None, :], inside


@triton.jit
def _place(num_tiles):
    """Returns head and tile of a program. The grid has one axis: the others end at 65,535."""
    program = tl.program_id(0)
    return (program // num_tiles).to(tl.int64), program % num_tiles


@triton.jit
def _keys(seed, bh):
    """Draws two random numbers of 32 bits for each head, by Philox."""
    first, second, _, _ = tl.randint4x(tl.load(seed), bh.to(tl.int32))
    return first.to(tl.uint32, bitcast=True), second.to(tl.uint32, bitcast=True)


@triton.jit
def _kept(first, second, rows, cols, L, dropout):
    """Returns True where dropout keeps a probability, equally in both kernels and for all tiles.

    Two rounds of multiplying and folding mix the position of a pair with the keys of its head.
    Philox for every pair would be several times the work of the attention itself.
    """
    x = (rows[:, None] * L + cols[None, :]).to(tl.uint32) ^ first
    x = (x ^ (x >> 16)) * 0x7FEB352D
    x = (x ^ (x >> 15) ^ second) * 0x846CA68B
    x = x ^ (x >> 16)
    return (x >> 8).to(tl.float32) * 2.0**-24 >= dropout  # 24 bits, uniform in [0, 1)


@triton.jit
def _forward_kernel(
    qkv, pair, mask, seed, out, logits, lse,
    L, H, num_tiles, scale, dropout,
    D: tl.constexpr, BLOCK_D: tl.constexpr, BLOCK_I: tl.constexpr, BLOCK_J: tl.constexpr,
    PRECISION: tl.constexpr, HAS_PAIR: tl.constexpr, DROPOUT: tl.constexpr,
):  # fmt: skip
    """Computes, per program, BLOCK_I queries of one head of one molecule over all keys."""
    bh, tile = _place(num_tiles)
    b, h = bh // H, bh % H
    C = H * D
    square = bh * L * L  # where the pairs of this head start
    i = tile * BLOCK_I + tl.arange(0, BLOCK_I)
    d = tl.arange(0, BLOCK_D)
    head = qkv + b * L * 3 * C + h * D  # qkv [B, L, 3, H, D]
    at_q, inside_q = _tile(head, i, d, 3 * C, L, D)
    q = tl.load(at_q, mask=inside_q, other=0.0).to(tl.float32)  # [I, D]
    if DROPOUT:
        first, second = _keys(seed, bh)

    top = tl.full([BLOCK_I], float("-inf"), tl.float32)  # running maximum
    total = tl.zeros([BLOCK_I], tl.float32)  # running sum of exponentials
    acc = tl.zeros([BLOCK_I, BLOCK_D], tl.float32)
    for start in range(0, L, BLOCK_J):
        j = start + tl.arange(0, BLOCK_J)
        at, inside = _tile(head + C, j, d, 3 * C, L, D)
        k = tl.load(at, mask=inside, other=0.0).to(tl.float32)  # [J, D]
        a = tl.dot(q, tl.trans(k), input_precision=PRECISION) * scale  # [I, J]
        at, inside = _tile(0, i, j, L, L, L)
        if HAS_PAIR:
            a += tl.load(pair + square + at, mask=inside, other=0.0).to(tl.float32)
        rounded = a.to(logits.dtype.element_ty)  # what the backward pass will see
        tl.store(logits + square + at, rounded, mask=inside)
        real = tl.load(mask + b * L + j, mask=j < L, other=0) != 0
        a = tl.where(real[None, :], rounded.to(tl.float32), float("-inf"))

        new_top = tl.maximum(top, tl.max(a, 1))
        shift = tl.where(new_top == float("-inf"), 0.0, new_top)  # no real key so far
        p = tl.exp(a - shift[:, None])
        decay = tl.exp(top - shift)
        total = total * decay + tl.sum(p, 1)
        top = new_top
        if DROPOUT:
            p = tl.where(_kept(first, second, i, j, L, dropout), p / (1 - dropout), 0.0)
        at, inside = _tile(head + 2 * C, j, d, 3 * C, L, D)
        v = tl.load(at, mask=inside, other=0.0).to(tl.float32)  # [J, D]
        acc = acc * decay[:, None] + tl.dot(p, v, input_precision=PRECISION)

    tl.store(lse + bh * L + i, top + tl.log(total), mask=i < L)
    at, inside = _tile(out + b * L * C + h * D, i, d, C, L, D)
    tl.store(at, (acc / total[:, None]).to(out.dtype.element_ty), mask=inside)


@triton.jit
def _backward_kernel(
    qkv, logits, mask, seed, lse, delta, grad_out, grad_logits, grad_qkv, grad_pair, grad_q,
    L, H, num_tiles, scale, dropout, grad_q_block, grad_q_row,
    D: tl.constexpr, BLOCK_D: tl.constexpr, BLOCK_I: tl.constexpr, BLOCK_J: tl.constexpr,
    PRECISION: tl.constexpr, HAS_GRAD_LOGITS: tl.constexpr, DROPOUT: tl.constexpr,
):  # fmt: skip
    """Computes, per program, BLOCK_J keys of one head of one molecule over all queries.

    .. math::
        dP_{ij} = do_i \\cdot v_j, \\qquad
        da_{ij} = p_{ij} (dP_{ij} - do_i \\cdot o_i) + da^{next}_{ij}
    """
    bh, tile = _place(num_tiles)
    b, h = bh // H, bh % H
    C = H * D
    square = bh * L * L  # where the pairs of this head start
    j = tile * BLOCK_J + tl.arange(0, BLOCK_J)
    d = tl.arange(0, BLOCK_D)
    head = b * L * 3 * C + h * D
    at_k, inside_k = _tile(qkv + head + C, j, d, 3 * C, L, D)
    k = tl.load(at_k, mask=inside_k, other=0.0).to(tl.float32)  # [J, D]
    v = tl.load(at_k + C, mask=inside_k, other=0.0).to(tl.float32)
    real = tl.load(mask + b * L + j, mask=j < L, other=0) != 0
    if DROPOUT:
        first, second = _keys(seed, bh)

    grad_k = tl.zeros([BLOCK_J, BLOCK_D], tl.float32)
    grad_v = tl.zeros([BLOCK_J, BLOCK_D], tl.float32)
    for start in range(0, L, BLOCK_I):
        i = start + tl.arange(0, BLOCK_I)
        at, inside = _tile(qkv + head, i, d, 3 * C, L, D)
        q = tl.load(at, mask=inside, other=0.0).to(tl.float32)  # [I, D]
        at, inside = _tile(grad_out + b * L * C + h * D, i, d, C, L, D)
        do = tl.load(at, mask=inside, other=0.0).to(tl.float32)  # [I, D]
        row_lse = tl.load(lse + bh * L + i, mask=i < L, other=0.0)
        row_delta = tl.load(delta + bh * L + i, mask=i < L, other=0.0)

        at, inside = _tile(0, i, j, L, L, L)
        a = tl.load(logits + square + at, mask=inside, other=0.0).to(tl.float32)
        p = tl.where(inside & real[None, :], tl.exp(a - row_lse[:, None]), 0.0)  # [I, J]
        grad_p = tl.dot(do, tl.trans(v), input_precision=PRECISION)
        dropped = p
        if DROPOUT:
            kept = _kept(first, second, i, j, L, dropout)
            dropped = tl.where(kept, p / (1 - dropout), 0.0)
            grad_p = tl.where(kept, grad_p / (1 - dropout), 0.0)
        grad_v += tl.dot(tl.trans(dropped), do, input_precision=PRECISION)
        grad_a = p * (grad_p - row_delta[:, None])
        if HAS_GRAD_LOGITS:
            grad_a += tl.load(grad_logits + square + at, mask=inside, other=0.0).to(tl.float32)
        tl.store(grad_pair + square + at, grad_a.to(grad_pair.dtype.element_ty), mask=inside)
        grad_k += tl.dot(tl.trans(grad_a), q, input_precision=PRECISION) * scale
        part = grad_q + tile.to(tl.int64) * grad_q_block + b * L * grad_q_row + h * D
        at, inside = _tile(part, i, d, grad_q_row, L, D)
        grad_i = tl.dot(grad_a, k, input_precision=PRECISION) * scale  # [I, D]
        tl.store(at, grad_i.to(grad_q.dtype.element_ty), mask=inside)

    at_k, _ = _tile(grad_qkv + head + C, j, d, 3 * C, L, D)
    tl.store(at_k, grad_k.to(grad_qkv.dtype.element_ty), mask=inside_k)
    tl.store(at_k + C, grad_v.to(grad_qkv.dtype.element_ty), mask=inside_k)


def _sizes(qkv: Tensor, heads: int) -> tuple[int, int, int, dict]:
    """Returns B, L, D and the constants that the kernels are compiled for."""
    B, L, channels = qkv.shape
    D = channels // 3 // heads
    tiles = {
        "D": D,
        "BLOCK_D": max(MIN_DOT, triton.next_power_of_2(D)),
        "BLOCK_I": BLOCK_QUERIES,
        "BLOCK_J": min(MAX_BLOCK_KEYS, max(MIN_DOT, triton.next_power_of_2(L))),
        # tf32 represents every bf16 and fp16 number exactly, and uses the tensor cores.
        "PRECISION": "ieee" if qkv.dtype == torch.float32 else "tf32",
    }
    return B, L, D, tiles


@torch.library.custom_op("molae_pyg::pair_attention", mutates_args=())
def pair_attention(
    qkv: Tensor, pair: Tensor | None, mask: Tensor, seed: Tensor | None, heads: int, dropout: float
) -> tuple[Tensor, Tensor, Tensor]:
    r"""Attention with pair logits on CUDA (or in Triton's interpreter).

    Args:
        qkv: Projected queries, keys and values ``[B, L, 3 C]``, in this order.
        pair: Incoming logits ``[B, H, L, L]``; None: zeros.
        mask: True where there is a token ``[B, L]``.
        seed: One int64 below 2^32 on the same device, for dropout; may be None without dropout.
        heads: H.
        dropout: Dropout of the probabilities.

    Returns:
        ``[B, L, C]``; the new logits ``[B, H, L, L]``, in the wider of the two types; and the
        log-sum-exp of each row ``[B, H, L]``, fp32.
    """
    qkv = qkv.contiguous()
    B, L, D, tiles = _sizes(qkv, heads)
    if pair is not None:
        pair = pair.contiguous()
    out, logits, lse = _empty_outputs(qkv, pair, heads)
    num_tiles = triton.cdiv(L, tiles["BLOCK_I"])
    with torch.cuda.device_of(qkv):
        _forward_kernel[(B * heads * num_tiles,)](
            qkv, pair, mask.contiguous().view(torch.uint8), seed, out, logits, lse,
            L, heads, num_tiles, D**-0.5, dropout,
            **tiles, HAS_PAIR=pair is not None, DROPOUT=dropout > 0, num_warps=NUM_WARPS,
        )  # fmt: skip
    return out, logits, lse


def _empty_outputs(qkv: Tensor, pair: Tensor | None, heads: int) -> tuple[Tensor, Tensor, Tensor]:
    B, L, channels = qkv.shape
    dtype = qkv.dtype if pair is None else torch.promote_types(qkv.dtype, pair.dtype)
    return (
        qkv.new_empty(B, L, channels // 3),
        qkv.new_empty(B, heads, L, L, dtype=dtype),
        qkv.new_empty(B, heads, L, dtype=torch.float32),
    )


@pair_attention.register_fake
def _(qkv, pair, mask, seed, heads, dropout):
    return _empty_outputs(qkv, pair, heads)


@torch.library.custom_op("molae_pyg::pair_attention_backward", mutates_args=())
def pair_attention_backward(
    qkv: Tensor,
    logits: Tensor,
    mask: Tensor,
    seed: Tensor | None,
    lse: Tensor,
    out: Tensor,
    grad_out: Tensor,
    grad_logits: Tensor | None,
    heads: int,
    dropout: float,
) -> tuple[Tensor, Tensor]:
    """Gradients of ``qkv [B, L, 3 C]`` and of the incoming logits ``[B, H, L, L]``."""
    qkv = qkv.contiguous()
    B, L, D, tiles = _sizes(qkv, heads)
    C = heads * D
    grad_out = grad_out.to(qkv.dtype).contiguous()
    if grad_logits is not None:
        grad_logits = grad_logits.contiguous()
    delta = (grad_out.float() * out.float()).view(B, L, heads, D).sum(-1)  # [B, L, H]
    delta = delta.transpose(1, 2).contiguous()  # [B, H, L]
    grad_qkv, grad_pair = torch.empty_like(qkv), torch.empty_like(logits)
    num_parts = triton.cdiv(L, tiles["BLOCK_J"])
    if num_parts == 1:
        grad_q, row = grad_qkv, 3 * C
    else:  # each block of keys writes its share; they are added below in a fixed order
        grad_q, row = qkv.new_empty(num_parts, B, L, C, dtype=torch.float32), C
    with torch.cuda.device_of(qkv):
        _backward_kernel[(B * heads * num_parts,)](
            qkv, logits, mask.contiguous().view(torch.uint8), seed, lse, delta,
            grad_out, grad_logits, grad_qkv, grad_pair, grad_q,
            L, heads, num_parts, D**-0.5, dropout, B * L * C, row, **tiles,
            HAS_GRAD_LOGITS=grad_logits is not None, DROPOUT=dropout > 0, num_warps=NUM_WARPS,
        )  # fmt: skip
    if num_parts > 1:
        grad_qkv[..., :C] = grad_q.sum(0)
    return grad_qkv, grad_pair


@pair_attention_backward.register_fake
def _(qkv, logits, mask, seed, lse, out, grad_out, grad_logits, heads, dropout):
    return torch.empty_like(qkv, memory_format=torch.contiguous_format), torch.empty_like(logits)


def _save(ctx, inputs, output):
    qkv, pair, mask, seed, ctx.heads, ctx.dropout = inputs
    out, logits, lse = output
    ctx.pair_dtype = None if pair is None else pair.dtype
    ctx.save_for_backward(qkv, logits, mask, seed, lse, out)
    ctx.set_materialize_grads(False)


def _backward(ctx, grad_out, grad_logits, _):
    qkv, logits, mask, seed, lse, out = ctx.saved_tensors
    if grad_out is None:
        grad_out = torch.zeros_like(out)
    grad_qkv, grad_pair = pair_attention_backward(
        qkv, logits, mask, seed, lse, out, grad_out, grad_logits, ctx.heads, ctx.dropout
    )
    grad_pair = None if ctx.pair_dtype is None else grad_pair.to(ctx.pair_dtype)
    return grad_qkv, grad_pair, None, None, None, None


pair_attention.register_autograd(_backward, setup_context=_save)
