"""Inference: vectors, predictions and explanations of trained models, and their export."""

from molae_pyg.inference.embed import embed
from molae_pyg.inference.embed_atoms import embed_atoms
from molae_pyg.inference.embed_file import EmbedReport, embed_file
from molae_pyg.inference.explain import Explanation, explain
from molae_pyg.inference.export import export_onnx, export_program
from molae_pyg.inference.precision import precision
from molae_pyg.inference.predict import predict

__all__ = [
    "EmbedReport",
    "Explanation",
    "embed",
    "embed_atoms",
    "embed_file",
    "explain",
    "export_onnx",
    "export_program",
    "precision",
    "predict",
]
