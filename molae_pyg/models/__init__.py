"""Models: Mol-AE, its ablations and reference twin, other systems, and a property predictor."""

from molae_pyg.models.ablations import AblatedMolAE, Ablation
from molae_pyg.models.atom_predictor import AtomPredictor
from molae_pyg.models.chemistry_mol_ae import ChemistryMolAE, ChemistryOutput
from molae_pyg.models.encoder import EncoderOutput, MolAEEncoder
from molae_pyg.models.encoding import Encoding
from molae_pyg.models.full import FullMolAE
from molae_pyg.models.mol_ae import ClozeOutput, MolAE, MolAEDecoder
from molae_pyg.models.mole_blend import MoleBlend, MoleBlendOutput
from molae_pyg.models.positioned import PositionedEncoder
from molae_pyg.models.predictor import MolAEPredictor, PropertyModel
from molae_pyg.models.pretrained import Pretrained
from molae_pyg.models.reference import ReferenceMolAE
from molae_pyg.models.transformer_m import TransformerM, TransformerMOutput
from molae_pyg.models.transformer_m_encoder import Blend, TransformerMEncoder, TransformerMEncoding
from molae_pyg.models.uni_mol import UniMol, UniMolOutput
from molae_pyg.nn.graph_bias import GraphClozeOutput

__all__ = [
    "AblatedMolAE",
    "Ablation",
    "AtomPredictor",
    "Blend",
    "ChemistryMolAE",
    "ChemistryOutput",
    "ClozeOutput",
    "EncoderOutput",
    "Encoding",
    "FullMolAE",
    "GraphClozeOutput",
    "MolAE",
    "MolAEDecoder",
    "MolAEEncoder",
    "MolAEPredictor",
    "MoleBlend",
    "MoleBlendOutput",
    "PositionedEncoder",
    "Pretrained",
    "PropertyModel",
    "ReferenceMolAE",
    "TransformerM",
    "TransformerMEncoder",
    "TransformerMEncoding",
    "TransformerMOutput",
    "UniMol",
    "UniMolOutput",
]
