"""What do preparation, storage, loading and pre-training cost, from 10^5 to 10^9 molecules?

Question: how many core-hours, GiB and floating-point operations does this number of molecules of
ZINC's size with 11 conformers (10 and the 2D layout) take?

Command: MOLAE_DATA=... python benchmarks/cost_model.py

Method: rates are those measured by preparation.py and loading.py (their JSON files). The
operations of a training step (matrix products, forward and backward) are counted by PyTorch's
FlopCounterMode on batches of the given conformers, for the published model and the small one.
Everything else is multiplication; nothing is measured at 10^9.
"""

import json
from pathlib import Path

import numpy as np
import record
import torch
import yaml
import zinc
from torch.utils.flop_counter import FlopCounterMode
from torch_geometric.data import Batch, Data

from molae_pyg import ClozeDrop, MolAE, cloze_loss
from molae_pyg.store.format import SCALE
from molae_pyg.training import padding_waste, plan_batches

CONFIGS = Path(__file__).parents[1] / "molae_pyg" / "evaluation" / "configs"
MODELS = {"published": "pretrain.yaml", "small": "pretrain_small.yaml"}
SIZES = (249_455, 19_000_000, 1_000_000_000)
MOLECULES = 20_000
STEPS = 12  # batches whose operations are counted
PUBLISHED_MOLECULES = 1_000_000 * 128  # of the published run, steps x batch


def operations(model: MolAE, batches: list[Batch]) -> float:
    """Returns the floating-point operations of training, per molecule."""
    torch.manual_seed(0)
    with FlopCounterMode(display=False) as counter:
        for batch in batches:
            out = model(batch.z, batch.pos, batch.batch, batch.drop_mask, batch.pos_noisy)
            cloze_loss(out, batch)["total"].backward()
    return counter.get_total_flops() / sum(batch.num_graphs for batch in batches)


def read_result(name: str) -> dict:
    return json.loads((record.RESULTS / f"{name}.json").read_text())["result"]


def main() -> None:
    molecules = zinc.read(MOLECULES, num_conformers=1)
    plans = plan_batches(molecules.n, 20_000, np.random.default_rng(0))

    def data(i: int) -> Data:
        z = molecules.z[molecules.start[i] : molecules.start[i + 1]].astype(np.int64)
        pos = molecules.conformers(i)[0] * np.float32(SCALE)
        return Data(z=torch.from_numpy(z), pos=torch.from_numpy(pos))

    batches = [ClozeDrop()(Batch.from_data_list([data(i) for i in p])) for p in plans[:STEPS]]
    order = np.random.default_rng(0).permutation(len(molecules.n))
    shuffled = np.array_split(order, len(plans))
    flop = {}
    for name, file in MODELS.items():
        model = MolAE(**yaml.safe_load((CONFIGS / file).read_text())["model"]).train()
        flop[name] = operations(model, batches)
    loading, runs = read_result("loading"), read_result("preparation")["runs"]
    (prepared,) = (r for r in runs if r["workers"] == 1 and r["recipe"] == "10 conformers and 2D")
    per_molecule = {
        "bytes": loading["memory"]["GiB on disk"]
        * 2**30
        / loading["memory"]["store"]["pass"]["molecules"],
        "preparation core seconds": 1 / prepared["molecules_per_second"],
        "loading core seconds": 1
        / loading["speed"]["store.gather"]["molecules_per_second"]["median"],
        **{f"operations, {name}": count for name, count in flop.items()},
    }
    table = {
        f"{size:,}": {
            "GiB": per_molecule["bytes"] * size / 2**30,
            "preparation core hours": per_molecule["preparation core seconds"] * size / 3600,
            "loading core hours a pass": per_molecule["loading core seconds"] * size / 3600,
            **{f"PFLOP a pass, {name}": count * size / 1e15 for name, count in flop.items()},
        }
        for size in SIZES
    }
    result = {
        "per molecule": per_molecule,
        "padding waste": padding_waste(molecules.n, plans),
        "padding waste of batches in random order": padding_waste(molecules.n, shuffled),
        "table": table,
        "PFLOP of the published run": flop["published"] * PUBLISHED_MOLECULES / 1e15,
    }
    print(json.dumps(result, indent=2))
    record.write("cost_model", __doc__.splitlines()[0], result)


if __name__ == "__main__":
    main()
