"""The conformer store: millions of molecules with coordinates on disk."""

from molae_pyg.store.dataset import ConformerStore
from molae_pyg.store.preparation import prepare
from molae_pyg.store.report import PrepareReport
from molae_pyg.store.shard import StoreError
from molae_pyg.store.writer import StoreWriter

__all__ = ["ConformerStore", "PrepareReport", "StoreError", "StoreWriter", "prepare"]
