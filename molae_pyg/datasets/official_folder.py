"""The fine-tuning folders of Uni-Mol and Mol-AE: molecules, labels and split as published."""

from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import numpy as np
import torch
from torch_geometric.data import Data
from tqdm.auto import tqdm

from molae_pyg.chem.conformers import Coordinates, Message
from molae_pyg.chem.options import Options
from molae_pyg.chem.parsing import Molecule
from molae_pyg.chem.records import lay_out
from molae_pyg.chem.rows import Row, assembled
from molae_pyg.chem.smiles import plain_mol
from molae_pyg.datasets.moleculenet import MoleculeNet
from molae_pyg.datasets.table import MoleculeTable
from molae_pyg.datasets.table_storage import Molecules, joined
from molae_pyg.metrics import TaskType
from molae_pyg.splits import Split
from molae_pyg.store.sources import (
    num_official,
    official_records,
    read_official,
    read_official_target,
)


class OfficialFolder(MoleculeTable):
    r"""A folder with ``train.lmdb``, ``valid.lmdb`` and ``test.lmdb``; the files are the split.

    Molecules, conformers (with the 2D conformer) and labels are those of the records, in the order
    of the files and of the keys in each file. A record that cannot be read, or whose SMILES RDKit
    rejects, is an invalid row: it is left out and listed in :obj:`dataset.report`, because
    scaffolds, fingerprints and duplicates need the SMILES. Pickles are read without running
    anything they name.

    Items and attributes are those of :class:`~molae_pyg.datasets.MoleculeTable`. Where every
    label is 0, 1 or -1, the task is classification, and -1 means that the label is missing.

    Args:
        folder: The folder; its name is that of the data set, which sets the metric if it is one
            of MoleculeNet's.
        num_conformers: Number of 3D conformers taken from a record; if it has fewer, they are
            repeated in turn. (default: :obj:`10`)
        max_atoms: Number of atoms to which larger molecules are cropped. (default: :obj:`None`)
        seed: Seed of cropping. (default: :obj:`0`)
        transform: Function that is applied to every item on access. (default: :obj:`None`)

    Attributes:
        split: Items of the three files.

    Raises:
        FileNotFoundError: If one of the three files is missing.
        RecordRefused: If a pickle names anything but plain data; nothing is run.
        ValueError: If a file is not an LMDB file, or the number of labels differs between records.
    """

    def __init__(
        self,
        folder: str | Path,
        num_conformers: int = 10,
        max_atoms: int | None = None,
        seed: int = 0,
        transform: Callable[[Data], Data] | None = None,
    ) -> None:
        folder = Path(folder)
        self.name = folder.name.lower()
        files = [folder / f"{part}.lmdb" for part in Split._fields]
        if missing := [file.name for file in files if not file.exists()]:
            raise FileNotFoundError(f"{folder} has no {' and no '.join(missing)}")
        options = Options(num_conformers, add_2d=True, seed=seed)
        parts = [_read(file, options) for file in files]
        self._rows = [row for part in parts for row, _ in part]
        if all(row.z is None for row in self._rows):
            first = self._rows[0].reason if self._rows else "the files are empty"
            raise ValueError(f"{folder}: no record can be used. The first: {first}")
        y, task_type = _labels([target for part in parts for _, target in part], folder)
        super().__init__(
            [row.smiles for row in self._rows],
            y,
            task_type=task_type,
            num_conformers=num_conformers,
            seed=seed,
            max_atoms=max_atoms,
            transform=transform,
        )
        del self._rows
        self.recipe["source"] = "record"
        if self.name in MoleculeNet.sources:
            self.metric = MoleculeNet.sources[self.name].metric
        kept, bounds = np.array(self.report.kept), np.cumsum([0, *map(len, parts)])
        first = np.searchsorted(kept, bounds)  # item with which a file begins
        self.split = Split(*(np.arange(low, high) for low, high in pairwise(first)))

    def _molecules(
        self, smiles: list[str], options: Options, workers: int | None, folder: Path | None
    ) -> Molecules:
        return joined(self._rows, smiles, options)


Record = tuple[Row, np.ndarray | None]  # the molecule of a record, and its labels


def _read(path: Path, options: Options) -> list[Record]:
    found = []
    records, total = official_records(path), num_official(path)
    bar = tqdm(records, path.name, total, unit="mol", delay=1.0, disable=None)
    for record in bar:
        try:
            molecule = read_official(record)
            plain_mol(molecule.smiles)  # what a scaffold and a fingerprint are made of
            found.append((_row(molecule, options), read_official_target(record)))
        except ValueError as error:
            found.append((Row("invalid", str(error)), None))
    return found


def _labels(targets: list[np.ndarray | None], folder: Path) -> tuple[torch.Tensor, TaskType]:
    """Returns labels ``[n, T]``, NaN if a record could not be read or a class is missing."""
    widths = {target.size for target in targets if target is not None}
    if len(widths) != 1:
        raise ValueError(f"{folder}: records have {sorted(widths)} labels, not one number")
    (width,) = widths
    y = np.stack([np.full(width, np.nan) if t is None else t for t in targets])  # [n, T]
    if np.isin(y[~np.isnan(y)], (-1, 0, 1)).all():
        return torch.from_numpy(np.where(y == -1, np.nan, y)), "classification"
    return torch.from_numpy(y), "regression"


def _row(molecule: Molecule, options: Options) -> Row:
    coordinates = Coordinates(list(molecule.given[: options.count]))
    if molecule.note:
        coordinates.add(Message("note", molecule.note))
    coordinates.add(lay_out(molecule))
    if coordinates.status == "failed":
        raise ValueError(f"{molecule.smiles}: the record has no coordinates")
    return assembled(molecule, coordinates, options)
