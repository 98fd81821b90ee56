"""Which options of fine-tuning help molae-graph?

Command: python benchmarks/finetuning_options.py --root DATA [--seeds 3] [--finished]

Method: molae-graph is fine-tuned on FreeSolv, ESOL and BACE, one option changed at a time, with
few epochs (10, 5 and 3), one conformer, batches of 32 molecules, fp32. Each seed has a scaffold
split of its own and sets the head and the order; all options see the same. The score is that of the
best epoch on the validation rows, which have chosen it; test rows are not read. The readout is the
mean over the atoms, with linear_start CLS joined with it; its head has a dropout of 0.1.
"average of 3" is the mean prediction of three runs whose heads and orders differ. Finished runs
are kept in --output; the same command makes the missing ones. --finished makes no run and writes
the table of those that are there.
"""

import argparse
import json
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import record
import torch

from molae_pyg import MolAEPredictor
from molae_pyg.baselines.job import load_encoder
from molae_pyg.datasets import MoleculeNet
from molae_pyg.evaluation.protocols import make_split
from molae_pyg.evaluation.runs import add_result, read_results
from molae_pyg.inference import predict
from molae_pyg.metrics import LOWER_IS_BETTER, evaluate
from molae_pyg.training import Finetuning, finetune

EPOCHS = {"freesolv": 10, "esol": 5, "bace": 3}
COMMON = {"batch_size": 32, "lr": 5e-4, "pair_budget": 20_000, "pool": 4, "precision": "32-true"}
OPTIONS = {
    "default": {},
    "linear_start=True": {"linear_start": True},
    "head_epochs=1": {"head_epochs": 1},
    "layer_decay=0.8": {"layer_decay": 0.8},
    "ema_decay=0.98": {"ema_decay": 0.98},
    "layer_decay=0.6": {"layer_decay": 0.6},
    "average of 3": {"fits": 3},
    "linear_start=True, pooler_dropout=0": {"linear_start": True, "pooler_dropout": 0.0},
    "linear_start=True, average of 3": {"linear_start": True, "fits": 3},
}


def run(dataset: MoleculeNet, name: str, option: str, seed: int) -> float:
    """Fine-tunes and returns the score of the best epoch on the validation rows."""
    split = make_split(dataset, seed, set())
    train, valid = ([dataset[i] for i in rows.tolist()] for rows in (split.train, split.valid))
    changed = dict(OPTIONS[option])
    fits, dropout = changed.pop("fits", 1), changed.pop("pooler_dropout", 0.1)
    settings = Finetuning(epochs=EPOCHS[name], metric=dataset.metric, **COMMON, **changed)
    found = []
    for start in range(fits):
        torch.manual_seed(seed + 100 * start)
        model = MolAEPredictor(
            load_encoder("molae-graph"), dataset.num_tasks, pooler_dropout=dropout,
            readout="cls, mean" if settings.linear_start else "mean",
            task_type=dataset.task_type,
        )  # fmt: skip
        with tempfile.TemporaryDirectory() as folder:
            finetune(
                model, train, valid, folder, settings, seed + 100 * start, recipe=dataset.recipe
            )
        found.append(predict(model, valid, precision="32-true"))
    y = torch.stack([data.y[0] for data in valid]).numpy()
    return float(evaluate(y, np.mean(found, 0), dataset.task_type)[dataset.metric])


def finished(output: Path) -> list[dict]:
    """Returns the finished runs of all data sets."""
    return [result for name in EPOCHS for result in read_results(output / f"{name}.jsonl")]


def table(results: Sequence[dict]) -> dict[str, dict[str, str]]:
    """Mean and standard deviation over seeds, and the number of seeds, by option and data set."""
    found: dict[str, dict[str, str]] = {}
    for option in OPTIONS:
        for name in EPOCHS:
            rows = [r for r in results if (r["option"], r["dataset"]) == (option, name)]
            if rows:
                scores = [r["valid"] for r in rows]
                spread = f" ± {np.std(scores, ddof=1):.3f}" if len(scores) > 1 else ""
                text = f"{rows[0]['metric']} {np.mean(scores):.3f}{spread} ({len(scores)} seeds"
                found.setdefault(option, {})[name] = text + f"{_better(rows, results)})"
    return found


def _better(rows: Sequence[dict], results: Sequence[dict]) -> str:
    """In how many seeds an option is better than the default."""
    plain = {
        r["seed"]: r["valid"]
        for r in results
        if (r["option"], r["dataset"]) == ("default", rows[0]["dataset"])
    }
    if rows[0]["option"] == "default":
        return ""
    sign = -1 if rows[0]["metric"] in LOWER_IS_BETTER else 1
    count = sum(sign * r["valid"] > sign * plain[r["seed"]] for r in rows if r["seed"] in plain)
    return f", better in {count}"


def main() -> None:
    question = __doc__.splitlines()[0]
    parser = argparse.ArgumentParser(description=question)
    what = "folder of data files and made conformers, default: data"
    parser.add_argument("--root", default="data", help=what)
    parser.add_argument("--seeds", type=int, default=3, help="default: 3")
    what = "folder of the finished runs, default: runs/finetuning_options"
    parser.add_argument("--output", default="runs/finetuning_options", help=what)
    parser.add_argument("--finished", action="store_true", help="makes no run")
    what = "default: all; several processes may each take one"
    parser.add_argument("--datasets", nargs="+", default=list(EPOCHS), choices=EPOCHS, help=what)
    what = "default: all"
    parser.add_argument("--options", nargs="+", default=list(OPTIONS), choices=OPTIONS, help=what)
    args = parser.parse_args()
    output = Path(args.output)
    output.mkdir(parents=True, exist_ok=True)
    done = {(r["dataset"], r["option"], r["seed"]) for r in finished(output)}
    planned = [
        (name, option, seed)
        for option in args.options
        for seed in range(args.seeds)
        for name in args.datasets
    ]
    torch.set_num_threads(1)
    for name, option, seed in [] if args.finished else planned:
        if (name, option, seed) in done:
            continue
        dataset = MoleculeNet(args.root, name, num_conformers=1, add_2d=False, max_atoms=128)
        start = time.process_time()
        valid = run(dataset, name, option, seed)
        result = {"dataset": name, "option": option, "seed": seed, "metric": dataset.metric}
        result |= {"valid": valid, "cpu_seconds": round(time.process_time() - start, 1)}
        add_result(output / f"{name}.jsonl", result)
        print(json.dumps(result), flush=True)
    result = {"table": table(finished(output)), "runs": finished(output)}
    print(json.dumps(result["table"], indent=1))
    print("written:", record.write("finetuning_options", question, result))


if __name__ == "__main__":
    main()
