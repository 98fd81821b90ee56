"""Mol-AE for PyTorch Geometric.

Public names load on first use, so that ``import molae_pyg`` costs no more than importing
PyTorch Geometric: RDKit, OGB and Lightning are imported by the functions that need them.
"""

import lazy_loader

from molae_pyg.cores import share_cores

share_cores()  # before PyTorch is loaded

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
