"""Does pre-training help? Compares pre-trained with random weights of one architecture.

    python -m molae_pyg.evaluation.transfer --weights molae-small --seen zinc250k.smi.gz
    python -m molae_pyg.evaluation.transfer --weights runs/pretrain/model --datasets esol bace

Each seed has its own scaffold splits. Linear probes are fitted on frozen encoders; then the
encoders are fine-tuned with the same settings, and each run scores the test molecules once.
Finished runs are kept in <output>/results.jsonl; the same command makes the missing ones. Results
of other molecules, labels, weights or settings are refused. The comparison is written to
<output>/table.md.
"""

import argparse
import json
import shutil
import time
from collections.abc import Callable, Iterator, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

import lightning as L
import numpy as np

from molae_pyg.baselines.job import Job, load_encoder
from molae_pyg.baselines.probe import embed, probe, scaffold_folds
from molae_pyg.datasets import MoleculeNet
from molae_pyg.durable import sha256_of, write_arrays, write_durably
from molae_pyg.evaluation import runs
from molae_pyg.evaluation.config import (
    check,
    config_path,
    exit_if_failed,
    keep_going,
    merged,
    read_yaml,
    run_command,
)
from molae_pyg.evaluation.flags import make_parser
from molae_pyg.evaluation.models import HEAD, TABLE, fine_tune
from molae_pyg.evaluation.protocols import make_split, read_seen
from molae_pyg.evaluation.sources import headline, identity_of, scale_of, scores_of
from molae_pyg.fingerprint import of_weights
from molae_pyg.metrics import LOWER_IS_BETTER
from molae_pyg.models import MolAEEncoder
from molae_pyg.splits import Split
from molae_pyg.training import Finetuning

CONFIG = "transfer"
SETTINGS, RESULTS = "settings.json", "results.jsonl"
METHODS = ("fine-tuned", "probe")
ARMS = ("random", "pre-trained")


class Run(NamedTuple):
    """What distinguishes one run from another."""

    dataset: str
    method: str
    weights: str
    seed: int


def parse_args() -> argparse.Namespace:
    parser = make_parser(__doc__, CONFIG, output="runs/transfer")
    add = parser.add_argument
    add("--weights", required=True, help="molae-small, folder or official .pt file")
    add("--datasets", nargs="+", help="names; default: all in the settings")
    add("--seeds", type=int, default=3, metavar="N", help="seeds are 0 ... N - 1; default: 3")
    what = "files of the SMILES of pre-training, which are left out of the test sets"
    add("--seen", nargs="+", default=[], metavar="FILE", help=what)
    return parser.parse_args()


def read_checked(name: str | Path) -> dict[str, Any]:
    """Reads and checks settings.

    Raises:
        ValueError: If a key is unknown or missing, or a value cannot be used.
    """
    path = config_path(name)
    config = read_yaml(path)
    lines = dict.fromkeys(MoleculeNet.sources, Finetuning)
    known = {"data": TABLE, "head": HEAD, "training": Finetuning, "datasets": lines}
    check(config, known, path, needed=known)
    for dataset, line in config["datasets"].items():
        check(merged(config["training"], line), Finetuning, f"{path}: datasets.{dataset}")
    return config


def read_config(name: str | Path, dataset: str) -> dict[str, Any]:
    """Returns the settings with the line of a data set merged into ``training``."""
    config = read_yaml(name)
    line = config.pop("datasets", {}).get(dataset, {})
    return config | {"training": merged(config["training"], line)}


def planned(dataset: str, seeds: int) -> Iterator[Run]:
    """Yields the runs on a data set."""
    for method in reversed(METHODS):  # probes are quick
        for seed in range(seeds):
            yield from (Run(dataset, method, arm, seed) for arm in ARMS)


def make_encoder(weights: str, run: Run) -> MolAEEncoder:
    """Returns the pre-trained encoder, or one of the same size with random weights."""
    encoder = load_encoder(weights)
    if run.weights == "random":
        L.seed_everything(run.seed, verbose=False)
        encoder = type(encoder)(**encoder.config)
    return encoder


def run_probe(encoder: MolAEEncoder, dataset: MoleculeNet, split: Split) -> dict[str, Any]:
    """Fits a linear model on the frozen encoder and scores it."""
    development = np.concatenate([split.train, split.valid])
    folds = scaffold_folds(dataset.smiles, development)
    metric = headline(dataset)
    y, kind = dataset.y.numpy(), dataset.task_type
    found = probe(embed(encoder, dataset), y, folds, split.test, kind, metric)
    test, _ = scores_of(dataset, split.test, found.predicted, scale_of(dataset, development))
    chosen = {name: getattr(found, name) for name in ("readout", "penalty", "cross_validated")}
    return {**chosen, "test": test[metric]}


def run_finetuning(
    encoder: MolAEEncoder,
    dataset: MoleculeNet,
    split: Split,
    config: dict[str, Any],
    folder: Path,
    seed: int,
) -> dict[str, Any]:
    """Fine-tunes and scores an encoder; keeps the training metrics and the test predictions."""
    if (folder / "test.npz").is_file():  # a finished run whose result was lost in a torn line
        shutil.rmtree(folder)
    L.seed_everything(seed, verbose=False)  # both arms get the same head
    fitted = fine_tune(encoder, Job(dataset, split, config, seed, folder))
    write_arrays(folder / "test.npz", {"item": split.test, "predicted": fitted.test})
    shutil.rmtree(folder / "model")
    metric, scale = headline(dataset), scale_of(dataset, split.train)
    valid, _ = scores_of(dataset, split.valid, fitted.valid, scale)
    test, _ = scores_of(dataset, split.test, fitted.test, scale)
    return {"epoch": fitted.facts["epoch"], "valid": valid[metric], "test": test[metric]}


