"""Molecules with measured properties, as PyTorch Geometric data sets with conformers."""

from molae_pyg.datasets.chembl import ChEMBLActivities
from molae_pyg.datasets.csv_dataset import CSVDataset
from molae_pyg.datasets.integrity import Integrity, check_integrity
from molae_pyg.datasets.moleculenet import MoleculeNet
from molae_pyg.datasets.official_folder import OfficialFolder
from molae_pyg.datasets.ogb_mol import OGBMol
from molae_pyg.datasets.pcqm4m import PCQM4Mv2
from molae_pyg.datasets.table import MoleculeTable
from molae_pyg.store import ConformerStore, PrepareReport, StoreError, StoreWriter, prepare

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
