"""Gaussian features of pair distances, and the attention bias that a network makes of them."""

import math
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from molae_pyg.chem.elements import NUM_TOKENS
from molae_pyg.nn.arguments import ShowsArguments, size

GaussianInit = Literal["reference", "intended"]

#: Smallest exponent (exp(-80) is 2e-35): on a CPU, exp takes 50 times as long if it underflows.
LEAST_EXPONENT = -80.0


def gaussians(t: Tensor, mean: Tensor, std: Tensor) -> Tensor:
    r"""Normal densities :math:`\exp(-(t - \mu)^2 / 2 \sigma^2) / \sqrt{2 \pi} \, \sigma`.

    Shapes:
        t ``[..., 1]``, mean and std ``[1, K]`` -> ``[..., K]``.
    """
    # g = exp(-u^2 - log(sqrt(2 pi) std)), u = (t - mean) / (sqrt(2) std): the fewest passes
    width = 1 / (math.sqrt(2) * std)
    u = torch.addcmul(-mean * width, t, width)  # [..., K]
    exponent = torch.addcmul(-torch.log(math.sqrt(2 * math.pi) * std), u, u, value=-1)
    return exponent.clamp(min=LEAST_EXPONENT).exp_()


class PairGaussian(ShowsArguments, nn.Module):
    r"""Gaussian features of a distance, after an affine map that depends on the pair's elements.

    .. math::
        t_{ij} &= a_{type(ij)} \, d_{ij} + b_{type(ij)} \\
        g_{ijk} &= \frac{1}{\sqrt{2 \pi} \, \sigma_k}
            \exp \left( -\frac{(t_{ij} - \mu_k)^2}{2 \sigma_k^2} \right),
            \qquad \sigma_k = |s_k| + 10^{-5}

    Args:
        num_gaussians: Number of Gaussians K, default: 128.
        init: ``"reference"`` (default) draws every parameter from N(0, 0.02), with which the
            reference overwrites its own initialisation. ``"intended"`` is that initialisation:
            means and widths uniform in 0...3 Å, scale 1, offset 0.

    Shapes:
        distance ``[..., L, L]`` in Å, pair_type ``[..., L, L]`` in 0...960 -> ``[..., L, L, K]``.
    """

    def __init__(self, num_gaussians: int = 128, init: GaussianInit = "reference"):
        super().__init__()
        if init not in ("reference", "intended"):
            raise ValueError(f"gaussian_init must be 'reference' or 'intended', not {init!r}")
        self.num_gaussians = num_gaussians = size("num_gaussians", num_gaussians)
        self.init = init
        self.mean = nn.Parameter(torch.empty(1, num_gaussians))
        self.std = nn.Parameter(torch.empty(1, num_gaussians))
        self.scale = nn.Embedding(NUM_TOKENS**2, 1)
        self.offset = nn.Embedding(NUM_TOKENS**2, 1)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        if self.init == "reference":
            for parameter in self.parameters():
                nn.init.normal_(parameter, std=0.02)
        else:
            nn.init.uniform_(self.mean, 0, 3)
            nn.init.uniform_(self.std, 0, 3)
            nn.init.ones_(self.scale.weight)
            nn.init.zeros_(self.offset.weight)

    def forward(self, distance: Tensor, pair_type: Tensor) -> Tensor:
        t = self.scale(pair_type) * distance.unsqueeze(-1) + self.offset(pair_type)  # [..., 1]
        std = self.std.abs() + 1e-5  # [1, K]
        return gaussians(t, self.mean, std)


class PairBias(ShowsArguments, nn.Module):
    r"""The attention bias of all heads from tokens and coordinates.

    .. math::
        a^0_{ij} = W_2 \, \mathrm{GELU}(W_1 \, g_{ij}) \in \mathbb{R}^H

    Args:
        heads: Number of attention heads H.
        num_gaussians: Number of Gaussians K, default: 128.
        init: Initialisation of the Gaussian layer, see :class:`PairGaussian`.

    Shapes:
        token ids ``[B, L]``, pos ``[B, L, 3]`` in Å -> ``[B, H, L, L]``.
    """

    def __init__(self, heads: int, num_gaussians: int = 128, init: GaussianInit = "reference"):
        super().__init__()
        self.heads, self.num_gaussians, self.init = heads, num_gaussians, init
        self.gaussian = PairGaussian(num_gaussians, init)
        self.linear1 = nn.Linear(num_gaussians, num_gaussians)
        self.linear2 = nn.Linear(num_gaussians, size("heads", heads))

    def forward(self, token: Tensor, pos: Tensor) -> Tensor:
        return self.project(*token_pairs(token, pos))

    def project(self, distance: Tensor, pair_type: Tensor) -> Tensor:
        """Distances in Å and pair types, both ``[B, L, L]`` -> bias ``[B, H, L, L]``."""
        g = self.gaussian(distance, pair_type)  # [B, L, L, K]
        bias = self.linear2(F.gelu(self.linear1(g)))  # [B, L, L, H]
        return bias.permute(0, 3, 1, 2)  # [B, H, L, L]


def token_pairs(token: Tensor, pos: Tensor) -> tuple[Tensor, Tensor]:
    """Distances and pair types of all ordered token pairs.

    Shapes:
        token ids ``[B, L]``, pos ``[B, L, 3]`` in Å -> distances in Å ``[B, L, L]`` and types
        ``token_i * 31 + token_j`` ``[B, L, L]``, which are not symmetric.
    """
    # vector_norm has gradient 0, not NaN, at distance 0.
    distance = torch.linalg.vector_norm(pos[:, :, None] - pos[:, None, :], dim=-1)
    return distance, token[:, :, None] * NUM_TOKENS + token[:, None, :]
