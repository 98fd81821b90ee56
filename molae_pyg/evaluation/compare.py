"""Compares models on molecular data sets under a named protocol.

    python -m molae_pyg.evaluation.compare                           # activities from RDKit
    python -m molae_pyg.evaluation.compare --dataset esol bace       # or all of MoleculeNet: all
    python -m molae_pyg.evaluation.compare --dataset my.csv --targets logP,active
    python -m molae_pyg.evaluation.compare --dataset esol --protocol cv5x5 --model mean dmpnn

A table (.csv, .tsv, also .gz) has a column of SMILES and one or more columns of labels; how its
columns are used is printed first. Finished runs are kept in
<output>/<protocol>/<data set>/<model>/<seed>-<fold>; the same command makes the missing ones. A run
of other molecules, labels or settings, or one whose files were changed, is refused. Several
processes may fill one --output if each has its own models. molae_pyg.evaluation.report makes a page
of the runs.
"""

import argparse
import copy
import json
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any

from molae_pyg.baselines.job import Job, digest_of
from molae_pyg.datasets import MoleculeNet, check_integrity
from molae_pyg.datasets.table import MoleculeTable
from molae_pyg.durable import write_durably
from molae_pyg.evaluation import models, runs, sources
from molae_pyg.evaluation.blending import members
from molae_pyg.evaluation.config import (
    config_path,
    exit_if_failed,
    keep_going,
    read_yaml,
    run_command,
)
from molae_pyg.evaluation.flags import add_comparison, make_parser
from molae_pyg.evaluation.protocols import Trial, make_trials
from molae_pyg.evaluation.row_weights import check_weights

SHOWN = 20  # number of targets that are printed; result.json has all


def parse_args() -> argparse.Namespace:
    parser = make_parser(__doc__, root=False)
    add_comparison(parser)
    return parser.parse_args()


def read_config(args: argparse.Namespace) -> dict[str, Any]:
    """Returns the settings, checked, with the number of conformers of the flag."""
    default = "published" if args.protocol == "published" else "moleculenet"
    path = config_path(args.config or default)
    config = read_yaml(path)
    models.check_comparison(config, path)
    if args.num_conformers is not None:  # 0: the 2D conformer alone
        config["data"]["num_conformers"] = args.num_conformers
    if args.recipe is not None:
        config["data"]["recipe"] = args.recipe
    if not (args.model or config.get("default")):
        raise ValueError(f"{path} has no default: give --model")
    return config


def make_run(
    key: runs.Key, job: Job, identity: dict[str, Any], facts: dict[str, Any] | None = None
) -> dict[str, Any]:
    """Fits, scores and writes one run.

    Args:
        key: Name of the run.
        job: Model, data set and split.
        identity: What must be the same for a run to be the same.
        facts: More entries of the result, such as the file of the data set. (default: none)

    Returns:
        The result as it was written.
    """
    dataset, split = job.dataset, job.split
    scale = sources.scale_of(dataset, split.train)
    fitted, seconds = models.timed_fit(identity, job)
    valid, valid_tasks = sources.scores_of(dataset, split.valid, fitted.valid, scale)
    test, tasks = sources.scores_of(dataset, split.test, fitted.test, scale)
    result = {
        **key._asdict(),
        **(facts or {}),
        **identity,
        "task_type": dataset.task_type,
        "scale": None if scale is None else scale.tolist(),
        "sizes": {part: len(rows) for part, rows in split._asdict().items()},
        "valid": valid,
        "test": test,
        "tasks": tasks,
        "valid_tasks": valid_tasks,
        **fitted.facts,
        "seconds": seconds,
        "environment": runs.environment(),
    }
    job.folder.mkdir(parents=True, exist_ok=True)
    table = sources.prediction_table(dataset, split, fitted.valid, fitted.test)
    write_durably(job.folder / runs.PREDICTIONS, table.to_csv(index=False).encode())
    return runs.seal(job.folder / runs.RESULT, result)


def run_dataset(
    source: str, args: argparse.Namespace, config: dict[str, Any], columns: dict[str, Any]
) -> list[str]:
    """Makes the missing runs on a data set; returns the folders of those that failed."""
    columns = columns if sources.is_table(source) else {}
    dataset = sources.load_dataset(source, args.root, config["data"], columns)
    place = Path(args.output, args.protocol, dataset.name)
    integrity = check_integrity(dataset)
    print(f"\n{dataset}", integrity, sep="\n", flush=True)
    data = sources.identity_of(dataset)
    with runs.only_process(place, wait=60):
        shared = {name: data[name] for name in runs.SHARED}
        for _, result in runs.read_runs(place)[0]:
            runs.check_same(result, shared, place, "runs on other data")
        trials = make_trials(dataset, args.protocol, args.seeds, place / "splits")
        text = json.dumps(asdict(integrity), indent=2) + "\n"
        write_durably(place / "integrity.json", text.encode())
    made_with = {name: value for name, value in config["data"].items() if name != "workers"}
    facts = {"source": source, "columns": columns}
    failed: list[str] = []
    for model in args.model:
        with keep_going(str(place / models.name_of(model)), failed):
            settings = models.model_settings(config, model, dataset.name)
            identity = {
                "data": made_with,
                "settings": settings,
                "fit": models.fit_of(model),
                **data,
            }
            identity["weights_sha256"] = digest_of(settings)
            failed += _run_model(model, args, dataset, trials, identity, facts)
    return [*dict.fromkeys(failed + _print_table(place, failed))]


