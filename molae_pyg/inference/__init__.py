"""Inference: embeddings and predictions of trained models."""

from molae_pyg.inference.predict import predict

__all__ = ["predict"]
