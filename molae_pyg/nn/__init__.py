"""Reusable layers: pair features, pair-bias attention, Transformer, positions, heads."""

from molae_pyg.nn.attention import PairBiasAttention
from molae_pyg.nn.gaussian import PairBias, PairGaussian
from molae_pyg.nn.heads import CoordinateHead, DistanceHead, PropertyHead, TokenHead
from molae_pyg.nn.positional import SinusoidalPosition
from molae_pyg.nn.transformer import PairTransformer, TransformerLayer, TransformerOutput

__all__ = [
    "CoordinateHead",
    "DistanceHead",
    "PairBias",
    "PairBiasAttention",
    "PairGaussian",
    "PairTransformer",
    "PropertyHead",
    "SinusoidalPosition",
    "TokenHead",
    "TransformerLayer",
    "TransformerOutput",
]
