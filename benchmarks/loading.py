"""How fast does the conformer store give training batches, and how much memory does it need?

Command: MOLAE_DATA=... python benchmarks/loading.py

Method, speed: real ZINC molecules with 11 conformers, in random order, as batches of 128 with one
random conformer each. Three ways take turns: ``store.gather``, PyTorch Geometric's DataLoader
over the items of the same store with SampleConformer, and the DataLoader over a list of Data in
memory, each with a single conformer. CPU seconds of this process on one thread, no worker
processes, files in the system's cache; the first turn is not counted. Reported are median, least
and greatest over the turns, and per turn the ratio to each DataLoader.

Method, memory: a temporary store of 40 shards of 50,000 real molecules with 11 conformers, the
same ones in each shard. A fresh process opens it, compares the checksums and reads all molecules
once in random order; the resident memory (VmRSS of Linux) is taken after each step, and its
maximum during the pass after each 10th batch. Another process reads the same molecules
through memory maps of the arrays ("mapped"), shard by shard in each batch, without making a
batch of them and without checksums, which is the obvious alternative.
"""

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import machine
import numpy as np
import record
import torch
import zinc
from torch_geometric.data import Data
from torch_geometric.loader import DataLoader
from turns import summary

from molae_pyg.store import ConformerStore
from molae_pyg.store.format import Manifest, shard_name
from molae_pyg.store.shard import write_shard
from molae_pyg.transforms import SampleConformer

NUM_CONFORMERS = 11
BATCH = 128
SHARD_ROWS = 50_000


def write_store(folder: Path, molecules: zinc.Molecules, num_shards: int) -> None:
    rows, shards = len(molecules.n), {}
    for number in range(num_shards):
        arrays = zinc.arrays(molecules, number * rows)
        shards[number] = write_shard(folder / shard_name(number), arrays)
    Manifest({}, rows, shards, complete=True, num_rows=num_shards * rows).write(folder)


def gathered(store: ConformerStore) -> int:
    return sum(store.gather(index).num_graphs for index in torch.randperm(len(store)).split(BATCH))


def loaded(items: ConformerStore | list[Data]) -> int:
    loader = DataLoader(items, BATCH, shuffle=True, exclude_keys=["conformers"])
    return sum(batch.num_graphs for batch in loader)


def speed(num_molecules: int, turns: int) -> dict[str, dict[str, dict[str, float]]]:
    with tempfile.TemporaryDirectory() as name:
        write_store(Path(name), zinc.read(num_molecules, NUM_CONFORMERS), 1)
        store = ConformerStore(name)
        sampled = ConformerStore(name, transform=SampleConformer())
        items = [Data(z=item.z, pos=item.pos, row=item.row) for item in sampled]
        ways = {
            "store.gather": lambda: gathered(store),
            "DataLoader, store": lambda: loaded(sampled),
            "DataLoader, list": lambda: loaded(items),
        }
        rows = [{way: rate(ways[way]) for way in ways} for _ in range(turns + 1)][1:]
    result = {way: {"molecules_per_second": summary([row[way] for row in rows])} for way in ways}
    for way in list(ways)[1:]:
        ratios = [row["store.gather"] / row[way] for row in rows]
        result["store.gather"][f"ratio to {way}"] = summary(ratios)
    return result


def rate(way: Callable[[], int]) -> float:
    start = time.process_time()
    num = way()
    return num / (time.process_time() - start)


def resident() -> float:
    """Returns the resident memory of this process in MiB."""
    return round(machine.memory("VmRSS"), 1)


