"""Molecules with measured properties, as PyTorch Geometric data sets with conformers.

Public names load on first use. Those of :mod:`molae_pyg.store` are available here, too.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
