"""The molecules of a table: made in memory or in a store, and held in memory end to end."""

import csv
import io
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch_geometric.data import Data
from torch_geometric.data.separate import separate as pyg_separate
from tqdm.auto import tqdm

from molae_pyg.chem import FeaturizeReport
from molae_pyg.chem.featurizer import rows_of
from molae_pyg.chem.molecules import num_unknown
from molae_pyg.chem.options import Options, kept_atoms
from molae_pyg.chem.rows import Row
from molae_pyg.durable import write_durably
from molae_pyg.fingerprint import digest
from molae_pyg.store import (  # some for the public names of molae_pyg.datasets
    ConformerStore,
    PrepareReport,
    StoreError,
    StoreWriter,
    prepare,
)
from molae_pyg.store.format import to_units

__all__ = ["ConformerStore", "PrepareReport", "StoreError", "StoreWriter", "prepare"]


class Molecules(NamedTuple):
    """The storage of a PyTorch Geometric ``InMemoryDataset``, and the outcomes of its source.

    ``data`` holds the atoms of all molecules one after another, ``slices`` for each of its
    entries the bounds of the molecules, ``report`` the outcome of every row of the source.
    """

    data: Data
    slices: dict[str, Tensor]
    report: FeaturizeReport


def fresh_molecules(smiles: Sequence[str], options: Options, workers: int | None) -> Molecules:
    """Makes molecules in memory, with the coordinates that a store would give."""
    rows = rows_of(smiles, replace(options, max_atoms=None), workers)
    bar = tqdm(rows, "conformers", len(smiles), unit="mol", delay=1.0, disable=None)
    return joined(map(as_stored, bar), smiles, options)


def stored_molecules(
    smiles: Sequence[str], options: Options, workers: int | None, folder: Path, name: str
) -> Molecules:
    """Makes molecules in a store below the folder, or reads those that are there.

    The store is named by a hash of the SMILES, the settings that concern coordinates, and the
    versions of the recipe and of RDKit. An interrupted run resumes. Molecules are stored whole, and
    cropped when they are read.
    """
    path = folder / f"{name}-{_key(smiles, options)}"
    source = path.with_suffix(".csv")
    content = _as_csv(smiles)
    if not source.is_file() or source.read_bytes() != content:
        source.parent.mkdir(parents=True, exist_ok=True)
        write_durably(source, content)
    store = prepared(source, path, replace(options, max_atoms=None), workers)
    return joined(_rows(store), smiles, options)


def prepared(source: Path, store: Path, options: Options, workers: int | None) -> ConformerStore:
    """Makes the store of a file with these options, or the rows that are missing, and opens it."""
    prepare(
        source,
        store,
        options.num_conformers,
        options.add_2d,
        options.remove_hydrogens,
        options.max_atoms,
        options.seed,
        options.time_limit,
        workers,
        recipe=options.recipe,
    )
    return ConformerStore(store)


def _rows(store: ConformerStore) -> Iterator[Row]:
    items = iter(store)
    for _, status, reason in store.rows():
        if status in ("3d", "2d"):
            data = next(items)
            yield Row(status, reason, data.smiles, data.z.numpy(), data.conformers.numpy())
        else:
            yield Row(status, reason)


def as_stored(row: Row) -> Row:
    """Rounds the coordinates as a store does, so that both kinds of table have equal molecules."""
    if row.conformers is None:
        return row
    n, k, _ = row.conformers.shape
    units, scale = to_units(row.conformers)  # [k n, 3]
    pos = units.reshape(k, n, 3).transpose(1, 0, 2)  # [n, k, 3]
    return row._replace(conformers=pos.astype(np.float32, order="C") * np.float32(scale))


def joined(rows: Iterable[Row], smiles: Sequence[str], options: Options) -> Molecules:
    """Crops molecules and puts them end to end, without the cost per item of PyG's collate.

    Args:
        rows: One row for each of ``smiles``, with whole molecules.
        smiles: The SMILES of the items.
        options: The settings of cropping.
    """
    z, conformers, report = [], [], FeaturizeReport()
    entries = {key: [] for key in ("num_unknown", "num_cropped", "smiles", "status", "reason")}
    for row, text in zip(rows, smiles, strict=True):
        if row.z is None:
            report.add(row.status, row.reason)
            continue
        kept, num_cropped, _ = kept_atoms(row.z, options)
        z.append(torch.from_numpy(row.z[kept]))
        conformers.append(torch.from_numpy(row.conformers[kept]))
        values = (num_unknown(z[-1]), num_cropped, text, row.status, row.reason)
        for entry, value in zip(entries.values(), values, strict=True):
            entry.append(value)
        report.add(row.status, row.reason, *values[:2])
    if not z:
        return Molecules(Data(), {}, report)
    sizes = torch.tensor([len(numbers) for numbers in z])
    atoms = torch.cat([sizes.new_zeros(1), sizes.cumsum(0)])  # [n + 1]
    entries |= {key: torch.tensor(entries[key]) for key in ("num_unknown", "num_cropped")}
    data = Data(
        z=torch.cat(z), conformers=torch.cat(conformers), num_nodes=int(atoms[-1]), **entries
    )  # [N], [N, K, 3]
    data._store._num_nodes = sizes.tolist()  # as PyTorch Geometric's collate leaves it
    slices = {"z": atoms, "conformers": atoms}
    slices |= dict.fromkeys(entries, torch.arange(len(z) + 1))
    return Molecules(data, slices, report)


def separate(data: Data, slices: dict[str, Tensor], index: int = 0) -> Data:
    """Returns one molecule of the storage."""
    return pyg_separate(Data, data, index, slices, decrement=False)


def _as_csv(smiles: Sequence[str]) -> bytes:
    """Returns a table with one row for each string, also for an empty one."""
    text = io.StringIO()
    rows = csv.writer(text, quoting=csv.QUOTE_ALL, lineterminator="\n")
    rows.writerow(["smiles"])
    rows.writerows([string] for string in smiles)
    return text.getvalue().encode("utf-8")


def _key(smiles: Sequence[str], options: Options) -> str:
    """Returns a hash of what the stored molecules depend on; ``max_atoms`` is no part of it."""
    from rdkit import rdBase

    settings = {**options.to_dict(), "max_atoms": None, "rdkit": rdBase.rdkitVersion}
    return digest([str(text) for text in smiles], settings)[:16]
