"""Models: the encoder, Mol-AE, its reference twin, and a property predictor."""

from molae_pyg.models.encoder import EncoderOutput, MolAEEncoder
from molae_pyg.models.mol_ae import Ablation, ClozeOutput, Encoding, MolAE
from molae_pyg.models.predictor import MolAEPredictor
from molae_pyg.models.reference import ReferenceMolAE

__all__ = [
    "Ablation",
    "ClozeOutput",
    "EncoderOutput",
    "Encoding",
    "MolAE",
    "MolAEEncoder",
    "MolAEPredictor",
    "ReferenceMolAE",
]
