"""Reports of runs, plots of predictions, and reconstruction of dropped atoms."""

from molae_pyg.analysis.plots import parity_plot, roc_plot
from molae_pyg.analysis.reconstruction import Reconstruction, reconstruct
from molae_pyg.analysis.reconstruction_plot import reconstruction_plot
from molae_pyg.analysis.training_report import training_report

__all__ = [
    "Reconstruction",
    "parity_plot",
    "reconstruct",
    "reconstruction_plot",
    "roc_plot",
    "training_report",
]
