"""PyG transforms: the cloze test, coordinate noise, conformers, hydrogens, size."""

from molae_pyg.transforms.atoms import CropAtoms, RemoveHydrogens, SampleConformer
from molae_pyg.transforms.cloze import ClozeDrop, CoordinateNoise

__all__ = ["ClozeDrop", "CoordinateNoise", "CropAtoms", "RemoveHydrogens", "SampleConformer"]
