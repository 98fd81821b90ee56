"""Transformer-M: one Transformer that reads molecules as graphs, in 3D, or both."""

import os
from typing import NamedTuple

import torch.nn.functional as F
from torch import Tensor, nn

from molae_pyg.models.encoder import init_weights
from molae_pyg.models.pretrained import Pretrained
from molae_pyg.models.transformer_m_encoder import HIDDEN, TransformerMEncoder
from molae_pyg.nn.arguments import ShowsArguments
from molae_pyg.nn.denoising import DenoisingHead
from molae_pyg.nn.graph_bias import Graph
from molae_pyg.nn.heads import TokenHead
from molae_pyg.official_file import read_official
from molae_pyg.official_transformer_m import load_transformer_m, to_official


class TransformerMOutput(NamedTuple):
    """Output of :class:`TransformerM`."""

    y: Tensor  #: Property of the molecules ``[B]``.
    direction: Tensor  #: Predicted direction of the noise of the atoms ``[N, 3]``.
    token_logits: Tensor | None = None  #: Elements of the atoms ``[N, 31]``, with ``tokens=True``.


class TransformerM(ShowsArguments, Pretrained, nn.Module):
    """Transformer-M with its two heads: a property of the molecule, and the noise of its atoms.

    From `"One Transformer Can Understand Both 2D & 3D Molecular Data"
    <https://openreview.net/forum?id=vZTp1oPV3PC>`_ (ICLR 2023). The arguments are those of
    :class:`TransformerMEncoder`. The default has 49,574,628 parameters with ``reference=True``.

    Args:
        tokens: Whether there is a third head, for the elements of masked atoms. It is no part of
            the published model: it lets molecules without labels train the graph channel.
            Default: False.
    """

    TITLE = "Transformer-M"

    def __init__(
        self,
        hidden_channels: int = 768,
        ffn_channels: int = 768,
        heads: int = 32,
        num_layers: int = 12,
        num_gaussians: int = 128,
        dropout: float = 0.0,
        attn_dropout: float = 0.1,
        act_dropout: float = 0.1,
        drop_path: float = 0.1,
        reference: bool = False,
        tokens: bool = False,
    ):
        super().__init__()
        if tokens and reference:
            raise ValueError("tokens=True is no part of the official model, reference=True")
        self.encoder = TransformerMEncoder(
            hidden_channels, ffn_channels, heads, num_layers, num_gaussians,
            dropout, attn_dropout, act_dropout, drop_path, reference,
        )  # fmt: skip
        self.config = self.encoder.config | ({"tokens": True} if tokens else {})
        self.denoising_head = DenoisingHead(hidden_channels, heads, reference)
        self.dense = nn.Linear(hidden_channels, hidden_channels)
        self.norm = nn.LayerNorm(hidden_channels)
        self.out = nn.Linear(hidden_channels, 1)
        for part in (self.denoising_head, self.dense, self.out):
            init_weights(part)
        self.token_head = TokenHead(hidden_channels) if tokens else None
        if tokens:
            init_weights(self.token_head)

    @classmethod
    def tiny(cls) -> "TransformerM":
        """2 layers, 64 wide, 8 heads: for tests and trials."""
        return cls(64, 64, 8, 2, 32)

    def forward(
        self,
        z: Tensor,
        pos: Tensor,
        batch: Tensor | None = None,
        graph: Graph | None = None,
        mode: Tensor | None = None,
        batch_size: int | None = None,
        masked: Tensor | None = None,
    ) -> TransformerMOutput:
        """Predicts a property, and the noise in ``pos``.

        The arguments are those of :meth:`TransformerMEncoder.forward`, and ``masked [N]``: True =
        the encoder does not see the features of the atom; default: it sees those of all atoms. Of a
        molecule that is shown as a graph only, the predicted noise is 0 (``reference=True``: a
        constant).
        """
        if masked is not None:
            z = z.masked_fill(masked, 0)
            if graph is not None:
                graph = graph._replace(atom=graph.atom.masked_fill(masked[:, None], HIDDEN))
        enc = self.encoder(z, pos, batch, batch_size=batch_size, graph=graph, mode=mode)
        atoms, bias, mask = enc.state.x[:, 1:], enc.state.pair[..., 1:, 1:], enc.state.mask[:, 1:]
        direction = self.denoising_head(atoms, bias, enc.pos, mask)  # [B, n, 3]
        y = self.out(self.norm(F.gelu(self.dense(enc.molecule)))).squeeze(-1)  # [B]
        logits = None if self.token_head is None else self.token_head(enc.x)  # [N, 31]
        return TransformerMOutput(y, enc.slots.flat(F.pad(direction, (0, 0, 1, 0))), logits)

    @classmethod
    def from_official(cls, path: str | os.PathLike) -> "TransformerM":
        """Reads a checkpoint file of the official code, with ``reference=True``."""
        return load_transformer_m(cls, read_official(path)).eval()

    def to_official(self) -> dict[str, Tensor]:
        """Returns the weights under the official keys (needs ``reference=True``)."""
        return to_official(self)
