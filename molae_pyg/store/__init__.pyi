from .dataset import ConformerStore as ConformerStore
from .format import StoreError as StoreError
from .preparation import prepare as prepare
from .report import PrepareReport as PrepareReport
from .writer import StoreWriter as StoreWriter
