"""Mol-AE for PyTorch Geometric.

Public names load on first use, so that ``import molae_pyg`` costs no more than importing
PyTorch Geometric: RDKit, OGB and Lightning are imported by the functions that need them.
"""

from importlib import import_module
from typing import TYPE_CHECKING

from molae_pyg._version import __version__

_HOME = {
    "AblatedMolAE": "molae_pyg.models",
    "MolAE": "molae_pyg.models",
    "MolAEEncoder": "molae_pyg.models",
    "MolAEPredictor": "molae_pyg.models",
    "ReferenceMolAE": "molae_pyg.models",
    "ClozeDrop": "molae_pyg.transforms",
    "CoordinateNoise": "molae_pyg.transforms",
    "SampleConformer": "molae_pyg.transforms",
    "cloze_loss": "molae_pyg.loss",
    "from_mol": "molae_pyg.chem",
    "from_pdb": "molae_pyg.chem",
    "from_sdf": "molae_pyg.chem",
    "from_smiles": "molae_pyg.chem",
    "featurize": "molae_pyg.chem",
}

__all__ = ["__version__", *_HOME]

if TYPE_CHECKING:
    from molae_pyg.chem import featurize, from_mol, from_pdb, from_sdf, from_smiles
    from molae_pyg.loss import cloze_loss
    from molae_pyg.models import (
        AblatedMolAE,
        MolAE,
        MolAEEncoder,
        MolAEPredictor,
        ReferenceMolAE,
    )
    from molae_pyg.transforms import ClozeDrop, CoordinateNoise, SampleConformer


def __getattr__(name: str):
    if name not in _HOME:
        raise AttributeError(f"module 'molae_pyg' has no attribute {name!r}")
    return getattr(import_module(_HOME[name]), name)


def __dir__() -> list[str]:
    return sorted(__all__)
