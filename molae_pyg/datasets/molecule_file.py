"""A file of molecules, read record by record, so that its length does not matter."""

import csv
import gzip
import hashlib
import io
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import BinaryIO, NamedTuple

from molae_pyg.chem.items import Reader, Record, read_sdf_record, read_smiles_record
from molae_pyg.datasets import official_lmdb
from molae_pyg.datasets.reading import find_smiles_column

_SMALL = 2**25  # bytes; counting the records of such a file takes seconds at most
_BLOCK = 2**20  # bytes
_NUM_BLOCKS = 256  # that the fingerprint of a larger file takes in


class _Kind(NamedTuple):
    """One kind of file."""

    records: Callable[[io.TextIOWrapper | BinaryIO, Path], Iterator[Record]] | None
    read: Reader
    num_conformers: int  # by default: as published, or those that one record holds


class MoleculeFile:
    r"""SMILES, SDF or an official LMDB file, told apart by the name.

    - ``.smi``, ``.txt``: SMILES, one a line; the first word counts, empty lines do not.
    - ``.csv``: a table with a column of SMILES (see
      :data:`~molae_pyg.datasets.reading.SMILES_NAMES`) below a header.
    - ``.sdf``: its 3D coordinates are used as they are.
    - ``.lmdb``: records of Uni-Mol and Mol-AE with their conformers; needs the lmdb package.

    All but the last may be compressed, ``.gz``. Bytes that are no UTF-8 spoil their own record
    only. Iterating gives the records as they stand in the file, in its order.

    Args:
        path: The file.

    Attributes:
        path: The file.
        read: Turns a record into an item.
        num_conformers: Conformers to make or take of a molecule unless told otherwise.
        share: Share of the file that the latest iteration has read, 0 to 1.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If the name ends otherwise.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        suffixes = [suffix.lower() for suffix in self.path.suffixes]
        self._packed = suffixes[-1:] == [".gz"]
        suffix = "".join(suffixes[-2:-1] if self._packed else suffixes[-1:])
        if suffix not in _KINDS or (self._packed and suffix == ".lmdb"):
            raise ValueError(
                f"{path}: the name must end in .smi, .txt, .csv or .sdf (each also with .gz) or "
                ".lmdb"
            )
        if not self.path.exists():
            raise FileNotFoundError(f"there is no file {path}")
        self._kind = _KINDS[suffix]
        self.read = self._kind.read
        self.num_conformers = self._kind.num_conformers
        self.share = 0.0

    def __iter__(self) -> Iterator[Record]:
        if self._kind.records is None:
            yield from self._database()
            return
        size = max(1, self.path.stat().st_size)
        with open(self.path, "rb") as raw:
            opened = gzip.GzipFile(fileobj=raw) if self._packed else raw
            try:
                for record in self._kind.records(opened, self.path):
                    self.share = raw.tell() / size
                    yield record
            except (EOFError, gzip.BadGzipFile, zlib.error, csv.Error) as error:
                raise ValueError(f"{self.path} is damaged or not complete: {error}") from None
        self.share = 1.0

    def _database(self) -> Iterator[Record]:
        number = official_lmdb.num_records(self.path)
        for done, record in enumerate(official_lmdb.records(self.path), start=1):
            self.share = done / number
            yield record

    def count(self) -> int | None:
        """Returns the number of records, or None if it would take long to tell."""
        if self._kind.records is None:
            return official_lmdb.num_records(self.path)
        return None if self.path.stat().st_size > _SMALL else sum(1 for _ in self)

    def fingerprint(self) -> dict[str, str | int]:
        """Returns name, size and a hash; that of a large file takes in 256 MiB spread over it."""
        path = self.path / "data.mdb" if self.path.is_dir() else self.path
        size, digest = path.stat().st_size, hashlib.sha256()
        with open(path, "rb") as file:
            step = max(_BLOCK, size // _NUM_BLOCKS)
            for start in range(0, size, step):
                file.seek(start)
                digest.update(file.read(_BLOCK))
        return {"name": self.path.name, "bytes": size, "sha256": digest.hexdigest()}


def _lines(file: BinaryIO, path: Path) -> Iterator[str]:
    text = io.TextIOWrapper(file, encoding="utf-8-sig", errors="replace")
    return (line.split(None, 1)[0] for line in text if line.strip())


def _cells(file: BinaryIO, path: Path) -> Iterator[str]:
    """The SMILES column; a row that is too short has an empty cell."""
    text = io.TextIOWrapper(file, encoding="utf-8-sig", errors="replace", newline="")
    header = text.readline()
    separator = max(",;\t", key=header.count)
    columns = next(csv.reader([header], delimiter=separator), [])
    place = columns.index(find_smiles_column(columns, path))
    lines = (line.replace("\0", "") for line in text)  # Python 3.10's reader stops at them
    for cells in csv.reader(lines, delimiter=separator):
        if cells:
            yield cells[place].strip() if place < len(cells) else ""


def _blocks(file: BinaryIO, path: Path) -> Iterator[bytes]:
    """The records of an SD file, each with the line that ends it."""
    lines: list[bytes] = []
    for line in file:
        lines.append(line)
        if line.startswith(b"$$$$"):
            yield b"".join(lines)
            lines = []
    if any(line.strip() for line in lines):
        yield b"".join(lines)


_KINDS = {
    ".smi": _Kind(_lines, read_smiles_record, 10),
    ".txt": _Kind(_lines, read_smiles_record, 10),
    ".csv": _Kind(_cells, read_smiles_record, 10),
    ".sdf": _Kind(_blocks, read_sdf_record, 1),
    ".lmdb": _Kind(None, official_lmdb.read_record, 10),
}
