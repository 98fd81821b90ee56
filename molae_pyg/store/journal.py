"""Rows of a conformer store that is still being written: a log that survives a killed process."""

import errno
import struct
import zlib
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

import numpy as np
from torch import Tensor

from molae_pyg.durable import naming
from molae_pyg.store.shard import DTYPES, MAX_Z, SCALE, STATUSES, STORED, Shard

_FRAME = struct.Struct("<II")  # length and CRC-32 of what follows
_HEAD = struct.Struct("<qBfIIII")  # row, status, scale, n, k, bytes of reason, bytes of SMILES
_MAX_UNIT = 32767  # of int16, the same on both sides
_NO_ATOMS = np.zeros(0, np.uint8)
_NO_COORDINATES = np.zeros((0, 3), np.int16)


class Record(NamedTuple):
    """One input row. ``z`` uint8 [n], ``pos`` int16 [k n, 3] in units of ``scale`` Å."""

    row: int
    status: int
    reason: bytes
    smiles: bytes
    scale: float
    z: np.ndarray
    pos: np.ndarray
    num_conformers: int


def make_record(
    row: int,
    status: str,
    reason: str,
    smiles: str,
    z: np.ndarray | Tensor | None,
    conformers: np.ndarray | Tensor | None,
) -> Record:
    """The record of a row; arguments and errors are those of :meth:`StoreWriter.add`."""
    if status not in STATUSES:
        raise ValueError(f"row {row}: status must be one of {STATUSES}, got {status!r}")
    code, reason = STATUSES.index(status), reason.encode(errors="backslashreplace")
    if status not in STORED:
        if z is not None or conformers is not None:
            raise ValueError(f"row {row}: a row that is {status!r} has no molecule")
        return Record(row, code, reason, b"", 0.0, _NO_ATOMS, _NO_COORDINATES, 0)
    if z is None or conformers is None:
        raise ValueError(f"row {row}: a row that is {status!r} needs z and conformers")
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
    """Coordinates in Å [n, k, 3] -> int16 [k n, 3] and the Å of one unit.

    The unit is 0.001 Å. A molecule that reaches farther than 32.767 Å from the origin has the
    next unit in which it fits, so that nothing overflows.
    """
    units = conformers.transpose(1, 0, 2).reshape(-1, 3).astype(np.float64)  # [k n, 3]
    scale = np.float32(SCALE)
    if (reach := np.abs(units).max()) > SCALE * _MAX_UNIT:
        scale = np.nextafter(np.float32(reach / _MAX_UNIT), np.float32(np.inf))
    units = np.rint(units / float(scale))
    return np.clip(units, -_MAX_UNIT, _MAX_UNIT).astype(np.int16), float(scale)


class Journal:
    """The log of one shard's rows, ``first`` to ``first + num_rows - 1``.

    Each row goes to the operating system at once, with its length and checksum. A row that a
    crash has cut off is found by them on opening, and it and what follows are removed.
    """

    def __init__(self, path: Path, first: int, num_rows: int) -> None:
        self.path = path
        self.first = first
        self.done = np.zeros(num_rows, bool)
        self._file = open(path, "a+b", buffering=0)  # noqa: SIM115, closed by the writer
        self._end = 0
        for end, row in _scan(path.read_bytes()):
            if not 0 <= row - first < num_rows:
                break
            self._end = end
            self.done[row - first] = True
        self.count = int(self.done.sum())
        with naming(path):
            self._file.truncate(self._end)

    def append(self, record: Record) -> None:
        frame = pack(record)
        try:
            with naming(self.path):
                if self._file.write(frame) != len(frame):
                    raise OSError(errno.ENOSPC, "the disk took a part of a row only")
        except BaseException:  # a part of a row would hide those after it
            with naming(self.path):
                self._file.truncate(self._end)
            raise
        self._end += len(frame)
        self.done[record.row - self.first] = True
        self.count += 1

    def records(self) -> list[Record]:
        """All rows, in the order of their numbers."""
        content = self.path.read_bytes()
        starts, start = [], 0
        for end, row in _scan(content):
            starts.append((row, start + _FRAME.size))
            start = end
        return [_unpack(content, start) for _, start in sorted(starts)]

    def close(self) -> None:
        self._file.close()

    def delete(self) -> None:
        self.close()
        self.path.unlink(missing_ok=True)


