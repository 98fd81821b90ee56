"""Which file format suits millions of molecules with conformers, read in random batches?

Command: MOLAE_DATA=... python benchmarks/store_formats.py

Method: the same real ZINC molecules with 11 conformers are written in each format and read back
as batches of 128 molecules with one conformer each, as int64 atomic numbers and float32
coordinates in Å. Coordinates are int16 (0.001 Å) except in PyTorch Geometric's OnDiskDataset, which
holds pickled Data. Only Parquet is compressed, which is its default. The formats take turns, so
that a busy moment affects all of them. Reported are median, minimum and maximum of the turns of:
writing (with fsync), opening, batches of random molecules, and all molecules in order. Times are
CPU seconds of this process on one thread, with the files in the system's cache.
``safetensors`` is the package's own store: a shard is written at once and read molecule by molecule
at its place in the file; the figure includes the input rows. npy and Arrow are memory maps of a
small file, which stays mapped; loading.py has a large one.

Needs pyarrow and lmdb besides the package.
"""

import argparse
import os
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator
from functools import lru_cache
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

import lmdb
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import record
import torch
import zinc
from torch_geometric.data import Data, OnDiskDataset
from turns import summary

from molae_pyg.store.files import StoreFiles
from molae_pyg.store.format import SCALE, Manifest, shard_name
from molae_pyg.store.shard import write_shard

NUM_CONFORMERS = 11
BATCH = 128
ROW_GROUP = 1000  # molecules

Read = Callable[[np.ndarray], tuple[torch.Tensor, torch.Tensor]]


class Format(NamedTuple):
    """``open`` returns a function from molecules [B] to z int64 [N] and pos float32 [N, 3]."""

    write: Callable[[zinc.Molecules, Path], None]
    open: Callable[[Path], Read]


def draw(num: int) -> np.ndarray:
    return torch.randint(NUM_CONFORMERS, (num,)).numpy()


def tensors(z: np.ndarray, pos: np.ndarray) -> tuple[torch.Tensor, torch.Tensor]:
    pos = pos.astype(np.float32) * np.float32(SCALE)
    return torch.from_numpy(z.astype(np.int64)), torch.from_numpy(pos)


def sync(folder: Path) -> None:
    for path in folder.rglob("*"):
        if path.is_file():
            with open(path, "rb") as file:
                os.fsync(file.fileno())


# --- safetensors: the package's store


def write_store(molecules: zinc.Molecules, folder: Path) -> None:
    num = len(molecules.n)
    entry = write_shard(folder / shard_name(0), zinc.arrays(molecules))
    Manifest({}, num, {0: entry}, complete=True, num_rows=num).write(folder)


def open_store(folder: Path) -> Read:
    files = StoreFiles(folder, verify=False)

    def read(index):
        atoms = files.gather(index, draw(len(index)))
        return torch.from_numpy(atoms.z.astype(np.int64)), torch.from_numpy(atoms.pos)

    return read


# --- npy: the same arrays in files of their own


def write_npy(molecules: zinc.Molecules, folder: Path) -> None:
    for name in ("z", "pos", "n"):
        np.save(folder / f"{name}.npy", getattr(molecules, name))


def open_npy(folder: Path) -> Read:
    z, pos = (np.load(folder / f"{name}.npy", mmap_mode="r") for name in ("z", "pos"))
    num_atoms = np.load(folder / "n.npy")
    return gather_flat(np.asarray(z), np.asarray(pos), num_atoms)


def gather_flat(z: np.ndarray, pos: np.ndarray, num_atoms: np.ndarray) -> Read:
    start = np.cumsum(num_atoms) - num_atoms

    def read(index):
        n = num_atoms[index]
        within = np.arange(n.sum()) - np.repeat(np.cumsum(n) - n, n)
        first = start[index] * NUM_CONFORMERS + draw(len(index)) * n
        return tensors(z[np.repeat(start[index], n) + within], pos[np.repeat(first, n) + within])

    return read


# --- Arrow IPC and Parquet: a row a molecule, its atoms and coordinates as lists


