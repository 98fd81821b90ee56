"""Models: the encoder, Mol-AE, its reference twin, and a property predictor."""

from molae_pyg.models.cloze import Ablation, ClozeOutput
from molae_pyg.models.decoder import MolAEDecoder
from molae_pyg.models.encoder import EncoderOutput, MolAEEncoder
from molae_pyg.models.mol_ae import Encoding, MolAE
from molae_pyg.models.predictor import MolAEPredictor, PropertyModel
from molae_pyg.models.reference import ReferenceMolAE

__all__ = [
    "Ablation",
    "ClozeOutput",
    "EncoderOutput",
    "Encoding",
    "MolAE",
    "MolAEDecoder",
    "MolAEEncoder",
    "MolAEPredictor",
    "PropertyModel",
    "ReferenceMolAE",
]
