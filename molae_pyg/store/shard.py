"""One file of a conformer store: written as a whole, read by position."""

import io
import json
import math
import os
import struct
import zlib
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import numpy as np
from safetensors import SafetensorError, safe_open

from molae_pyg.durable import write_durably
from molae_pyg.store.format import DTYPES, NUMPY, STATUSES, STORED, Record, ShardEntry, StoreError

BLOCK = 1 << 20  # bytes read at once for a checksum

if hasattr(os, "pread"):
    pread = os.pread
else:  # Windows; there processes do not share the position in the file

    def pread(file: int, size: int, start: int) -> bytes:
        os.lseek(file, start, os.SEEK_SET)
        return os.read(file, size)


def write_shard(path: Path, arrays: dict[str, np.ndarray]) -> ShardEntry:
    """Writes a shard as a whole: a crash leaves no part of it under its name.

    The header is written here because the safetensors package puts the arrays in another order,
    and equal rows have to give equal files in every version of molae_pyg.
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
    """Reads a shard: whole arrays, or parts of them.

    Parts are read by position rather than through a memory map. In files larger than the
    processor's caches, a map spends most of the time of a random read on page faults, and its
    pages count as memory of the process.

    Args:
        folder: The store.
        entry: Its entry in ``store.json``; a file of another size is an error at once.
        verify: Whether to compare the checksum before the first part is read.

    Raises:
        StoreError: If the file is missing, damaged, or another than the one that was written.
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
            self._layout = self._read_layout()
        except FileNotFoundError:
            raise self.error("is missing") from None
        except (SafetensorError, ValueError, KeyError, struct.error):
            raise self.error("has a damaged header") from None
        molecules, rows = entry.molecules, entry.rows
        lengths = {"smiles_start": molecules + 1, "reason_start": rows + 1, "status": rows}
        lengths |= dict.fromkeys(("row", "num_atoms", "num_conformers", "scale"), molecules)
        if any(self.length(name) != number for name, number in lengths.items()):
            raise self.error("is damaged (its sizes do not fit together)")

    def error(self, what: str) -> StoreError:
        return StoreError(
            f"{self.path} {what}: copy this file again from the source of the store, or "
            "prepare the store anew in another folder"
        )

    def read(self, name: str) -> np.ndarray:
        """Reads one array without comparing the checksum."""
        shape, dtype, start = self._layout[name]
        with open(self.path, "rb") as file:
            file.seek(start)
            return np.fromfile(file, dtype, math.prod(shape)).reshape(shape)

    def fileno(self) -> int:
        """Returns the file for :func:`pread`, verified and open as long as this object lives."""
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
        """Reads the status codes of all rows, indices in :data:`STATUSES`, uint8 [R].

        Raises:
            StoreError: If a code is unknown, or the codes do not fit the number of molecules.
        """
        codes = self.read("status")
        if codes.size and codes.max() >= len(STATUSES):
            raise self.error(f"is damaged (it has the status code {codes.max()})")
        if (codes < len(STORED)).sum() != self.entry.molecules:
            raise self.error("is damaged (its statuses do not fit its molecules)")
        return codes

    def texts(self, name: str) -> list[str]:
        """Reads all texts of ``"smiles"`` or ``"reason"``.

        Raises:
            StoreError: If their bounds are out of order, or they are not UTF-8.
        """
        return [self.decoded(text, name) for text in self._bytes(name)]

    def text(self, name: str, index: int) -> str:
        """Reads one of the texts."""
        low, high = self.part(f"{name}_start", index, index + 2).tolist()
        if not 0 <= low <= high <= self.length(name):
            raise self.error(f"is damaged (bounds of {name})")
        return self.decoded(self.part(name, low, high).tobytes(), name)

    def decoded(self, content: bytes, name: str) -> str:
        """Decodes UTF-8."""
        try:
            return content.decode()
        except UnicodeDecodeError:
            raise self.error(f"is damaged ({name} is not UTF-8)") from None

    def start(self, name: str) -> int:
        """Returns the first byte of an array in the file."""
        return self._layout[name][2]

    def length(self, name: str) -> int:
        """Returns the length of an array along its first axis."""
        return self._layout[name][0][0]

    def verify(self) -> None:
        """Compares the checksum, once.

        Raises:
            StoreError: If it differs from that of ``store.json``.
        """
        if self.verified:
            return
        crc = 0
        with open(self.path, "rb", buffering=0) as file:
            while block := file.read(BLOCK):
                crc = zlib.crc32(block, crc)
        if crc != self.entry.crc32:
            raise self.error("is damaged (its checksum is not that of the file written)")
        self.verified = True

    def records(self, first: int) -> Iterator[Record]:
        """Yields the rows as they were in the journal; ``first`` is the number of the first."""
        arrays = {name: self.read(name) for name in DTYPES}
        n, k = arrays["num_atoms"].astype(np.int64), arrays["num_conformers"].astype(np.int64)
        z_end, pos_end = np.cumsum(n), np.cumsum(n * k)
        index = {row: i for i, row in enumerate(arrays["row"].tolist())}
        reasons, smiles = self._bytes("reason"), self._bytes("smiles")
        statuses = zip(arrays["status"].tolist(), reasons, strict=True)
        for row, (status, reason) in enumerate(statuses, start=first):
            if row not in index:
                yield Record(row, status, reason)
                continue
            i = index[row]
            z = arrays["z"][z_end[i] - n[i] : z_end[i]]
            pos = arrays["pos"][pos_end[i] - n[i] * k[i] : pos_end[i]]
            scale = float(arrays["scale"][i])
            yield Record(row, status, reason, smiles[i], scale, z, pos, int(k[i]))

    def _bytes(self, name: str) -> list[bytes]:
        start, content = self.read(f"{name}_start"), self.read(name).tobytes()
        if start[0] != 0 or start[-1] != len(content) or (np.diff(start) < 0).any():
            raise self.error(f"is damaged (bounds of {name})")
        return [content[low:high] for low, high in pairwise(start.tolist())]

    def _read_layout(self) -> dict[str, tuple[tuple[int, ...], np.dtype, int]]:
        """Shape, type and first byte of each array, from the header that safetensors checks."""
        with open(self.path, "rb") as file:
            (length,) = struct.unpack("<Q", file.read(8))
        layout, start = {}, 8 + length
        with safe_open(self.path, "np") as file:
            for name in file.offset_keys():  # without gaps between them, or it is an error
                array = file.get_slice(name)
                dtype, shape = array.get_dtype(), tuple(array.get_shape())
                if dtype != DTYPES[name] or shape[1:] != ((3,) if name == "pos" else ()):
                    raise ValueError(f"{name} has another type or shape")
                layout[name] = shape, np.dtype(NUMPY[dtype]), start
                start += math.prod(shape) * layout[name][1].itemsize
        if layout.keys() != DTYPES.keys():
            raise ValueError("an array is missing")
        return layout
