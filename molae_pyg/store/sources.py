"""A file of molecules, read record by record, so that its length does not matter."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import BinaryIO, NamedTuple

from molae_pyg.chem.parsing import parse_smiles
from molae_pyg.chem.records import Reader, Record
from molae_pyg.chem.sdf import is_packed, read_sdf, sdf_blocks, unpacked
from molae_pyg.store import official_lmdb
from molae_pyg.tables.text_file import ending_of, smiles_of_lines, smiles_of_table

_SMALL = 2**25  # bytes; counting the records of such a file takes seconds at most


class _Kind(NamedTuple):
    """One kind of file."""

    records: Callable[[BinaryIO, Path, str], Iterator[Record]] | None
    read: Reader
    num_conformers: int  # by default: as published, or those that one record holds


class MoleculeFile:
    r"""SMILES, SDF or an official LMDB file, told apart by the name.

    - ``.smi``, ``.txt``: SMILES, one a line; a name may follow. Blank lines do not count.
    - ``.csv``, ``.tsv``: a table with a column of SMILES (see
      :data:`~molae_pyg.tables.text_file.SMILES_NAMES`) below a header.
    - ``.sdf``: its 3D coordinates are used as they are.
    - ``.lmdb``: records of Uni-Mol and Mol-AE with their conformers; needs the lmdb package.

    All but the last may be compressed, ``.gz``. Iterating gives the records in the order of the
    file; they are those that :func:`~molae_pyg.tables.text_file.read_smiles`,
    :func:`~molae_pyg.tables.reading.read_table` and :func:`~molae_pyg.chem.from_sdf` read.

    Args:
        path: The file.
        encoding: Encoding of lists and tables. (default: :obj:`"utf-8"`)

    Attributes:
        path: The file.
        encoding: Encoding of lists and tables.
        read: Turns a record into a molecule, in a worker.
        num_conformers: Conformers to make or take of a molecule unless told otherwise.
        share: Share of the file that the latest iteration has read, 0 to 1.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If the name ends otherwise; when iterating, if the file is damaged, in another
            encoding, or has a row that cannot be told from others, naming file and row.
    """

    def __init__(self, path: str | Path, encoding: str = "utf-8") -> None:
        self.path = Path(path)
        self.encoding = encoding
        suffix = ending_of(path)
        if suffix not in _KINDS or (is_packed(path) and suffix == ".lmdb"):
            raise ValueError(
                f"{path}: the name must end in .smi, .txt, .csv, .tsv or .sdf (each also with .gz) "
                "or .lmdb"
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
        with unpacked(self.path) as (file, raw):
            for record in self._kind.records(file, self.path, self.encoding):
                self.share = raw.tell() / size
                yield record
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


def _blocks(file: BinaryIO, path: Path, encoding: str) -> Iterator[bytes]:
    return sdf_blocks(file, path)  # no meaning depends on an encoding


_KINDS = {
    ".smi": _Kind(smiles_of_lines, parse_smiles, 10),
    ".txt": _Kind(smiles_of_lines, parse_smiles, 10),
    ".csv": _Kind(smiles_of_table, parse_smiles, 10),
    ".tsv": _Kind(smiles_of_table, parse_smiles, 10),
    ".sdf": _Kind(_blocks, read_sdf, 1),
    ".lmdb": _Kind(None, official_lmdb.read_record, 10),
}
