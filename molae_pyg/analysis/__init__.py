"""Looking at results: plots."""

from molae_pyg.analysis.plots import parity_plot, roc_plot

__all__ = ["parity_plot", "roc_plot"]
