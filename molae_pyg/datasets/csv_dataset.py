"""A table of the user's own."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Unpack

from molae_pyg.chem.sdf import is_packed
from molae_pyg.datasets.table import MoleculeTable, TableSettings
from molae_pyg.kinds import TaskType
from molae_pyg.tables.reading import Table, read_table


class CSVDataset(MoleculeTable):
    r"""Molecules and targets from a table (CSV, TSV), with conformers.

    Items, attributes and settings are those of :class:`~molae_pyg.datasets.MoleculeTable`; the file
    is read by :func:`~molae_pyg.tables.reading.read_table`. Rows whose SMILES cannot be used are
    left out and listed in :obj:`dataset.report`; duplicates are kept.

    Args:
        path: The file; separated by commas, semicolons or tabs, ``.gz`` or not. Its name, without
            the ending, is the name of the data set.
        smiles_column: Column of the SMILES. (default: :obj:`None`, a column with a name such as
            smiles, canonical_smiles or mol, in any case)
        target_columns: Columns of the targets. (default: :obj:`None`, the only column that can be
            a target; if there are several, an error lists them)
        task_type: ``"regression"``, ``"classification"`` or ``"multiclass"`` for all targets, or a
            mapping from names of targets to these. (default: :obj:`None`, found from the labels)
        root: Folder of the conformers, ``<root>/conformers``. (default: :obj:`None`, they are kept
            in memory only)
        encoding: Encoding of the file. (default: :obj:`"utf-8"`)
        settings: Keyword arguments such as ``num_conformers``, ``add_2d`` and ``seed``, see
            :class:`~molae_pyg.datasets.MoleculeTable`.

    Attributes:
        description: What each column is read as, and why the others are not targets.

    If the table has bounds such as ``>10``, each item has :obj:`bound`, ``[1, T]`` int8, as in a
    :class:`~molae_pyg.tables.reading.Table`.

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
        encoding: str = "utf-8",
        **settings: Unpack[TableSettings],
    ) -> None:
        table = read_table(path, smiles_column, target_columns, task_type, encoding)
        self._make(table, path, root, settings)

    @classmethod
    def from_table(
        cls,
        table: Table,
        path: str | Path,
        root: str | Path | None = None,
        **settings: Unpack[TableSettings],
    ) -> "CSVDataset":
        """Makes the data set of a table that has been read already.

        Args:
            table: What :func:`~molae_pyg.tables.reading.read_table` returned.
            path: Its file, which gives the data set its name; it is not read.
            root: As for the class, as are ``settings``.
        """
        dataset = cls.__new__(cls)
        dataset._make(table, path, root, settings)
        return dataset

    def _make(
        self, table: Table, path: str | Path, root: str | Path | None, settings: dict[str, Any]
    ) -> None:
        self.description = table.description
        # The whole name: data.v1.csv and data.v2.csv are two data sets.
        name = Path(path).name
        whole = name[:-3] if is_packed(name) else name
        self.name = whole.removesuffix(Path(whole).suffix).replace(".", "-")
        super().__init__(
            table.smiles, table.y, table.task_names, table.task_types, root=root, **settings
        )
        self.classes |= {name: list(names) for name, names in table.classes.items()}
        if table.bound is not None and table.bound.any():
            self._data.bound = table.bound[self._data.row]  # [n, T]
            if self.slices is not None:
                self.slices["bound"] = self.slices["y"]
