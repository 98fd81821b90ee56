"""Reads a conformer store: millions of molecules as a PyTorch Geometric data set."""

import copy
import hashlib
import json
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch_geometric.data import Batch, Data, Dataset

from molae_pyg.store.files import Atoms, StoreFiles
from molae_pyg.store.format import STATUSES, StoreError

__all__ = ["ConformerStore", "StoreError", "StoredRow"]

Index = slice | Tensor | np.ndarray | Sequence[int] | Sequence[bool]


_DataBatch = type(Batch())  # Batch(...) would make this class again for each batch


class StoredRow(NamedTuple):
    """The outcome of one input row."""

    row: int
    status: str
    reason: str


class ConformerStore(Dataset):
    r"""Reads the molecules that :class:`~molae_pyg.datasets.StoreWriter` has written.

    Items are :obj:`Data` with :obj:`z`, :obj:`conformers`, :obj:`smiles`, :obj:`status` and
    :obj:`row` (the input row); rows without a molecule have no item. Coordinates are those that
    were given, rounded to 0.001 Å (to more in a molecule that reaches farther than 32.767 Å from
    the origin). Molecules are selected with index arrays, as in any data set of PyTorch Geometric.

    For training, :meth:`gather` makes whole batches without a :obj:`Data` for each molecule.

    The molecules stay on the disk, so that a store may be larger than the memory. Worker
    processes open the files themselves. Nothing is unpickled.

    Args:
        folder: The store.
        verify: Whether to compare the checksum of a shard before its first use, which reads the
            whole file once in every process. :meth:`verify` compares all of them ahead, also for
            processes that are started later. (default: :obj:`True`)
        transform: Transform of every item on access, not in :meth:`gather`.
            (default: :obj:`None`)

    Shapes:
        - **z** of an item: :math:`(n)` int64
        - **conformers** of an item: :math:`(n, K, 3)` float32, in Å

    Raises:
        StoreError: If the store is missing, incomplete, of a later version or damaged. A shard
            that is missing or has another size is reported at once, one with a wrong checksum
            when it is first used.
    """

    def __init__(
        self,
        folder: str | Path,
        verify: bool = True,
        transform: Callable[[Data], Data] | None = None,
    ) -> None:
        super().__init__(None, transform)
        self._files = StoreFiles(Path(folder).absolute(), verify)

    @property
    def folder(self) -> Path:
        """Folder of the store."""
        return self._files.folder

    @property
    def meta(self) -> dict[str, Any]:
        """Input and settings of the store, as they were given to the writer."""
        return self._files.manifest.meta

    @property
    def num_rows(self) -> int:
        """Number of input rows of the whole store, with and without a molecule."""
        return self._files.manifest.num_rows

    @property
    def num_atoms(self) -> np.ndarray:
        """Number of atoms of every (selected) molecule, int32."""
        return self._selected(self._files.num_atoms)

    @property
    def num_conformers(self) -> np.ndarray:
        """Number of conformers of every (selected) molecule, int32."""
        return self._selected(self._files.num_conformers)

    @property
    def molecule_rows(self) -> np.ndarray:
        """Input row of every (selected) molecule, int64."""
        return self._files.row(np.asarray(self.indices()))

    def digest(self) -> str:
        """Returns a checksum of the (selected) molecules and their order."""
        checksums = [entry.crc32 for entry in self._files.manifest.entries()]
        digest = hashlib.sha256(json.dumps(checksums).encode())
        digest.update(np.asarray(self.indices(), dtype=np.int64).tobytes())
        return digest.hexdigest()

    def outcomes(self) -> dict[str, int]:
        """Returns the number of input rows of the whole store for each status."""
        counts = np.zeros(len(STATUSES), np.int64)
        for shard in self._files.shards:
            shard.verify()
            counts += np.bincount(shard.statuses(), minlength=len(STATUSES))
        return dict(zip(STATUSES, counts.tolist(), strict=True))

    def rows(self) -> Iterator[StoredRow]:
        """Yields the outcome of every input row in order, also of those without a molecule."""
        for number in range(len(self._files.shards)):
            first, status, reasons = self._files.rows(number)
            outcomes = zip(status.tolist(), reasons, strict=True)
            for row, (code, reason) in enumerate(outcomes, start=first):
                yield StoredRow(row, STATUSES[code], reason)

    def verify(self) -> None:
        """Compares the checksums of all shards that have not been compared yet.

        Raises:
            StoreError: At the first shard that is damaged.
        """
        for shard in self._files.shards:
            shard.verify()

    def gather(
        self,
        indices: Index,
        conformer: Literal["random", "first"] | np.ndarray = "random",
        smiles: bool = False,
    ) -> Batch:
        """Reads molecules as one batch, with one conformer of each.

        Args:
            indices: Molecules in the order of the batch, as for ``store[indices]``.
            conformer: ``"random"`` draws one uniformly with torch's global generator, ``"first"``
                takes the first; or the conformer of each molecule, integers [B].
                (default: :obj:`"random"`)
            smiles: Whether to add the list :obj:`smiles`, which takes longer than all else.
                (default: :obj:`False`)

        Returns:
            ``z`` int64 [N], ``pos`` float32 [N, 3] in Å, ``batch`` and ``ptr`` as from a
            ``DataLoader``, ``row`` int64 [B].
        """
        is_given = isinstance(conformer, np.ndarray)
        if not is_given and conformer not in ("random", "first"):
            raise ValueError(f'conformer must be "random" or "first", got {conformer!r}')
        index = self._resolve(indices)  # [B]
        choice = np.zeros(len(index), np.int64)
        if is_given:
            choice = self._checked(conformer, index)
        elif conformer == "random":
            count = self._files.num_conformers[index]
            draw = torch.rand(len(index), dtype=torch.double).numpy()  # [0, 1)
            choice = (draw * count).astype(np.int64)
        batch = _to_batch(self._files.gather(index, choice))
        if smiles:
            batch.smiles = [self._files.smiles(i) for i in index.tolist()]
            batch._slice_dict["smiles"] = batch._slice_dict["row"]
            batch._inc_dict["smiles"] = batch._inc_dict["row"]
        return batch

    def _checked(self, conformer: np.ndarray, index: np.ndarray) -> np.ndarray:
        """Returns the numbers of conformers of molecules ``[B]`` if the molecules have them."""
        count = self._files.num_conformers[index]
        if conformer.shape != count.shape or ((conformer < 0) | (conformer >= count)).any():
            raise ValueError(
                f"conformer must be one integer below the number of conformers for each of "
                f"{len(index)} molecules, got {conformer!r:.80}"
            )
        return conformer.astype(np.int64)

    def len(self) -> int:
        return len(self._files)

    def get(self, idx: int) -> Data:
        z, conformers, row, smiles, status = self._files.molecule(int(idx))
        return Data(
            z=torch.from_numpy(z.astype(np.int64)),
            conformers=torch.from_numpy(conformers),
            smiles=smiles,
            status=status,
            row=torch.tensor([row]),
            num_nodes=len(z),  # PyG infers it from `pos` only
        )

    def index_select(self, idx: Index) -> "ConformerStore":
        """Returns the molecules at ``idx``: a slice, integers or a mask."""
        subset = copy.copy(self)  # shares the open files
        subset._indices = self._resolve(idx)
        return subset

    def __repr__(self) -> str:
        return f"{type(self).__name__}({str(self.folder)!r}, {len(self)})"

    def _selected(self, values: np.ndarray) -> np.ndarray:
        return values if self._indices is None else values[np.asarray(self._indices)]

    def _resolve(self, idx: Index) -> np.ndarray:
        """Converts positions in this (sub)set to molecules of the store, int64 [B]."""
        num = len(self)
        if isinstance(idx, slice):
            start, stop = (
                round(bound * num) if isinstance(bound, float) else bound
                for bound in (idx.start, idx.stop)
            )  # store[:0.9], as in PyG
            chosen = range(num)[start : stop : idx.step]
            places = np.arange(chosen.start, chosen.stop, chosen.step)
        else:
            places = idx.cpu().numpy() if isinstance(idx, Tensor) else np.asarray(idx)
            places = places.ravel() if places.size else np.zeros(0, np.int64)
        if places.dtype == bool:
            if len(places) != num:
                raise IndexError(f"a mask of {len(places)} for {num} molecules")
            places = np.flatnonzero(places)
        elif places.dtype.kind not in "iu":
            raise IndexError(f"molecules are selected by integers, a mask or a slice, got {idx!r}")
        places = places.astype(np.int64)
        if len(places) and not -num <= places.min() <= places.max() < num:
            raise IndexError(f"place {places.min()} or {places.max()} of {num} molecules")
        places = np.where(places < 0, places + num, places)
        return places if self._indices is None else np.asarray(self._indices)[places]


def _to_batch(atoms: Atoms) -> Batch:
    """Makes the batch that ``Batch.from_data_list`` would make of the molecules."""
    num = len(atoms.row)
    ptr, places = torch.from_numpy(atoms.ptr), torch.arange(num + 1)
    batch = _DataBatch.__new__(_DataBatch)
    batch.__init__(
        z=torch.from_numpy(atoms.z.astype(np.int64)),
        pos=torch.from_numpy(atoms.pos),
        row=torch.from_numpy(atoms.row),
        batch=torch.repeat_interleave(places[:-1], ptr.diff()),
        ptr=ptr,
    )
    batch._num_graphs = num
    batch._slice_dict = {"z": ptr, "pos": ptr, "row": places}  # for batch[i], to_data_list()
    batch._inc_dict = dict.fromkeys(batch._slice_dict, torch.zeros(num, dtype=torch.long))
    return batch
