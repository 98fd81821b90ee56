"""PyG transforms: the cloze test, coordinate noise, conformers, hydrogens, size."""

from molae_pyg.transforms.atoms import CropAtoms, RemoveHydrogens, SampleConformer
from molae_pyg.transforms.cloze import ClozeDrop, CoordinateNoise
from molae_pyg.transforms.denoising import DenoiseAtoms

__all__ = [
    "ClozeDrop",
    "CoordinateNoise",
    "CropAtoms",
    "DenoiseAtoms",
    "RemoveHydrogens",
    "SampleConformer",
]
