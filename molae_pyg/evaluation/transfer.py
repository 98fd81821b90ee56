"""Does pre-training help? Pre-trained and random weights of one architecture under one protocol.

    python experiments/transfer.py --weights molae-small --seen zinc250k.smi.gz
    python experiments/transfer.py --weights runs/pretrain/model --datasets esol bace

Every seed splits the data sets by scaffold in its own way. On frozen encoders linear probes are
fitted; then both arms are fine-tuned with the same settings, and the test molecules are scored
once a run. Finished runs are kept in <output>/results.jsonl; called again, the script makes the
ones that are missing. Results of other molecules, labels, weights or settings are refused. The
comparison is written to <output>/table.md.
"""

import argparse
import io
import json
import shutil
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

import lightning as L
import numpy as np
from rdkit import Chem, rdBase
from tqdm import tqdm

from molae_pyg.baselines.probe import embed, probe, scaffold_folds
from molae_pyg.chem.smiles import plain_mol
from molae_pyg.datasets import MoleculeNet
from molae_pyg.durable import sha256_of, write_durably
from molae_pyg.evaluation.config import CONFIGS, check_transfer, merged, read_yaml
from molae_pyg.evaluation.models import Job, fine_tune, load_encoder
from molae_pyg.evaluation.result_lines import add_result, read_results
from molae_pyg.evaluation.runs import check_same, mean_and_spread, only_process
from molae_pyg.evaluation.sealed import EXPECTED, read_json
from molae_pyg.evaluation.sources import headline, identity_of, scale_of, scores_of
from molae_pyg.fingerprint import differences, of_weights
from molae_pyg.metrics import LOWER_IS_BETTER
from molae_pyg.models import MolAEEncoder
from molae_pyg.splits import Split, scaffold_split
from molae_pyg.tables.reading import read_smiles

CONFIG = CONFIGS / "transfer.yaml"
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
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--weights", required=True, help="molae-small, folder or official .pt file")
    parser.add_argument("--root", default="data", help="folder of data files and conformers")
    parser.add_argument("--config", default=CONFIG, help="YAML of settings")
    parser.add_argument("--datasets", nargs="+", help="names; default: all of the YAML file")
    parser.add_argument("--output", default="runs/transfer", help="folder of results")
    parser.add_argument("--seeds", type=int, default=3, help="runs an arm, seeds 0 ... n - 1")
    parser.add_argument(
        "--seen", nargs="+", default=[], help="SMILES of pre-training: not tested on"
    )
    return parser.parse_args()


def read_config(path: str | Path, dataset: str) -> dict:
    """The settings of a YAML file, with the line of the data set put into its sections."""
    config = read_yaml(path)
    line = config.pop("datasets", {}).get(dataset, {})
    return config | {"training": merged(config["training"], line)}


def planned(dataset: str, seeds: int) -> Iterator[Run]:
    """The runs on a data set."""
    for method in reversed(METHODS):  # probes first, they are quick
        for seed in range(seeds):
            yield from (Run(dataset, method, arm, seed) for arm in ARMS)


def without_stereo(smiles: str) -> str | None:
    """Canonical SMILES without stereochemistry and isotopes, of readable molecules.

    It equals :func:`molae_pyg.chem.parsing.compound_key` for the same compounds, in less time.
    """
    with rdBase.BlockLogs():
        try:
            return Chem.MolToSmiles(plain_mol(smiles), isomericSmiles=False)
        except ValueError:
            return None


def read_seen(files: Sequence[str]) -> set[str | None]:
    """The molecules in files of SMILES, without stereochemistry."""
    smiles = [text for file in files for text in read_smiles(file)]
    bar = tqdm(smiles, "seen", unit="mol", delay=1.0, disable=None)
    return {without_stereo(text) for text in bar}


def make_split(dataset: MoleculeNet, seed: int, seen: set[str | None]) -> Split:
    """Scaffold split of a seed, without seen test molecules, small molecules first in each part."""
    train, valid, test = scaffold_split(dataset.smiles, seed=seed)
    is_new = [without_stereo(dataset.smiles[row]) not in seen for row in test]
    num_atoms = np.array([data.z.numel() for data in dataset])
    parts = (train, valid, test[is_new])
    return Split(*(part[np.argsort(num_atoms[part], kind="stable")] for part in parts))


def make_encoder(weights: str, run: Run) -> MolAEEncoder:
    """The pre-trained encoder, or another of its size from random weights."""
    encoder = load_encoder(weights, {})
    if run.weights == "random":
        L.seed_everything(run.seed, verbose=False)
        encoder = MolAEEncoder(**encoder.config)
    return encoder


def run_probe(encoder: MolAEEncoder, dataset: MoleculeNet, split: Split) -> dict:
    """Scores a linear model on the frozen encoder."""
    development = np.concatenate([split.train, split.valid])
    folds = scaffold_folds(dataset.smiles, development)
    readouts = embed(encoder, dataset)
    metric = headline(dataset)
    found = probe(readouts, dataset.y.numpy(), folds, split.test, dataset.task_type, metric)
    test, _ = scores_of(dataset, split.test, found.predicted, scale_of(dataset, development))
    chosen = {name: getattr(found, name) for name in ("readout", "penalty", "cross_validated")}
    return {**chosen, "test": test[metric]}


