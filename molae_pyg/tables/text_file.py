"""Texts, tables and lists of SMILES, read row by row. It loads no torch: workers import it."""

import codecs
import csv
import io
import os
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import BinaryIO

from molae_pyg.chem.sdf import unpacked

#: Names of a SMILES column in any case; the first that is found counts.
SMILES_NAMES = (
    *("smiles", "canonical_smiles", "isomeric_smiles", "smi"),
    *("mol", "molecule", "structure"),
)
#: Endings of tables and of lists with one SMILES a line; each also with ``.gz``, in any case.
TABLES, LISTS = (".csv", ".tsv"), (".smi", ".txt")

_BLOCK = 2**16  # bytes read at once
_LONGEST = 2**26  # characters of a cell; in a longer one a quote has been left open
_SAMPLE = 50  # lines that the separator of a table is found from
SEPARATORS = (",", ";", "\t")
_OTHER_FILES = {
    b"PK\x03\x04": "an archive, such as a workbook of Excel. Save the table as CSV (UTF-8).",
    b"\xd0\xcf\x11\xe0": "an old workbook of Excel. Save the table as CSV (UTF-8).",
    b"\x1f\x8b": "packed by gzip. Give it a name that ends in .gz.",
    b"BZh": "packed by bzip2. Unpack it, or pack it by gzip.",
    b"\xfd7zXZ": "packed by xz. Unpack it, or pack it by gzip.",
    b"PAR1": "a Parquet file. Save the table as CSV.",
}
_DIRECTIVE = re.compile(r'"?sep=(.)"?\s*')  # what Excel writes above a header
LINE = re.compile(r"\s*(\S+)(\s+\|[^|]*\|(?=\s|$))?")  # a SMILES, and the extension of CXSMILES
#: Texts that look like a SMILES of common elements; words do not.
SMILES = re.compile(r"(?:\[[^\]]+\]|Br|Cl|[BCNOPSFIbcnops*]|[-=#$:~/\\.()]|%\d\d|\d)+")


def lines_of_text(file: BinaryIO, path: str | os.PathLike, encoding: str) -> Iterator[str]:
    r"""Yields the lines of a text, each with its end: ``\n``, ``\r\n`` or ``\r``.

    A byte order mark is removed.

    Raises:
        ValueError: If the file is not in this encoding or holds a NUL byte; the message names file,
            line and remedy.
    """
    try:
        name = codecs.lookup(encoding).name
        decoder = codecs.getincrementaldecoder("utf-8-sig" if name == "utf-8" else name)()
    except (LookupError, TypeError):
        raise ValueError(f"there is no encoding {encoding!r}") from None
    splitter = io.IncrementalNewlineDecoder(decoder, translate=False)
    number, rest, more, is_start = 0, "", True, True
    while more:
        block = file.read(_BLOCK)
        if is_start and (kind := next((m for m in _OTHER_FILES if block.startswith(m)), None)):
            raise ValueError(f"{os.fspath(path)} is not text, but {_OTHER_FILES[kind]}")
        more, is_start = bool(block), False
        try:
            text = rest + splitter.decode(block, final=not more)
        except UnicodeDecodeError as error:
            before = rest + error.object[: error.start].decode(encoding, "replace")
            number += sum(1 for _ in io.StringIO(before + "x", newline=""))
            bom = error.object[:2] in (b"\xff\xfe", b"\xfe\xff")
            raise ValueError(
                f"{os.fspath(path)}, line {number} cannot be read as {encoding}: it is in "
                f"{'UTF-16' if bom else 'another'} encoding. Save the file as UTF-8, or declare "
                "its encoding with encoding= (--encoding), such as 'latin-1' or 'utf-16'."
            ) from None
        if "\0" in text:
            number += sum(1 for _ in io.StringIO(text[: text.index("\0") + 1], newline=""))
            raise ValueError(
                f"{os.fspath(path)}, line {number} holds a NUL byte: it is damaged, not text, or "
                "text in UTF-16. Save it as UTF-8 text."
            )
        lines = list(io.StringIO(text, newline=""))
        rest = lines.pop() if more and lines else ""
        number += len(lines)
        yield from lines


