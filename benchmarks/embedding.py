"""How fast does `embed` turn SMILES into vectors: in all, the model by itself, and from the cache?

Command: MOLAE_DATA=... python benchmarks/embedding.py

Method: default weights and recipe, molecules of ZINC250k. First `embed` is called with an empty
cache, with conformers made on all cores beside the model; then the same call is made in a fresh
process, which finds the vectors on the disk; then the model runs by itself on ready conformers and
graphs, with batches by size, in turns as in the other benchmarks. Peak memory is that of the
embedding process (VmHWM of Linux), without its workers.
"""

import argparse
import gzip
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import machine
import record
import torch
from encoder import parts, zinc_molecules
from turns import summary

from molae_pyg import MolAE
from molae_pyg.inference.graphs import Graphs
from molae_pyg.models.encoding import graph_input


def smiles(number: int) -> list[str]:
    """Returns the first molecules of ZINC250k."""
    path = Path(os.environ["MOLAE_DATA"], "pretrain", "zinc250k.smi.gz")
    with gzip.open(path, "rt") as lines:
        return [line.split()[0] for line, _ in zip(lines, range(number), strict=False)]


def embed(number: int) -> dict[str, float]:
    """Embeds molecules; it runs in its own process."""
    texts, model = smiles(number), MolAE.from_pretrained()
    start = time.perf_counter()
    vectors = model.embed(texts)
    seconds = time.perf_counter() - start
    assert vectors.shape[0] == number
    return {"seconds": seconds, "peak GiB": machine.memory("VmHWM") / 2**10}


def called(number: int, folder: str) -> dict[str, float]:
    environment = {**os.environ, "MOLAE_CACHE": folder}
    command = [sys.executable, __file__, "--once", str(number)]
    done = subprocess.run(command, env=environment, stdout=subprocess.PIPE, check=True, text=True)
    found = json.loads(done.stdout.splitlines()[-1])
    found["molecules per second"] = number / found["seconds"]
    return {name: float(f"{value:.4g}") for name, value in found.items()}


def model_alone(number: int, turns: int) -> dict:
    from torch_geometric.data import Batch

    encoder, graphs = MolAE.from_pretrained().encoder, Graphs(True)
    by_size = parts([graphs(data) for data in zinc_molecules(number)], by_size=True)
    rates = []
    for _ in range(turns + 1):
        start = time.perf_counter()
        with torch.inference_mode():
            for part in by_size:
                batch = Batch.from_data_list(part)
                encoder(batch.z, batch.pos, batch.batch, **graph_input(encoder, batch))
        rates.append(number / (time.perf_counter() - start))
    return {"molecules per second": summary(rates[1:])}


def main() -> None:
    question = __doc__.splitlines()[0]
    parser = argparse.ArgumentParser(description=question)
    parser.add_argument("--molecules", type=int, default=10_000)
    parser.add_argument("--turns", type=int, default=7, help="counted turns, default: 7")
    parser.add_argument("--once", type=int, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.once:
        print(json.dumps(embed(args.once)))
        return
    with tempfile.TemporaryDirectory() as folder:
        first = called(args.molecules, folder)
        again = [called(args.molecules, folder) for _ in range(3)]
    second = sorted(again, key=lambda found: found["seconds"])[1]
    result = {
        "molecules": args.molecules,
        "first call": first,
        "second call (median of 3)": second,
        "second over first": round(first["seconds"] / second["seconds"], 1),
        "model alone": model_alone(min(2000, args.molecules), args.turns),
    }
    print(json.dumps(result, indent=2))
    print("written:", record.write("embedding", question, result))


if __name__ == "__main__":
    main()
