"""Molecules in: SMILES, RDKit molecules, SDF and PDB files become PyG ``Data`` objects.

Public names load on first use, so that the processes that make conformers import this room
without PyTorch, and ``import molae_pyg.chem`` does not load RDKit.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