def to_table(molecules: zinc.Molecules) -> pa.Table:
    start = molecules.start
    z = pa.LargeListArray.from_arrays(start, molecules.z)
    pos = pa.LargeListArray.from_arrays(start * 3 * NUM_CONFORMERS, molecules.pos.reshape(-1))
    return pa.table({"z": z, "pos": pos, "smiles": pa.array(molecules.smiles)})


def from_table(table: pa.Table) -> tuple[torch.Tensor, torch.Tensor]:
    table = table.combine_chunks()
    z, pos = (table[name].chunk(0) for name in ("z", "pos"))
    num_atoms = np.diff(z.offsets.to_numpy())
    everything = z.flatten().to_numpy(), pos.flatten().to_numpy().reshape(-1, 3)
    return gather_flat(*everything, num_atoms)(np.arange(len(num_atoms)))


def write_arrow(molecules: zinc.Molecules, folder: Path) -> None:
    table = to_table(molecules)
    with pa.OSFile(str(folder / "a.arrow"), "wb") as file, pa.ipc.new_file(file, table.schema) as w:
        w.write_table(table)


def open_arrow(folder: Path) -> Read:
    table = pa.ipc.open_file(pa.memory_map(str(folder / "a.arrow"))).read_all()
    return lambda index: from_table(table.select(["z", "pos"]).take(index))


def write_parquet(molecules: zinc.Molecules, folder: Path) -> None:
    pq.write_table(to_table(molecules), folder / "a.parquet", row_group_size=ROW_GROUP)


