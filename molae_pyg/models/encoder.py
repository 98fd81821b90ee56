"""The encoder: molecules with coordinates in, atom and molecule representations out."""

import os
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch_geometric.utils import scatter

from molae_pyg.chem.elements import CLS, NUM_TOKENS, PAD, SEP, token_table
from molae_pyg.nn.dense import dense_tokens, flat_atoms
from molae_pyg.nn.gaussian import GaussianInit, PairBias
from molae_pyg.nn.heads import TokenHead
from molae_pyg.nn.transformer import PairTransformer, TransformerOutput
from molae_pyg.official_checkpoint import OfficialReport, load_official_encoder, read_official


def init_weights(module: nn.Module) -> None:
    """The reference's initialisation: matrices and embeddings N(0, 0.02), biases 0.

    Layer norms keep 1 and 0. The Gaussian layer and the last matrix of the token head set
    themselves.
    """
    for m in module.modules():
        if isinstance(m, nn.Linear | nn.Embedding):
            nn.init.normal_(m.weight, std=0.02)
        if isinstance(m, nn.Linear):
            nn.init.zeros_(m.bias)
        if isinstance(m, nn.Embedding) and m.padding_idx is not None:
            nn.init.zeros_(m.weight[m.padding_idx])
    for m in module.modules():
        if isinstance(m, PairBias):
            m.gaussian.reset_parameters()
        elif isinstance(m, TokenHead):
            m.reset_parameters()


class EncoderOutput(NamedTuple):
    """What :class:`MolAEEncoder` returns."""

    x: Tensor  #: Atoms that stayed ``[N, C]``, in the order of the input.
    molecule: Tensor  #: CLS, the molecule representation ``[B, C]``.
    sep: Tensor  #: SEP ``[B, C]``.
    state: TransformerOutput  #: The dense state: pair tensor, mask and the norm terms.


def molecule_index(z: Tensor, pos: Tensor, batch: Tensor | None) -> tuple[Tensor, int]:
    """Checks the flat input and returns ``batch [N]`` and the number of molecules B."""
    if pos.shape != (z.numel(), 3) or z.dim() != 1:
        raise ValueError(
            f"expected z [N] and pos [N, 3], got {list(z.shape)} and {list(pos.shape)}; "
            "with several conformers choose one first (SampleConformer)"
        )
    if z.numel() == 0:
        raise ValueError("there is no atom in the batch")
    if batch is None:
        return torch.zeros_like(z), 1
    if batch.shape != z.shape or (batch[1:] < batch[:-1]).any():
        raise ValueError("batch must be sorted and have one entry per atom")
    return batch, int(batch[-1]) + 1


class MolAEEncoder(nn.Module):
    r"""The encoder of Mol-AE, a Transformer over atoms with pair-distance bias.

    From `"Mol-AE: Auto-Encoder Based Molecular Representation Learning With 3D Cloze Test
    Objective" <https://proceedings.mlr.press/v235/yang24al.html>`_ (ICML 2024); the architecture
    is that of Uni-Mol. Invariant to rotations, reflections and translations of ``pos``,
    equivariant to the order of the atoms. It needs nothing but ``z`` and ``pos``.

    Args:
        hidden_channels: Width C, default 512.
        ffn_channels: Width of the feed-forward parts, default 2048.
        heads: Attention heads H, default 64.
        num_layers: Default 15.
        num_gaussians: Gaussians per distance K, default 128.
        dropout: Of embeddings and hidden states, default 0.1.
        attn_dropout: Of attention probabilities, default 0.1.
        gaussian_init: ``"reference"`` (default) or ``"intended"``, see
            :class:`~molae_pyg.nn.PairGaussian`.
    """

    def __init__(
        self,
        hidden_channels: int = 512,
        ffn_channels: int = 2048,
        heads: int = 64,
        num_layers: int = 15,
        num_gaussians: int = 128,
        dropout: float = 0.1,
        attn_dropout: float = 0.1,
        gaussian_init: GaussianInit = "reference",
    ):
        super().__init__()
        self.config = {
            "hidden_channels": hidden_channels,
            "ffn_channels": ffn_channels,
            "heads": heads,
            "num_layers": num_layers,
            "num_gaussians": num_gaussians,
            "dropout": dropout,
            "attn_dropout": attn_dropout,
            "gaussian_init": gaussian_init,
        }
        self.embedding = nn.Embedding(NUM_TOKENS, hidden_channels, padding_idx=PAD)
        self.pair_bias = PairBias(heads, num_gaussians, gaussian_init)
        self.transformer = PairTransformer(
            hidden_channels, ffn_channels, heads, num_layers, dropout, attn_dropout
        )
        # In every official checkpoint and used by nothing: kept, frozen, for a full round trip.
        self.pair_norm = nn.LayerNorm(heads).requires_grad_(False)
        self.register_buffer("token_of_z", token_table(), persistent=False)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        init_weights(self)

    def forward(
        self,
        z: Tensor,
        pos: Tensor,
        batch: Tensor | None = None,
        drop_mask: Tensor | None = None,
        origin: Tensor | None = None,
    ) -> EncoderOutput:
        """Encodes the atoms that are not dropped.

        Args:
            z: Atomic numbers ``[N]``; 0 is ``[MASK]``, unknown elements become ``[UNK]``.
            pos: Coordinates in Å ``[N, 3]``.
            batch: Molecule of each atom ``[N]``, sorted; default: one molecule.
            drop_mask: True = the atom leaves before the first layer ``[N]``; default: none.
            origin: Where CLS and SEP sit ``[B, 3]``; default: the centroid of all atoms,
                the dropped ones included, as in the reference.

        Returns:
            :class:`EncoderOutput`; its ``x`` has a row for each atom that stayed.
        """
        batch, batch_size = molecule_index(z, pos, batch)
        if origin is None:
            origin = scatter(pos, batch, dim_size=batch_size, reduce="mean")  # [B, 3]
        token, pos = self.token_of_z[z], pos - origin[batch]
        if drop_mask is not None:  # the atoms really leave: shorter sequences
            if drop_mask.dtype != torch.bool or drop_mask.shape != z.shape:
                raise ValueError(f"expected a bool drop_mask {list(z.shape)}, got {drop_mask}")
            keep = ~drop_mask
            token, pos, batch = token[keep], pos[keep], batch[keep]
        token, mask = dense_tokens(token, token.new_tensor([CLS, SEP]), batch, batch_size)
        pos, _ = dense_tokens(pos, pos.new_zeros(2, 3), batch, batch_size)  # [B, L, 3]
        state = self.transformer(self.embedding(token), self.pair_bias(token, pos), mask)
        return EncoderOutput(flat_atoms(state.x, mask), state.x[:, 0], state.x[:, 1], state)

    @classmethod
    def from_official(cls, path: str | os.PathLike) -> tuple["MolAEEncoder", OfficialReport]:
        """Reads the encoder of an official Mol-AE or Uni-Mol checkpoint (no hydrogens).

        Args:
            path: The ``.pt`` file.

        Returns:
            The encoder, and a report of missing and unexpected keys. The full Mol-AE checkpoint
            has 0 missing and 82 unexpected ones, which belong to decoder and heads.

        Raises:
            molae_pyg.checkpoint.CheckpointError: The file is none, or lacks an encoder key.
        """
        return load_official_encoder(cls, read_official(path))

    def __repr__(self) -> str:
        c = self.config
        return (
            f"{type(self).__name__}({c['hidden_channels']}, num_layers={c['num_layers']}, "
            f"heads={c['heads']})"
        )