def pack(record: Record) -> bytes:
    """The bytes of a row in a journal."""
    sizes = (len(record.z), record.num_conformers, len(record.reason), len(record.smiles))
    payload = b"".join(
        (
            _HEAD.pack(record.row, record.status, record.scale, *sizes),
            record.reason,
            record.smiles,
            record.z.tobytes(),
            record.pos.astype("<i2", copy=False).tobytes(),
        )
    )
    return _FRAME.pack(len(payload), zlib.crc32(payload)) + payload


def records_of(shard: Shard, first: int) -> Iterator[Record]:
    """The rows of a shard, from row ``first`` on, as they were in its journal."""
    arrays = {name: shard.read(name) for name in DTYPES}
    n, k = arrays["num_atoms"].astype(np.int64), arrays["num_conformers"].astype(np.int64)
    z_end, pos_end = np.cumsum(n), np.cumsum(n * k)
    place = {row: i for i, row in enumerate(arrays["row"].tolist())}
    reasons = _texts(arrays["reason"], arrays["reason_start"])
    smiles = _texts(arrays["smiles"], arrays["smiles_start"])
    for row, (status, reason) in enumerate(
        zip(arrays["status"].tolist(), reasons, strict=True), start=first
    ):
        if row not in place:
            yield Record(row, status, reason, b"", 0.0, _NO_ATOMS, _NO_COORDINATES, 0)
            continue
        i = place[row]
        z = arrays["z"][z_end[i] - n[i] : z_end[i]]
        pos = arrays["pos"][pos_end[i] - n[i] * k[i] : pos_end[i]]
        scale = float(arrays["scale"][i])
        yield Record(row, status, reason, smiles[i], scale, z, pos, int(k[i]))


def _texts(content: np.ndarray, start: np.ndarray) -> list[bytes]:
    whole = content.tobytes()
    return [whole[low:high] for low, high in pairwise(start.tolist())]


def _scan(content: bytes) -> Iterator[tuple[int, int]]:
    """End and row number of each whole record, up to the first that is not."""
    start, view = 0, memoryview(content)
    while start + _FRAME.size <= len(content):
        length, crc = _FRAME.unpack_from(content, start)
        payload = view[start + _FRAME.size : start + _FRAME.size + length]
        if len(payload) < max(length, _HEAD.size) or zlib.crc32(payload) != crc:
            return
        start += _FRAME.size + length
        yield start, _HEAD.unpack_from(payload)[0]


def _unpack(content: bytes, start: int) -> Record:
    row, status, scale, n, k, len_reason, len_smiles = _HEAD.unpack_from(content, start)
    start += _HEAD.size
    reason = content[start : start + len_reason]
    start += len_reason
    smiles = content[start : start + len_smiles]
    start += len_smiles
    z = np.frombuffer(content, np.uint8, n, start)
    pos = np.frombuffer(content, "<i2", 3 * n * k, start + n).reshape(-1, 3)  # [k n, 3]
    return Record(row, status, reason, smiles, scale, z, pos, k)


def to_arrays(records: list[Record]) -> dict[str, np.ndarray]:
    """The arrays of a shard (see :mod:`molae_pyg.store.shard`) from its rows in order."""
    stored = [record for record in records if STATUSES[record.status] in STORED]
    return {
        "row": np.array([record.row for record in stored], np.int64),
        "num_atoms": np.array([len(record.z) for record in stored], np.int32),
        "num_conformers": np.array([record.num_conformers for record in stored], np.int32),
        "scale": np.array([record.scale for record in stored], np.float32),
        "pos": np.concatenate([_NO_COORDINATES, *(record.pos for record in stored)]),
        "z": np.concatenate([_NO_ATOMS, *(record.z for record in stored)]),
        "status": np.array([record.status for record in records], np.uint8),
        **_text("smiles", [record.smiles for record in stored]),
        **_text("reason", [record.reason for record in records]),
    }


def _text(name: str, texts: list[bytes]) -> dict[str, np.ndarray]:
    start = np.zeros(len(texts) + 1, np.int64)
    np.cumsum([len(text) for text in texts], out=start[1:])
    return {name: np.frombuffer(b"".join(texts), np.uint8), f"{name}_start": start}
