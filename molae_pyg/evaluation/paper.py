"""Repeats the tables and figures of the Mol-AE paper at a size that you can afford.

    python -m molae_pyg.evaluation.paper table3 --size smoke
    python -m molae_pyg.evaluation.paper table3 --size small --molecules runs/zinc
    python -m molae_pyg.evaluation.paper fig-noise --size small --molecules runs/zinc

Each row of a table is a pre-training and its fine-tuning on the data sets of the size, with the
same molecules, settings and seeds as all other rows. Pre-trainings and fine-tunings are kept in
--output and serve all tables and figures; after an interruption the same command resumes. Results
are in <output>/<name>.json, .md and .png. The published figures are a block of their own.
"""

import argparse
import copy
import json
import time
from collections.abc import Callable, Sequence
from functools import partial
from itertools import product
from pathlib import Path
from typing import Any, NamedTuple

import lightning as L
import numpy as np
import torch
import yaml

from molae_pyg import checkpoint, models
from molae_pyg.baselines.job import Job, load_encoder
from molae_pyg.datasets import ChEMBLActivities
from molae_pyg.datasets.table import MoleculeTable
from molae_pyg.durable import write_durably
from molae_pyg.evaluation import paper_figures, paper_tables, runs
from molae_pyg.evaluation.config import exit_if_failed, keep_going, merged, read_yaml, run_command
from molae_pyg.evaluation.flags import make_parser
from molae_pyg.evaluation.models import MODELS, fine_tune, model_settings
from molae_pyg.evaluation.paper_plan import (
    KEYS,
    SECTIONS,
    SIZES,
    Row,
    datasets_of,
    pretrained_rows,
    pretraining_settings,
    read_plan,
    rows_of,
)
from molae_pyg.evaluation.pretraining import hold_out
from molae_pyg.evaluation.protocols import PROTOCOLS
from molae_pyg.evaluation.sources import (
    headline,
    load_dataset,
    scale_of,
    scores_of,
)
from molae_pyg.evaluation.systems import assemble
from molae_pyg.fingerprint import digest
from molae_pyg.models import FullMolAE
from molae_pyg.store import ConformerStore, prepare
from molae_pyg.training import Pretraining, pretrain

RESULTS, SETTINGS = "results.jsonl", "settings.json"
SMOKE_ROWS = 60  # molecules of the smoke size; they come with RDKit


class Paper(NamedTuple):
    """What all tables and figures of a size share."""

    plan: dict[str, Any]
    store: ConformerStore
    output: Path
    root: str

    def folder(self, row: Row, seed: int) -> Path:
        """Returns the folder of the pre-training of a row."""
        return self.output / "pretrained" / f"{row.variant}-{seed}"

    def pretrained(self, row: Row, seed: int) -> Path:
        """Returns the folder of the pre-training of a row, which is made if it is missing."""
        folder = self.folder(row, seed)
        config = pretraining_settings(self.plan, row.changes)
        parts = hold_out(self.store, self.store.folder, self.plan["held_out"], None, seed)
        model, objective, transform = assemble(config, parts[0], folder, seed=seed)
        settings = Pretraining(**config["training"])
        pretrain(model, objective, *parts, folder, settings, transform, seed)
        return folder

    def model(self, row: Row, seed: int) -> Any:
        """Returns the pre-trained model of a row."""
        folder = self.pretrained(row, seed) / "model"
        return getattr(models, checkpoint.saved_class(folder)).from_pretrained(folder)

    def dataset(self, source: str) -> MoleculeTable:
        """Loads a data set; a table of the smoke size is written first."""
        if source in _SMOKE:
            source = str(_smoke_table(self.output, source))
        return load_dataset(source, self.root, self.plan["data"])


def parse_args() -> argparse.Namespace:
    parser = make_parser(__doc__, output="")
    add = parser.add_argument
    add(
        "name", choices=[*SECTIONS, *FIGURES], help="table or figure; the talk has no tables 6 to 8"
    )
    add("--size", choices=SIZES, default="smoke", help="default: smoke, a minute or two")
    what = "store or file of the molecules of pre-training; default, for smoke: some from RDKit"
    add("--molecules", metavar="STORE|FILE", help=what)
    what = "print the commands of the missing pre-trainings, for several GPUs or machines, and stop"
    add("--commands", action="store_true", help=what)
    what = "rows of a table to run now, such as molclr 'molclr, random'; default: all"
    add("--rows", nargs="+", metavar="ROW", help=what)
    what = "folder of the results; default: runs/paper/<size>"
    add("--output", metavar="FOLDER", help=what)
    return parser.parse_args()