def open_parquet(folder: Path) -> Read:
    file = pq.ParquetFile(folder / "a.parquet")

    @lru_cache(2)  # the next batch in order needs the same
    def decoded(group):
        return file.read_row_group(group, columns=["z", "pos"], use_threads=False)

    def read(index):
        groups, group = np.unique(index // ROW_GROUP, return_inverse=True)
        table = pa.concat_tables([decoded(group) for group in groups])
        return from_table(table.take(group * ROW_GROUP + index % ROW_GROUP))

    return read


# --- LMDB: a record a molecule, as the reference implementation has it, but not pickled


def write_lmdb(molecules: zinc.Molecules, folder: Path) -> None:
    with lmdb.open(str(folder), map_size=1 << 34) as db, db.begin(write=True) as transaction:
        start = molecules.start
        for i, (low, high) in enumerate(pairwise(start)):
            pos = molecules.pos[low * NUM_CONFORMERS : high * NUM_CONFORMERS]
            value = np.int32(high - low).tobytes() + molecules.z[low:high].tobytes()
            text = molecules.smiles[i].encode()
            transaction.put(b"%09d" % i, value + pos.tobytes() + text, append=True)


def open_lmdb(folder: Path) -> Read:
    db = lmdb.open(str(folder), readonly=True, lock=False, readahead=False)

    def read(index):
        z, pos = [], []
        with db.begin(buffers=True) as transaction:
            for i, k in zip(index.tolist(), draw(len(index)).tolist(), strict=True):
                value = transaction.get(b"%09d" % i)
                n = int(np.frombuffer(value, np.int32, 1)[0])
                z.append(np.frombuffer(value, np.uint8, n, 4))
                pos.append(np.frombuffer(value, np.int16, 3 * n, 4 + n + 6 * n * k).reshape(n, 3))
            return tensors(np.concatenate(z), np.concatenate(pos))

    return read


# --- OnDiskDataset: a pickled Data a molecule in SQLite


def write_on_disk(molecules: zinc.Molecules, folder: Path) -> None:
    def items() -> Iterator[Data]:
        start = molecules.start
        for i, smiles in enumerate(molecules.smiles):
            pos = molecules.pos[start[i] * NUM_CONFORMERS : start[i + 1] * NUM_CONFORMERS]
            conformers = pos.reshape(NUM_CONFORMERS, -1, 3).transpose(1, 0, 2) * np.float32(SCALE)
            z = torch.from_numpy(molecules.z[start[i] : start[i + 1]].astype(np.int64))
            yield Data(z=z, conformers=torch.from_numpy(conformers.copy()), smiles=smiles)

    dataset = OnDiskDataset(str(folder), log=False)
    dataset.extend(list(items()), batch_size=1000)
    dataset.close()


def open_on_disk(folder: Path) -> Read:
    dataset = OnDiskDataset(str(folder), log=False)

    def read(index):
        items = dataset.multi_get(index.tolist())
        chosen = zip(items, draw(len(index)).tolist(), strict=True)
        pos = torch.cat([item.conformers[:, k] for item, k in chosen])
        return torch.cat([item.z for item in items]), pos

    return read


FORMATS = {
    "safetensors": Format(write_store, open_store),
    "npy": Format(write_npy, open_npy),
    "Arrow IPC": Format(write_arrow, open_arrow),
    "LMDB": Format(write_lmdb, open_lmdb),
    "OnDiskDataset (SQLite)": Format(write_on_disk, open_on_disk),
    "Parquet": Format(write_parquet, open_parquet),
}


def turn(form: Format, molecules: zinc.Molecules, num_batches: int) -> dict[str, float]:
    """Returns the rates of a format in molecules per second, and the seconds of opening."""
    num, result = len(molecules.n), {}
    order = np.random.default_rng(0).permutation(num)[: num_batches * BATCH]
    with tempfile.TemporaryDirectory() as name:
        folder, start = Path(name), time.process_time()
        form.write(molecules, folder)
        sync(folder)
        result["write"] = num / (time.process_time() - start)
        files = [path for path in folder.rglob("*") if path.is_file()]
        result["bytes"] = sum(path.stat().st_blocks * 512 for path in files) / num
        start = time.process_time()
        read = form.open(folder)
        read(np.arange(1))
        result["open"] = time.process_time() - start
        for kind, index in (("random", order), ("in order", np.arange(num))):
            check(read, molecules, index[:BATCH])
            start = time.process_time()
            for low in range(0, len(index), BATCH):
                read(index[low : low + BATCH])
            result[kind] = len(index) / (time.process_time() - start)
        del read
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir()
    return result


def check(read: Read, molecules: zinc.Molecules, index: np.ndarray) -> None:
    """Checks that a format gives the right atoms and one of the conformers of each molecule."""
    z, pos = read(index)
    ends = np.cumsum(molecules.n[index])
    for i, low, high in zip(index, ends - molecules.n[index], ends, strict=True):
        start = molecules.start[i]
        assert z[low:high].tolist() == molecules.z[start : start + high - low].tolist()
        conformers = molecules.conformers(i) * np.float32(SCALE)
        assert (np.abs(conformers - pos[low:high].numpy()).max((1, 2)) < 1e-5).any()


def main() -> None:
    question = __doc__.splitlines()[0]
    parser = argparse.ArgumentParser(description=question)
    parser.add_argument(
        "--molecules", type=int, default=20_000, help="number of molecules, default: 20000"
    )
    parser.add_argument("--turns", type=int, default=7, help="counted turns, default: 7")
    args = parser.parse_args()
    torch.set_num_threads(1)
    pa.set_cpu_count(1)
    molecules = zinc.read(args.molecules, NUM_CONFORMERS)
    num_batches = {"Parquet": 4}  # decodes whole row groups for each batch
    default = args.molecules // BATCH
    rows = {name: [] for name in FORMATS}
    for _ in range(args.turns + 1):
        for name, form in FORMATS.items():
            rows[name].append(turn(form, molecules, num_batches.get(name, default)))
    result = {
        name: {key: summary([row[key] for row in counted[1:]]) for key in counted[0]}
        for name, counted in rows.items()
    }
    for name, row in result.items():
        print(f"{name:<24}" + "  ".join(f"{key} {row[key]['median']:.4g}" for key in row))
    units = {"write, random, in order": "molecules/s", "open": "s", "bytes": "a molecule"}
    sizes = {"molecules": args.molecules, "conformers": NUM_CONFORMERS, "batch": BATCH}
    print(
        "written:",
        record.write("store_formats", question, result | sizes | {"turns": args.turns} | units),
    )


if __name__ == "__main__":
    main()
