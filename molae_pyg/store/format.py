"""What a conformer store is on disk: rows, the arrays of a shard, and ``store.json``.

A shard is a safetensors file that covers a range of input rows. Its molecules are in the order of
their rows, so that the bytes of a shard depend on its rows alone.

========================  =========  ======================================================
array                     shape      content
========================  =========  ======================================================
``row``, int64            [M]        input row of each molecule, increasing
``num_atoms``, int32      [M]        number of atoms n
``num_conformers``, int32 [M]        number of conformers k
``scale``, float32        [M]        Å of one unit of ``pos``
``pos``, int16            [P, 3]     coordinates / ``scale``; P = Σ n k: molecule by molecule,
                                     conformer by conformer, atom by atom
``z``, uint8              [A]        atomic numbers; A = Σ n
``smiles``, uint8         [...]      UTF-8, end to end
``smiles_start``, int64   [M + 1]    its bounds
``status``, uint8         [R]        of every row of the range: index in :data:`STATUSES`
``reason``, uint8         [...]      UTF-8, end to end
``reason_start``, int64   [R + 1]    its bounds
========================  =========  ======================================================
"""

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from torch import Tensor

from molae_pyg.durable import write_durably

#: The outcomes of a row. The index is the code in the file: add at the end only.
STATUSES = ("3d", "2d", "failed", "invalid", "timed out", "excluded")

#: Statuses of rows with a molecule.
STORED = ("3d", "2d")

#: Largest atomic number; the smallest is 1.
MAX_Z = 118

#: Å of one unit of a stored coordinate, unless a molecule is too wide for it.
SCALE = 0.001

DTYPES = {
    "row": "I64",
    "smiles_start": "I64",
    "reason_start": "I64",
    "num_atoms": "I32",
    "num_conformers": "I32",
    "scale": "F32",
    "pos": "I16",
    "z": "U8",
    "smiles": "U8",
    "status": "U8",
    "reason": "U8",
}
"""The arrays in the order of the file, widest first: without padding, each one is aligned."""

NUMPY = {"I64": "<i8", "I32": "<i4", "F32": "<f4", "I16": "<i2", "U8": "u1"}

NAME = "store.json"
FORMAT = "molae_pyg conformer store"
VERSION = 1
_MAX_UNIT = 32767  # of int16, the same on both sides
_NO_ATOMS = np.zeros(0, np.uint8)
_NO_COORDINATES = np.zeros((0, 3), np.int16)


class StoreError(RuntimeError):
    """A conformer store cannot be written or read; the message names the file and the remedy."""


class Record(NamedTuple):
    """One input row. ``z`` uint8 [n], ``pos`` int16 [k n, 3] in units of ``scale`` Å."""

    row: int
    status: int
    reason: bytes
    smiles: bytes = b""
    scale: float = 0.0
    z: np.ndarray = _NO_ATOMS
    pos: np.ndarray = _NO_COORDINATES
    num_conformers: int = 0


def make_record(
    row: int,
    status: str,
    reason: str,
    smiles: str,
    z: np.ndarray | Tensor | None,
    conformers: np.ndarray | Tensor | None,
) -> Record:
    """Returns the record of a row; arguments and errors are those of :meth:`StoreWriter.add`."""
    if status not in STATUSES:
        raise ValueError(f"row {row}: status must be one of {STATUSES}, got {status!r}")
    code, reason = STATUSES.index(status), reason.encode(errors="backslashreplace")
    if status not in STORED:
        if z is not None or conformers is not None:
            raise ValueError(f"row {row}: a row with status {status!r} has no molecule")
        return Record(row, code, reason)
    if z is None or conformers is None:
        raise ValueError(f"row {row}: a row with status {status!r} needs z and conformers")
    z, conformers = np.asarray(z), np.asarray(conformers)
    if z.ndim != 1 or conformers.ndim != 3 or conformers.shape[::2] != (len(z), 3):
        raise ValueError(
            f"row {row}: expected z [n] and conformers [n, K, 3], got {list(z.shape)} and "
            f"{list(conformers.shape)}"
        )
    if not conformers.size:
        raise ValueError(f"row {row}: the molecule has no atoms or no conformers")
    if z.min() < 1 or z.max() > MAX_Z:
        raise ValueError(f"row {row}: atomic numbers must be from 1 to {MAX_Z}")
    if not np.isfinite(conformers).all():
        raise ValueError(f"row {row}: coordinates are not finite")
    pos, scale = to_units(conformers)
    text = smiles.encode(errors="backslashreplace")
    return Record(row, code, reason, text, scale, z.astype(np.uint8), pos, conformers.shape[1])


def to_units(conformers: np.ndarray) -> tuple[np.ndarray, float]:
    """Converts coordinates in Å [n, k, 3] to int16 [k n, 3] and the Å of one unit.

    The unit is 0.001 Å. A molecule that reaches farther than 32.767 Å from the origin gets the
    smallest unit in which it fits, so that nothing overflows.
    """
    units = conformers.transpose(1, 0, 2).reshape(-1, 3).astype(np.float64)  # [k n, 3]
    scale = np.float32(SCALE)
    if (reach := np.abs(units).max()) > SCALE * _MAX_UNIT:
        scale = np.nextafter(np.float32(reach / _MAX_UNIT), np.float32(np.inf))
    units = np.rint(units / float(scale))
    return np.clip(units, -_MAX_UNIT, _MAX_UNIT).astype(np.int16), float(scale)