def open_paper(args: argparse.Namespace) -> Paper:
    """Reads the settings, prepares the molecules, and checks that the folder has no other results.

    Raises:
        ValueError: The folder has results of other settings or molecules, or no molecules are
            given.
    """
    plan, output = read_plan(args.size), Path(args.output or Path("runs", "paper", args.size))
    if args.molecules is None and args.size != "smoke":
        raise ValueError(
            f"--size {args.size} needs --molecules: a store of `molae prepare`, or a file of SMILES"
        )
    molecules = Path(args.molecules or _smoke_molecules(output))
    if not molecules.is_dir():
        prepare(molecules, output / "store", **plan["store"])
        molecules = output / "store"
    store = ConformerStore(molecules)
    shared = {name: plan[name] for name in KEYS}  # runs know the settings of their own system
    settings = {"plan": json.loads(json.dumps(shared)), "molecules": store.digest()}
    if (output / SETTINGS).is_file():
        found = runs.read_json(output / SETTINGS, f"remove {output}, or give another --output")
        runs.check_same(found, settings, output, "results of other settings or molecules")
    write_durably(output / SETTINGS, json.dumps(settings, indent=2).encode() + b"\n")
    return Paper(plan, store, output, args.root)


_SMOKE = ("activity", "active")  # numbers, and two classes


def _smoke_molecules(output: Path) -> Path:
    smiles = ChEMBLActivities.read().smiles[:SMOKE_ROWS]
    output.mkdir(parents=True, exist_ok=True)
    write_durably(output / "molecules.smi", ("\n".join(smiles) + "\n").encode())
    return output / "molecules.smi"


def _smoke_table(output: Path, name: str) -> Path:
    table = ChEMBLActivities.read()
    y = table.y[:SMOKE_ROWS, 0].double().numpy()
    values = y.round(2) if name == "activity" else (y > np.median(y)).astype(int)
    lines = [f"{s},{v}" for s, v in zip(table.smiles, values.tolist(), strict=False)]
    write_durably(output / f"{name}.csv", "\n".join([f"smiles,{name}", *lines, ""]).encode())
    return output / f"{name}.csv"


def settings_of(plan: dict[str, Any], row: Row, dataset: str) -> dict[str, Any]:
    """Returns the settings of fine-tuning of a row on a data set, without its weights."""
    config = read_yaml(plan["comparison"] if row.model == "molae" else "moleculenet")
    changes = plan["finetuning"].get(row.model, {})
    return merged(model_settings(config, row.model, dataset), changes)


def run_row(
    paper: Paper, row: Row, dataset: MoleculeTable, seed: int, settings: dict[str, Any]
) -> dict[str, Any]:
    """Fine-tunes and scores the model of a row on a data set; returns the result."""
    trial = PROTOCOLS[paper.plan["protocol"]].trials(dataset, seed + 1)[seed]
    settings = copy.deepcopy(settings)
    if row.is_pretrained:
        weights = str(paper.pretrained(row, seed) / "model")
        settings |= {"weights": weights, "pretrained": not row.random}
    folder = paper.output / "fine-tuned" / dataset.name / f"{row.fitted}-{seed}"
    job = Job(dataset, trial.split, settings, seed, folder)
    start = time.perf_counter()
    if row.model == "molae":
        L.seed_everything(seed, verbose=False)
        encoder = _encoder(paper, row, seed, settings)
        L.seed_everything(seed, verbose=False)  # of the head, the same for all rows
        fitted = fine_tune(encoder, job)
    else:
        fitted = MODELS[row.model].fit(job)
    scale, metric = scale_of(dataset, trial.split.train), headline(dataset)
    valid, _ = scores_of(dataset, trial.split.valid, fitted.valid, scale)
    test, _ = scores_of(dataset, trial.split.test, fitted.test, scale)
    scores = {"metric": metric, "valid": valid[metric], "test": test[metric]}
    sizes = {part: len(rows) for part, rows in trial.split._asdict().items()}
    seconds = round(time.perf_counter() - start, 1)
    return {**scores, "sizes": sizes, "epoch": fitted.facts.get("epoch"), "seconds": seconds}


