"""The workflow of ``molae train`` and ``molae predict``: folds, fitting, the fitted model."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