def to_arrays(records: list[Record]) -> dict[str, np.ndarray]:
    """Returns the arrays of a shard from its rows in order."""
    stored = [record for record in records if STATUSES[record.status] in STORED]
    return {
        "row": np.array([record.row for record in stored], np.int64),
        "num_atoms": np.array([len(record.z) for record in stored], np.int32),
        "num_conformers": np.array([record.num_conformers for record in stored], np.int32),
        "scale": np.array([record.scale for record in stored], np.float32),
        "pos": np.concatenate([_NO_COORDINATES, *(record.pos for record in stored)]),
        "z": np.concatenate([_NO_ATOMS, *(record.z for record in stored)]),
        "status": np.array([record.status for record in records], np.uint8),
        **_text_arrays("smiles", [record.smiles for record in stored]),
        **_text_arrays("reason", [record.reason for record in records]),
    }


def _text_arrays(name: str, texts: list[bytes]) -> dict[str, np.ndarray]:
    start = np.zeros(len(texts) + 1, np.int64)
    np.cumsum([len(text) for text in texts], out=start[1:])
    return {name: np.frombuffer(b"".join(texts), np.uint8), f"{name}_start": start}


class ShardEntry(NamedTuple):
    """The entry of a shard in ``store.json``."""

    name: str
    rows: int
    molecules: int
    atoms: int
    bytes: int
    crc32: int


def shard_name(number: int) -> str:
    return f"shard-{number:05d}.safetensors"


@dataclass
class Manifest:
    """The content of ``store.json``.

    Args:
        meta: What the writer was given: the input and the settings of the molecules.
        shard_rows: Number of input rows in a shard.
        shards: Shard number -> its entry, of the shards that are sealed.
        complete: Whether every row is in a shard.
        num_rows: Number of input rows, once complete.
    """

    meta: dict[str, Any]
    shard_rows: int
    shards: dict[int, ShardEntry] = field(default_factory=dict)
    complete: bool = False
    num_rows: int | None = None

    def write(self, folder: Path) -> None:
        content = {"format": FORMAT, "version": VERSION, **asdict(self)}
        content["shards"] = [entry._asdict() for _, entry in sorted(self.shards.items())]
        text = json.dumps(content, indent=1)
        write_durably(folder / NAME, text.encode())

    def entries(self) -> list[ShardEntry]:
        """Returns the entries of the sealed shards, in the order of their rows."""
        return [entry for _, entry in sorted(self.shards.items())]

    def _check(self, num_entries: int) -> None:
        """Raises a ValueError if no writer would write this content."""
        numbers = [self.shard_rows, *([self.num_rows] if self.complete else [])]
        numbers += [number for entry in self.shards.values() for number in entry[1:]]
        if not all(type(number) is int and number >= 0 for number in numbers):
            raise ValueError("a number is missing or negative")
        if self.shard_rows < 1 or type(self.complete) is not bool:
            raise ValueError("shard_rows or complete")
        if len(self.shards) != num_entries or any(
            entry.name != shard_name(number) or entry.rows > self.shard_rows
            for number, entry in self.shards.items()
        ):
            raise ValueError("a shard has another name, or is there twice")
        if self.complete:
            last = -(-self.num_rows // self.shard_rows) - 1
            if sorted(self.shards) != list(range(num_entries)) or num_entries != last + 1:
                raise ValueError("shards are missing, or there are more than rows")
            rows = {number: entry.rows for number, entry in self.shards.items()}
            if sum(rows.values()) != self.num_rows or any(
                number != last and count != self.shard_rows for number, count in rows.items()
            ):
                raise ValueError("the shards do not hold the rows")

    @classmethod
    def read(cls, folder: Path) -> "Manifest":
        """Reads ``folder/store.json``.

        Raises:
            FileNotFoundError: If there is no such file.
            StoreError: If it is damaged, belongs to something else, or is of a later version.
        """
        path = folder / NAME
        try:
            content = json.loads(path.read_bytes())
            if content["format"] != FORMAT:
                raise ValueError(content["format"])
            if (version := content["version"]) != VERSION:
                raise StoreError(
                    f"{folder} is a conformer store of version {version}, this molae_pyg reads "
                    f"version {VERSION}: update molae_pyg"
                )
            entries = [ShardEntry(**entry) for entry in content["shards"]]
            shards = {_shard_number(str(entry.name)): entry for entry in entries}
            names = ("meta", "shard_rows", "complete", "num_rows")
            found = cls(shards=shards, **{name: content[name] for name in names})
            found._check(len(entries))
            return found
        except (ValueError, KeyError, TypeError, RecursionError):
            raise StoreError(
                f"{path} is damaged or belongs to something else: give another folder, or "
                "delete this one and prepare the store anew"
            ) from None


def _shard_number(name: str) -> int:
    return int(name.removeprefix("shard-").removesuffix(".safetensors"))
