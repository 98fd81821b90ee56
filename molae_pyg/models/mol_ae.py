"""Mol-AE: encode -> refill -> decode -> heads."""

import os
from collections.abc import Iterable, Mapping
from dataclasses import asdict
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from molae_pyg import checkpoint, official_checkpoint
from molae_pyg.chem.elements import MASK
from molae_pyg.models.cloze import Ablation, ClozeOutput, ClozeTest, cloze_test
from molae_pyg.models.decoder import MolAEDecoder
from molae_pyg.models.encoder import EncoderOutput, MolAEEncoder, init_weights
from molae_pyg.nn.arguments import size
from molae_pyg.nn.dense import flat_pairs
from molae_pyg.nn.gaussian import GaussianInit
from molae_pyg.nn.heads import CoordinateHead, DistanceHead, TokenHead
from molae_pyg.nn.transformer import PairTransformer, TransformerOutput


class Encoding(NamedTuple):
    """Representations of whole molecules, see :meth:`MolAE.encode`."""

    molecule: Tensor  #: CLS ``[B, C]``.
    atom: Tensor  #: ``[N, C]``.
    pair: Tensor  #: ``[P, H]``, one row per ordered pair of atoms of a molecule.
    pair_index: Tensor  #: ``[2, P]``, like an ``edge_index``.


