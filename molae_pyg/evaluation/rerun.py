"""Repeats a finished run from its own files and compares the predictions.

    python -m molae_pyg.evaluation.rerun runs/moleculenet/scaffold/esol/molae-small/0-0

The run is refused if its files, molecules, labels or weights have changed. The new run is written
below --output. On a CPU with the same versions, number of threads and precision (bf16 if the
processor has it) the predictions are the same; the exit status is 1 if they differ by more than
--tolerance.
"""

import argparse
import shutil
from pathlib import Path

import numpy as np
import torch

from molae_pyg.baselines.job import Job, digest_of
from molae_pyg.durable import sha256_of
from molae_pyg.evaluation import runs
from molae_pyg.evaluation.compare import make_run
from molae_pyg.evaluation.config import run_command
from molae_pyg.evaluation.flags import make_parser
from molae_pyg.evaluation.score_tables import predictions_of
from molae_pyg.evaluation.sources import identity_of, load_dataset
from molae_pyg.splits import load_split

OF = "rerun_of"  # key that marks a repetition, which another one may replace


def parse_args() -> argparse.Namespace:
    parser = make_parser(__doc__, output="runs/rerun")
    parser.add_argument("run", help="folder of a finished run")
    what = "largest difference of predictions that is allowed"
    parser.add_argument("--tolerance", type=float, default=0.0, help=f"{what}; default: 0")
    return parser.parse_args()


def repeat(folder: Path, root: str, output: Path) -> tuple[dict, dict]:
    """Repeats a run; returns the old and the new result, each with its ``folder``.

    Raises:
        ValueError: If the run cannot be repeated as it was, or the new folder is in use.
    """
    before = runs.read_sealed(folder / runs.RESULT)
    runs.check_place(folder, before)
    if "members" in before:
        names = " and ".join(before["members"])
        raise ValueError(f"{folder} is a blend: repeat its members, {names}")
    torch.set_num_threads(before["environment"]["threads"])
    key = runs.Key(*(before[name] for name in runs.Key._fields))
    dataset = load_dataset(before["source"], root, before["data"], before["columns"])
    file = folder.parents[1] / "splits" / f"{key.seed}-{key.fold}.json"
    identity = {
        **key._asdict(),
        "data": before["data"],
        "settings": before["settings"],
        "fit": before["fit"],
        **identity_of(dataset),
        "weights_sha256": digest_of(before["settings"]),
        "split_sha256": sha256_of(file),
    }
    runs.check_same(before, identity, folder, "a run that cannot be repeated as it was")
    again = key.folder(output)
    with runs.only_process(again.parent):
        _make_room(again)
        job = Job(dataset, load_split(file, dataset.smiles), before["settings"], key.seed, again)
        facts = {"source": before["source"], "columns": before["columns"], OF: before["sha256"]}
        after = make_run(key, job, identity, facts)
    return {**before, "folder": folder}, {**after, "folder": again}


def _make_room(folder: Path) -> None:
    """Removes an earlier repetition, never another run."""
    if not (folder / runs.RESULT).is_file():
        return
    if OF not in runs.read_sealed(folder / runs.RESULT):
        raise ValueError(f"{folder} holds a run that is no repetition: give another --output")
    shutil.rmtree(folder)


def rerun(args: argparse.Namespace) -> None:
    """Repeats a run and prints how far the predictions differ."""
    before, after = repeat(Path(args.run), args.root, Path(args.output))
    metric = before["metric"]
    old, new = (predictions_of(result)[1] for result in (before, after))
    difference = float(np.abs(old - new).max())
    for name, result in (("before", before), ("again", after)):
        print(f"{name:>7}: {metric} {result['test'][metric]!r}")
    print(f"largest difference of {old.size} test predictions: {difference:g}")
    if not difference <= args.tolerance:
        raise SystemExit("the predictions differ")


def main() -> None:
    run_command(rerun, parse_args())


if __name__ == "__main__":
    main()