def check_settings(path: Path, config: dict, weights: str, seen: Sequence[str]) -> None:
    """Writes the settings of a folder, or compares them with those it has.

    Raises:
        ValueError: If the folder has results of other settings, weights or exclusions, or files
            that this module did not write.
    """
    settings = {
        "config": config,
        "weights": of_weights(load_encoder(weights)),
        "seen": [sha256_of(file) for file in seen],
    }
    if path.is_file():
        found = runs.read_json(path, f"remove {path.parent}, or give another --output")
        what = "results of other settings, weights or --seen"
        runs.check_same(found, settings, path.parent, what)
        return
    if others := [file.name for file in path.parent.iterdir() if file.name != "lock"]:
        raise ValueError(
            f"{path.parent} holds {others[0]}, but no {path.name}: it is no folder of transfer "
            "results; give another --output"
        )
    write_durably(path, json.dumps(settings, indent=2).encode() + b"\n")


def table(results: list[dict], method: str) -> str:
    """Returns both arms in Markdown, the better mean in bold, and a count of wins."""
    names = list(dict.fromkeys(r["dataset"] for r in results if r["method"] == method))
    lines = [f"| {method} | score | random weights | pre-trained |", "|---|---|---|---|"]
    wins = clear = 0
    for name in names:
        rows = [r for r in results if r["dataset"] == name and r["method"] == method]
        scores = {arm: [r["test"] for r in rows if r["weights"] == arm] for arm in ARMS}
        if not all(scores.values()):
            continue
        metric = rows[0]["metric"]
        sign = -1 if metric in LOWER_IS_BETTER else 1  # from here on, more is better
        random, pretrained = (sign * np.array(scores[arm]) for arm in ARMS)
        is_better = int(pretrained.mean() > random.mean())
        wins += is_better
        clear += pretrained.min() > random.max()
        cells = [runs.mean_and_spread(scores[arm]) for arm in ARMS]
        cells[is_better] = f"**{cells[is_better]}**"
        lines.append(f"| {name} | {metric} | {' | '.join(cells)} |")
    num_compared = len(lines) - 2
    lines += [
        "",
        f"{method}: pre-trained weights win {wins} of {num_compared}; in {clear} of them each "
        "pre-trained run beats each random one.",
    ]
    return "\n".join(lines)


def write_table(results: list[dict], path: Path, limit: int | None) -> None:
    """Writes the comparison in Markdown."""
    cropped = {r["dataset"]: r["cropped"] for r in results if r["cropped"]}
    note = (
        "Test molecules of scaffold splits, another one for each seed; mean ± sample standard "
        "deviation over seeds."
    )
    if cropped:
        which = ", ".join(f"{number} in {name}" for name, number in cropped.items())
        note += f" Molecules cropped to {limit} atoms, for all alike: {which}."
    text = "\n\n".join([*(table(results, method) for method in METHODS), note]) + "\n"
    write_durably(path, text.encode())


def run_dataset(args: argparse.Namespace, name: str, seen: Callable[[], set[str | None]]) -> None:
    """Makes the missing runs on a data set.

    Raises:
        ValueError: If a finished run has other molecules or labels.
    """
    output = Path(args.output)
    config = read_config(args.config, name)
    dataset = MoleculeNet(args.root, name, **config["data"])
    print(dataset, dataset.report.summary(), sep="\n", flush=True)
    data = identity_of(dataset)
    finished = [found for found in runs.read_results(output / RESULTS) if found["dataset"] == name]
    for found in finished:
        runs.check_same(found, data, output, f"a run on {name} as it was")
    done = {Run(*(found[field] for field in Run._fields)) for found in finished}
    missing = [run for run in planned(name, args.seeds) if run not in done]
    splits = {seed: make_split(dataset, seed, seen()) for seed in {run.seed for run in missing}}
    for run in missing:
        start = time.perf_counter()
        split = splits[run.seed]
        encoder = make_encoder(args.weights, run)
        if run.method == "probe":
            scores = run_probe(encoder, dataset, split)
        else:
            folder = output / name / f"{run.weights}{run.seed}"
            scores = run_finetuning(encoder, dataset, split, config, folder, run.seed)
        result = {
            **run._asdict(),
            **data,
            **scores,
            "tested": len(split.test),
            "cropped": sum(number > 0 for number in dataset.report.num_cropped),
            "seconds": round(time.perf_counter() - start, 1),
        }
        runs.add_result(output / RESULTS, result)
        shown = {key: result[key] for key in ("test", "seconds", "metric")}
        print(json.dumps(run._asdict() | shown), flush=True)


def compare(args: argparse.Namespace) -> None:
    """Makes all missing runs and the table.

    Raises:
        ValueError: If settings have an error, or the folder has other results.
        SystemExit: If a data set failed.
    """
    config = read_checked(args.config)
    output = Path(args.output)
    failed: list[str] = []
    with runs.only_process(output):
        check_settings(output / SETTINGS, config, args.weights, args.seen)
        runs.read_results(output / RESULTS)  # damage is an error now, not after the conformers
        seen = lru_cache(maxsize=1)(lambda: read_seen(args.seen))
        for name in dict.fromkeys(args.datasets or config["datasets"]):
            with keep_going(name, failed):
                run_dataset(args, name, seen)
        results = runs.read_results(output / RESULTS)
        write_table(results, output / "table.md", config["data"].get("max_atoms"))
        print("", (output / "table.md").read_text(), f"written to {output}", sep="\n")
    exit_if_failed(failed)


def main() -> None:
    run_command(compare, parse_args())


if __name__ == "__main__":
    main()
