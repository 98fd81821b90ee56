"""Repeats a finished run from what it has written, and compares the predictions.

    python experiments/rerun.py runs/moleculenet/scaffold/esol/molae-small/0-0

The new run lands below --output. On a CPU with the same versions, number of threads and precision
(bf16 where the processor has the instructions) the predictions are the same; the script ends with 1
where they differ by more than --tolerance.
"""

import argparse
import json
from pathlib import Path

import numpy as np
import torch
from models import Job, digest_of
from moleculenet import load_dataset, make_run
from report import predictions_of
from results import RESULT, Key

from molae_pyg.splits import load_split

IDENTITY = ("source", "data", "settings", "fit", "weights_sha256", "split_sha256")


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("run", help="folder of a finished run")
    parser.add_argument("--root", default="data", help="folder of data files and conformers")
    parser.add_argument("--output", default="runs/rerun", help="folder of the new run")
    parser.add_argument("--tolerance", type=float, default=0.0, help="largest difference; 0")
    return parser.parse_args()


def main() -> None:
    args = parse_args()
    folder = Path(args.run)
    before = json.loads((folder / RESULT).read_text())
    torch.set_num_threads(before["environment"]["threads"])
    key = Key(**{name: before[name] for name in Key._fields})
    dataset = load_dataset(before["source"], args.root, before["data"])
    split = load_split(folder.parents[1] / "splits" / f"{key.seed}-{key.fold}.json", dataset.smiles)
    again = key.folder(Path(args.output))
    job = Job(dataset, split, before["settings"], key.seed, again)
    identity = {name: before[name] for name in IDENTITY}
    weights = digest_of(before["settings"].get("weights", "random"))
    if weights != before["weights_sha256"]:
        raise SystemExit(f"{before['settings']['weights']} holds other weights than the run had")
    after = make_run(key, job, identity)
    runs = ({**before, "folder": folder}, {**after, "folder": again})
    old, new = (predictions_of(run)[1] for run in runs)
    difference = float(np.abs(old - new).max())
    for name, run in (("before", before), ("again", after)):
        print(f"{name:>7}: {before['metric']} {run['test'][before['metric']]!r}")
    print(f"largest difference of {old.size} test predictions: {difference:g}")
    if difference > args.tolerance:
        raise SystemExit("the predictions differ")


if __name__ == "__main__":
    main()
