"""Molecules in: SMILES, RDKit molecules, SDF and PDB files become PyG ``Data`` objects.

Public names load on first use, so that ``import molae_pyg.chem`` does not load RDKit.
"""

from importlib import import_module
from typing import TYPE_CHECKING

_HOME = {
    "FeaturizeReport": "molae_pyg.chem.report",
    "featurize": "molae_pyg.chem.featurizer",
    "from_mol": "molae_pyg.chem.molecules",
    "from_pdb": "molae_pyg.chem.files",
    "from_sdf": "molae_pyg.chem.files",
    "from_smiles": "molae_pyg.chem.molecules",
}

__all__ = ["FeaturizeReport", "featurize", "from_mol", "from_pdb", "from_sdf", "from_smiles"]

if TYPE_CHECKING:
    from molae_pyg.chem.featurizer import featurize
    from molae_pyg.chem.files import from_pdb, from_sdf
    from molae_pyg.chem.molecules import from_mol, from_smiles
    from molae_pyg.chem.report import FeaturizeReport


def __getattr__(name: str):
    if name not in _HOME:
        raise AttributeError(f"module 'molae_pyg.chem' has no attribute {name!r}")
    return getattr(import_module(_HOME[name]), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