def one_pass(folder: str, mapped: bool) -> dict[str, dict[str, float]]:
    """Returns seconds of each step and memory in MiB after it; it runs in its own process."""
    torch.set_num_threads(1)
    result = {"before": {"MiB": resident()}}
    start = time.perf_counter()
    store = ConformerStore(folder)
    result["open"] = {"seconds": time.perf_counter() - start, "MiB": resident()}
    if not mapped:
        start = time.perf_counter()
        store.verify()
        result["checksums"] = {"seconds": time.perf_counter() - start, "MiB": resident()}
    read = mapped_reader(store) if mapped else store.gather
    order, peak = torch.randperm(len(store)), 0.0
    result["order drawn"] = {"MiB": resident()}
    start, cpu = time.perf_counter(), time.process_time()
    for number, index in enumerate(order.split(BATCH)):
        read(index)
        if number % 10 == 0:
            peak = max(peak, resident())
    result["pass"] = {
        "molecules": len(store),
        "seconds": time.perf_counter() - start,
        "cpu_seconds": time.process_time() - cpu,
        "greatest MiB": max(peak, resident()),
    }
    return {
        step: {name: round(value, 3) for name, value in figures.items()}
        for step, figures in result.items()
    }


def mapped_reader(store: ConformerStore) -> Callable[[torch.Tensor], None]:
    """Reads first conformers through memory maps, a fancy index for each shard."""
    shards = sorted(Path(store.folder).glob("*.safetensors"))
    views, num_molecules, num_atoms = [], [0], store.num_atoms
    for path in shards:
        with open(path, "rb") as file:
            length = int.from_bytes(file.read(8), "little")
            header = json.loads(file.read(length))
        view = {}
        for name, dtype in (("z", np.uint8), ("pos", np.int16)):
            start, shape = header[name]["data_offsets"][0], tuple(header[name]["shape"])
            view[name] = np.memmap(path, dtype, "r", 8 + length + start, shape)
        views.append((view["z"], view["pos"]))
        num_molecules.append(header["row"]["shape"][0])
    first = np.cumsum(num_molecules)
    starts = [np.cumsum(num_atoms[a:b]) - num_atoms[a:b] for a, b in pairwise(first)]

    def read(index: torch.Tensor) -> None:
        index = np.sort(index.numpy())
        shard = np.searchsorted(first, index, side="right") - 1
        for number in np.unique(shard):
            local = index[shard == number] - first[number]
            n = num_atoms[local + first[number]]
            within = np.arange(n.sum()) - np.repeat(np.cumsum(n) - n, n)
            place, (z, pos) = starts[number][local], views[number]
            z[np.repeat(place, n) + within]
            pos[np.repeat(place * NUM_CONFORMERS, n) + within]

    return read


def memory(num_shards: int) -> dict[str, object]:
    with tempfile.TemporaryDirectory() as folder:
        write_store(Path(folder), zinc.read(SHARD_ROWS, NUM_CONFORMERS), num_shards)
        size = sum(path.stat().st_size for path in Path(folder).iterdir())
        result = {"GiB on disk": round(size / 2**30, 2)}
        for name, flags in (("store", []), ("mapped", ["--mapped"])):
            command = [sys.executable, __file__, "--pass-over", folder, *flags]
            output = subprocess.run(command, stdout=subprocess.PIPE, check=True).stdout
            result[name] = json.loads(output)
    return result


def main() -> None:
    question = __doc__.splitlines()[0]
    parser = argparse.ArgumentParser(description=question)
    parser.add_argument(
        "--molecules",
        type=int,
        default=20_000,
        help="number of molecules of the speed test, default: 20000",
    )
    parser.add_argument(
        "--shards", type=int, default=40, help="number of shards of the memory test, default: 40"
    )
    parser.add_argument("--turns", type=int, default=7, help="counted turns, default: 7")
    parser.add_argument("--pass-over", help=argparse.SUPPRESS)
    parser.add_argument("--mapped", action="store_true", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.pass_over:
        print(json.dumps(one_pass(args.pass_over, args.mapped)))
        return
    torch.set_num_threads(1)
    result = {
        "speed": speed(args.molecules, args.turns) | {"turns": args.turns, "batch": BATCH},
        "memory": memory(args.shards),
    }
    print(json.dumps(result, indent=2))
    print("written:", record.write("loading", question, result))


if __name__ == "__main__":
    main()
