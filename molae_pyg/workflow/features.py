"""Features of molecules for a read-out: frozen vectors, descriptors, fingerprints."""

import io
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import numpy as np
import torch
from torch_geometric.data import Data, Dataset

from molae_pyg.baselines.forest import ecfp4
from molae_pyg.baselines.job import DEVICE
from molae_pyg.chem.descriptors import descriptors
from molae_pyg.chem.options import Options, kept_atoms
from molae_pyg.chem.rows import parse
from molae_pyg.durable import write_durably
from molae_pyg.fingerprint import of_weights
from molae_pyg.inference import embed
from molae_pyg.models import MolAEEncoder
from molae_pyg.workflow.feature_cache import FeatureCache

ENCODER, DESCRIPTORS, ECFP = "encoder", "descriptors", "ecfp"
_SLOW = (ENCODER, DESCRIPTORS)  # blocks that a cache is worth while for

#: Blocks of features that are tried together, by the value of ``--features``.
CANDIDATES: dict[str, list[tuple[str, ...]]] = {
    "none": [(ENCODER,)],
    "descriptors": [(ENCODER, DESCRIPTORS)],
    "ecfp": [(ENCODER, ECFP)],
    "both": [(ENCODER, DESCRIPTORS, ECFP)],
    "auto": [
        (ENCODER,),
        (DESCRIPTORS,),
        (ENCODER, DESCRIPTORS),
        (DESCRIPTORS, ECFP),
        (ENCODER, DESCRIPTORS, ECFP),
    ],
}


def blocks_of(candidates: Sequence[tuple[str, ...]]) -> list[str]:
    """Returns the names of all blocks, each once."""
    return list(dict.fromkeys(name for blocks in candidates for name in blocks))


def make_features(
    names: Sequence[str],
    smiles: Sequence[str],
    molecules: Dataset | Sequence[Data] | None,
    encoder: MolAEEncoder | None,
    folder: Path | None = None,
    cache: FeatureCache | None = None,
    keys: Sequence[str | None] = (),
) -> dict[str, np.ndarray]:
    """Computes blocks of features, or reads those that a folder has.

    Args:
        names: Names of the blocks.
        smiles: SMILES of the molecules ``[n]``.
        molecules: Their ``Data`` with ``conformers``, for the encoder.
        encoder: The frozen encoder.
        folder: Folder in which the blocks are kept. default: None, nowhere.
        cache: Cache of vectors and descriptors by molecule. default: none.
        keys: What molecules are cached by ``[n]``; None: their coordinates are given.

    Returns:
        Blocks ``[n, F]`` by name.
    """
    every = list(range(len(smiles)))
    makers: dict[str, Callable[[list[int]], np.ndarray]] = {
        ENCODER: lambda rows: _vectors(encoder.to(DEVICE), [molecules[row] for row in rows]),
        DESCRIPTORS: lambda rows: descriptors([smiles[row] for row in rows])[0],
        ECFP: lambda rows: np.log1p(ecfp4([smiles[row] for row in rows], counts=True)),
    }

    def make(name: str) -> np.ndarray:
        if cache is None or name not in _SLOW:
            return makers[name](every).astype(np.float32)
        settings = {}
        if name == ENCODER:
            settings = {"weights": of_weights(encoder), "recipe": cache.recipe}
        return cache.block(name, keys, settings, makers[name]).astype(np.float32)

    return {name: kept_block(folder, name, partial(make, name)).astype(float) for name in names}


def kept_block(folder: Path | None, name: str, make: Callable[[], np.ndarray]) -> np.ndarray:
    """Returns the block of features that a folder has, or makes it and keeps it there, if any."""
    if folder is None:
        return make()
    file = folder / f"{name}.npy"
    if file.is_file():
        return np.load(file, allow_pickle=False)
    block = make()
    folder.mkdir(exist_ok=True)
    write_durably(file, array_bytes(block))
    return block


def _vectors(encoder: MolAEEncoder, molecules: Dataset | Sequence[Data]) -> np.ndarray:
    """Returns CLS and the mean over atoms ``[n, 2 C]``, averaged over conformers."""
    return embed(encoder, molecules, readout="cls, mean", precision="32-true")


def with_atom_map(data: Data) -> Data:
    """Adds the place of each atom in the SMILES; molecules of a table do not have it."""
    if "atom_map" not in data:
        molecule = parse(data.smiles, True, Options().time_limit)
        kept, _, _ = kept_atoms(molecule.numbers, Options())
        data.atom_map = torch.from_numpy(molecule.atom_map[kept])
    return data


def array_bytes(array: np.ndarray) -> bytes:
    """Returns an array as the content of a ``.npy`` file."""
    content = io.BytesIO()
    np.save(content, array, allow_pickle=False)
    return content.getvalue()


def read_arrays(path: Path) -> dict[str, np.ndarray]:
    """Reads the arrays of :func:`~molae_pyg.durable.write_arrays`; nothing is unpickled."""
    with np.load(path, allow_pickle=False) as found:
        return {name: found[name] for name in found.files}
