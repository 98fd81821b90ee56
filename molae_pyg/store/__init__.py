"""The conformer store: millions of molecules with coordinates on disk.

Public names load on first use, as the processes that make conformers import this room without
PyTorch.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
