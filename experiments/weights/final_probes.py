"""Vectors of a model folder on the probe sets, and linear models on parts and joins of them.

python final_probes.py MODEL SETS OUT.json
"""

import json
import sys
import time
from pathlib import Path

import numpy as np
import probe
import torch
from dense import Net

from molae_pyg import MolAE

folder, sets, out = sys.argv[1:]
torch.set_num_threads(1)
model = MolAE.from_pretrained(folder)
net = Net(model, 217, graph=model.encoder.graph_bias is not None).eval()
if net.graph is not None:
    net.graph = model.encoder.graph_bias
width = model.config["hidden_channels"]
found, began = {}, time.time()
for name, data in probe.load_sets(sets, "cpu").items():
    x = probe.vectors(net, data["raw"], "cpu")
    ways = {
        "CLS, mean": x,
        "CLS": x[:, :width],
        "mean": x[:, width:],
        "CLS, mean, descriptors": torch.cat([x, data["desc"]], 1),
        "descriptors": data["desc"],
    }
    if net.graph is not None:
        ways["CLS, mean, graph off"] = probe.vectors(net, data["raw"], "cpu", graph=False)
    found[name] = {"metric": data["metric"], "rows": len(x)}
    for way, features in ways.items():
        scores = probe.one_set(features, data)
        found[name][way] = {
            "mean": round(float(np.mean(scores)), 4),
            "splits": [round(s, 4) for s in scores],
        }
    if "pos2" in data["raw"]:
        other = probe.vectors(net, data["raw"], "cpu", conformer="pos2")
        share = (x - other).pow(2).mean(0) / 2 / x.var(0).clamp(min=1e-12)
        found[name]["conformer noise"] = {
            "CLS": round(float(share[:width].mean()), 4),
            "mean": round(float(share[width:].mean()), 4),
        }
    print(name, f"{time.time() - began:.0f} s", json.dumps(found[name]), flush=True)
    Path(out).write_text(json.dumps(found, indent=1))
