"""Shards of the probe sets joined with their labels and splits.

python merge_sets.py SHARDS PARTS OUT NAME ...
"""

import os
import sys
from pathlib import Path

import numpy as np

CHUNK = int(os.environ.get("CHUNK", 500))
shards, parts, out, *names = sys.argv[1:]
Path(out).mkdir(parents=True, exist_ok=True)
found = {}
first = {}
for path in sorted(Path(shards).glob("[0-9]*.npz")):
    with np.load(path) as f:
        d = {k: f[k] for k in f.files}
    name = d["source"][0].decode()
    number = int(path.stem)
    start = first.setdefault(name, number)
    found.setdefault(name, []).append(d | {"rows": (number - start) * CHUNK + d["kept"]})
for name in names:
    data = found[name]
    rows = np.concatenate([d["rows"] for d in data])
    keys = ("z", "pos", "atom", "bond", "kind", "n", "m", "desc", "bits", "how")
    joined = {k: np.concatenate([d[k] for d in data]) for k in keys}
    with np.load(Path(parts) / f"{name}.parts.npz") as f:
        joined |= {
            "y": f["y"][rows],
            "parts": f["parts"][:, rows],
            "metric": f["metric"],
            "rows": rows,
        }
    if name + "#2" in found:
        other = found[name + "#2"]
        same = np.concatenate([d["rows"] for d in other])
        pos = np.concatenate([d["pos"] for d in other])
        if len(same) == len(rows) and (same == rows).all() and len(pos) == len(joined["pos"]):
            joined["pos2"] = pos
    np.savez(Path(out) / f"{name}.npz", **joined)
    print(name, len(rows), "flat", int(joined["how"].sum()), "pos2" in joined, flush=True)
