"""One file of a conformer store: flat arrays in a safetensors file, read by position.

A shard covers a range of input rows. Molecules stand in the order of their rows, so that the
bytes of a shard depend on its rows alone, not on the order in which they were finished.

========================  =========  ======================================================
array                     shape      content
========================  =========  ======================================================
``row``, int64            [M]        input row of each molecule, increasing
``num_atoms``, int32      [M]        atoms n
``num_conformers``, int32 [M]        conformers k
``scale``, float32        [M]        Å for one unit of ``pos``
``pos``, int16            [P, 3]     coordinates / ``scale``; P = Σ n k: molecule by molecule,
                                     in it conformer by conformer, in it atom by atom
``z``, uint8              [A]        atomic numbers; A = Σ n
``smiles``, uint8         [...]      UTF-8, end to end
``smiles_start``, int64   [M + 1]    its bounds
``status``, uint8         [R]        of every row of the range: place in :data:`STATUSES`
``reason``, uint8         [...]      UTF-8, end to end
``reason_start``, int64   [R + 1]    its bounds
========================  =========  ======================================================
"""

import io
import json
import math
import os
import struct
import zlib
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

import numpy as np

from molae_pyg.durable import write_durably

#: What can become of a row. The place is the code in the file: add at the end only.
STATUSES = ("3d", "2d", "failed", "invalid", "timed out", "excluded")

#: Statuses of rows that have a molecule.
STORED = ("3d", "2d")

#: Largest atomic number; there are none below 1.
MAX_Z = 118

#: Å for one unit of a stored coordinate, unless a molecule is too wide for it.
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
"""The arrays in the order of the file, widest first: every one is aligned, as nothing pads them."""

NUMPY = {"I64": "<i8", "I32": "<i4", "F32": "<f4", "I16": "<i2", "U8": "u1"}
BLOCK = 1 << 20  # bytes read at once for a checksum


class StoreError(RuntimeError):
    """A conformer store cannot be written or read; the message says what to do."""


if hasattr(os, "pread"):
    pread = os.pread
else:  # Windows; there processes do not share the position in the file

    def pread(file: int, size: int, start: int) -> bytes:
        os.lseek(file, start, os.SEEK_SET)
        return os.read(file, size)


class ShardEntry(NamedTuple):
    """What ``store.json`` keeps of a shard."""

    name: str
    rows: int
    molecules: int
    atoms: int
    bytes: int
    crc32: int


def write_shard(path: Path, arrays: dict[str, np.ndarray]) -> ShardEntry:
    """Writes the arrays under another name, brings them to the disk and moves the file in place.

    The header is written here rather than by the safetensors package, whose order of the
    metadata varies: equal arrays give equal files.
    """
    header, end, parts = {"__metadata__": {"format": "molae_pyg.store"}}, 0, []
    for name, dtype in DTYPES.items():
        array = np.ascontiguousarray(arrays[name], NUMPY[dtype])
        span = [end, end + array.nbytes]
        header[name] = {"dtype": dtype, "shape": list(array.shape), "data_offsets": span}
        end += array.nbytes
        parts.append(memoryview(array.reshape(-1)).cast("B") if array.size else b"")
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    parts = [struct.pack("<Q", len(text)), text, *parts]
    crc = 0
    for part in parts:
        crc = zlib.crc32(part, crc)
    write_durably(path, *parts)
    rows, molecules, atoms = (len(arrays[name]) for name in ("status", "row", "z"))
    return ShardEntry(path.name, rows, molecules, atoms, 8 + len(text) + end, crc)


