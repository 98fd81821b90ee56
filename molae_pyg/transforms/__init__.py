"""PyG transforms: the cloze test, noise, conformers, hydrogens, size, views of graphs."""

from molae_pyg.transforms.atoms import CropAtoms, RemoveHydrogens, SampleConformer
from molae_pyg.transforms.blend import BlendChannels
from molae_pyg.transforms.cloze import ClozeDrop, CoordinateNoise
from molae_pyg.transforms.denoising import DenoiseAtoms
from molae_pyg.transforms.graph_views import (
    ConnectedPart,
    ContextRoot,
    GraphViews,
    MaskAtoms,
    NonBonds,
)

__all__ = [
    "BlendChannels",
    "ClozeDrop",
    "ConnectedPart",
    "ContextRoot",
    "CoordinateNoise",
    "CropAtoms",
    "DenoiseAtoms",
    "GraphViews",
    "MaskAtoms",
    "NonBonds",
    "RemoveHydrogens",
    "SampleConformer",
]
