"""Text and tables, read line by line: the one way from a file to its rows."""

import codecs
import csv
import io
import os
import re
from collections.abc import Iterator, Sequence
from typing import BinaryIO

_BLOCK = 2**16  # bytes read at once
_LONGEST = 2**26  # characters of a cell; beyond, a quote has been left open
_SAMPLE = 50  # rows that help to find the separator of a table
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
#: What is written like a SMILES of common elements; words are not.
SMILES = re.compile(r"(?:\[[^\]]+\]|Br|Cl|[BCNOPSFIbcnops*]|[-=#$:~/\\.()]|%\d\d|\d)+")


def lines_of_text(file: BinaryIO, path: str | os.PathLike, encoding: str) -> Iterator[str]:
    r"""Yields the lines of a text, each with its end: ``\n``, ``\r\n`` or ``\r``.

    A byte order mark is no part of the text.

    Raises:
        ValueError: If the file is not in this encoding or holds a NUL; the message names file,
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
            raise ValueError(f"{os.fspath(path)} is no text, but {_OTHER_FILES[kind]}")
        more, is_start = bool(block), False
        try:
            text = rest + splitter.decode(block, final=not more)
        except UnicodeDecodeError as error:
            before = rest + error.object[: error.start].decode(encoding, "replace")
            number += sum(1 for _ in io.StringIO(before + "x", newline=""))
            raise ValueError(_not_text(path, number, encoding, error.object)) from None
        if "\0" in text:
            number += sum(1 for _ in io.StringIO(text[: text.index("\0") + 1], newline=""))
            raise ValueError(
                f"{os.fspath(path)}, line {number} holds a NUL byte: it is damaged, no text, or "
                "text in UTF-16. Save it as UTF-8 text."
            )
        lines = list(io.StringIO(text, newline=""))
        rest = lines.pop() if more and lines else ""
        number += len(lines)
        yield from lines


def _not_text(path: str | os.PathLike, number: int, encoding: str, content: bytes) -> str:
    looks = "it is in UTF-16" if content[:2] in (b"\xff\xfe", b"\xfe\xff") else "it is in another"
    return (
        f"{os.fspath(path)}, line {number} cannot be read as {encoding}: {looks} encoding. "
        "Save the file as UTF-8, or declare its encoding with encoding= (--encoding), such as "
        "'latin-1', 'cp1252' or 'utf-16'."
    )


class TableRows:
    """A table with a header, row by row.

    Cells may be quoted, and quoted cells may hold separators and line breaks. Blank lines are no
    rows, before and below the header. Cells that a row lacks are empty.

    Args:
        lines: The lines of the file, each with its end.
        path: The file, for messages.
        smiles_names: Names, in lower case, of which the header has one, the first found counts;
            they tell which of comma, semicolon and tab separates the cells.

    Attributes:
        columns: The names in the header, without blanks around them.

    Raises:
        ValueError: If there is no header; when iterating, if a quote is left open or a row has
            more cells than the header, naming file and row (the first below the header is 0).
    """

    def __init__(
        self, lines: Iterator[str], path: str | os.PathLike, smiles_names: Sequence[str]
    ) -> None:
        self._path = os.fspath(path)
        sample = self._sample(lines)
        separator = self._separator(sample, smiles_names)
        self._taken: list[str] = []  # lines of the row at hand
        self._smiles: int | None = None  # place of the column
        self._rows = csv.reader(self._fed(sample, lines), delimiter=separator, strict=True)
        self._separator_char = separator
        header = self._next("the header")
        if header is None:
            raise ValueError(f"{self._path} is empty: a table has a header and rows")
        self.columns = [name.strip() for name in header]
        lower = [name.lower() for name in self.columns]
        self._smiles = next((lower.index(name) for name in smiles_names if name in lower), None)

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

    def _sample(self, lines: Iterator[str]) -> list[str]:
        """The first lines, without blank ones above the header."""
        sample: list[str] = []
        for line in lines:
            if sample or line.strip(' \t\r\n,;"'):
                sample.append(line)
            if len(sample) > _SAMPLE:
                break
        return sample

    def _separator(self, sample: list[str], smiles_names: Sequence[str]) -> str:
        """The separator by which the header has a column of SMILES, else most cells."""
        if sample and (found := _DIRECTIVE.fullmatch(sample[0])):
            del sample[0]
            return found[1]
        best, separator = (False, 0), "\t" if ".tsv" in self._path.lower() else ","
        for candidate in sorted(SEPARATORS, key=lambda mark: mark != separator):
            header = _first_row(sample, candidate)
            score = (any(name.strip().lower() in smiles_names for name in header), len(header))
            if score > best:
                best, separator = score, candidate
        return separator

    def _fed(self, sample: list[str], lines: Iterator[str]) -> Iterator[str]:
        for source in (sample, lines):
            for line in source:
                self._taken.append(line)
                yield line

    def _next(self, what: str) -> list[str] | None:
        """The cells of the next row that is not blank, or None at the end of the file."""
        while True:
            self._taken.clear()
            limit = csv.field_size_limit(_LONGEST)  # of the whole process: put back at once
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
            f"{self._path}, {where}: a quote is left open or does not stand around a whole cell "
            f'({reason}): {self._taken[0].strip()[:80]!r}. Close it, or double it ("").'
        )

    def _swallows(self) -> bool:
        """Whether a row of several lines is made of rows, one a line, by a quote left open.

        Its first and last line are then rows without regard to quotes, with SMILES in place and
        numbers in the same columns. A note of several lines is not.
        """
        if self._smiles is None:
            return False
        first, last = (
            line.rstrip("\r\n").split(self._separator_char)
            for line in (self._taken[0], self._taken[-1])
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


def _first_row(sample: list[str], separator: str) -> list[str]:
    return next(csv.reader(sample, delimiter=separator), [])
