"""The molecules of a file with their conformers, row by row, in bounded memory."""

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np
import torch
from torch_geometric.data import Data

from molae_pyg.chem.given import row_of_record
from molae_pyg.chem.graph import add_graph
from molae_pyg.chem.options import InputError, Options, as_input_errors
from molae_pyg.chem.parsing import parse_smiles
from molae_pyg.chem.records import Record
from molae_pyg.chem.rows import Row, make_row, status_of
from molae_pyg.chem.sdf import smiles_of_record
from molae_pyg.chem.smiles import checked_smiles
from molae_pyg.chem.workers import WorkerPool
from molae_pyg.inference.explain import atoms_of, element_of
from molae_pyg.store.sources import MoleculeFile
from molae_pyg.tables.formats import open_table
from molae_pyg.tables.text_file import TABLES, ending_of

#: Where coordinates come from.
Coordinates = Literal["generated", "file"]


class TableFile:
    """The SMILES of a table; what :class:`~molae_pyg.store.sources.MoleculeFile` is for others."""

    read = staticmethod(parse_smiles)

    def __init__(self, path: str | os.PathLike, encoding: str, smiles_column: str | None):
        self.path, self.encoding, self.smiles_column = Path(path), encoding, smiles_column
        if not self.path.exists():
            raise FileNotFoundError(f"there is no file {path}")

    def __iter__(self) -> Iterator[str]:
        with as_input_errors(), open_table(self.path, self.encoding, self.smiles_column) as rows:
            index = rows.smiles_index()
            for cells in rows:
                yield cells[index].strip()

    def count(self) -> int | None:
        """Returns the number of rows; None if only reading molecules could count them."""
        return None if ending_of(self.path) in (".sdf", ".parquet") else sum(1 for _ in self)


def open_molecules(
    path: str | os.PathLike,
    encoding: str = "utf-8",
    smiles_column: str | None = None,
    coordinates: Coordinates | None = None,
) -> MoleculeFile | TableFile:
    """Opens a file of molecules.

    Args:
        path: The file.
        encoding: Encoding of lists and tables.
        smiles_column: Column of the SMILES in a table; default: found by its name.
        coordinates: ``"file"``: those of an SD file; ``"generated"``: those of its records are not
            used; default: those of the file where there are some.

    Raises:
        FileNotFoundError: It does not exist.
        InputError: It is of an unknown kind, or has no molecule, no columns or no coordinates.
    """
    ending = ending_of(path)
    if coordinates == "file":
        check_has_coordinates(path)
    is_table = ending in (*TABLES, ".parquet")
    if coordinates == "generated" and ending == ".sdf":
        return TableFile(path, encoding, smiles_column)
    if smiles_column is not None and not is_table:
        raise InputError(f"{path} has no columns: smiles_column is for tables")
    file = TableFile(path, encoding, smiles_column) if is_table else MoleculeFile(path, encoding)
    if next(iter(file), None) is None:
        raise InputError(f"{file.path} holds no molecule")
    return file


def counted(file: MoleculeFile | TableFile) -> int | None:
    """Returns the number of records, if it is known soon.

    Texts and SD files are read to their end, so that a damaged row is found before the work.
    """
    if isinstance(file, TableFile) or ending_of(file.path) == ".lmdb":
        return file.count()
    return sum(1 for _ in file)


def check_has_coordinates(path: str | os.PathLike) -> None:
    """Raises InputError unless a file can have 3D coordinates."""
    if ending_of(path) != ".sdf":
        raise InputError(
            f"{path} has no 3D coordinates, but those of the file are to be used, as in the "
            "training of the model: give an SD file (.sdf)"
        )


class FileRow(NamedTuple):
    """A row of a file."""

    status: str  #: ``"ok"``, ``"invalid"`` (no molecule) or ``"failed"`` (no coordinates).
    reason: str  #: Why there is no molecule, or what departs from the recipe.
    smiles: str
    data: Data | None  #: ``z``, ``conformers`` and, if it is wanted, the graph.
    #: Number and element of each atom in the order of the input.
    atoms: list[tuple[int, str]] | None
    order: np.ndarray | None  #: Where these atoms are in ``data``.


class FileRows:
    """Makes the rows of a file.

    Args:
        file: The file.
        options: How molecules are made.
        graph: Whether molecules get their graph.
        atoms: Whether atoms are numbered as in the input.
        given: Whether the coordinates are those of the records, and none are made.
    """

    def __init__(
        self,
        file: MoleculeFile | TableFile,
        options: Options,
        graph: bool,
        atoms: bool,
        given: bool = False,
    ):
        self.file, self.options, self.graph, self.atoms = file, options, graph, atoms
        self.given = given

    def start(self, pool: WorkerPool, records: list[Record]) -> Callable[[], list[FileRow]]:
        """Starts to make rows on a pool; the function that is returned waits for them."""
        if self.given:
            return lambda: [self._row(row_of_record(r, self.options), r) for r in records]
        jobs = [pool.apply(make_row, self.file.read, record, self.options) for record in records]
        return lambda: [
            self._row(job.result(), record) for job, record in zip(jobs, records, strict=True)
        ]

    def _row(self, row: Row, record: Record) -> FileRow:
        nothing = FileRow(status_of(row.status), row.reason, row.smiles, None, None, None)
        if row.z is None:
            return nothing
        if row.atom_map is None and (self.graph or self.atoms):
            raise InputError(
                f"{self.file.path}: its records do not number atoms, which vectors of atoms and an "
                "encoder with a graph need"
            )
        data = Data(
            z=torch.from_numpy(row.z),
            conformers=torch.from_numpy(row.conformers),
            num_nodes=len(row.z),
        )
        try:
            if self.graph:
                add_graph(self._in_smiles(data, row, record))
        except ValueError as error:
            return nothing._replace(status="failed", reason=str(error))
        atoms, order = self._named_atoms(row) if self.atoms else (None, None)
        return FileRow("ok", row.reason, row.smiles, data, atoms, order)

    def _in_smiles(self, data: Data, row: Row, record: Record) -> Data:
        """Adds a SMILES, and where the atoms are in it."""
        if self.file.read is parse_smiles:
            data.smiles, places = checked_smiles(row.smiles), row.atom_map
        else:
            data.smiles, of_record = smiles_of_record(record)
            places = np.where(row.atom_map < 0, -1, of_record[row.atom_map])
        data.atom_map = torch.from_numpy(places)
        return data

    def _named_atoms(self, row: Row) -> tuple[list[tuple[int, str]], np.ndarray]:
        places = row.atom_map
        if self.file.read is parse_smiles:
            _, places = atoms_of(row.smiles, row.atom_map, not self.options.remove_hydrogens)
        order = np.argsort(places, kind="stable")
        symbols = [element_of(z) for z in row.z[order].tolist()]
        return list(zip(places[order].tolist(), symbols, strict=True)), order
