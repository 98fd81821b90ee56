"""Values of atoms: lists of one number for each atom, in cells of tables and SD files.

A list is ``[0.1, -0.2]``; comma, semicolon or blanks separate the numbers, and ``null``, ``nan`` or
nothing between two separators is missing. In an SD file it may also be an atom property list of
RDKit (``atom.dprop.NAME``, ``atom.iprop.NAME``).
"""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from rdkit import rdBase

from molae_pyg.chem.options import Options
from molae_pyg.chem.rows import parse
from molae_pyg.chem.sdf import sdf_blocks, smiles_of_record, unpacked
from molae_pyg.tables.cells import is_missing, number
from molae_pyg.tables.columns import Column, no_target
from molae_pyg.tables.formats import Cells, open_table
from molae_pyg.tables.text_file import SMILES_NAMES, ending_of

_LIST = re.compile(r"\[([^\[\]]*)\]")
_BETWEEN = re.compile(r"\s*[,;]\s*|\s+")
_PROPERTY = re.compile(r"atom\.[di]prop\.(.+)")
_MARK = re.compile(r"\[(\S+)\]")  # RDKit's own word for a missing value, before the values


class Records(NamedTuple):
    """Molecules of a file, and where the atoms of each record are in its SMILES."""

    smiles: list[str]
    #: For each record the place of each of its atoms in the SMILES, -1: a hydrogen that the SMILES
    #: does not hold ``[m]``; None: the record is the SMILES.
    places: list[np.ndarray | None]


class AtomTable(NamedTuple):
    """Molecules and values of their atoms.

    Shapes:
        - **values:** for each molecule :math:`(m, T)`, in the order of the record's atoms (explicit
          hydrogens count), NaN = missing; :math:`(0, T)` for a row that gives no molecule
        - **task_names:** :math:`T` strings
    """

    records: Records
    values: list[np.ndarray]
    task_names: list[str]
    #: What is learned, and how many values are on hydrogens.
    description: str = ""


class RecordAtoms(NamedTuple):
    """The atoms of a record."""

    #: Atomic numbers ``[m]``, in the order of the record.
    z: np.ndarray
    #: Place in the SMILES ``[m]``, -1: the SMILES does not hold it.
    place: np.ndarray

    @property
    def is_heavy(self) -> np.ndarray:
        """True = no hydrogen ``[m]``; in a molecule of hydrogen alone all are True."""
        return (self.z != 1) if (self.z != 1).any() else np.full(len(self.z), True)


def short_name(column: str) -> str:
    """Returns the name of a target: ``charge`` for a column ``atom.dprop.charge``."""
    match = _PROPERTY.fullmatch(column)
    return match[1] if match else column


def numbers_of(cell: str, column: str = "") -> np.ndarray | None:
    """Reads a list of numbers ``[m]``, NaN = missing; None if the cell holds no list.

    Args:
        cell: Text of the cell.
        column: Name of its column, which tells an atom property list of RDKit.
    """
    missing = "n/a"
    if _PROPERTY.fullmatch(column):
        words = cell.split()
        if words and (match := _MARK.fullmatch(words[0])):
            missing, words = match[1], words[1:]
    elif match := _LIST.fullmatch(cell.strip()):
        words = _BETWEEN.split(match[1].strip()) if match[1].strip() else []
    else:
        return None
    read = [np.nan if is_missing(w) or w == missing else number(w) for w in words]
    if any(value is None or np.isinf(value) for value in read):
        return None
    return np.array(read, float)


def has_atom_lists(
    cells: Cells, targets: Sequence[str] | None = None, smiles_column: str | None = None
) -> bool:
    """Whether the targets of a table are values of atoms.

    Args:
        cells: The table.
        targets: Names of the targets: one of them is a column of lists. default: None, there is a
            column of lists, and no other column can be a target.
        smiles_column: Name of the column of the SMILES. default: one of
            :data:`~molae_pyg.tables.text_file.SMILES_NAMES`.
    """
    lists = list_columns(cells)
    if targets is not None:
        return any(short_name(cells.columns[place]) in map(short_name, targets) for place in lists)
    smiles = SMILES_NAMES if smiles_column is None else (smiles_column.lower(),)
    others = [i for i, name in enumerate(cells.columns) if name.lower() not in smiles]
    return bool(lists) and all(_cannot_be_target(cells, i) for i in others if i not in lists)


def list_columns(cells: Cells) -> list[int]:
    """Returns the indices of the columns of which at least half of the cells are lists."""
    found = []
    for place, name in enumerate(cells.columns):
        texts = [row[place] for row in cells.rows if not _is_empty(row[place])]
        lists = [numbers_of(text, name) for text in texts]
        some = [x for x in lists if x is not None and not np.isnan(x).all()]
        if some and 2 * len(some) >= len(texts):
            found.append(place)
    return found


def _cannot_be_target(cells: Cells, place: int) -> bool:
    column = Column(cells.columns[place])
    column.extend([row[place] for row in cells.rows])
    return bool(no_target(column))