class Shard:
    """A shard that is read, whole arrays or parts of them.

    Parts are read by position rather than through a memory map: reading a molecule here and
    there in files larger than the processor's caches, a map spends most of the time on page
    faults, and the pages it holds count as memory of the process.

    Args:
        folder: The store.
        entry: Its line in ``store.json``; a file of another size is an error at once.
        verify: Whether to compare the checksum before the first part is read.

    Raises:
        StoreError: If the file is missing or not the one that was written.
    """

    def __init__(self, folder: Path, entry: ShardEntry, verify: bool) -> None:
        self.path = folder / entry.name
        self.entry = entry
        self.verified = not verify
        self._file: io.FileIO | None = None
        try:
            size = self.path.stat().st_size
            if size != entry.bytes:
                raise self.error(f"is {size} bytes long instead of {entry.bytes}")
            self._layout = self._read_header()
        except FileNotFoundError:
            raise self.error("is missing") from None
        except (ValueError, KeyError, TypeError, RecursionError, struct.error):
            raise self.error("has a damaged header") from None
        molecules, rows = entry.molecules, entry.rows
        lengths = {"smiles_start": molecules + 1, "reason_start": rows + 1, "status": rows}
        lengths |= dict.fromkeys(("row", "num_atoms", "num_conformers", "scale"), molecules)
        if any(self.length(name) != number for name, number in lengths.items()):
            raise self.error("is damaged (its sizes do not fit together)")

    def error(self, what: str) -> StoreError:
        return StoreError(
            f"{self.path} {what}: copy this file again from where the store came from, or "
            "prepare the store anew in another folder"
        )

    def read(self, name: str) -> np.ndarray:
        """Reads one array, unverified."""
        shape, dtype, start = self._layout[name]
        with open(self.path, "rb") as file:
            file.seek(start)
            return np.fromfile(file, dtype, math.prod(shape)).reshape(shape)

    def fileno(self) -> int:
        """The file, open as long as this object lives, to read parts from with :func:`pread`.

        It is verified first.
        """
        if self._file is None:
            self.verify()
            self._file = open(self.path, "rb", buffering=0)  # noqa: SIM115
        return self._file.fileno()

    def part(self, name: str, low: int, high: int) -> np.ndarray:
        """Reads ``array[low:high]`` of one array."""
        shape, dtype, start = self._layout[name]
        width = dtype.itemsize * math.prod(shape[1:])
        content = pread(self.fileno(), (high - low) * width, start + low * width)
        if len(content) != (high - low) * width:
            raise self.error("has become shorter while it was read")
        return np.frombuffer(content, dtype).reshape(high - low, *shape[1:])

    def statuses(self) -> np.ndarray:
        """Reads the status codes of all rows, places in :data:`STATUSES`, uint8 [R].

        Raises:
            StoreError: If there is no such status, or not one with a molecule for each molecule.
        """
        codes = self.read("status")
        if codes.size and codes.max() >= len(STATUSES):
            raise self.error(f"is damaged (it has the status code {codes.max()})")
        if (codes < len(STORED)).sum() != self.entry.molecules:
            raise self.error("is damaged (its statuses do not fit its molecules)")
        return codes

    def texts(self, name: str) -> list[str]:
        """Reads the array of texts ``"smiles"`` or ``"reason"``.

        Raises:
            StoreError: If their bounds or characters make no sense.
        """
        start, content = self.read(f"{name}_start"), self.read(name).tobytes()
        if start[0] != 0 or start[-1] != len(content) or (np.diff(start) < 0).any():
            raise self.error(f"is damaged (bounds of {name})")
        return [self.decoded(content[low:high], name) for low, high in pairwise(start.tolist())]

    def text(self, name: str, place: int) -> str:
        """Reads one of the texts."""
        low, high = self.part(f"{name}_start", place, place + 2).tolist()
        if not 0 <= low <= high <= self.length(name):
            raise self.error(f"is damaged (bounds of {name})")
        return self.decoded(self.part(name, low, high).tobytes(), name)

    def decoded(self, content: bytes, name: str) -> str:
        """UTF-8 as text."""
        try:
            return content.decode()
        except UnicodeDecodeError:
            raise self.error(f"is damaged ({name} is no UTF-8)") from None

    def start(self, name: str) -> int:
        """Where an array begins in the file, in bytes."""
        return self._layout[name][2]

    def length(self, name: str) -> int:
        """Entries of an array along its first axis."""
        return self._layout[name][0][0]

    def verify(self) -> None:
        """Compares the checksum, once."""
        if self.verified:
            return
        crc = 0
        with open(self.path, "rb", buffering=0) as file:
            while block := file.read(BLOCK):
                crc = zlib.crc32(block, crc)
        if crc != self.entry.crc32:
            raise self.error("is damaged (its checksum is not that of the file written)")
        self.verified = True

    def _read_header(self) -> dict[str, tuple[tuple[int, ...], np.dtype, int]]:
        with open(self.path, "rb") as file:
            (length,) = struct.unpack("<Q", file.read(8))
            if length > self.entry.bytes - 8:
                raise ValueError("the header is longer than the file")
            header = json.loads(file.read(length))
        layout = {}
        for name, dtype in DTYPES.items():
            field, start = header[name], 8 + length + header[name]["data_offsets"][0]
            shape, numpy_dtype = tuple(field["shape"]), np.dtype(NUMPY[dtype])
            if not all(type(size) is int and size >= 0 for size in shape):
                raise ValueError(f"{name} has the shape {shape}")
            if shape[1:] != ((3,) if name == "pos" else ()):
                raise ValueError(f"{name} has the shape {shape}")
            end = start + math.prod(shape) * numpy_dtype.itemsize
            if field["dtype"] != dtype or end != 8 + length + field["data_offsets"][1]:
                raise ValueError(f"{name} has another type or size")
            if not 0 <= start <= end <= self.entry.bytes:
                raise ValueError(f"{name} is outside the file")
            layout[name] = shape, numpy_dtype, start
        return layout