def _run_model(
    model: str,
    args: argparse.Namespace,
    dataset: MoleculeTable,
    trials: list[tuple[Trial, str]],
    identity: dict[str, Any],
    facts: dict[str, Any],
) -> list[str]:
    """Makes the missing runs of a model; returns the folders of those that failed."""
    missing: list[tuple[runs.Key, Job, dict[str, Any]]] = []
    failed: list[str] = []
    for trial, checksum in trials:
        key = runs.Key(dataset.name, args.protocol, models.name_of(model), trial.seed, trial.fold)
        folder = key.folder(Path(args.output))
        settings = copy.deepcopy(identity["settings"])
        job = Job(dataset, trial.split, settings, trial.seed, folder)
        own = {**key._asdict(), **identity, "split_sha256": checksum}
        with keep_going(str(folder), failed):
            own |= members(settings, folder)
            if not runs.is_finished(folder, own):
                missing.append((key, job, own))
    if missing:
        with runs.only_process(missing[0][1].folder.parent):
            for key, job, own in missing:
                if runs.is_finished(job.folder, own):  # another process has made it meanwhile
                    continue
                job.folder.mkdir(parents=True, exist_ok=True)
                with keep_going(str(job.folder), failed, job.folder / "error.txt"):
                    result = make_run(key, job, own, facts)
                    score = f"{result['metric']} {result['test'][result['metric']]:.4f}"
                    name = f"{key.dataset}, {key.model} {key.seed}-{key.fold}"
                    print(f"{name}: {score}, {result['seconds']} s", flush=True)
    return failed


def _print_table(place: Path, failed: list[str]) -> list[str]:
    """Prints mean and sample standard deviation of the test scores, also of each target.

    Args:
        place: Folder of the runs on a data set.
        failed: Folders whose runs are not those of this call.

    Returns:
        Folders that are left out, see :func:`~molae_pyg.evaluation.runs.read_runs` and
        :func:`~molae_pyg.evaluation.runs.comparable`.
    """
    found, wrong = runs.read_runs(place)
    found, others = runs.comparable([run for run in found if str(run[0]) not in failed])
    wrong += others
    by_model: dict[str, list[dict[str, Any]]] = {}
    for _, result in found:
        by_model.setdefault(result["model"], []).append(result)
    width = max(map(len, by_model), default=0)
    for model, results in by_model.items():
        count = f"{len(results)} run{'s' * (len(results) > 1)}"
        cells = _spreads([result["test"] for result in results])
        print(f"{model:>{width}}, {count}: {cells}", flush=True)
        names = results[0]["task_names"]
        for name in names[:SHOWN] if len(names) > 1 else ():
            of_task = _spreads([result["tasks"][name] for result in results])
            print(f"{'':>{width}}  {name}: {of_task}")
        if len(names) > SHOWN:
            print(f"{'':>{width}}  {len(names) - SHOWN} more targets: see tasks in {runs.RESULT}")
    for _, message in wrong:
        print(f"left out: {message}", file=sys.stderr, flush=True)
    return [str(folder) for folder, _ in wrong]


def _spreads(scores: list[dict[str, float]]) -> str:
    spreads = {name: runs.mean_and_spread([s[name] for s in scores]) for name in scores[0]}
    return ", ".join(f"{name} {spread}" for name, spread in spreads.items())


def compare(args: argparse.Namespace) -> None:
    """Makes all missing runs and prints the scores.

    Raises:
        ValueError: If flags or settings have an error, before any work.
        SystemExit: If something failed; the message names it.
    """
    config = read_config(args)
    args.model = models.distinct_models(args.model or config["default"])
    for model in args.model:  # an unknown name is an error now, not after the conformers
        check_weights(model, models.model_settings(config, model, ""))
    asked = list(MoleculeNet.sources) if args.dataset == ["all"] else args.dataset
    wanted, refused = sources.distinct(asked)
    columns = sources.table_flags(args, wanted)
    _print_unused_lines(config, args.model, wanted)
    failed: list[str] = []
    for source in wanted:
        with keep_going(source, failed):
            failed += run_dataset(source, args, config, columns)
    for message in refused:
        print(f"refused: {message}", file=sys.stderr, flush=True)
        failed.append(message.partition(":")[0])
    print(f"\nruns are in {args.output}; a page of them: python -m molae_pyg.evaluation.report")
    exit_if_failed(failed)


def _print_unused_lines(config: dict[str, Any], chosen: list[str], wanted: list[str]) -> None:
    """Prints which lines of ``datasets`` name no data set of this call."""
    known = {sources.CHEMBL, *MoleculeNet.sources, *map(sources.name_of_source, wanted)}
    for model in chosen:
        lines = config["models"].get(model, {}).get("datasets", {})
        if unknown := sorted(set(lines) - known):
            print(f"settings of {model}: no data set of this call is called {', '.join(unknown)}")


def main() -> None:
    run_command(compare, parse_args())


if __name__ == "__main__":
    main()