class MolAE(nn.Module):
    r"""Mol-AE, a 3D molecular auto-encoder pre-trained with the 3D Cloze Test.

    From `"Mol-AE: Auto-Encoder Based Molecular Representation Learning With 3D Cloze Test
    Objective" <https://proceedings.mlr.press/v235/yang24al.html>`_ (ICML 2024). The encoder sees
    the atoms that were kept, in their true places; dropped atoms come back as ``[MASK]``
    embeddings; the decoder, told atom positions but no coordinates, rebuilds elements,
    coordinates and distances. The default size is the published one (63,383,011 parameters);
    :meth:`small` and :meth:`tiny` are smaller.

    Args:
        hidden_channels: Width C, default 512.
        ffn_channels: Width of the feed-forward parts, default 2048.
        heads: Attention heads H of encoder and decoder, default 64.
        num_layers: Encoder layers, default 15.
        num_decoder_layers: Default 5.
        num_gaussians: Gaussians per distance K, default 128.
        dropout: Of embeddings and hidden states, default 0.1.
        attn_dropout: Of attention probabilities, default 0.1.
        gaussian_init: ``"reference"`` (default) or ``"intended"``, see
            :class:`~molae_pyg.nn.PairGaussian`.
        ablation: What differs from Mol-AE, default nothing; an :class:`Ablation` or a mapping
            of its fields.
        decoder_ffn_channels: Width of the decoder's feed-forward parts, default: that of the
            encoder's.
    """

    def __init__(
        self,
        hidden_channels: int = 512,
        ffn_channels: int = 2048,
        heads: int = 64,
        num_layers: int = 15,
        num_decoder_layers: int = 5,
        num_gaussians: int = 128,
        dropout: float = 0.1,
        attn_dropout: float = 0.1,
        gaussian_init: GaussianInit = "reference",
        ablation: Ablation | Mapping | None = None,
        decoder_ffn_channels: int | None = None,
    ):
        super().__init__()
        self.ablation = ablation = Ablation.of(ablation)
        self.encoder = MolAEEncoder(
            hidden_channels, ffn_channels, heads, num_layers,
            num_gaussians, dropout, attn_dropout, gaussian_init,
        )  # fmt: skip
        c = self.config = {
            **self.encoder.config,
            "num_decoder_layers": size("num_decoder_layers", num_decoder_layers, least=0),
            "ablation": asdict(ablation),
        }
        width = c["ffn_channels"] if decoder_ffn_channels is None else decoder_ffn_channels
        if size("decoder_ffn_channels", width) != c["ffn_channels"]:  # else the config is as before
            c["decoder_ffn_channels"] = width
        channels, heads = c["hidden_channels"], c["heads"]
        stack = PairTransformer(
            channels, width, heads, c["num_decoder_layers"], c["dropout"], c["attn_dropout"]
        )
        self.decoder = MolAEDecoder(ablation.decoder_position, stack, heads, channels)
        self.token_head = TokenHead(channels)
        self.coordinate_head = CoordinateHead(heads)
        self.distance_head = DistanceHead(heads)
        self._check_ablation()
        self.reset_parameters()

    def _check_ablation(self) -> None:
        if self.ablation.drop and self.ablation.decoder_token == "encoder":
            raise ValueError(
                "decoder_token='encoder' needs drop=False: a dropped atom has no encoder output"
            )

    @classmethod
    def small(cls, gaussian_init: GaussianInit = "reference") -> "MolAE":
        """6 + 3 layers, 256 wide, 32 heads (about 7.2 million parameters): for a laptop."""
        return cls(256, 1024, 32, 6, 3, gaussian_init=gaussian_init)

    @classmethod
    def tiny(cls, gaussian_init: GaussianInit = "reference") -> "MolAE":
        """2 + 1 layers, 64 wide, 8 heads (about 0.11 million parameters): for tests and trials."""
        return cls(64, 128, 8, 2, 1, num_gaussians=32, gaussian_init=gaussian_init)

    def reset_parameters(self) -> None:
        init_weights(self)

    def forward(
        self,
        z: Tensor,
        pos: Tensor,
        batch: Tensor | None = None,
        drop_mask: Tensor | None = None,
        pos_noisy: Tensor | None = None,
        z_noisy: Tensor | None = None,
        batch_size: int | None = None,
    ) -> ClozeOutput:
        """The cloze test: :class:`~molae_pyg.ClozeDrop` supplies the last arguments.

        Args:
            z: Atomic numbers ``[N]``.
            pos: True coordinates in Å ``[N, 3]``.
            batch: Molecule of each atom ``[N]``, sorted; default: one molecule.
            drop_mask: True = dropped ``[N]``; default: nothing is dropped, and the token head
                answers for every atom.
            pos_noisy: Where the coordinate head starts, in Å ``[N, 3]``; required with
                ``drop_mask`` (a start at the true place would give the answer away).
            z_noisy: Elements as corrupted ``[N]``, 0 = [MASK]; default: [MASK] where dropped.
                Used only where :class:`Ablation` lets a network see dropped atoms.
            batch_size: Number of molecules B; default: the last entry of ``batch`` plus 1.

        Returns:
            :class:`ClozeOutput`.

        Raises:
            ValueError: As :meth:`MolAEEncoder.forward`; ``drop_mask`` without ``pos_noisy``; in
                training, ``pos_noisy`` moves a kept atom (in evaluation this is a warning).
        """
        dtype = self.encoder.embedding.weight.dtype
        test = cloze_test(
            z, pos, batch, drop_mask, pos_noisy, z_noisy, batch_size, dtype, self.training
        )
        slots = test.slots
        enc = self._encode(test)
        x = self._refill(enc.x, test.drop_mask)  # [N, C]
        special = torch.stack([enc.molecule, enc.sep], dim=1)  # [B, 2, C]
        dec = self.decoder(x, special, test.batch, self._decoder_pair(enc, test), slots)
        start, _ = test.dense_start()  # [B, L, 3]
        answer = slots.flat(dec.x)  # [N, C]
        return ClozeOutput(
            token_logits=self.token_head(answer if drop_mask is None else answer[drop_mask]),
            pos=slots.flat(self._coordinates(dec, start)) + test.origin[test.batch],
            distance=slots.flat(self.distance_head(dec.pair)),
            encoder_x_norm=enc.state.x_norm(),
            encoder_pair_norm=enc.state.pair_norm(),
            decoder_x_norm=dec.x_norm(),
            decoder_pair_norm=dec.pair_norm(),
        )

    def _encode(self, test: ClozeTest) -> EncoderOutput:
        if self.ablation.drop:
            z, pos, drop_mask = test.z, test.pos, test.drop_mask
        else:
            z, pos, drop_mask = test.z_noisy, test.pos_noisy, None
        return self.encoder(z, pos, test.batch, drop_mask, test.origin, test.origin.size(0))

    def _dropped_stay(self) -> bool:
        """Whether the encoder's output has rows of dropped atoms."""
        return not self.ablation.drop

    def _refill(self, x: Tensor, drop_mask: Tensor) -> Tensor:
        """Atoms that stayed ``[N', C]`` -> all atoms ``[N, C]``, [MASK] where dropped."""
        if self.ablation.decoder_token == "encoder":
            return x
        refilled = self.encoder.embedding.weight[MASK].to(x.dtype)  # [C]
        if self._dropped_stay():
            return torch.where(drop_mask[:, None], refilled, x)
        kept = (~drop_mask).nonzero().squeeze(1)  # [N']
        return refilled.repeat(drop_mask.numel(), 1).index_copy(0, kept, x)

    def _decoder_pair(self, enc: EncoderOutput, test: ClozeTest) -> Tensor | None:
        """The decoder's pair bias ``[B, H, L, L]``, None for zeros."""
        if self.ablation.decoder_pair == "zero":
            return None
        if self.ablation.decoder_pair == "noisy":
            token = test.dense_token(self.encoder.token_of_z)  # [B, L]
            return self.encoder.pair_bias(token, test.dense_start()[0])
        if not self.ablation.drop:
            return enc.state.pair
        kept = test.dense_kept()  # [B, L]
        pair = enc.state.pair.permute(0, 2, 3, 1)  # [B, L', L', H]
        inner = enc.state.mask[:, :, None] & enc.state.mask[:, None, :]  # [B, L', L']
        full = pair.new_zeros(*kept.shape, kept.size(1), pair.size(-1))  # [B, L, L, H]
        full[kept[:, :, None] & kept[:, None, :]] = pair[inner]
        return full.permute(0, 3, 1, 2)  # [B, H, L, L]

    def _coordinates(self, dec: TransformerOutput, start: Tensor) -> Tensor:
        return self.coordinate_head(dec.delta(), start, dec.mask)  # [B, L, 3]

    def encode(
        self, z: Tensor, pos: Tensor, batch: Tensor | None = None, batch_size: int | None = None
    ) -> Encoding:
        """Molecule, atom and pair representations of complete molecules.

        Args:
            z: Atomic numbers ``[N]``.
            pos: Coordinates in Å ``[N, 3]``.
            batch: Molecule of each atom ``[N]``, sorted; default: one molecule.
            batch_size: Number of molecules B; default: the last entry of ``batch`` plus 1.

        Returns:
            :class:`Encoding`, all flat. Gradients are kept; use ``model.eval()`` and
            ``torch.no_grad()`` for inference.
        """
        out = self.encoder(z, pos, batch, batch_size=batch_size)
        pair_index, pair = flat_pairs(out.state.pair.permute(0, 2, 3, 1), out.state.mask)
        return Encoding(out.molecule, out.x, pair, pair_index)

    def embed(
        self,
        smiles: Iterable[str],
        num_conformers: int = 1,
        batch_size: int = 32,
        cache: bool = True,
        precision: str = "auto",
    ) -> np.ndarray:
        """Molecule embeddings of SMILES, each the mean over its conformers.

        Conformers are made on all cores while the model encodes those that are ready.

        Args:
            smiles: n SMILES, a list, column or generator; equivalent ones give equal embeddings.
            num_conformers: ETKDG conformers a molecule, default 1.
            batch_size: Molecules a forward pass, default 32.
            cache: Keep embeddings on disk, by canonical SMILES, weights and settings, and take
                those that are there. The file is in ``$MOLAE_CACHE``, by default
                ``~/.cache/molae_pyg``. One that cannot be used costs a warning only.
            precision: ``"auto"`` (default): bf16 where the hardware computes in it, fp32
                otherwise; or ``"32-true"``, ``"bf16-mixed"``.

        Returns:
            float32 ``[n, C]``.

        Raises:
            ValueError: A SMILES is invalid, reported before the work begins, or gave no
                coordinates, reported when the others are done; the message names its row.
            TypeError: ``smiles`` is a single string, a file, a mapping, a set or a table.
        """
        from molae_pyg.inference.embed import embed_smiles  # loads RDKit

        return embed_smiles(self.encoder, smiles, num_conformers, batch_size, cache, precision)

    def save_pretrained(self, folder: str | os.PathLike) -> None:
        """Writes ``model.safetensors`` and ``config.json`` into a folder (made if absent)."""
        checkpoint.save(self, folder)

    @classmethod
    def from_pretrained(cls, name_or_path: str | os.PathLike) -> "MolAE":
        """Reads a model that :meth:`save_pretrained` wrote; exact, and in evaluation mode.

        Args:
            name_or_path: A folder, or the name of weights that ship with the package.

        Raises:
            molae_pyg.checkpoint.CheckpointError: No such model, or a file that does not fit.
        """
        return checkpoint.load(cls, name_or_path).eval()

    @classmethod
    def from_official(cls, checkpoint_path: str | os.PathLike) -> "MolAE":
        """Reads a checkpoint file of the official Mol-AE code; size and heads come from it.

        Raises:
            molae_pyg.checkpoint.CheckpointError: The file is none, or keys are missing or
                unknown (a Uni-Mol checkpoint has no decoder: use
                :meth:`MolAEEncoder.from_official`).
        """
        file = official_checkpoint.read_official(checkpoint_path)
        return official_checkpoint.load_official(cls, file).eval()

    def to_official(self) -> dict[str, Tensor]:
        """The weights under the official key names, in the official shapes."""
        return official_checkpoint.to_official(self)

    def __repr__(self) -> str:
        c = self.config
        return (
            f"{type(self).__name__}({c['hidden_channels']}, num_layers={c['num_layers']}, "
            f"num_decoder_layers={c['num_decoder_layers']}, heads={c['heads']})"
        )
