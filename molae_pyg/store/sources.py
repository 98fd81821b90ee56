"""Files of molecules, read record by record: SMILES, SDF, and the LMDB files of Uni-Mol and Mol-AE.

This module loads no torch: workers import its readers.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from reprlib import repr as shortened
from typing import Any, BinaryIO, NamedTuple

import numpy as np
from rdkit import Chem

from molae_pyg.chem.options import DUMMY_Z, InputError
from molae_pyg.chem.parsing import Molecule, parse_smiles
from molae_pyg.chem.records import Reader, Record, RecordRefused
from molae_pyg.chem.sdf import is_packed, read_sdf, sdf_blocks, unpacked
from molae_pyg.chem.smiles import plain_mol, rdkit_errors
from molae_pyg.store.safe_pickle import UnsafePickleError, loads
from molae_pyg.tables.text_file import ending_of, smiles_of_lines, smiles_of_table

_PERIODIC_TABLE = Chem.GetPeriodicTable()
_NUMBERS = {_PERIODIC_TABLE.GetElementSymbol(z): z for z in range(1, 119)}
_NUMBERS |= {"*": DUMMY_Z, "D": 1, "T": 1}
_SMALL = 2**25  # bytes; the records of a smaller file are counted in a few seconds


class _Kind(NamedTuple):
    """How files with one ending are read."""

    records: Callable[[BinaryIO, Path, str], Iterator[Record]] | None
    read: Reader
    num_conformers: int  # default: as published, or those of one record


class MoleculeFile:
    r"""A file of SMILES or SDF, or an official LMDB file; the ending of the name decides.

    - ``.smi``, ``.txt``: SMILES, one a line; a name may follow. Blank lines are skipped.
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
        num_conformers: Default number of conformers of a molecule.
        share: Fraction of the file that the latest iteration has read.

    Raises:
        FileNotFoundError: If there is no such file.
        InputError: If the name has another ending; when iterating, if the file is damaged, in
            another encoding, or has a row that is ambiguous. The message names file and row.
    """

    def __init__(self, path: str | Path, encoding: str = "utf-8") -> None:
        self.path = Path(path)
        self.encoding = encoding
        suffix = ending_of(path)
        if not self.path.exists():
            raise FileNotFoundError(f"there is no file {path}")
        if suffix not in _KINDS or (is_packed(path) and suffix == ".lmdb"):
            raise InputError(
                f"{path}: the name must end in .smi, .txt, .csv, .tsv or .sdf (each also with .gz) "
                "or .lmdb"
            )
        self._kind = _KINDS[suffix]
        self.read = self._kind.read
        self.num_conformers = self._kind.num_conformers
        self.share = 0.0

    def __iter__(self) -> Iterator[Record]:
        try:
            yield from self._database() if self._kind.records is None else self._stream()
        except ValueError as error:  # of a reader; a ValueError elsewhere is a defect of ours
            raise InputError(str(error)) from error

    def _stream(self) -> Iterator[Record]:
        size = max(1, self.path.stat().st_size)
        with unpacked(self.path) as (file, raw):
            for record in self._kind.records(file, self.path, self.encoding):
                self.share = raw.tell() / size
                yield record
        self.share = 1.0

    def _database(self) -> Iterator[Record]:
        number = num_official(self.path)
        for done, record in enumerate(official_records(self.path), start=1):
            self.share = done / number
            yield record

    def count(self) -> int | None:
        """Returns the number of records, or None if counting would take long."""
        if self._kind.records is None:
            return num_official(self.path)
        return None if self.path.stat().st_size > _SMALL else sum(1 for _ in self)


def _blocks(file: BinaryIO, path: Path, encoding: str) -> Iterator[bytes]:
    return sdf_blocks(file, path)  # their meaning does not depend on the encoding


@contextmanager
def _open_lmdb(path: Path) -> Iterator[Any]:
    try:
        import lmdb
    except ModuleNotFoundError:
        raise ModuleNotFoundError(
            "reading .lmdb needs the lmdb package: pip install 'molae_pyg[lmdb]'"
        ) from None
    try:
        with lmdb.open(
            str(path), subdir=path.is_dir(), readonly=True, lock=False, readahead=False
        ) as environment:
            yield environment
    except lmdb.Error as error:
        raise ValueError(f"{path} cannot be read as an LMDB file: {error}") from None


def num_official(path: Path) -> int:
    """Returns the number of records of an official LMDB file."""
    with _open_lmdb(path) as environment:
        return environment.stat()["entries"]


def official_records(path: Path) -> Iterator[tuple[bytes, bytes]]:
    """Yields key and value of every record of an official LMDB file.

    They are sorted by the bytes of the keys: 0, 1, 10, 100, ...

    Raises:
        ModuleNotFoundError: If the lmdb package is not installed.
        ValueError: If it is not an LMDB file.
    """
    with _open_lmdb(path) as environment, environment.begin() as transaction:
        yield from transaction.cursor()


def read_official(record: tuple[bytes, bytes]) -> Molecule:
    r"""Reads an official record: a pickled dict with ``atoms``, ``coordinates`` and ``smi``.

    ``atoms`` are n element symbols, ``coordinates`` a list of conformers :math:`(n, 3)` in Å (or
    one array :math:`(K, n, 3)`), ``smi`` the SMILES; other entries are ignored. A conformer with
    z = 0 throughout is the 2D layout; without one, the layout is made from the SMILES.

    Raises:
        RecordRefused: If the pickle names anything but plain data and arrays; nothing is called.
        ValueError: If it is damaged, an entry is missing, or shapes do not fit.
    """
    name, content = _content(record)
    try:
        return _molecule(content)
    except ValueError as error:
        raise ValueError(f"{name}: {error}") from None


def read_official_target(record: tuple[bytes, bytes]) -> np.ndarray:
    """Reads the labels of a record of an official fine-tuning file, ``target``, float64 [T].

    Raises:
        RecordRefused, ValueError: As :func:`read_official`.
    """
    name, content = _content(record)
    target = content.get("target") if isinstance(content, dict) else None
    if target is None:
        raise ValueError(f"{name} has no target")
    try:
        return np.asarray(target, dtype=np.float64).reshape(-1)
    except (TypeError, ValueError):
        raise ValueError(f"{name}: its target is no list of numbers") from None


def _content(record: tuple[bytes, bytes]) -> tuple[str, Any]:
    """Returns a name for the record, and the content of its pickle."""
    key, value = record
    name = f"record {key.decode(errors='backslashreplace')!r}"
    try:
        content = loads(value)
    except UnsafePickleError as error:
        raise RecordRefused(
            f"{name} is refused: its pickle names {error}, which a molecule does not need and "
            "which could do harm. Do not use this file unless you know where it comes from."
        ) from None
    except Exception as error:  # a damaged pickle can raise anything
        raise ValueError(f"{name} cannot be read: {type(error).__name__}: {error}") from None
    return name, content


def _molecule(content: Any) -> Molecule:
    # The messages are reasons in stores: equal input gives equal files in every version.
    if not isinstance(content, dict):
        raise ValueError(f"it holds no dict but a {type(content).__name__}")
    if missing := [key for key in ("atoms", "coordinates", "smi") if key not in content]:
        raise ValueError(f"it has no {' and no '.join(missing)}")
    numbers, smiles = _atomic_numbers(content["atoms"]), content["smi"]
    if not isinstance(smiles, str):
        raise ValueError(f"smi is no string but a {type(smiles).__name__}")
    conformers = _conformers(content["coordinates"], len(numbers))
    whole = [frame for frame in conformers if len(numbers) == 1 or np.ptp(frame, axis=0).any()]
    notes = ["a conformer with all atoms at one place is left out"] * (len(whole) < len(conformers))
    conformers = whole
    # Of a single atom any frame has z = 0.
    flat = [frame for frame in conformers if len(numbers) > 1 and not frame[:, 2].any()]
    given = tuple(frame for frame in conformers if len(numbers) == 1 or frame[:, 2].any())
    return Molecule(
        numbers,
        smiles,
        _structure(smiles),
        given=given,
        layout=flat[0] if flat else None,
        note="; ".join([*notes, *([] if given else ["the record has no 3D coordinates"])]),
        generate=False,
    )


def _atomic_numbers(atoms: Any) -> np.ndarray:
    symbols = atoms.tolist() if isinstance(atoms, np.ndarray) else atoms
    if not isinstance(symbols, list | tuple) or not symbols:
        raise ValueError("atoms is no list of elements")
    if unknown := [s for s in symbols if not isinstance(s, str) or s not in _NUMBERS]:
        raise ValueError(f"atoms has {shortened(unknown[0])}, which is no element")
    return np.array([_NUMBERS[symbol] for symbol in symbols], np.int64)


def _conformers(coordinates: Any, num_atoms: int) -> list[np.ndarray]:
    if not isinstance(coordinates, list | tuple | np.ndarray) or not len(coordinates):
        raise ValueError("coordinates is no list of conformers")
    frames = coordinates
    if isinstance(coordinates, np.ndarray) and coordinates.ndim == 2:
        frames = [coordinates]
    made = []
    for number, frame in enumerate(frames):
        frame = np.asarray(frame)
        if frame.dtype.kind not in "iuf" or frame.shape != (num_atoms, 3):
            shape = list(frame.shape)
            raise ValueError(
                f"coordinates[{number}] has shape {shape}, expected [{num_atoms}, 3] numbers"
            )
        frame = frame.astype(np.float32)
        if not np.isfinite(frame).all():
            raise ValueError(f"coordinates[{number}] is not finite")
        made.append(frame)
    return made


def _structure(smiles: str) -> Chem.Mol | None:
    """Returns the molecule with hydrogens, in the order of atoms of the official records.

    None if RDKit cannot read the SMILES, without which a record still has atoms and coordinates.
    """
    try:
        with rdkit_errors():
            return Chem.AddHs(plain_mol(smiles))
    except ValueError:
        return None


_KINDS = {
    ".smi": _Kind(smiles_of_lines, parse_smiles, 10),
    ".txt": _Kind(smiles_of_lines, parse_smiles, 10),
    ".csv": _Kind(smiles_of_table, parse_smiles, 10),
    ".tsv": _Kind(smiles_of_table, parse_smiles, 10),
    ".sdf": _Kind(_blocks, read_sdf, 1),
    ".lmdb": _Kind(None, read_official, 10),
}
