"""Features of atoms for a read-out: frozen vectors, and the environment in the graph."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from rdkit import rdBase
from rdkit.Chem import rdFingerprintGenerator
from torch_geometric.data import Data

from molae_pyg.baselines.job import DEVICE
from molae_pyg.inference import embed_atoms
from molae_pyg.inference.explain import atoms_of
from molae_pyg.models import MolAEEncoder
from molae_pyg.tables.atom_lists import Records
from molae_pyg.workflow.features import ENCODER, kept_block

#: Block of bits that say which substructures are around an atom.
ENVIRONMENT = "environment"

#: Blocks of features that are tried together, by the value of ``--features``.
ATOM_CANDIDATES: dict[str, list[tuple[str, ...]]] = {
    "none": [(ENCODER,)],
    "ecfp": [(ENCODER, ENVIRONMENT)],
    "auto": [(ENCODER,), (ENVIRONMENT,), (ENCODER, ENVIRONMENT)],
}
_RADIUS, _BITS = 3, 1024


class Atoms(NamedTuple):
    """The atoms of molecules, one molecule after another, in the order of their ``Data``.

    Shapes:
        - **z**, **molecule**, **place:** :math:`(N)`
    """

    z: np.ndarray  #: Atomic numbers.
    molecule: np.ndarray  #: Number of the molecule, from 0.
    place: np.ndarray  #: Place in the record; -1: the record does not hold the atom.

    @classmethod
    def of(cls, molecules: Sequence[Data], records: Records, rows: Sequence[int]) -> "Atoms":
        """Returns the atoms of molecules.

        Args:
            molecules: ``Data`` with ``atom_map`` ``[n]``.
            records: All records.
            rows: Record of each molecule ``[n]``.
        """
        sizes = [data.z.numel() for data in molecules]
        z = [data.z.numpy() for data in molecules]
        place = [
            _in_record(records.places[row], data.atom_map.numpy())
            for row, data in zip(rows, molecules, strict=True)
        ]
        empty = np.zeros(0, np.int64)
        molecule = np.repeat(np.arange(len(sizes)), sizes)
        return cls(np.concatenate([empty, *z]), molecule, np.concatenate([empty, *place]))


def _in_record(places: np.ndarray | None, atom_map: np.ndarray) -> np.ndarray:
    """Turns places in the SMILES ``[n]`` into places in the record ``[n]``."""
    if places is None:
        return atom_map
    inverse = np.full(places.max() + 2, -1)  # the last is that of -1
    inverse[places[places >= 0]] = np.flatnonzero(places >= 0)
    return inverse[atom_map]


def atom_features(
    names: Sequence[str],
    molecules: Sequence[Data],
    encoder: MolAEEncoder | None,
    folder: Path | None = None,
) -> dict[str, np.ndarray]:
    """Computes blocks of features of atoms, or reads those that a folder has.

    Args:
        names: Names of the blocks.
        molecules: ``Data`` with ``conformers``, ``smiles`` and ``atom_map``.
        encoder: The frozen encoder.
        folder: Folder in which the blocks are kept. default: None, nowhere.

    Returns:
        Blocks ``[N, F]`` by name.
    """
    makers: dict[str, Callable[[], np.ndarray]] = {
        ENCODER: lambda: _vectors(encoder.to(DEVICE), molecules),
        ENVIRONMENT: lambda: environments(molecules),
    }
    return {name: kept_block(folder, name, makers[name]) for name in names}


def environments(molecules: Sequence[Data]) -> np.ndarray:
    """Returns which substructures have an atom in their centre, as bits ``[N, 1024]`` uint8.

    They are those of Morgan fingerprints of radius 0 to 3, folded to 1,024 bits: one bit for each
    radius is set.

    Args:
        molecules: ``Data`` with ``smiles`` and ``atom_map``.
    """
    generator = rdFingerprintGenerator.GetMorganGenerator(
        radius=_RADIUS, fpSize=_BITS, includeRedundantEnvironments=True
    )
    blocks = [np.zeros((0, _BITS), np.uint8)]
    with rdBase.BlockLogs():
        for data in molecules:
            mol, places = atoms_of(data.smiles, data.atom_map.numpy())
            output = rdFingerprintGenerator.AdditionalOutput()
            output.AllocateBitInfoMap()
            generator.GetFingerprint(mol, additionalOutput=output)
            bits = np.zeros((mol.GetNumAtoms() + 1, _BITS), np.uint8)  # the last: no such atom
            for bit, centres in output.GetBitInfoMap().items():
                bits[[atom for atom, _ in centres], bit] = 1
            blocks.append(bits[places])
    return np.concatenate(blocks)


def _vectors(encoder: MolAEEncoder, molecules: Sequence[Data]) -> np.ndarray:
    return embed_atoms(encoder, molecules, precision="32-true")