class TableRows:
    """A table with a header, row by row.

    Cells may be quoted, and quoted cells may hold separators and line breaks. Blank lines are
    skipped. Cells that a row lacks are empty.

    Args:
        file: The open file.
        path: Its path, for messages.
        encoding: Its encoding.
        smiles_column: Name of the SMILES column, which decides whether comma, semicolon or tab
            separates the cells. default: None, one of :data:`SMILES_NAMES`.

    Attributes:
        columns: Names in the header, without blanks around them.

    Raises:
        ValueError: If there is no header; when iterating, if a quote is left open or a row has
            more cells than the header, naming file and row (the first below the header is 0).
    """

    def __init__(
        self,
        file: BinaryIO,
        path: str | os.PathLike,
        encoding: str,
        smiles_column: str | None = None,
    ) -> None:
        self._path = os.fspath(path)
        self._smiles_column = smiles_column
        self._names = (smiles_column.strip().lower(),) if smiles_column else SMILES_NAMES
        lines = lines_of_text(file, path, encoding)
        sample = self._sample(lines)
        self._mark = self._separator(sample)
        self._taken: list[str] = []  # lines of the current row
        self._smiles: int | None = None  # index of the SMILES column
        self._rows = csv.reader(self._fed(sample, lines), delimiter=self._mark, strict=True)
        header = self._next("the header")
        if header is None:
            raise ValueError(f"{self._path} is empty: a table has a header and rows")
        self.columns = [name.strip() for name in header]
        lower = [name.lower() for name in self.columns]
        self._smiles = next((lower.index(name) for name in self._names if name in lower), None)

    def __iter__(self) -> Iterator[list[str]]:
        width, number = len(self.columns), 0
        while (cells := self._next(f"row {number}")) is not None:
            if len(cells) != width:
                if any(cell.strip() for cell in cells[width:]):
                    raise ValueError(
                        f"{self._path}, row {number} (the first below the header is 0) has "
                        f"{len(cells)} cells, the header {width}: "
                        f"{cells[: width + 2]!r}. Quote cells that hold a separator."
                    )
                cells = cells[:width] + [""] * (width - len(cells))
            yield cells
            number += 1

    def indices(self, names: Sequence[str], repeated: str = "raise") -> list[int]:
        """Returns the indices of columns.

        Raises:
            ValueError: If one is missing, or occurs twice and ``repeated`` is not ``"first"``.
        """
        stripped = [str(name).strip() for name in names]
        absent = [name for name in stripped if name not in self.columns]
        if absent or not names:
            raise ValueError(
                f"{self._path}: no column {absent or 'given for the targets'}. "
                f"Columns: {self.columns}"
            )
        twice = [name for name in stripped if stripped.count(name) > 1]
        if repeated == "raise":
            twice += [name for name in stripped if self.columns.count(name) > 1]
        if twice:
            raise ValueError(
                f"{self._path}: column {twice[0]!r} occurs twice; give each its own name"
            )
        return [self.columns.index(name) for name in stripped]

    def smiles_index(self) -> int:
        """Returns the index of the SMILES column.

        Raises:
            ValueError: If it is missing, or its name occurs twice.
        """
        if self._smiles_column is not None:
            return self.indices([self._smiles_column])[0]
        if self._smiles is None:
            names = self.columns
            remedy = "name it with smiles_column= (--smiles), or call it smiles"
            if all(SMILES.fullmatch(name) or _is_number(name) for name in names):
                remedy = "its first line looks like a row: write a line of names, such as smiles,y"
            raise ValueError(f"{self._path}: found no SMILES column; {remedy}. Columns: {names}")
        return self.indices([self.columns[self._smiles]])[0]

    def _sample(self, lines: Iterator[str]) -> list[str]:
        """Returns the first lines, without blank ones above the header."""
        sample: list[str] = []
        for line in lines:
            if sample or line.strip(' \t\r\n,;"'):
                sample.append(line)
            if len(sample) > _SAMPLE:
                break
        return sample

    def _separator(self, sample: list[str]) -> str:
        """Returns the separator with which the header has a SMILES column, else most cells."""
        if sample and (found := _DIRECTIVE.fullmatch(sample[0])):
            del sample[0]
            return found[1]
        best, separator = (False, 0), "\t" if ".tsv" in self._path.lower() else ","
        for candidate in sorted(SEPARATORS, key=lambda mark: mark != separator):
            header = next(csv.reader(sample, delimiter=candidate), [])
            score = (any(name.strip().lower() in self._names for name in header), len(header))
            if score > best:
                best, separator = score, candidate
        return separator

    def _fed(self, sample: list[str], lines: Iterator[str]) -> Iterator[str]:
        for source in (sample, lines):
            for line in source:
                self._taken.append(line)
                yield line

    def _next(self, what: str) -> list[str] | None:
        """Returns the cells of the next row that is not blank, or None at the end of the file."""
        while True:
            self._taken.clear()
            limit = csv.field_size_limit(_LONGEST)  # of the whole process: restored at once
            try:
                cells = next(self._rows)
            except StopIteration:
                return None
            except csv.Error as error:
                raise ValueError(self._open_quote(what, str(error))) from None
            finally:
                csv.field_size_limit(limit)
            if len(self._taken) > 1 and self._swallows():
                raise ValueError(self._open_quote(what, "the lines below it are rows themselves"))
            if len(cells) > 1 or any(line.strip() for line in self._taken):
                return cells

    def _open_quote(self, what: str, reason: str) -> str:
        where = what if what == "the header" else f"{what} (the first below the header is 0)"
        return (
            f"{self._path}, {where}: a quote is left open or does not enclose a whole cell "
            f'({reason}): {self._taken[0].strip()[:80]!r}. Close it, or double it ("").'
        )

    def _swallows(self) -> bool:
        """Whether a quote left open has made a row out of several rows.

        Its first and last line are then rows themselves if quotes are ignored: SMILES are in their
        column, and numbers in the same columns. A note of several lines does not look like this.
        """
        if self._smiles is None:
            return False
        first, last = (
            line.rstrip("\r\n").split(self._mark) for line in (self._taken[0], self._taken[-1])
        )
        if len(first) != len(self.columns) or len(last) != len(self.columns):
            return False
        if not all(SMILES.fullmatch(cells[self._smiles].strip(' "')) for cells in (first, last)):
            return False
        pairs = [pair for pair in zip(first, last, strict=True) if '"' not in "".join(pair)]
        return all(_is_number(a) == _is_number(b) for a, b in pairs if a.strip() and b.strip())


