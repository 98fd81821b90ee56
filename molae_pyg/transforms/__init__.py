"""PyG transforms: the cloze test, coordinate noise, conformers, hydrogens, size."""

from molae_pyg.transforms.cloze_drop import ClozeDrop
from molae_pyg.transforms.coordinate_noise import CoordinateNoise
from molae_pyg.transforms.crop_atoms import CropAtoms
from molae_pyg.transforms.remove_hydrogens import RemoveHydrogens
from molae_pyg.transforms.sample_conformer import SampleConformer

__all__ = ["ClozeDrop", "CoordinateNoise", "CropAtoms", "RemoveHydrogens", "SampleConformer"]
