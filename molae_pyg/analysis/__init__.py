"""Reports of runs, plots and explanations of predictions, and reconstruction of dropped atoms."""

from molae_pyg.analysis.explanation import (
    contribution_svg,
    contribution_table,
    explain_page,
    write_contributions,
)
from molae_pyg.analysis.plots import parity_plot, roc_plot
from molae_pyg.analysis.reconstruction import Reconstruction, reconstruct
from molae_pyg.analysis.reconstruction_plot import reconstruction_plot
from molae_pyg.analysis.training_report import training_report

__all__ = [
    "Reconstruction",
    "contribution_svg",
    "contribution_table",
    "explain_page",
    "parity_plot",
    "reconstruct",
    "reconstruction_plot",
    "roc_plot",
    "training_report",
    "write_contributions",
]
