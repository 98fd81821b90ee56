"""Reads all shards of a conformer store as one: arrays in, arrays out."""

from pathlib import Path
from typing import NamedTuple

import numpy as np

from molae_pyg.store.format import MAX_Z, SCALE, STATUSES, STORED, Manifest, StoreError
from molae_pyg.store.shard import Shard, pread

_POS_BYTES = 6  # three int16
_LARGEST_SCALE = np.finfo(np.float32).max / 2**15  # beyond it coordinates would be infinite


class Atoms(NamedTuple):
    """One conformer of each molecule, end to end.

    ``z`` uint8 [N], ``pos`` float32 [N, 3] in Å, ``ptr`` int64 [B + 1] the bounds of the
    molecules, ``row`` int64 [B] their input rows.
    """

    z: np.ndarray
    pos: np.ndarray
    ptr: np.ndarray
    row: np.ndarray


class StoreFiles:
    """The open files of a store, shared by all its subsets.

    Holds the sizes and positions of every molecule (20 bytes each); everything else stays in the
    files. A shard is verified and opened when one of its molecules is first needed.

    Args:
        folder: A complete store.
        verify: Whether to compare the checksum of each shard.
        verified: Names of shards that have been compared already. (default: none)

    Raises:
        StoreError: If the store is missing, incomplete, of another version or damaged.
    """

    def __init__(self, folder: Path, verify: bool, verified: frozenset[str] = frozenset()) -> None:
        self.folder = folder
        self.verify_shards = verify
        try:
            self.manifest = Manifest.read(folder)
        except FileNotFoundError:
            raise StoreError(
                f"{folder} is not a conformer store, it has no store.json: prepare one there with "
                "`molae prepare`"
            ) from None
        if not self.manifest.complete:
            raise StoreError(
                f"{folder} is not complete, preparation was interrupted or is still running: "
                "run the same `molae prepare` again, it resumes where it stopped"
            )
        entries = self.manifest.entries()
        self.shards = [
            Shard(folder, entry, verify and entry.name not in verified) for entry in entries
        ]
        self.first = _starts([entry.molecules for entry in entries])  # [S + 1]
        self._first_row = np.array(sorted(self.manifest.shards), np.int64)
        self._first_row *= self.manifest.shard_rows  # [S]
        self._z_at = np.array([shard.start("z") for shard in self.shards], np.int64)
        self._pos_at = np.array([shard.start("pos") for shard in self.shards], np.int64)
        self._read_index()

    def __reduce__(self):
        return StoreFiles, (self.folder, self.verify_shards, self.verified)

    def __len__(self) -> int:
        return int(self.first[-1])

    @property
    def verified(self) -> frozenset[str]:
        return frozenset(shard.entry.name for shard in self.shards if shard.verified)

    def molecule(self, index: int) -> tuple[np.ndarray, np.ndarray, int, str, str]:
        """Returns z uint8 [n], conformers float32 [n, k, 3] in Å, input row, SMILES and status."""
        shard, _ = self._find(index)
        n, k = int(self.num_atoms[index]), int(self.num_conformers[index])
        start = int(self._atom_start[index])
        z = shard.part("z", start, start + n)
        start = int(self._pos_start[index])
        pos = shard.part("pos", start, start + n * k).reshape(k, n, 3).transpose(1, 0, 2)
        pos = pos.astype(np.float32, order="C") * self._scale_of(index)  # [n, k, 3]
        self._check_z(z)
        place = int(self._place[index])
        code = int(shard.part("status", place, place + 1)[0])
        if code >= len(STORED):
            raise shard.error(f"is damaged (a molecule has the status code {code})")
        status = STATUSES[code]
        return z, pos, int(self.row(index)), self.smiles(index), status

    def smiles(self, index: int) -> str:
        shard, inside = self._find(index)
        return shard.text("smiles", inside)

    def row(self, index: np.ndarray | int) -> np.ndarray:
        """Returns the input rows of molecules, int64."""
        number = np.searchsorted(self.first, index, side="right") - 1
        return self._first_row[number] + self._place[index]

    def gather(self, index: np.ndarray, conformer: np.ndarray) -> Atoms:
        """Reads one conformer of each molecule, in the order of ``index``.

        Everything but the reading, two calls for each molecule, is computed for all at once.

        Args:
            index: Molecules, int64 [B].
            conformer: The conformer of each, int64 [B].
        """
        number = np.searchsorted(self.first, index, side="right") - 1  # [B]
        n = self.num_atoms[index].astype(np.int64)  # [B]
        ptr = _starts(n)  # [B + 1]
        z_at = self._z_at[number] + self._atom_start[index]  # [B], bytes
        pos_at = self._pos_start[index] + conformer * n
        pos_at = self._pos_at[number] + _POS_BYTES * pos_at
        files = {i: self.shards[i].fileno() for i in np.unique(number).tolist()}
        z, pos = [], []
        each = zip(number.tolist(), n.tolist(), z_at.tolist(), pos_at.tolist(), strict=True)
        for i, size, z_start, pos_start in each:
            z.append(pread(files[i], size, z_start))
            pos.append(pread(files[i], size * _POS_BYTES, pos_start))
        z, pos = b"".join(z), b"".join(pos)
        if len(z) != ptr[-1] or len(pos) != ptr[-1] * _POS_BYTES:
            raise StoreError(f"{self.folder}: a shard has become shorter while it was read")
        z = np.frombuffer(z, np.uint8)
        self._check_z(z)
        pos = np.frombuffer(pos, "<i2").reshape(-1, 3).astype(np.float32)  # [N, 3]
        pos *= np.repeat(self._scale[index], n)[:, None] if np.ndim(self._scale) else self._scale
        return Atoms(z, pos, ptr, self.row(index))

    def rows(self, number: int) -> tuple[int, np.ndarray, list[str]]:
        """Returns the first row of a shard, and status code and reason of all its rows."""
        shard = self.shards[number]
        shard.verify()
        return int(self._first_row[number]), shard.statuses(), shard.texts("reason")

    def _check_z(self, z: np.ndarray) -> None:
        if z.size and not 1 <= z.min() <= z.max() <= MAX_Z:
            raise StoreError(
                f"{self.folder} is damaged: it has an atomic number that is not from 1 to {MAX_Z}; "
                "copy it again from where it came from, or prepare it anew in another folder"
            )

    def _read_index(self) -> None:
        """Reads the sizes of all molecules and computes where they begin in their shards."""
        num = len(self)
        self.num_atoms = np.empty(num, np.int32)
        self.num_conformers = np.empty(num, np.int32)
        longest = max((shard.entry.bytes for shard in self.shards), default=0)
        dtype = np.uint32 if longest < 2**32 else np.int64  # every process holds them
        self._atom_start, self._pos_start = np.empty(num, dtype), np.empty(num, dtype)
        self._place = np.empty(num, dtype)  # of its row in the shard
        scale = []
        for number, shard in enumerate(self.shards):
            part = slice(self.first[number], self.first[number + 1])
            n, k, row, scales = map(shard.read, ("num_atoms", "num_conformers", "row", "scale"))
            place = row - self._first_row[number]
            _check_index(shard, n, k, place, scales)
            self.num_atoms[part], self.num_conformers[part] = n, k
            self._atom_start[part] = _starts(n)[:-1]
            self._pos_start[part] = _starts(n.astype(np.int64) * k)[:-1]
            self._place[part] = place
            scale.append(scales)
        scales = np.concatenate([np.zeros(0, np.float32), *scale])
        usual = np.float32(SCALE)
        self._scale = usual if (scales == usual).all() else scales

    def _find(self, index: int) -> tuple[Shard, int]:
        """Returns the shard of a molecule and its index there."""
        number = int(np.searchsorted(self.first, index, side="right")) - 1
        return self.shards[number], index - int(self.first[number])

    def _scale_of(self, index: int) -> np.float32:
        return self._scale[index] if np.ndim(self._scale) else self._scale


def _check_index(
    shard: Shard, n: np.ndarray, k: np.ndarray, place: np.ndarray, scale: np.ndarray
) -> None:
    """Raises a StoreError if no writer would write these sizes, rows or scales."""
    if not len(n):
        fits = shard.length("z") == shard.length("pos") == 0
    elif min(n.min(), k.min()) < 1 or k.max() > shard.length("pos"):
        fits = False  # sums of such sizes may overflow
    else:
        n = n.astype(np.int64)
        fits = (n.sum(), (n * k).sum()) == (shard.length("z"), shard.length("pos"))
    if not fits:
        raise shard.error("is damaged (its sizes do not fit together)")
    if len(place) and (place[0] < 0 or place[-1] >= shard.entry.rows or (np.diff(place) < 1).any()):
        raise shard.error("is damaged (its rows are out of order or range)")
    if not ((scale > 0) & (scale <= _LARGEST_SCALE)).all():  # NaN, too
        raise shard.error("is damaged (it has a scale that is no positive number)")


def _starts(sizes: np.ndarray | list[int]) -> np.ndarray:
    """Returns 0 and the running sums, int64."""
    starts = np.zeros(len(sizes) + 1, np.int64)
    np.cumsum(sizes, out=starts[1:])
    return starts
