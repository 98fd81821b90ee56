"""Inference: vectors and predictions of trained models."""

from molae_pyg.inference.embed import embed
from molae_pyg.inference.explain import Explanation, explain
from molae_pyg.inference.precision import precision
from molae_pyg.inference.predict import predict

__all__ = ["Explanation", "embed", "explain", "precision", "predict"]
