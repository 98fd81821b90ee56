"""Models: the encoder, Mol-AE, its ablations and reference twin, and a property predictor."""

from molae_pyg.models.ablations import AblatedMolAE, Ablation, ReferenceMolAE
from molae_pyg.models.encoder import EncoderOutput, MolAEEncoder
from molae_pyg.models.encoding import Encoding
from molae_pyg.models.mol_ae import ClozeOutput, MolAE, MolAEDecoder
from molae_pyg.models.predictor import MolAEPredictor, PropertyModel
from molae_pyg.models.pretrained import Pretrained
from molae_pyg.nn.graph_bias import GraphClozeOutput

__all__ = [
    "AblatedMolAE",
    "Ablation",
    "ClozeOutput",
    "EncoderOutput",
    "Encoding",
    "GraphClozeOutput",
    "MolAE",
    "MolAEDecoder",
    "MolAEEncoder",
    "MolAEPredictor",
    "Pretrained",
    "PropertyModel",
    "ReferenceMolAE",
]