def _encoder(paper: Paper, row: Row, seed: int, settings: dict[str, Any]) -> Any:
    if row.full:
        return FullMolAE.of(paper.model(row, seed))
    changes = settings.get("encoder", {})
    return load_encoder(settings["weights"], changes, settings["pretrained"])


def make_table(
    paper: Paper, failed: list[str], table: str, only: Sequence[str] | None = None
) -> None:
    """Makes the missing runs of a table, or of some of its rows, and writes it."""
    rows, reference, missing = rows_of(paper.plan, table)
    wanted = [row for row in rows if only is None or row.name in only]
    if only is not None and len(wanted) < len(set(only)):
        names = "; ".join(row.name for row in rows)
        raise ValueError(f"--rows: {table} has the rows {names}")
    path = paper.output / RESULTS
    results = []  # of these rows, data and settings
    for source in datasets_of(paper.plan, table):
        with keep_going(source, failed):
            dataset = paper.dataset(source)
            data = digest([list(dataset.smiles), dataset.y.tolist()])
            done = {(r["fitted"], r["seed"]): r for r in _of(path, dataset.name)}
            settings = {row.fitted: settings_of(paper.plan, row, dataset.name) for row in rows}
            for seed, row in product(range(paper.plan["seeds"]), rows):
                found = done.get((row.fitted, seed))
                if found is None and row not in wanted:
                    continue
                key = {"dataset": dataset.name, "fitted": row.fitted, "seed": seed}
                identity = {"data_sha256": data, "settings": settings[row.fitted]}
                with keep_going(f"{table}, {row.name}, {dataset.name}, seed {seed}", failed):
                    if found is None:
                        result = run_row(paper, row, dataset, seed, settings[row.fitted])
                        found = {**key, **identity, **result}
                        runs.add_result(path, found)
                        print(json.dumps({"row": row.name, **found}), flush=True)
                    else:
                        runs.check_same(found, identity, path, "a result of another run")
                    results.append(found)
    facts = {r.name: paper_tables.facts_of(paper.folder(r, 0)) for r in rows if not r.random}
    shared = {"names": paper.plan["names"] if SECTIONS[table] == "scores" else {}}
    shared["pre-training"] = {name: found for name, found in facts.items() if found}
    paper_tables.write(paper.output, table, rows, reference, missing, results, shared)


def _of(path: Path, dataset: str) -> list[dict[str, Any]]:
    return [found for found in runs.read_results(path) if found["dataset"] == dataset]


def print_commands(paper: Paper, name: str) -> None:
    """Prints the commands of the missing pre-trainings, and writes their settings."""
    for row, seed in pretrained_rows(paper.plan, name):
        folder = paper.folder(row, seed)
        file = folder.parent / f"{row.variant}.yaml"
        if (folder / "metrics.csv").is_file():  # finished
            continue
        file.parent.mkdir(parents=True, exist_ok=True)
        settings = pretraining_settings(paper.plan, row.changes)
        write_durably(file, yaml.safe_dump(settings, sort_keys=False).encode())
        flags = f"--config {file} --held-out {paper.plan['held_out']} --seed {seed}"
        command = f"python -m molae_pyg.evaluation.pretraining {paper.store.folder}"
        print(f"{command} {flags} --output {folder}")


FIGURES: dict[str, Callable[[Paper, list[str]], None]] = {
    "fig-probing": paper_figures.probing,
    "fig-curves": paper_figures.curves,
    "fig-noise": paper_figures.noise,
}


def run_paper(args: argparse.Namespace) -> None:
    """Makes a table or a figure.

    Raises:
        ValueError: As :func:`open_paper`.
        SystemExit: If a run failed; the message names it.
    """
    failed: list[str] = []
    output = Path(args.output or Path("runs", "paper", args.size))
    with runs.only_process(output):
        paper = open_paper(args)
        if args.commands:
            print_commands(paper, args.name)
            return
        if torch.cuda.device_count() > 1:
            raise ValueError(
                "this command uses one GPU: set CUDA_VISIBLE_DEVICES; --commands gives the "
                "pre-trainings as commands for several"
            )
        make = FIGURES.get(args.name, partial(make_table, table=args.name, only=args.rows))
        make(paper, failed=failed)
    print(f"written to {output}: {args.name}.json, .png")
    exit_if_failed(failed)


def main() -> None:
    run_command(run_paper, parse_args())


if __name__ == "__main__":
    main()
