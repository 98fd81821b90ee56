"""A chemist's own table."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Literal

from torch_geometric.data import Data

from molae_pyg.chem.sdf import is_packed
from molae_pyg.datasets.table import MoleculeTable
from molae_pyg.metrics import TaskType
from molae_pyg.tables.reading import read_table


class CSVDataset(MoleculeTable):
    r"""Molecules and targets from a table (CSV, TSV), with conformers.

    Items and attributes are those of :class:`~molae_pyg.datasets.MoleculeTable`; reading is
    that of :func:`~molae_pyg.tables.reading.read_table`. Rows whose SMILES is not usable are
    left out and listed in :obj:`dataset.report`; duplicates are kept.

    Args:
        path: The file; comma, semicolon or tab separated, ``.gz`` or not. Its name, without the
            ending, is that of the data set.
        smiles_column: Column with the SMILES. (default: :obj:`None`, a column called smiles,
            canonical_smiles, mol ... in any case)
        target_columns: Columns with the targets. (default: :obj:`None`, the one column that can
            be a target; an error lists them if there are several)
        task_type: ``"regression"`` or ``"classification"`` for all targets, or a mapping from
            names of targets to these. (default: :obj:`None`, found out for each)
        root: Folder for the conformers, ``<root>/conformers``. (default: :obj:`None`, they are
            kept in memory only)
        num_conformers: 3D conformers a molecule; 0 leaves the flat one alone, which takes no time.
            (default: :obj:`10`)
        add_2d: Whether to add a flat conformer. (default: :obj:`True`)
        seed: Seed of the conformers. (default: :obj:`0`)
        max_atoms: Larger molecules are cropped to so many atoms. (default: :obj:`None`)
        on_error: ``"skip"`` or ``"raise"``. (default: :obj:`"skip"`)
        workers: Processes to make them with. (default: :obj:`None`, the featurizer's choice)
        transform: Applied to every item on access. (default: :obj:`None`)
        encoding: Encoding of the file. (default: :obj:`"utf-8"`)

    Attributes:
        description: What each column was taken for, and why those that are no targets are none.

    Raises:
        ValueError: See :func:`~molae_pyg.tables.reading.read_table`.
    """

    def __init__(
        self,
        path: str | Path,
        smiles_column: str | None = None,
        target_columns: Sequence[str] | str | None = None,
        task_type: TaskType | Mapping[str, TaskType] | None = None,
        root: str | Path | None = None,
        num_conformers: int = 10,
        add_2d: bool = True,
        seed: int = 0,
        max_atoms: int | None = None,
        on_error: Literal["raise", "skip"] = "skip",
        workers: int | None = None,
        transform: Callable[[Data], Data] | None = None,
        encoding: str = "utf-8",
    ) -> None:
        table = read_table(path, smiles_column, target_columns, task_type, encoding)
        self.description = table.description
        # The whole name: data.v1.csv and data.v2.csv are two data sets.
        name = Path(path).name
        whole = name[:-3] if is_packed(name) else name
        self.name = whole.removesuffix(Path(whole).suffix).replace(".", "-")
        super().__init__(
            table.smiles,
            table.y,
            table.task_names,
            table.task_types,
            root=root,
            num_conformers=num_conformers,
            add_2d=add_2d,
            seed=seed,
            max_atoms=max_atoms,
            on_error=on_error,
            workers=workers,
            transform=transform,
        )
