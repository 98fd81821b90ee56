"""The molecules of a file as a fitted model takes them, row by row."""

import os
from collections.abc import Iterator, Sequence
from contextlib import nullcontext
from itertools import repeat
from typing import Any, NamedTuple

import numpy as np

from molae_pyg.chem.options import InputError, as_input_errors
from molae_pyg.chem.sdf import sdf_blocks, smiles_of_record, unpacked
from molae_pyg.inference.file_rows import check_has_coordinates
from molae_pyg.tables.atom_lists import Records
from molae_pyg.tables.formats import Cells, open_table
from molae_pyg.tables.text_file import ending_of
from molae_pyg.workflow.atoms.model import AtomModel
from molae_pyg.workflow.model import FittedModel
from molae_pyg.workflow.molecules import Molecules
from molae_pyg.workflow.sd_file import molecules_of_blocks

#: Molecules of a file: SMILES, records of atoms, or those with coordinates.
Given = Sequence[str] | Records | Molecules
#: The cells of a row, and its record if the SMILES is not all of it.
FileRow = tuple[list[str], bytes | None]


class Layout(NamedTuple):
    """What the columns of a file are."""

    columns: list[str]
    smiles: int  #: Index of the column of the SMILES.


def molecules_of(
    model: FittedModel,
    data: str | os.PathLike,
    encoding: str = "utf-8",
    smiles_column: str | None = None,
) -> Given:
    """Reads all molecules of a file as a fitted model takes them.

    These are SMILES, with coordinates if it was trained on those of a file, with the places of the
    atoms if it predicts atoms, or with other columns if it was trained with some.
    """
    rows = rows_of_file(model, data, encoding, smiles_column)
    layout, found = next(rows), list(rows)
    if not found:
        raise InputError(f"{data} has no rows")
    return given_of(model, layout, found)


def rows_of_file(
    model: FittedModel, data: str | os.PathLike, encoding: str, smiles_column: str | None
) -> Iterator[Any]:
    """Yields the layout of a file, and then its rows."""
    own = model.coordinates == "file"
    if own:
        check_has_coordinates(data)
    is_sdf = ending_of(data) == ".sdf"
    has_records = own or (is_sdf and isinstance(model, AtomModel))
    records = unpacked(data) if has_records else nullcontext((None, None))
    table = open_table(data, encoding, smiles_column)
    with as_input_errors(), table as cells, records as (file, _):
        yield Layout(cells.columns, cells.smiles_index())
        blocks = sdf_blocks(file, data) if has_records else repeat(None)
        yield from zip(cells, blocks, strict=has_records)


def given_of(model: FittedModel, layout: Layout, rows: Sequence[FileRow]) -> Given:
    """Returns the molecules of rows as a model takes them."""
    smiles = [cells[layout.smiles].strip() for cells, _ in rows]
    found: Given = smiles
    if model.coordinates == "file":
        found = molecules_of_blocks(block for _, block in rows)
    elif isinstance(model, AtomModel):
        found = Records(smiles, [_places(block) for _, block in rows])
    if model.extra:
        found = model.extra.beside(found, Cells(layout.columns, [cells for cells, _ in rows]))
    return found


def _places(block: bytes | None) -> np.ndarray | None:
    """Returns the place of each atom of a record in its SMILES; None: the SMILES is the record."""
    try:
        return None if block is None else smiles_of_record(block)[1]
    except ValueError:  # its SMILES is empty
        return None
