"""Molecules with measured properties, as PyTorch Geometric data sets with conformers."""

from importlib import import_module
from typing import TYPE_CHECKING

_HOME = {
    "CSVDataset": "molae_pyg.datasets.csv_dataset",
    "ChEMBLActivities": "molae_pyg.datasets.chembl",
    "ConformerStore": "molae_pyg.datasets.store",
    "Integrity": "molae_pyg.datasets.integrity",
    "MoleculeNet": "molae_pyg.datasets.moleculenet",
    "MoleculeTable": "molae_pyg.datasets.table",
    "OGBMol": "molae_pyg.datasets.ogb_mol",
    "OfficialFolder": "molae_pyg.datasets.official_folder",
    "PCQM4Mv2": "molae_pyg.datasets.pcqm4m",
    "PrepareReport": "molae_pyg.datasets.prepare_report",
    "StoreError": "molae_pyg.datasets.shard",
    "StoreWriter": "molae_pyg.datasets.store_writer",
    "check_integrity": "molae_pyg.datasets.integrity",
    "prepare": "molae_pyg.datasets.preparation",
}

__all__ = [
    "CSVDataset",
    "ChEMBLActivities",
    "ConformerStore",
    "Integrity",
    "MoleculeNet",
    "MoleculeTable",
    "OGBMol",
    "OfficialFolder",
    "PCQM4Mv2",
    "PrepareReport",
    "StoreError",
    "StoreWriter",
    "check_integrity",
    "prepare",
]

if TYPE_CHECKING:
    from molae_pyg.datasets.chembl import ChEMBLActivities
    from molae_pyg.datasets.csv_dataset import CSVDataset
    from molae_pyg.datasets.integrity import Integrity, check_integrity
    from molae_pyg.datasets.moleculenet import MoleculeNet
    from molae_pyg.datasets.official_folder import OfficialFolder
    from molae_pyg.datasets.ogb_mol import OGBMol
    from molae_pyg.datasets.pcqm4m import PCQM4Mv2
    from molae_pyg.datasets.preparation import prepare
    from molae_pyg.datasets.prepare_report import PrepareReport
    from molae_pyg.datasets.shard import StoreError
    from molae_pyg.datasets.store import ConformerStore
    from molae_pyg.datasets.store_writer import StoreWriter
    from molae_pyg.datasets.table import MoleculeTable


def __getattr__(name: str):
    if name not in _HOME:
        raise AttributeError(f"module 'molae_pyg.datasets' has no attribute {name!r}")
    return getattr(import_module(_HOME[name]), name)


def __dir__() -> list[str]:
    return sorted(__all__)
