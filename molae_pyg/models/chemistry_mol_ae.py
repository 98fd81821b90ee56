"""Mol-AE with heads for chemistry targets: descriptors and Morgan bits of molecules."""

import os
from typing import NamedTuple, Self

import torch
from torch import Tensor, nn
from torch_geometric.utils import scatter

from molae_pyg.checkpoint import saved_class
from molae_pyg.model_files import find_folder
from molae_pyg.models.encoder import EncoderOutput
from molae_pyg.models.mol_ae import MolAE
from molae_pyg.nn.checks import ClozeTest

#: RDKit's descriptors of whole molecules, see ``molae_pyg.chem.descriptors``.
NUM_DESCRIPTORS = 217
#: Bits of the Morgan fingerprint, of radius 2.
NUM_BITS = 1024


class Targets(NamedTuple):
    """Predicted chemistry targets of B molecules."""

    descriptors: Tensor  #: Standardised descriptors ``[B, 217]``.
    bit_logits: Tensor  #: Logits of the Morgan bits ``[B, 1024]``.


class ChemistryOutput(NamedTuple):
    """Output of :class:`ChemistryMolAE`: that of :class:`MolAE`, and targets of the kept atoms."""

    token_logits: Tensor
    pos: Tensor
    distance: Tensor
    encoder_x_norm: Tensor
    encoder_pair_norm: Tensor
    decoder_x_norm: Tensor
    decoder_pair_norm: Tensor
    atom_logits: Tensor | None  #: ``[M, 12]``, None without a graph channel.
    targets: Targets


class ChemistryMolAE(MolAE):
    r"""Mol-AE that also predicts descriptors and Morgan bits, for the objective ``chemistry``.

    Both are read by one linear layer each from the vector of a molecule, CLS joined with the mean
    over the atoms (those that were kept, in the cloze test):

    .. math::
        h = \mathrm{CLS} \, \| \, \mathrm{mean}_i \, x_i \in \mathbb{R}^{2 C}, \qquad
        \hat d = W_d h + b_d, \qquad \hat f = W_f h + b_f

    The arguments are those of :class:`MolAE`. ``descriptor_mean`` and ``descriptor_std`` (on the
    logarithmic scale of :func:`~molae_pyg.chem.descriptors.descriptors`) are saved with the
    weights; a standard deviation of 0 marks a descriptor that is not predicted.
    """

    def make_heads(self, channels: int, heads: int, graph: bool) -> None:
        super().make_heads(channels, heads, graph)
        self.descriptor_head = nn.Linear(2 * channels, NUM_DESCRIPTORS)
        self.bit_head = nn.Linear(2 * channels, NUM_BITS)
        self.register_buffer("descriptor_mean", torch.zeros(NUM_DESCRIPTORS))
        self.register_buffer("descriptor_std", torch.ones(NUM_DESCRIPTORS))

    def answer(self, enc: EncoderOutput, test: ClozeTest) -> ChemistryOutput:
        out = super().answer(enc, test)
        kept = test.batch if test.drop_mask is None else test.batch[~test.drop_mask]
        targets = self.targets(enc, kept)
        return ChemistryOutput(*out[:7], getattr(out, "atom_logits", None), targets)

    def targets(self, enc: EncoderOutput, batch: Tensor) -> Targets:
        """Predicts the targets of molecules.

        Args:
            enc: Output of the encoder, of N atoms and B molecules.
            batch: Molecule of each of these atoms ``[N]``.
        """
        mean = scatter(enc.x, batch, dim_size=len(enc.molecule), reduce="mean")  # [B, C]
        vector = torch.cat([enc.molecule, mean], dim=1)  # [B, 2 C]
        return Targets(self.descriptor_head(vector), self.bit_head(vector))

    def set_scaling(self, descriptors: Tensor) -> None:
        """Sets mean and standard deviation of the descriptors.

        A descriptor that is equal for all molecules, or unknown for half of them, is not predicted.

        Args:
            descriptors: Those of the training molecules on a logarithmic scale ``[n, 217]``,
                NaN = unknown.
        """
        known = ~descriptors.isnan()
        count = known.sum(0).clamp(min=1)  # [217]
        values = descriptors.double().where(known, 0.0)
        mean = values.sum(0) / count
        std = ((values - mean).where(known, 0.0).square().sum(0) / count).sqrt()
        is_used = (std > 1e-4) & (2 * known.sum(0) > len(descriptors))
        self.descriptor_mean.copy_(mean)
        self.descriptor_std.copy_(std.where(is_used, 0.0))

    @classmethod
    def from_pretrained(cls, name_or_path: str | os.PathLike) -> Self:
        """Reads a saved model as :meth:`MolAE.from_pretrained` does.

        A :class:`MolAE` gets new heads for the targets, to be trained further.
        """
        folder = find_folder(name_or_path)
        if saved_class(folder) != MolAE.__name__:
            return super().from_pretrained(folder)
        plain = MolAE.from_pretrained(folder)
        model = cls(**plain.config)
        model.load_state_dict(plain.state_dict(), strict=False)
        return model.eval()
