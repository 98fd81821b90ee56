"""Chemistry targets and graphs of the molecules of a store, computed once and kept beside it."""

import io
import json
import os
from pathlib import Path

import numpy as np
import torch
from rdkit import rdBase
from rdkit.Chem import rdFingerprintGenerator
from torch_geometric.data import Batch
from tqdm.auto import tqdm

from molae_pyg.chem.descriptors import NAMES, each_molecule
from molae_pyg.chem.smiles import plain_mol
from molae_pyg.durable import FolderLock, write_durably
from molae_pyg.inference.graphs import Graphs
from molae_pyg.models.chemistry_mol_ae import NUM_BITS, NUM_DESCRIPTORS
from molae_pyg.store import ConformerStore

CHUNK = 4000  # molecules of a file: half a minute on one core
_IDENTITY = "targets.json"
_FIELDS = ("descriptors", "bits", "atom", "num_bonds", "bond", "bond_type")


class StoreTargets:
    """Descriptors, Morgan bits and graphs of molecules of a store, in memory (0.8 kB a molecule).

    What is missing is computed in worker processes and written to ``<store>-targets``, so that an
    interrupted computation resumes, and other runs read it.

    Args:
        store: The molecules (a selection of them); targets are computed for these, by parts of
            :data:`CHUNK` molecules of the whole store.

    Raises:
        ValueError: The folder has targets of another store or version of RDKit, or targets are
            missing and several processes train.
        BlockingIOError: Another process computes them.
    """

    def __init__(self, store: ConformerStore):
        self.whole = ConformerStore(store.folder, verify=False)
        self.folder = store.folder.with_name(store.folder.name + "-targets")
        self._rows = self.whole.molecule_rows  # ascending
        places = np.searchsorted(self._rows, store.molecule_rows)
        parts = np.unique(places // CHUNK).tolist()
        if missing := [part for part in parts if not self._file(part).is_file()]:
            self._compute(missing)
        self._check(self.folder)
        self._read(parts)

    def _file(self, part: int) -> Path:
        return self.folder / f"part-{part:06d}.npz"

    def _identity(self) -> dict[str, str | int]:
        return {"store": self.whole.digest(), "rdkit": rdBase.rdkitVersion, "bits": NUM_BITS}

    def _check(self, folder: Path) -> None:
        found = json.loads((folder / _IDENTITY).read_bytes())
        if found != self._identity():
            raise ValueError(
                f"{folder} has targets of other molecules or of another version of RDKit: delete "
                "it, and they are computed anew"
            )

    def _compute(self, missing: list[int]) -> None:
        if len(NAMES) != NUM_DESCRIPTORS:
            raise ValueError(
                f"RDKit {rdBase.rdkitVersion} has {len(NAMES)} descriptors instead of "
                f"{NUM_DESCRIPTORS}: use another version"
            )
        if int(os.environ.get("WORLD_SIZE", os.environ.get("SLURM_NTASKS", 1))) > 1:
            raise ValueError(
                f"{self.folder} lacks chemistry targets, which one process must compute: start the "
                "run on one process first, until it trains"
            )
        self.folder.mkdir(exist_ok=True)
        with FolderLock(self.folder):
            if (self.folder / _IDENTITY).is_file():
                self._check(self.folder)
            else:
                content = json.dumps(self._identity(), indent=2) + "\n"
                write_durably(self.folder / _IDENTITY, content.encode())
            total = sum(len(self._molecules(part)) for part in missing)
            graphs = Graphs(True, self.whole.meta)
            with tqdm(None, "chemistry targets", total, unit="mol", disable=None) as bar:
                for part in missing:
                    content = io.BytesIO()
                    np.savez(content, **_targets(self.whole, self._molecules(part), graphs, bar))
                    write_durably(self._file(part), content.getbuffer())

    def _molecules(self, part: int) -> range:
        return range(part * CHUNK, min((part + 1) * CHUNK, len(self.whole)))

    def _read(self, parts: list[int]) -> None:
        """Reads the parts; molecule m of the store is at ``_shift[m // CHUNK] + m``."""
        found: dict[str, list[np.ndarray]] = {name: [] for name in _FIELDS}
        self._shift = np.zeros(max(parts) + 1, np.int64)
        read, num_atoms = 0, []
        for part in parts:
            with np.load(self._file(part)) as file:
                for name, values in found.items():
                    values.append(file[name])
            molecules = self._molecules(part)
            self._shift[part] = read - molecules.start
            read += len(molecules)
            num_atoms.append(self.whole.num_atoms[molecules.start : molecules.stop])
        for name, values in found.items():
            setattr(self, name, np.concatenate(values))
        self._atom_start = _starts(np.concatenate(num_atoms))
        self._bond_start = _starts(self.num_bonds)

    def places(self, rows: np.ndarray) -> np.ndarray:
        """Returns the molecules of the store in input rows ``[B]``."""
        return np.searchsorted(self._rows, rows)

    def descriptors_of(self, rows: np.ndarray) -> torch.Tensor:
        """Returns descriptors of input rows on a logarithmic scale ``[B, 217]``, NaN: unknown."""
        places = self.places(rows)
        return torch.from_numpy(self.descriptors[self._shift[places // CHUNK] + places]).float()

    def add(self, batch: Batch) -> Batch:
        """Adds targets and graph to a batch of :meth:`ConformerStore.gather`, in place.

        Adds ``descriptors [B, 217]`` (NaN: unknown) and ``bits [B, 1024]``, float32, and
        ``atom [N, 6]``, ``edge_index [2, E]`` (each bond once) and ``bond_type [E]``.
        """
        places = self.places(batch.row.numpy())
        places = self._shift[places // CHUNK] + places  # [B]
        batch.descriptors = torch.from_numpy(self.descriptors[places]).float()
        batch.bits = torch.from_numpy(np.unpackbits(self.bits[places], axis=1)).float()
        atoms = _ranges(self._atom_start, places)  # [N]
        bonds = _ranges(self._bond_start, places)  # [E]
        batch.atom = torch.from_numpy(self.atom[atoms])
        first = np.repeat(batch.ptr[:-1].numpy(), self.num_bonds[places])  # [E]
        batch.edge_index = torch.from_numpy(self.bond[bonds].T + first)
        batch.bond_type = torch.from_numpy(self.bond_type[bonds])
        return batch


def _targets(
    store: ConformerStore, molecules: range, graphs: Graphs, bar: tqdm
) -> dict[str, np.ndarray]:
    """Computes what a part holds; unknown descriptors are NaN, an unknown graph is 0."""
    data = [graphs(store[i]) for i in molecules]
    generator = rdFingerprintGenerator.GetMorganGenerator(radius=2, fpSize=NUM_BITS)
    descriptors = np.full((len(data), NUM_DESCRIPTORS), np.nan, np.float16)
    bits = np.zeros((len(data), NUM_BITS), bool)
    for row, values in enumerate(each_molecule([item.smiles for item in data])):
        if not isinstance(values, str):  # else RDKit does not read its SMILES
            descriptors[row] = np.where(np.isfinite(values), values, np.nan)
            bits[row] = generator.GetFingerprintAsNumPy(plain_mol(data[row].smiles))
        bar.update()
    half = [item.edge_index[:, : item.edge_index.size(1) // 2].T for item in data]  # one direction
    return {
        "descriptors": descriptors,
        "bits": np.packbits(bits, axis=1),
        "atom": torch.cat([item.atom for item in data]).numpy(),
        "num_bonds": np.array([len(bonds) for bonds in half], np.int32),
        "bond": torch.cat(half).numpy().astype(np.int16),
        "bond_type": torch.cat(
            [item.bond_type[: len(item.bond_type) // 2] for item in data]
        ).numpy(),
    }


def _starts(sizes: np.ndarray) -> np.ndarray:
    """Returns 0 and the running sums, int64."""
    return np.concatenate([[0], np.cumsum(sizes, dtype=np.int64)])


def _ranges(starts: np.ndarray, places: np.ndarray) -> np.ndarray:
    """Returns the entries of each place, end to end: ``starts[p] ... starts[p + 1] - 1``."""
    first, number = starts[places], starts[places + 1] - starts[places]
    before = _starts(number)
    return np.repeat(first - before[:-1], number) + np.arange(before[-1])
