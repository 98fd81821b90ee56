"""Real ZINC molecules with conformers for the benchmarks of the store.

They are read from ``$MOLAE_DATA/pretrain/conformers/*.npz``, whose arrays are ``z`` (uint8) and
``pos`` (int16, 0.001 Å), both molecule by molecule, ``n`` (atoms of each) and ``smiles``. There
is one conformer per molecule; the others are random rotations of it, so that the numbers are
neither repeated nor invented.
"""

import os
from pathlib import Path
from typing import NamedTuple

import numpy as np
from scipy.spatial.transform import Rotation

from molae_pyg.store.format import SCALE


class Molecules(NamedTuple):
    """``z`` uint8 [A], ``pos`` int16 [A K, 3] as in a shard, ``n`` [M], ``smiles`` [M]."""

    z: np.ndarray
    pos: np.ndarray
    n: np.ndarray
    smiles: list[str]
    num_conformers: int

    @property
    def start(self) -> np.ndarray:
        """Returns the first atom of each molecule, and the number of atoms, ``[M + 1]``."""
        return np.concatenate([[0], np.cumsum(self.n)])

    def conformers(self, molecule: int) -> np.ndarray:
        """Returns the coordinates of a molecule, int16 ``[K, n, 3]``."""
        low, high = self.start[molecule : molecule + 2] * self.num_conformers
        return self.pos[low:high].reshape(self.num_conformers, -1, 3)


def read(num_molecules: int, num_conformers: int, seed: int = 0) -> Molecules:
    folder = Path(os.environ["MOLAE_DATA"], "pretrain", "conformers")
    z, pos, n, smiles = [], [], [], []
    for path in sorted(folder.glob("*.npz")):
        part = np.load(path)
        z.append(part["z"])
        pos.append(part["pos"])
        n.append(part["n"])
        smiles += part["smiles"].tolist()
        if len(smiles) >= num_molecules:
            break
    n = np.concatenate(n).astype(np.int64)[:num_molecules]
    atoms = int(n.sum())
    z, pos = np.concatenate(z)[:atoms], np.concatenate(pos)[:atoms].astype(float)
    turned = _turned(pos, n, num_conformers, np.random.default_rng(seed))
    return Molecules(z, turned, n, smiles[:num_molecules], num_conformers)


def _turned(pos: np.ndarray, n: np.ndarray, k: int, rng: np.random.Generator) -> np.ndarray:
    start = np.repeat(np.cumsum(n) - n, n)  # [A], first atom of each atom's molecule
    within = np.arange(len(pos)) - start
    turned = np.empty((len(pos) * k, 3), np.int16)
    for conformer in range(k):
        matrix = Rotation.random(len(n), rng).as_matrix().repeat(n, 0)  # [A, 3, 3]
        place = start * k + conformer * np.repeat(n, n) + within
        turned[place] = np.rint(np.einsum("aij,aj->ai", matrix, pos))
    return turned


def arrays(molecules: Molecules, first_row: int = 0) -> dict[str, np.ndarray]:
    """Returns the arrays of a shard in which every row has a molecule."""
    num = len(molecules.n)
    text = [smiles.encode() for smiles in molecules.smiles]
    return {
        "row": np.arange(first_row, first_row + num),
        "num_atoms": molecules.n,
        "num_conformers": np.full(num, molecules.num_conformers),
        "scale": np.full(num, SCALE, np.float32),
        "pos": molecules.pos,
        "z": molecules.z,
        "smiles": np.frombuffer(b"".join(text), np.uint8),
        "smiles_start": np.concatenate([[0], np.cumsum([len(part) for part in text])]),
        "status": np.zeros(num, np.uint8),
        "reason": np.zeros(0, np.uint8),
        "reason_start": np.zeros(num + 1, np.int64),
    }
