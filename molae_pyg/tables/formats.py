"""Every file of molecules as a table: CSV, TSV, lists of SMILES, SD files, Parquet."""

import csv
import io
import os
import re
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import BinaryIO, NamedTuple

from rdkit import rdBase

from molae_pyg.chem.options import InputError
from molae_pyg.chem.sdf import sdf_blocks, smiles_of_record, unpacked
from molae_pyg.tables.text_file import LINE, LISTS, TableRows, ending_of, lines_of_text

_HEADER = re.compile(r">.*?<(.+)>")  # of a property in an SD file
_COLUMNS = ("smiles", "name")  # of a list of SMILES, and the first two of an SD file


class Cells(NamedTuple):
    """The cells of a table as they are in the file."""

    columns: list[str]
    rows: list[list[str]]


def check_apart(data: str | os.PathLike, *outputs: str | os.PathLike) -> None:
    """Checks that no output would replace the file that is read (ValueError)."""
    for path in outputs:
        if os.path.exists(path) and os.path.exists(data) and os.path.samefile(path, data):
            raise InputError(
                f"{os.fspath(path)} would replace the file that is read: give another name"
            )


def read_cells(
    path: str | os.PathLike, encoding: str = "utf-8", smiles_column: str | None = None
) -> Cells:
    """Reads all cells of a file; see :func:`open_table`."""
    with open_table(path, encoding, smiles_column) as rows:
        return Cells(rows.columns, list(rows))


def smiles_of(
    path: str | os.PathLike, encoding: str = "utf-8", smiles_column: str | None = None
) -> list[str]:
    """Reads the SMILES of all rows, without blanks around them; see :func:`open_table`."""
    with open_table(path, encoding, smiles_column) as rows:
        index = rows.smiles_index()
        return [cells[index].strip() for cells in rows]


@contextmanager
def open_table(
    path: str | os.PathLike, encoding: str = "utf-8", smiles_column: str | None = None
) -> Iterator[TableRows]:
    """Opens a file of molecules as a table.

    A list (``.smi``, ``.txt``) has the columns ``smiles`` and ``name``. An SD file (``.sdf``) has
    these two and a column for each property; its coordinates are not used. All of these may end in
    ``.gz``. ``.parquet`` is read by pandas. Any other file is a text with a header.

    Args:
        path: The file.
        encoding: Encoding of texts.
        smiles_column: Name of the SMILES column; default: None, see
            :class:`~molae_pyg.tables.text_file.TableRows`.

    Raises:
        ValueError: If the file cannot be read.
        ModuleNotFoundError: If a Parquet file needs a package that is not installed.
    """
    kind = ending_of(path)
    if kind == ".parquet":
        yield TableRows(_parquet(path), path, "utf-8", smiles_column)
        return
    with unpacked(path) as (file, _):
        if kind in LISTS:
            file, encoding = _AsCsv(_lines(file, path, encoding)), "utf-8"
        elif kind == ".sdf":
            file, encoding = _AsCsv(_records(file, path)), "utf-8"
        yield TableRows(file, path, encoding, smiles_column)


def _lines(file: BinaryIO, path: str | os.PathLike, encoding: str) -> Iterator[Sequence[str]]:
    yield _COLUMNS
    for line in lines_of_text(file, path, encoding):
        if found := LINE.match(line):
            smiles = " ".join(part.strip() for part in found.groups() if part)
            yield smiles, line[found.end() :].strip()


def _records(file: BinaryIO, path: str | os.PathLike) -> Iterator[Sequence[str]]:
    """Yields a header and the records; the SMILES of one that cannot be read is empty."""
    names: dict[str, None] = {}
    for block in sdf_blocks(file, path):
        names |= dict.fromkeys(_properties(_text_of(block)))
    yield [*_COLUMNS, *(f"{name} (property)" if name in _COLUMNS else name for name in names)]
    file.seek(0)
    for block in sdf_blocks(file, path):
        with rdBase.BlockLogs():
            try:
                smiles, _ = smiles_of_record(block)
            except ValueError:
                smiles = ""
        text = _text_of(block)
        found = _properties(text)
        title = text[0].strip() if text else ""
        yield [smiles, title, *(found.get(name, "") for name in names)]


def _text_of(block: bytes) -> list[str]:
    return block.decode("utf-8", "replace").splitlines()


def _properties(lines: Sequence[str]) -> dict[str, str]:
    """Returns the properties of a record by name; the lines of one value are joined."""
    found: dict[str, list[str]] = {}
    values: list[str] | None = None
    for line in lines:
        if match := _HEADER.match(line):
            values = found.setdefault(match[1].strip(), [])
        elif not line.strip() or line.startswith("$$$$"):
            values = None
        elif values is not None:
            values.append(line.strip())
    return {name: "\n".join(values) for name, values in found.items()}


class _AsCsv:
    """Rows as the bytes of a table, which are made as they are read."""

    def __init__(self, rows: Iterable[Sequence[str]]):
        self._rows = iter(rows)

    def read(self, size: int) -> bytes:
        """Returns the next rows, of about ``size`` characters; nothing at the end."""
        text = io.StringIO(newline="")
        writer = csv.writer(text, quoting=csv.QUOTE_ALL)
        for row in self._rows:
            writer.writerow(row)
            if text.tell() >= size:
                break
        return text.getvalue().encode("utf-8", "replace")


def _parquet(path: str | os.PathLike) -> BinaryIO:
    import pandas as pd

    try:
        frame = pd.read_parquet(path)
    except ImportError:
        raise ModuleNotFoundError(
            f"{os.fspath(path)}: pandas needs the package pyarrow to read Parquet files: "
            "pip install pyarrow, or save the table as CSV"
        ) from None
    return io.BytesIO(frame.to_csv(index=False).encode("utf-8", "replace"))