def read_atom_table(
    path: str | Path,
    smiles_column: str | None = None,
    target_columns: Sequence[str] | str | None = None,
    encoding: str = "utf-8",
) -> AtomTable:
    """Reads molecules and values of their atoms.

    A list has one value for each atom of the record in its order, or one for each heavy atom.

    Args:
        path: The file, see :func:`~molae_pyg.tables.formats.open_table`.
        smiles_column: Column of the SMILES. default: found by its name.
        target_columns: Columns of lists; ``charge`` also names ``atom.dprop.charge``. default:
            None, all columns of lists.
        encoding: Encoding of the text.

    Raises:
        ValueError: If a column is missing or holds no lists, or a list does not fit its molecule.
            The message names file, row and remedy.
    """
    with open_table(path, encoding, smiles_column) as rows:
        index, cells = rows.smiles_index(), Cells(rows.columns, list(rows))
    if not cells.rows:
        raise ValueError(f"{path} has a header and no rows")
    columns = _chosen(cells, target_columns, path)
    records = _records(path, [row[index].strip() for row in cells.rows])
    with rdBase.BlockLogs():
        atoms = [atoms_of_record(records, row) for row in range(len(cells.rows))]
    values = [np.full((0 if a is None else len(a.z), len(columns)), np.nan) for a in atoms]
    for task, place in enumerate(columns):
        for row, (given, found) in enumerate(zip(cells.rows, atoms, strict=True)):
            if found is None or _is_empty(given[place]):
                continue
            where = f"{path}, row {row} (the first is 0), column {cells.columns[place]!r}"
            values[row][:, task] = _aligned(given[place], cells.columns[place], found, where)
    names = [short_name(cells.columns[place]) for place in columns]
    texts = [_described(name, task, values, atoms) for task, name in enumerate(names)]
    return AtomTable(records, values, names, "; ".join(texts))


def read_records(
    path: str | Path, encoding: str = "utf-8", smiles_column: str | None = None
) -> Records:
    """Reads the molecules of a file, with the order of the atoms of its records."""
    with open_table(path, encoding, smiles_column) as rows:
        index = rows.smiles_index()
        return _records(path, [row[index].strip() for row in rows])


def _records(path: str | Path, smiles: list[str]) -> Records:
    if ending_of(path) != ".sdf":
        return Records(smiles, [None] * len(smiles))
    places = []
    with unpacked(path) as (file, _):
        for block in sdf_blocks(file, path):
            try:
                places.append(smiles_of_record(block)[1])
            except ValueError:  # its SMILES is empty
                places.append(None)
    return Records(smiles, places)


def atoms_of_record(records: Records, row: int) -> RecordAtoms | None:
    """Returns the atoms of a record in its order; None if it gives no molecule."""
    try:
        molecule = parse(records.smiles[row], False, Options().time_limit)
    except ValueError:
        return None
    z = molecule.numbers[molecule.atom_map >= 0]  # added hydrogens come last
    place = np.arange(len(z)) if records.places[row] is None else records.places[row]
    return RecordAtoms(np.where(place >= 0, z[place], 1), place)


def num_atoms_of(records: Records, row: int) -> int:
    """Returns the number of atoms of a record that gives a molecule."""
    places = records.places[row]
    return len(atoms_of_record(records, row).z if places is None else places)


def _chosen(cells: Cells, targets: Sequence[str] | str | None, path: str | Path) -> list[int]:
    """Returns the indices of the target columns."""
    lists = list_columns(cells)
    if targets is None:
        if not lists:
            raise ValueError(f"{path}: found no column of lists. Columns: {cells.columns}")
        return lists
    chosen = []
    for name in [targets] if isinstance(targets, str) else targets:
        found = [i for i, other in enumerate(cells.columns) if name in (other, short_name(other))]
        if len(found) != 1:
            count = "no column" if not found else f"{len(found)} columns"
            raise ValueError(f"{path}: {count} {name!r}. Columns: {cells.columns}")
        chosen += found
    if other := [cells.columns[place] for place in chosen if place not in lists]:
        named = [cells.columns[place] for place in chosen if place in lists]
        raise ValueError(
            f"{path}: {', '.join(named) or 'no target'} has values of atoms, {', '.join(other)} "
            "does not. A model has targets of atoms or of molecules, never both: train two models"
        )
    return chosen


def _is_empty(cell: str) -> bool:
    return is_missing(cell) or cell.strip() == "[]"


def _aligned(cell: str, column: str, atoms: RecordAtoms, where: str) -> np.ndarray:
    """Returns the values of a cell for each atom of the record ``[m]``."""
    values = numbers_of(cell, column)
    if values is None:
        raise ValueError(
            f"{where}: {cell[:60]!r} is no list of numbers: write [0.1, null, -0.2], with null for "
            "a missing value"
        )
    heavy = atoms.is_heavy
    if len(values) == len(heavy):
        return values
    if len(values) != heavy.sum():
        raise ValueError(
            f"{where}: {len(values)} values for {len(heavy)} atoms, {heavy.sum()} of them heavy: "
            "give one for each atom of the record in its order, or one for each heavy atom; null "
            "is a missing value"
        )
    full = np.full(len(heavy), np.nan)
    full[heavy] = values
    return full


def _described(
    name: str, task: int, values: Sequence[np.ndarray], atoms: Sequence[RecordAtoms | None]
) -> str:
    known = [~np.isnan(x[:, task]) for x in values]
    number = sum(int(k.sum()) for k in known)
    on_hydrogen = sum(
        int((k & ~a.is_heavy).sum()) for k, a in zip(known, atoms, strict=True) if a is not None
    )
    text = f"{name}: atom regression, {number - on_hydrogen:,} values"
    text += f" on {sum(k.any() for k in known):,} molecules"
    if on_hydrogen:
        text += f"; left out: {on_hydrogen:,} values on hydrogens, which the model does not see"
    return text
