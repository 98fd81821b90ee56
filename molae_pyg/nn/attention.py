"""Self-attention whose logits start from a pair tensor and are passed on as one."""

import importlib.util

import torch
from torch import Tensor, nn

from molae_pyg.nn.arguments import ShowsArguments, size
from molae_pyg.nn.dropout import dropout

HAS_TRITON = importlib.util.find_spec("triton") is not None


def plain_attention(
    qkv: Tensor, pair: Tensor | None, mask: Tensor, heads: int, p: float, overwrite: bool = False
) -> tuple[Tensor, Tensor]:
    """The attention of :class:`PairBiasAttention` between its two projections, in PyTorch.

    Shapes:
        qkv ``[B, L, 3 C]`` (queries, keys, values), pair ``[B, H, L, L]`` (None: zeros), mask
        ``[B, L]`` -> ``[B, L, C]`` and the new pair tensor ``[B, H, L, L]``.
    """
    if qkv.dtype == torch.bfloat16 and torch.is_autocast_enabled("cpu"):
        with torch.autocast("cpu", enabled=False):  # rows are short: fp32 is faster
            pair = None if pair is None else pair.float()
            out, pair = plain_attention(qkv.float(), pair, mask, heads, p, overwrite)
        return out.to(qkv.dtype), pair
    B, L, H, D = *qkv.shape[:2], heads, qkv.size(2) // (3 * heads)
    q, k, v = qkv.view(B, L, 3, H, D).permute(2, 0, 3, 1, 4).reshape(3, B * H, L, D)
    if pair is None:
        logits = torch.bmm(q * D**-0.5, k.transpose(1, 2))  # [B H, L, L]
    else:
        pair = pair.reshape(B * H, L, L)
        add_product = pair.baddbmm_ if overwrite else pair.baddbmm
        logits = add_product(q, k.transpose(1, 2), alpha=D**-0.5)
    attn = logits = logits.view(B, H, L, L)
    # A GPU would have to wait for the answer, a compiler to break its graph.
    if qkv.is_cuda or torch.compiler.is_compiling() or not mask.all():
        attn = logits + torch.where(mask, 0.0, -torch.inf).to(logits.dtype)[:, None, None, :]
    attn = dropout(attn.softmax(dim=-1), p).view(B * H, L, L)
    if torch.is_grad_enabled():
        out = torch.bmm(attn, v).view(B, H, L, D).transpose(1, 2)
    else:  # the same from the other side, [D, L] a head: faster on a CPU, its gradients are not
        out = torch.bmm(v.transpose(1, 2), attn.transpose(1, 2)).view(B, H * D, L).transpose(1, 2)
    return out.reshape(B, L, H * D).contiguous(), logits


def _is_fused(qkv: Tensor) -> bool:
    """Whether the Triton kernels compute it; there are none for float64."""
    return qkv.is_cuda and qkv.dtype != torch.float64 and HAS_TRITON


class PairBiasAttention(ShowsArguments, nn.Module):
    r"""Multi-head self-attention with a running pair tensor (Uni-Mol, Mol-AE).

    .. math::
        a^l_{ij} &= a^{l-1}_{ij} + \frac{q_i \cdot k_j}{\sqrt{d}} \\
        o_i &= \sum_j \mathrm{dropout}(\mathrm{softmax}_j(a^l_{ij})) \, v_j

    The logits :math:`a^l` are the pair representation. They stay finite: padded keys are hidden
    in the softmax only.

    On CUDA, Triton kernels compute it without storing probabilities; first derivatives only.

    Args:
        channels: Width C, divisible by ``heads``.
        heads: Number of heads H.
        dropout: Dropout of the attention probabilities, default: 0.1.

    Shapes:
        x ``[B, L, C]``, pair ``[B, H, L, L]`` (None: zeros), mask ``[B, L]`` (True = real) ->
        ``[B, L, C]`` and the new pair tensor ``[B, H, L, L]``. With ``overwrite`` the latter may
        take the memory of the old one, which saves a copy if no gradient is wanted.
    """

    def __init__(self, channels: int, heads: int, dropout: float = 0.1):
        super().__init__()
        size("hidden_channels", channels)
        if channels % size("heads", heads):
            raise ValueError(f"hidden_channels={channels} is not divisible by heads={heads}")
        self.channels = channels
        self.heads = heads
        self.dropout = dropout
        self.in_proj = nn.Linear(channels, 3 * channels)
        self.out_proj = nn.Linear(channels, channels)

    def forward(
        self, x: Tensor, pair: Tensor | None, mask: Tensor, overwrite: bool = False
    ) -> tuple[Tensor, Tensor]:
        qkv = self.in_proj(x)  # [B, L, 3 C]
        p = self.dropout if self.training else 0.0
        if _is_fused(qkv):
            from molae_pyg.nn.fused_attention import pair_attention  # loads Triton

            seed = torch.randint(2**31, (1,), device=qkv.device) if p > 0 else None
            out, pair, _ = pair_attention(qkv, pair, mask, seed, self.heads, p)
        else:
            out, pair = plain_attention(qkv, pair, mask, self.heads, p, overwrite)
        return self.out_proj(out), pair
