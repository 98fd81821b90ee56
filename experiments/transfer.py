"""Does pre-training help? Pre-trained and random weights of one architecture under one protocol.

    python experiments/transfer.py --weights molae-small --seen zinc250k.smi.gz
    python experiments/transfer.py --weights runs/pretrain/model --datasets esol bace

Every seed splits the data sets by scaffold in its own way. On frozen encoders linear probes are
fitted; then both arms are fine-tuned with the same settings, and the test molecules are scored
once a run. Finished runs stand in <output>/results.jsonl; called again, the script makes the ones
that are missing. The comparison is written to <output>/table.md.
"""

import argparse
import hashlib
import json
import shutil
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import lightning as L
import numpy as np
import yaml
from models import Job, fine_tune, load_encoder
from probe import embed, probe, scaffold_folds
from rdkit import Chem, rdBase
from results import mean_and_spread
from tqdm import tqdm

from molae_pyg import MolAEEncoder
from molae_pyg.datasets import MoleculeNet
from molae_pyg.datasets.reading import read_smiles
from molae_pyg.fingerprint import of_weights
from molae_pyg.metrics import LOWER_IS_BETTER, evaluate
from molae_pyg.splits import Split, scaffold_split

CONFIG = Path(__file__).parent / "configs" / "transfer.yaml"
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
    config = yaml.safe_load(Path(path).read_text())
    config["training"].update(config.pop("datasets", {}).get(dataset, {}))
    return config


def planned(dataset: str, seeds: int) -> Iterator[Run]:
    """The runs on a data set."""
    for method in reversed(METHODS):  # probes first, they are quick
        for seed in range(seeds):
            yield from (Run(dataset, method, arm, seed) for arm in ARMS)


def without_stereo(smiles: str) -> str | None:
    """Canonical SMILES without stereochemistry and isotopes, of readable molecules.

    :func:`molae_pyg.chem.parsing.identity` tells apart the same compounds in many times the time.
    """
    with rdBase.BlockLogs():
        mol = Chem.MolFromSmiles(smiles)
    return mol and Chem.MolToSmiles(mol, isomericSmiles=False)


def read_seen(files: Sequence[str]) -> set[str | None]:
    """The molecules in files of SMILES, without stereochemistry."""
    smiles = [text for file in files for text in read_smiles(file)]
    return {without_stereo(text) for text in tqdm(smiles, "seen", unit="mol", delay=1.0)}


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
    y = dataset.y.numpy()
    folds = scaffold_folds(dataset.smiles, np.concatenate([split.train, split.valid]))
    readouts = embed(encoder, dataset)
    found = probe(readouts, y, folds, split.test, dataset.task_type, dataset.metric)
    test = evaluate(y[split.test], found.predicted, dataset.task_type)
    chosen = {name: getattr(found, name) for name in ("readout", "penalty", "cross_validated")}
    return {**chosen, "test": test[dataset.metric]}


def run_finetuning(
    encoder: MolAEEncoder,
    dataset: MoleculeNet,
    split: Split,
    config: dict,
    folder: Path,
    seed: int,
) -> dict:
    """Fine-tunes and scores; keeps the course of the run and the test predictions."""
    L.seed_everything(seed, verbose=False)  # both arms get the same head
    fitted = fine_tune(encoder, Job(dataset, split, config, seed, folder))
    np.savez(folder / "test.npz", item=split.test, predicted=fitted.test)
    shutil.rmtree(folder / "model")
    y = dataset.y.numpy()
    valid = evaluate(y[split.valid], fitted.valid, dataset.task_type)
    test = evaluate(y[split.test], fitted.test, dataset.task_type)
    metric = dataset.metric
    return {"epoch": fitted.facts["epoch"], "valid": valid[metric], "test": test[metric]}


def read_results(path: Path) -> list[dict]:
    return [json.loads(line) for line in path.read_text().splitlines()] if path.is_file() else []


def add_result(path: Path, result: dict) -> None:
    with path.open("a") as lines:
        lines.write(json.dumps(result) + "\n")


def check_settings(path: Path, config: dict, weights: str, seen: Sequence[str]) -> None:
    """Results of other settings, weights or exclusions do not belong into the same folder."""
    settings = {
        "config": config,
        "weights": of_weights(load_encoder(weights, {})),
        "seen": [hashlib.sha256(Path(file).read_bytes()).hexdigest() for file in seen],
    }
    if path.is_file() and json.loads(path.read_text()) != settings:
        raise SystemExit(
            f"{path.parent} holds results of other settings, weights or --seen: "
            "give another --output"
        )
    path.write_text(json.dumps(settings, indent=2) + "\n")


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
    path.write_text("\n\n".join([*(table(results, method) for method in METHODS), note]) + "\n")


def main() -> None:
    args = parse_args()
    output = Path(args.output)
    output.mkdir(parents=True, exist_ok=True)
    whole = yaml.safe_load(Path(args.config).read_text())
    check_settings(output / "settings.json", whole, args.weights, args.seen)
    file = output / "results.jsonl"
    finished = {Run(*(r[field] for field in Run._fields)) for r in read_results(file)}
    to_do = {}
    for name in args.datasets or whole["datasets"]:
        if missing := [run for run in planned(name, args.seeds) if run not in finished]:
            to_do[name] = missing
    seen = read_seen(args.seen) if to_do else set()
    for name, missing in to_do.items():
        config = read_config(args.config, name)
        dataset = MoleculeNet(args.root, name, **config["data"])
        print(dataset, dataset.report.summary(), sep="\n", flush=True)
        splits = {seed: make_split(dataset, seed, seen) for seed in {run.seed for run in missing}}
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
                "metric": dataset.metric,
                **scores,
                "tested": len(split.test),
                "cropped": sum(number > 0 for number in dataset.report.num_cropped),
                "seconds": round(time.perf_counter() - start, 1),
            }
            add_result(file, result)
            print(json.dumps(result), flush=True)
    write_table(read_results(file), output / "table.md", whole["data"].get("max_atoms"))
    print("", (output / "table.md").read_text(), f"written to {output}", sep="\n")


if __name__ == "__main__":
    main()