def run_finetuning(
    encoder: MolAEEncoder,
    dataset: MoleculeNet,
    split: Split,
    config: dict,
    folder: Path,
    seed: int,
) -> dict:
    """Fine-tunes and scores; keeps the course of the run and the test predictions."""
    if (folder / "test.npz").is_file():  # fitted, its model removed, but no result: a torn line
        shutil.rmtree(folder)
    L.seed_everything(seed, verbose=False)  # both arms get the same head
    fitted = fine_tune(encoder, Job(dataset, split, config, seed, folder))
    content = io.BytesIO()
    np.savez(content, item=split.test, predicted=fitted.test)
    write_durably(folder / "test.npz", content.getbuffer())
    shutil.rmtree(folder / "model")
    metric, scale = headline(dataset), scale_of(dataset, split.train)
    valid, _ = scores_of(dataset, split.valid, fitted.valid, scale)
    test, _ = scores_of(dataset, split.test, fitted.test, scale)
    return {"epoch": fitted.facts["epoch"], "valid": valid[metric], "test": test[metric]}


def check_settings(path: Path, config: dict, weights: str, seen: Sequence[str]) -> None:
    """Results of other settings, weights or exclusions do not belong into the same folder.

    Raises:
        SystemExit: If the folder has some, or files of somebody else.
    """
    settings = {
        "config": config,
        "weights": of_weights(load_encoder(weights, {})),
        "seen": [sha256_of(file) for file in seen],
    }
    if path.is_file():
        found = read_json(path, f"remove {path.parent}, or give another --output")
        if differing := differences(found, settings):
            raise SystemExit(
                f"{path.parent} holds results of other settings, weights or --seen. What differs: "
                f"{'; '.join(differing)}. Remove it, or give another --output"
            )
        return
    if others := [file.name for file in path.parent.iterdir() if file.name != "lock"]:
        raise SystemExit(
            f"{path.parent} holds {others[0]}, but no {path.name}: it is no folder of this script; "
            "give another --output"
        )
    write_durably(path, json.dumps(settings, indent=2).encode() + b"\n")


def table(results: list[dict], method: str) -> str:
    """The two arms side by side in Markdown, the better mean in bold, and a count of wins."""
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
        wins += pretrained.mean() > random.mean()
        clear += pretrained.min() > random.max()
        better = "pre-trained" if pretrained.mean() > random.mean() else "random"
        cells = [_cell(scores[arm], arm == better) for arm in ARMS]
        lines.append(f"| {name} | {metric} | {' | '.join(cells)} |")
    num_compared = len(lines) - 2
    lines += [
        "",
        f"{method}: pre-trained weights win {wins} of {num_compared}; in {clear} of them each "
        "pre-trained run beats each random one.",
    ]
    return "\n".join(lines)


def _cell(scores: list[float], is_best: bool) -> str:
    text = mean_and_spread(scores)
    return f"**{text}**" if is_best else text


def write_table(results: list[dict], path: Path, limit: int | None) -> None:
    """The comparison in Markdown."""
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


def run_dataset(
    args: argparse.Namespace, name: str, runs: list[Run], seen: Callable[[], set]
) -> None:
    """Makes the runs of a data set that are missing.

    Raises:
        ValueError: If a finished run is of other molecules or labels.
    """
    output = Path(args.output)
    file = output / RESULTS
    config = read_yaml(args.config)
    dataset = MoleculeNet(args.root, name, **config["data"])
    print(dataset, dataset.report.summary(), sep="\n", flush=True)
    data = identity_of(dataset)
    finished = [found for found in read_results(file) if found["dataset"] == name]
    for found in finished:
        check_same(found, data, output, f"a run on {name} as it was")
    done = {key_of(found) for found in finished}
    missing = [run for run in runs if run not in done]
    config = read_config(args.config, name)
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
        add_result(file, result)
        shown = ("test", "seconds", *data.keys() & {"metric"})
        print(json.dumps(run._asdict() | {key: result[key] for key in shown}), flush=True)


def key_of(result: dict) -> Run:
    """The run of a result."""
    return Run(*(result[field] for field in Run._fields))


def compare(args: argparse.Namespace, config: dict) -> list[str]:
    """Makes all runs and the table; returns the data sets that failed."""
    output = Path(args.output)
    check_settings(output / SETTINGS, config, args.weights, args.seen)
    read_results(output / RESULTS)  # a damaged file stops here, not after the conformers
    seen = lru_cache(maxsize=1)(lambda: read_seen(args.seen))
    failed = []
    for name in dict.fromkeys(args.datasets or config["datasets"]):
        try:
            run_dataset(args, name, list(planned(name, args.seeds)), seen)
        except (*EXPECTED, RuntimeError) as error:  # the others go on
            print(f"{name} failed: {error}", file=sys.stderr, flush=True)
            failed.append(name)
    results = read_results(output / RESULTS)
    write_table(results, output / "table.md", config["data"].get("max_atoms"))
    print("", (output / "table.md").read_text(), f"written to {output}", sep="\n")
    return failed


def main() -> None:
    args = parse_args()
    config = read_yaml(args.config)
    check_transfer(config, args.config)
    try:
        with only_process(Path(args.output)):
            failed = compare(args, config)
    except EXPECTED as error:
        raise SystemExit(str(error)) from None
    if failed:
        raise SystemExit(f"{len(failed)} failed: {', '.join(failed)}")


if __name__ == "__main__":
    main()
