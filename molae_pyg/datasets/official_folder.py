"""The fine-tuning folders of Uni-Mol and Mol-AE: molecules, labels and split as published."""

from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch_geometric.data import Data
from tqdm.auto import tqdm

from molae_pyg.chem import FeaturizeReport
from molae_pyg.chem.conformers import Embedding, Step
from molae_pyg.chem.items import Item
from molae_pyg.chem.options import Options, frames, kept_atoms
from molae_pyg.chem.smiles import plain_mol
from molae_pyg.datasets.moleculenet import MoleculeNet
from molae_pyg.datasets.table import MoleculeTable
from molae_pyg.datasets.table_storage import Molecules, joined, num_unknown
from molae_pyg.metrics import TaskType
from molae_pyg.splits import Split
from molae_pyg.store.official_lmdb import num_records, read_record, read_target, records


class OfficialFolder(MoleculeTable):
    r"""A folder with ``train.lmdb``, ``valid.lmdb`` and ``test.lmdb``, its split taken verbatim.

    Molecules, conformers (the flat one among them) and labels are those of the records, in the
    order of the files and, in each, of the keys. A record that cannot be read, or whose SMILES
    this RDKit rejects, is an invalid row: it is left out and listed in :obj:`dataset.report`, as
    splits, fingerprints and duplicates are those of the SMILES. Pickles are read without running
    anything they name.

    Items and attributes are those of :class:`~molae_pyg.datasets.MoleculeTable`. Where every
    label is 0, 1 or -1, the task is classification, and -1 means that the label is missing.

    Args:
        folder: The folder; its name is that of the data set, which sets the metric if it is one
            of MoleculeNet's.
        num_conformers: So many of a record's 3D conformers; fewer are repeated in turn.
            (default: :obj:`10`)
        max_atoms: Larger molecules are cropped to so many atoms. (default: :obj:`None`)
        seed: Seed of cropping. (default: :obj:`0`)
        transform: Applied to every item on access. (default: :obj:`None`)

    Attributes:
        split: Items of the three files.

    Raises:
        FileNotFoundError: If one of the three files is missing.
        RecordRefused: If a record asks for anything but plain data. It is not run.
        ValueError: If a file is no LMDB file, or records have labels of different number.
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
        options = Options(num_conformers, add_2d=True, max_atoms=max_atoms, seed=seed)
        parts = [_read(file, options) for file in files]
        self._rows = [row for part in parts for row in part]
        if all(row.data is None for row in self._rows):
            first = self._rows[0].error if self._rows else "the files are empty"
            raise ValueError(f"{folder}: no record can be used. The first: {first}")
        y, task_type = _labels([row.target for row in self._rows], folder)
        super().__init__(
            ["" if row.data is None else row.data.smiles for row in self._rows],
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
        report = FeaturizeReport()
        for data, _, error in self._rows:
            if data is None:
                report.add("invalid", error)
            else:
                report.add(data.status, data.reason, data.num_unknown, data.num_cropped)
        return joined([row.data for row in self._rows if row.data is not None], report)


class _Row(NamedTuple):
    """Molecule and labels of a record, or what is wrong with it."""

    data: Data | None
    target: np.ndarray | None
    error: str = ""


def _read(path: Path, options: Options) -> list[_Row]:
    found = []
    bar = tqdm(records(path), path.name, num_records(path), unit="mol", delay=1.0, disable=None)
    for record in bar:
        try:
            item = read_record(record)
            plain_mol(item.smiles)  # what a scaffold and a fingerprint are made of
            found.append(_Row(_build(item, options), read_target(record)))
        except ValueError as error:
            found.append(_Row(None, None, str(error)))
    return found


def _labels(targets: list[np.ndarray | None], folder: Path) -> tuple[torch.Tensor, TaskType]:
    """Labels ``[n, T]``, NaN where a record could not be read or a class is missing."""
    widths = {target.size for target in targets if target is not None}
    if len(widths) != 1:
        raise ValueError(f"{folder}: records have {sorted(widths)} labels, one number is needed")
    (width,) = widths
    y = np.stack([np.full(width, np.nan) if t is None else t for t in targets])  # [n, T]
    if np.isin(y[~np.isnan(y)], (-1, 0, 1)).all():
        return torch.from_numpy(np.where(y == -1, np.nan, y)), "classification"
    return torch.from_numpy(y), "regression"


def _build(item: Item, options: Options) -> Data:
    embedding = Embedding()
    for conformer in item.given[: options.recipe.count]:
        embedding.add(Step("3d", conformer))
    embedding.add(item.lay_out())
    if embedding.status == "failed":
        raise ValueError(f"{item.smiles}: the record has no coordinates")
    kept, num_cropped, notes = kept_atoms(item.numbers, options)
    z = torch.from_numpy(item.numbers[kept])
    return Data(
        z=z,
        conformers=torch.from_numpy(frames(embedding, options)[kept]),  # [n, K + 1, 3]
        smiles=item.smiles,
        status=embedding.status,
        reason="; ".join(filter(None, [item.note, *embedding.notes, *notes])),
        num_unknown=num_unknown(z),
        num_cropped=num_cropped,
    )
