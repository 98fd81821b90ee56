"""Shards of molecules with a conformer, graph and targets, on all cores of a machine.

python corpus.py OUT WORKERS RECIPE FALLBACK LIST [LIST ...]

A LIST is a file of lines ``SMILES<TAB>source`` (conformers are made), or an npz of ready ones
(``smiles`` bytes, ``n``, ``z``, ``pos`` int16, ``scale``; descriptors ``q_mean + q_std * q / 20``).
Worker k takes the chunks k, k + WORKERS, ... in order; a chunk becomes ``OUT/<number>.npz``. Runs until done or killed.
"""

import importlib.util
import lzma
import multiprocessing
import os
import sys
import time
from pathlib import Path

import numpy as np
from chemistry import descriptors, morgan
from conformer import flat_layout, timed
from rdkit import Chem

_spec = importlib.util.spec_from_file_location(  # without the package, which loads PyTorch
    "graph", Path(os.environ["GRAPH_PY"])
)
_graph = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(_graph)
CHUNK = int(os.environ.get("CHUNK", 500))


def row(smiles, recipe, fallback, pos=None, z=None, seed=1, desc=None):
    """Arrays of one molecule, or None."""
    mol = Chem.MolFromSmiles(smiles)
    if mol is None:
        return None
    how = 0
    if pos is None:
        mol = Chem.MolFromSmiles(Chem.MolToSmiles(mol))
        if mol is None or not 0 < mol.GetNumAtoms() <= (250 if fallback else 60):
            return None
        pos = timed(mol, recipe, seed, 20)
        if pos is None:
            if not fallback:
                return None
            pos, how = flat_layout(mol), 1
        pos = (pos * 1000).round().astype(np.int16)
    numbers = [a.GetAtomicNum() for a in mol.GetAtoms()]
    if z is not None and numbers != list(z):
        return None
    g = _graph.mol_graph(mol)
    return {
        "n": len(numbers),
        "m": len(g.bond_type),
        "z": np.array(numbers, np.uint8),
        "pos": pos,
        "atom": g.atom,
        "bond": g.bond_index.T.astype(np.uint8),
        "kind": g.bond_type,
        "desc": descriptors(mol) if desc is None else desc,
        "bits": morgan(mol),
        "how": how,
    }


def chunks(lists):
    for number, path in enumerate(lists):
        if path.endswith(".npz"):
            with np.load(path) as f:
                d = {k: f[k] for k in f.files}
            d["pos"], d["q"] = d["pos"].T, d["q"].T
            names = d["smiles"].tobytes().decode().split("\n")
            ends = d["n"].astype(np.int64).cumsum()
            for at in range(0, len(names), CHUNK):
                rows = range(at, min(at + CHUNK, len(names)))
                yield (
                    number,
                    [
                        (
                            names[i],
                            "ready",
                            d["z"][ends[i] - d["n"][i] : ends[i]],
                            (
                                d["pos"][ends[i] - d["n"][i] : ends[i]].astype(np.int32)
                                * int(d["scale"])
                            ).astype(np.int16),
                            None
                            if (d["q"][i] == -128).all()
                            else (
                                d["q_mean"]
                                + d["q_std"] * np.where(d["q"][i] == -128, np.nan, d["q"][i] / 20)
                            ).astype(np.float16),
                        )
                        for i in rows
                    ],
                )
        else:
            with (lzma.open if path.endswith(".xz") else open)(path, "rt") as f:
                lines = [line.rstrip("\n").split("\t") for line in f]
            for at in range(0, len(lines), CHUNK):
                yield number, [(*line, None, None, None) for line in lines[at : at + CHUNK]]


def worker(k, workers, out, recipe, fallback, lists):
    os.nice(int(os.environ.get("NICE", 5)))
    for number, (which, chunk) in enumerate(chunks(lists)):
        if number % workers != k or (out / f"{number:05d}.npz").exists():
            continue
        found, kept, sources = [], [], []
        for i, (smiles, source, z, pos, desc) in enumerate(chunk):
            try:
                arrays = row(
                    smiles, recipe, fallback, pos, z, 2 if source.endswith("#2") else 1, desc
                )
            except Exception as error:  # a worker outlives any molecule; counted by its absence
                print(number, smiles, repr(error)[:200], flush=True)
                arrays = None
            if arrays is not None:
                found.append(arrays)
                kept.append(i)
                sources.append(source)
        if not found:
            continue
        flat = {
            k: np.concatenate([r[k] for r in found]) for k in ("z", "pos", "atom", "bond", "kind")
        }
        each = {k: np.array([r[k] for r in found]) for k in ("n", "m", "desc", "bits", "how")}
        part = out / f"{number:05d}.tmp.npz"
        np.savez(
            part, **flat, **each, kept=np.array(kept), source=np.array(sources, "S20"), which=which
        )
        os.replace(part, out / f"{number:05d}.npz")


if __name__ == "__main__":
    out, workers, recipe, fallback = (
        Path(sys.argv[1]),
        int(sys.argv[2]),
        sys.argv[3],
        sys.argv[4] == "1",
    )
    out.mkdir(parents=True, exist_ok=True)
    start = time.time()
    jobs = [
        multiprocessing.Process(
            target=worker, args=(k, workers, out, recipe, fallback, sys.argv[5:])
        )
        for k in range(workers)
    ]
    for job in jobs:
        job.start()
    for job in jobs:
        job.join()
    (out / "done").write_text(f"{time.time() - start:.1f}")
    print("done", f"{time.time() - start:.1f} s", flush=True)
