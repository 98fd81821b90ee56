"""Contrastive losses: which of several vectors belongs to a vector."""

import torch
import torch.nn.functional as F
from torch import Tensor


def nt_xent(a: Tensor, b: Tensor, temperature: float = 0.1) -> Tensor:
    r"""The loss of MolCLR and SimCLR: each view finds the other one among all of the batch.

    .. math::
        -\frac{1}{2 B} \sum_i \log \frac{e^{s(i, i') / T}}{\sum_{k \ne i} e^{s(i, k) / T}}

    with the cosine s, and i' the other view of i.

    Args:
        a: One view of each molecule ``[B, C]``.
        b: The other view ``[B, C]``.
        temperature: T, default: 0.1.
    """
    z = F.normalize(torch.cat([a, b]), dim=1)  # [2 B, C]
    scores = (z @ z.T / temperature).fill_diagonal_(-torch.inf)  # [2 B, 2 B]
    other = torch.arange(len(z), device=z.device).roll(len(a))
    return F.cross_entropy(scores, other)


def info_nce(a: Tensor, b: Tensor, temperature: float) -> Tensor:
    """Each row of ``a [B, C]`` finds its row of ``b [B, C]`` by the dot product, one direction."""
    return F.cross_entropy(a @ b.T / temperature, torch.arange(len(a), device=a.device))


def noise_contrast(
    a: Tensor, b: Tensor, temperature: float = 1.0, num_negatives: int = 1
) -> tuple[Tensor, Tensor]:
    r"""Tells the pairs of rows from pairs with the rows of the next molecules of the batch.

    Args:
        a: Vectors ``[B, C]``.
        b: Their partners ``[B, C]``.
        temperature: The scores, dot products, are divided by it; default: 1.
        num_negatives: Number of other partners k, fewer than B, default: 1.

    Returns:
        The scores of the pairs ``[B]``, and of the other pairs ``[k B]``.
    """
    others = torch.cat([b.roll(-shift, 0) for shift in range(1, num_negatives + 1)])
    many = a.repeat(num_negatives, 1)
    return (a * b).sum(1) / temperature, (many * others).sum(1) / temperature


def noise_contrast_loss(positive: Tensor, negative: Tensor) -> tuple[Tensor, Tensor]:
    """The two terms of the loss of scores: mean cross-entropies of the pairs and of the others."""
    return mean_or_zero(F.softplus(-positive)), mean_or_zero(F.softplus(negative))


def mean_or_zero(values: Tensor) -> Tensor:
    """The mean, 0 of no values: a batch may have no bond, or no atom that was chosen."""
    return values.sum() / max(values.numel(), 1)
