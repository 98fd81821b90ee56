"""The LMDB files of Uni-Mol and Mol-AE: molecules with their conformers, one pickle a record."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from reprlib import repr as shortened
from typing import Any

import numpy as np
from rdkit import Chem

from molae_pyg.chem.options import DUMMY_Z
from molae_pyg.chem.parsing import Molecule
from molae_pyg.chem.records import RecordRefused
from molae_pyg.chem.smiles import plain_mol, rdkit_errors
from molae_pyg.store.safe_pickle import UnsafePickleError, loads

_TABLE = Chem.GetPeriodicTable()
_NUMBERS = {_TABLE.GetElementSymbol(z): z for z in range(1, 119)} | {"*": DUMMY_Z, "D": 1, "T": 1}


@contextmanager
def _opened(path: Path) -> Iterator[Any]:
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
        raise ValueError(f"{path} is no LMDB file that can be read: {error}") from None


def num_records(path: Path) -> int:
    """Returns the number of records."""
    with _opened(path) as environment:
        return environment.stat()["entries"]


def records(path: Path) -> Iterator[tuple[bytes, bytes]]:
    """Yields key and value of every record, in the order of the keys' bytes (0, 1, 10, 100 ...).

    Raises:
        ModuleNotFoundError: If the lmdb package is not installed.
        ValueError: If it is no LMDB file.
    """
    with _opened(path) as environment, environment.begin() as transaction:
        yield from transaction.cursor()


def read_record(record: tuple[bytes, bytes]) -> Molecule:
    r"""Reads a record: a pickled dict with ``atoms``, ``coordinates`` and ``smi``.

    ``atoms`` are n element symbols, ``coordinates`` a list of conformers :math:`(n, 3)` in Å (or
    one array :math:`(K, n, 3)`), ``smi`` the SMILES; other entries are passed over. A conformer
    with z = 0 throughout is the 2D layout; where there is none it is made from the SMILES.

    Raises:
        RecordRefused: If the pickle names anything but plain data and arrays; nothing is called.
        ValueError: If it is damaged, an entry is missing, or shapes do not fit.
    """
    name, content = _content(record)
    try:
        return _item(content)
    except ValueError as error:
        raise ValueError(f"{name}: {error}") from None


def read_target(record: tuple[bytes, bytes]) -> np.ndarray:
    """Reads the labels of a record of a fine-tuning file, its ``target``, float64 [T].

    Raises:
        RecordRefused, ValueError: As :func:`read_record`.
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
    """What to call a record, and what its pickle holds."""
    key, value = record
    name = f"record {key.decode(errors='backslashreplace')!r}"
    try:
        content = loads(value)
    except UnsafePickleError as error:
        raise RecordRefused(
            f"{name} is refused: its pickle names {error}, of which a molecule has no need and "
            "which could do harm. Do not use this file unless you know where it comes from."
        ) from None
    except Exception as error:  # a damaged pickle can raise anything
        raise ValueError(f"{name} cannot be read: {type(error).__name__}: {error}") from None
    return name, content


def _item(content: Any) -> Molecule:
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
    """The molecule of the SMILES with hydrogens, whose order the official records have.

    None if RDKit cannot read the SMILES: the record has its atoms and coordinates all the same.
    """
    try:
        with rdkit_errors():
            return Chem.AddHs(plain_mol(smiles))
    except ValueError:
        return None
