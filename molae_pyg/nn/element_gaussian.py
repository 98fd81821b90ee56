"""Attention bias and atom features of Transformer-M from distances."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from molae_pyg.nn.arguments import ShowsArguments, size
from molae_pyg.nn.gaussian import gaussians
from molae_pyg.nn.paths import VALUES


class ElementGaussian(ShowsArguments, nn.Module):
    r"""Gaussian features of a distance after an affine map, to which both elements add their part.

    .. math::
        t_{ij} &= (a_{z_i} + a'_{z_j}) \, d_{ij} + b_{z_i} + b'_{z_j} \\
        g_{ijk} &= \frac{1}{\sqrt{2 \pi} \, \sigma_k}
            \exp \left( -\frac{(t_{ij} - \mu_k)^2}{2 \sigma_k^2} \right),
            \qquad \sigma_k = |s_k| + 10^{-2}

    Args:
        num_gaussians: Number of Gaussians K.

    Shapes:
        atomic numbers z ``[B, n]``, distance in Å ``[B, n, n]`` -> ``[B, n, n, K]``.
    """

    def __init__(self, num_gaussians: int):
        super().__init__()
        self.num_gaussians = size("num_gaussians", num_gaussians)
        self.mean = nn.Parameter(torch.empty(1, num_gaussians))
        self.std = nn.Parameter(torch.empty(1, num_gaussians))
        self.scale = nn.Embedding(3 * VALUES, 1, padding_idx=0)
        self.offset = nn.Embedding(3 * VALUES, 1, padding_idx=0)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        for parameter in self.parameters():
            nn.init.normal_(parameter, std=0.02)
        for table in (self.scale, self.offset):
            nn.init.zeros_(table.weight[0])

    def forward(self, z: Tensor, distance: Tensor) -> Tensor:
        first, second = z[:, :, None] + 2, z[:, None, :] + 2 + VALUES  # rows of the tables
        scale = self.scale(first) + self.scale(second)  # [B, n, n, 1]
        t = scale * distance[..., None] + self.offset(first) + self.offset(second)
        std = self.std.abs() + 1e-2  # [1, K]
        return gaussians(t, self.mean, std)  # [B, n, n, K]


class DistanceBias(ShowsArguments, nn.Module):
    r"""What distances add to the attention of all layers, and to the features of atoms.

    .. math::
        b_{ij} = W_2 \, \mathrm{GELU}(W_1 \, g_{ij}) \in \mathbb{R}^H, \qquad
        h_i = 0.01 \, W_3 \sum_j g_{ij} \in \mathbb{R}^C

    Args:
        channels: Width C.
        heads: Number of attention heads H.
        num_gaussians: Number of Gaussians K.

    Shapes:
        atomic numbers z ``[B, n]``, pos ``[B, n, 3]`` in Å, mask ``[B, n]`` (True = an atom) ->
        ``[B, H, n, n]`` and ``[B, n, C]``.
    """

    NODE_SCALE = 0.01

    def __init__(self, channels: int, heads: int, num_gaussians: int):
        super().__init__()
        self.channels, self.heads, self.num_gaussians = channels, heads, num_gaussians
        self.gaussian = ElementGaussian(num_gaussians)
        self.linear1 = nn.Linear(num_gaussians, num_gaussians)
        self.linear2 = nn.Linear(num_gaussians, heads)
        self.node = nn.Linear(num_gaussians, channels)

    def forward(self, z: Tensor, pos: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        distance = torch.linalg.vector_norm(pos[:, :, None] - pos[:, None, :], dim=-1)
        g = self.gaussian(z, distance)  # [B, n, n, K]
        bias = self.linear2(F.gelu(self.linear1(g)))  # [B, n, n, H]
        total = (g * mask[:, None, :, None]).sum(2)  # [B, n, K]
        return bias.permute(0, 3, 1, 2), self.NODE_SCALE * self.node(total)
