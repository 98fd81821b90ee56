"""The conformers of a table's molecules: made once, kept in a store, held in memory as one."""

import csv
import io
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor
from torch_geometric.data import Data
from torch_geometric.data.separate import separate as pyg_separate

from molae_pyg.chem import FeaturizeReport, featurize
from molae_pyg.chem.elements import ELEMENTS
from molae_pyg.chem.options import Options, kept_atoms
from molae_pyg.durable import write_durably
from molae_pyg.fingerprint import digest
from molae_pyg.store.dataset import ConformerStore
from molae_pyg.store.preparation import prepare

TEXT = ("smiles", "status", "reason")
_KNOWN = torch.tensor(sorted(ELEMENTS.values()))


class Molecules(NamedTuple):
    """The storage of a PyTorch Geometric ``InMemoryDataset``, and where it came from.

    ``data`` holds the atoms of all molecules one after another, ``slices`` for each of its
    entries the bounds of the molecules, ``report`` the outcome of every row of the source.
    """

    data: Data
    slices: dict[str, Tensor]
    report: FeaturizeReport


def fresh_molecules(smiles: Sequence[str], options: Options, workers: int | None) -> Molecules:
    """Makes conformers and keeps them nowhere."""
    items, report = featurize(
        smiles,
        options.num_conformers,
        options.add_2d,
        max_atoms=options.max_atoms,
        seed=options.seed,
        on_error="skip",
        workers=workers,
    )
    return joined(items, report)


def stored_molecules(
    smiles: Sequence[str], options: Options, workers: int | None, folder: Path, name: str
) -> Molecules:
    """Makes conformers in a store below the folder, or reads those that are there.

    The store is named by a hash of the SMILES, the settings that concern coordinates, and the
    versions of the recipe and of RDKit. Making them resumes where it was interrupted. Molecules
    are stored whole, and cropped as they are read.
    """
    store = folder / f"{name}-{_key(smiles, options)}"
    source = store.with_suffix(".csv")
    content = _as_csv(smiles)
    if not source.is_file() or source.read_bytes() != content:
        source.parent.mkdir(parents=True, exist_ok=True)
        write_durably(source, content)
    prepare(
        source,
        store,
        options.num_conformers,
        options.add_2d,
        seed=options.seed,
        time_limit=options.time_limit,
        workers=workers,
    )
    return _read(ConformerStore(store), smiles, options)


def separate(data: Data, slices: dict[str, Tensor], index: int = 0) -> Data:
    """Takes one molecule out again."""
    return pyg_separate(Data, data, index, slices, decrement=False)


def _read(store: ConformerStore, smiles: Sequence[str], options: Options) -> Molecules:
    items = _items(store, smiles, options)
    found, report = [], FeaturizeReport()
    for _, status, reason in store.rows():
        if status in ("3d", "2d"):
            data = next(items)
            data.reason = reason
            found.append(data)
            report.add(status, reason, data.num_unknown, data.num_cropped)
        else:  # no time for coordinates is one way to fail
            report.add("invalid" if status == "invalid" else "failed", reason)
    return joined(found, report)


def _items(store: ConformerStore, smiles: Sequence[str], options: Options) -> Iterator[Data]:
    for data in store:
        kept, data.num_cropped, _ = kept_atoms(data.z.numpy(), options)
        data.z, data.conformers = data.z[kept], data.conformers[kept]
        data.smiles = smiles[int(data.row)]
        data.num_unknown = num_unknown(data.z)
        yield data


def num_unknown(z: Tensor) -> int:
    """Number of atoms outside the vocabulary."""
    return int((~torch.isin(z, _KNOWN)).sum())


def joined(items: list[Data], report: FeaturizeReport) -> Molecules:
    """Puts molecules end to end, as PyTorch Geometric's collate does, without its per-item cost."""
    if not items:
        return Molecules(Data(), {}, report)
    sizes = torch.tensor([data.z.numel() for data in items])
    atoms = torch.cat([sizes.new_zeros(1), sizes.cumsum(0)])  # [n + 1]
    molecules = torch.arange(len(items) + 1)
    data = Data(
        z=torch.cat([data.z for data in items]),  # [N]
        conformers=torch.cat([data.conformers for data in items]),  # [N, K, 3]
        num_unknown=torch.tensor([data.num_unknown for data in items]),
        num_cropped=torch.tensor([data.num_cropped for data in items]),
        num_nodes=int(atoms[-1]),
        **{key: [data[key] for data in items] for key in TEXT},
    )
    data._store._num_nodes = sizes.tolist()  # as PyTorch Geometric's collate leaves it
    slices = {"z": atoms, "conformers": atoms}
    slices |= dict.fromkeys(("num_unknown", "num_cropped", *TEXT), molecules)
    return Molecules(data, slices, report)


def _as_csv(smiles: Sequence[str]) -> bytes:
    """A table with one row for each string, also for an empty one."""
    text = io.StringIO()
    rows = csv.writer(text, quoting=csv.QUOTE_ALL, lineterminator="\n")
    rows.writerow(["smiles"])
    rows.writerows([string] for string in smiles)
    return text.getvalue().encode("utf-8")


def _key(smiles: Sequence[str], options: Options) -> str:
    """A hash of what the molecules depend on; they are stored whole, whatever ``max_atoms``."""
    from rdkit import rdBase

    settings = {**options.to_dict(), "max_atoms": None, "rdkit": rdBase.rdkitVersion}
    return digest([str(text) for text in smiles], settings)[:16]
