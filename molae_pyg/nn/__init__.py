"""Reusable layers: pair features, pair-bias attention, Transformer, positions, heads."""

from molae_pyg.nn.attention import PairBiasAttention
from molae_pyg.nn.gaussian import PairBias, PairGaussian
from molae_pyg.nn.graph_bias import Graph, GraphBias
from molae_pyg.nn.heads import CoordinateHead, DistanceHead, TokenHead
from molae_pyg.nn.readout import PropertyHead
from molae_pyg.nn.transformer import (
    PairTransformer,
    SinusoidalPosition,
    TransformerLayer,
    TransformerOutput,
)

__all__ = [
    "CoordinateHead",
    "DistanceHead",
    "Graph",
    "GraphBias",
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
