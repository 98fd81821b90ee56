"""What travels to the device machine: ready ZINC conformers, the corpus list, SMILES of the sets.

python pack.py TARGET TARGETS
"""

import lzma
import sys
from pathlib import Path

import numpy as np

SOURCE = Path("/work/shared/data/pretrain")
SHARE = {  # molecules of the corpus by source; ZINC comes with conformers
    "chemicals": 10**9,
    "chembl": 170_000,
    "pubchem-substance": 60_000,
    "fragment": 50_000,
    "nci": 10**9,
    "znp": 20_000,
    "cmnpd": 12_000,
    "moses": 30_000,
}


def zinc(target, first, last, allowed, targets):
    """Ready conformers of the molecules that the corpus keeps: none is in a benchmark's file.

    Coordinates in 0.01 Å, descriptors in twentieths of a standard deviation.
    """
    found = {k: [] for k in ("smiles", "n", "z", "pos", "desc")}
    for path in sorted((SOURCE / "conformers").glob("part*.npz"))[first:last]:
        d = np.load(path)
        keep = np.array([str(s) in allowed for s in d["smiles"]])
        atoms = np.repeat(keep, d["n"])
        found["smiles"] += [str(s) for s in d["smiles"][keep]]
        found["n"].append(d["n"][keep].astype(np.uint8))
        found["z"].append(d["z"][atoms])
        found["pos"].append(np.round(d["pos"][atoms] / 10).astype(np.int16))
        ready = targets / path.name
        found["desc"].append(
            np.load(ready)["desc"][keep] if ready.exists() else np.full((keep.sum(), 217), np.nan)
        )
    text = np.frombuffer("\n".join(found["smiles"]).encode(), np.uint8)
    print("zinc", len(found["smiles"]), "of", len(found["n"]), "parts")
    x = np.concatenate(found.pop("desc")).astype(np.float32)
    ok = np.isfinite(x)
    mean = np.where(ok, x, 0).sum(0) / np.maximum(ok.sum(0), 1)
    std = np.sqrt((np.where(ok, x - mean, 0) ** 2).sum(0) / np.maximum(ok.sum(0), 1))
    std[std < 1e-6] = 1
    q = np.where(ok, np.clip(np.round((x - mean) / std * 20), -127, 127), -128).astype(np.int8)
    found.pop("smiles")
    # transposed: columns of a kind compress better
    flat = {k: np.concatenate(v) for k, v in found.items()}
    flat["pos"] = flat["pos"].T.copy()
    np.savez(target, smiles=text, scale=10, q=q.T.copy(), q_mean=mean, q_std=std, **flat)


def read():
    by = {}
    with lzma.open(SOURCE / "corpus.smi.xz", "rt") as f:
        for line in f:
            by.setdefault(line.rstrip("\n").split("\t")[1], []).append(line)
    return by


def corpus(target, by):
    rng = np.random.default_rng(0)
    lines = []
    for source, most in SHARE.items():
        found = by[source]
        lines += [found[i] for i in rng.permutation(len(found))[:most]]
        print(source, min(most, len(found)))
    lines = [lines[i] for i in rng.permutation(len(lines))]
    print(len(lines), "lines")
    for name, some in {"corpusA": lines[:80_000], "corpusB": lines[80_000:]}.items():
        with lzma.open(target / f"{name}.smi.xz", "wt", preset=6) as f:
            f.writelines(some)


if __name__ == "__main__":
    target = Path(sys.argv[1])
    target.mkdir(parents=True, exist_ok=True)
    by = read()
    targets, allowed = Path(sys.argv[2]), {line.split("\t")[0] for line in by["zinc250k"]}
    zinc(target / "zincA.npz", 0, 20, allowed, targets)
    zinc(target / "zincB.npz", 20, 38, allowed, targets)
    corpus(target, by)