def _is_number(cell: str) -> bool:
    try:
        float(cell)
    except ValueError:
        return False
    return True


def read_smiles(path: str | Path, encoding: str = "utf-8") -> list[str]:
    """Reads SMILES from a list (one a line) or a table, as ``molae prepare`` does.

    The first word of a line is read, with the extension of CXSMILES (``|...|``) that may follow;
    the rest is a name. Blank lines are skipped. A table (``.csv``, ``.tsv``) has a header with one
    of :data:`SMILES_NAMES`. ``.gz`` is unpacked.

    Raises:
        ValueError: If the file cannot be read (see :func:`~molae_pyg.tables.reading.read_table`)
            or holds no SMILES.
    """
    kind = ending_of(path)
    if kind not in TABLES + LISTS:
        raise ValueError(f"{path}: the name must end in {', '.join(TABLES + LISTS)} (or .gz)")
    cells = smiles_of_table if kind in TABLES else smiles_of_lines
    with unpacked(path) as (file, _):
        smiles = list(cells(file, path, encoding))
    if not smiles:
        raise ValueError(f"{path} holds no SMILES")
    return smiles


def ending_of(path: str | os.PathLike) -> str:
    """Returns the ending of a name in lower case without ``.gz``, such as ``".csv"``."""
    name = os.path.basename(os.fspath(path)).lower().removesuffix(".gz")
    return os.path.splitext(name)[1]


def smiles_of_lines(file: BinaryIO, path: str | os.PathLike, encoding: str) -> Iterator[str]:
    """Yields the SMILES of an open list; see :func:`read_smiles`."""
    for line in lines_of_text(file, path, encoding):
        if found := LINE.match(line):
            yield " ".join(part.strip() for part in found.groups() if part)


def smiles_of_table(file: BinaryIO, path: str | os.PathLike, encoding: str) -> Iterator[str]:
    """Yields the SMILES of every row of an open table, without blanks around it."""
    rows = TableRows(file, path, encoding)
    index = rows.smiles_index()
    return (cells[index].strip() for cells in rows)
