"""Probes of saved runs: python probe_rungs.py RESULTS.jsonl FOLDER SETS OUT.jsonl [both]"""

import json
import sys
import time
from pathlib import Path

import numpy as np
import probe
import torch
from dense import Net
from safetensors.torch import load_file

from molae_pyg import MolAE

results, folder, sets, out, *modes = sys.argv[1:]
device = "cuda" if torch.cuda.is_available() else "cpu"
torch.set_num_threads(2)
sets = probe.load_sets(sets, device)
began = time.perf_counter()
base = {k: float(np.mean(probe.one_set(s["desc"], s))) for k, s in sets.items()}
small = (
    Net(MolAE.from_pretrained("molae-small"), 217, graph=False).to(device)
    if "small" in modes
    else None
)


def show(name, rows, **more):
    line = {"name": name, **{k: round(v, 4) for k, v in rows.items()}, **more}
    print(json.dumps(line), f"{time.perf_counter() - began:.0f} s", flush=True)
    with open(out, "a") as f:
        f.write(json.dumps(line) + "\n")


show("descriptors", base)
if small is not None:
    rows = probe.table(small, sets, device)
    show(
        "molae-small",
        rows,
        wins=probe.wins(rows, base),
        noise=round(probe.noise(small, sets, device), 4),
    )
for line in Path(results).read_text().splitlines():
    config = json.loads(line)["config"]
    state = load_file(f"{folder}/{config['name']}.safetensors")
    net = Net(
        MolAE(**config["model"]), 217, graph=config["graph"], hidden=config.get("hidden", False)
    )
    lacking = net.load_state_dict({k: v.float() for k, v in state.items()}, strict=False)
    assert (
        all(
            k.startswith(("heads", "model.decoder", "model.token", "model.coord", "model.dist"))
            for k in lacking.missing_keys
        )
        and not lacking.unexpected_keys
    ), lacking
    net.to(device).eval()
    for graph in (True, False) if config["graph"] and "both" in modes else (config["graph"],):
        rows = probe.table(net, sets, device, graph)
        show(
            config["name"] + ("" if graph == config["graph"] else ", graph off"),
            rows,
            wins=probe.wins(rows, base),
            noise=round(probe.noise(net, sets, device, graph), 4),
        )
