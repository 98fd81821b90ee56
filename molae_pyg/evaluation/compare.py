"""Compares models on molecular data sets under a named protocol.

    python experiments/moleculenet.py                                # activities from RDKit
    python experiments/moleculenet.py --dataset esol bace            # or all of MoleculeNet: all
    python experiments/moleculenet.py --dataset my.csv --targets logP,active
    python experiments/moleculenet.py --dataset esol --protocol cv5x5 --model ecfp-forest dmpnn

A table (.csv, .tsv, also .gz) has a column of SMILES and one or more of labels; what is taken from
it is printed first. Finished runs are kept in <output>/<protocol>/<data set>/<model>/<seed>-<fold>;
called again, the script makes the ones that are missing. A run of other molecules, labels or
settings, or one whose files were changed, is refused. Several processes may fill one --output, each
with models of its own. molae_pyg.evaluation.report makes a page of the runs.
"""

import argparse
import copy
import json
import sys
import traceback
from dataclasses import asdict
from pathlib import Path
from typing import Any

from molae_pyg.datasets import MoleculeNet, check_integrity
from molae_pyg.datasets.table import MoleculeTable
from molae_pyg.durable import write_durably
from molae_pyg.evaluation.config import CONFIGS, check_comparison, check_keys, read_yaml
from molae_pyg.evaluation.models import Job, digest_of, timed_fit
from molae_pyg.evaluation.naming import distinct_models, fit_of, model_settings, name_of
from molae_pyg.evaluation.protocols import PROTOCOLS, Trial, make_trials
from molae_pyg.evaluation.runs import (
    RESULT,
    SHARED,
    Key,
    check_same,
    environment,
    is_finished,
    mean_and_spread,
    only_process,
    prediction_table,
    read_runs,
    write_run,
)
from molae_pyg.evaluation.sealed import EXPECTED
from molae_pyg.evaluation.sources import (
    CHEMBL,
    add_table_flags,
    describe,
    distinct,
    identity_of,
    is_table,
    load_dataset,
    name_of_source,
    scale_of,
    scores_of,
    table_flags,
)

SHOWN = 20  # targets printed one by one; result.json has all


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--dataset", nargs="+", default=[CHEMBL], help="names, tables, folders; or all"
    )
    add_table_flags(parser)
    parser.add_argument("--protocol", choices=PROTOCOLS, default="scaffold", help="scaffold")
    parser.add_argument(
        "--model", nargs="+", help="names in the settings, folders or official .pt files"
    )
    parser.add_argument("--seeds", type=int, help="seeds, of cv5x5 repeats; default: 3, 5 of cv5x5")
    parser.add_argument("--config", help="YAML of settings; default: moleculenet or published")
    parser.add_argument(
        "--num-conformers", type=int, help="a molecule; default: what the settings say"
    )
    parser.add_argument("--root", default="data", help="folder of data files and conformers")
    parser.add_argument("--output", default="runs/moleculenet", help="folder of the runs")
    return parser.parse_args()


def read_config(args: argparse.Namespace) -> dict[str, Any]:
    """The settings, checked, with the number of conformers of the flag."""
    default = "published" if args.protocol == "published" else "moleculenet"
    path = args.config or CONFIGS / f"{default}.yaml"
    config = read_yaml(path)
    check_keys(config, ("default", "data", "models"), str(path))
    check_comparison(config, path)
    if args.num_conformers is not None:  # 0: the flat one alone
        config["data"]["num_conformers"] = args.num_conformers
    if not (args.model or config.get("default")):
        raise SystemExit(f"{path} has no default: give --model")
    return config


def make_run(
    key: Key, job: Job, identity: dict[str, Any], facts: dict[str, Any] | None = None
) -> dict[str, Any]:
    """Fits, scores and writes one run.

    Args:
        key: Of the run.
        job: What to do.
        identity: What has to be the same for a run to be the same.
        facts: What else the result keeps, such as the name of the data set's file.
    """
    scale = scale_of(job.dataset, job.split.train)
    fitted, seconds = timed_fit(identity["fit"], job)
    dataset = job.dataset
    parts = {"valid": fitted.valid, "test": fitted.test}
    scores = {
        part: scores_of(dataset, getattr(job.split, part), predicted, scale)
        for part, predicted in parts.items()
    }
    result = {
        **key._asdict(),
        **(facts or {}),
        **identity,
        "task_type": dataset.task_type,
        "scale": None if scale is None else scale.tolist(),
        "sizes": {part: len(rows) for part, rows in job.split._asdict().items()},
        **{part: found for part, (found, _) in scores.items()},
        "tasks": scores["test"][1],
        "valid_tasks": scores["valid"][1],
        **fitted.facts,
        "seconds": seconds,
        "environment": environment(),
    }
    return write_run(job.folder, result, prediction_table(dataset, job.split, **parts))


def run_dataset(
    source: str, args: argparse.Namespace, config: dict[str, Any], columns: dict[str, Any]
) -> list[str]:
    """All runs on a data set; returns what failed, each with its reason in ``error.txt``."""
    columns = columns if is_table(source) else {}
    if description := describe(source, columns):
        print(f"\n{source}: {description}", flush=True)
    dataset = load_dataset(source, args.root, config["data"], columns)
    place = Path(args.output, args.protocol, dataset.name)
    integrity = check_integrity(dataset)
    print(f"\n{dataset}", integrity, sep="\n", flush=True)
    data = identity_of(dataset)
    with only_process(place, wait=60):
        _check_shared(place, data)
        trials = make_trials(dataset, args.protocol, args.seeds, place / "splits")
        text = json.dumps(asdict(integrity), indent=2) + "\n"
        write_durably(place / "integrity.json", text.encode())
    failed = []
    for model in args.model:
        settings = model_settings(config, model, dataset.name)
        made_with = {name: value for name, value in config["data"].items() if name != "workers"}
        identity = {"data": made_with, "settings": settings, "fit": fit_of(model), **data}
        facts = {"source": source, "columns": columns}
        try:
            identity["weights_sha256"] = digest_of(settings.get("weights", "random"))
            failed += _run_model(model, args, dataset, trials, identity, facts)
        except EXPECTED as error:  # of its weights or its folder
            print(f"{place / name_of(model)} failed: {error}", file=sys.stderr, flush=True)
            failed.append(str(place / name_of(model)))
    return [*dict.fromkeys(failed + _print_table(place))]


def _check_shared(place: Path, data: dict[str, Any]) -> None:
    """Runs on other labels under the same name would share a table with those of this call."""
    for _, result in read_runs(place)[0]:
        check_same(result, {name: data[name] for name in SHARED}, place, "runs on other data")


def _run_model(
    model: str,
    args: argparse.Namespace,
    dataset: MoleculeTable,
    trials: list[tuple[Trial, str]],
    identity: dict[str, Any],
    facts: dict[str, Any],
) -> list[str]:
    """The runs of a model that are missing; returns the folders of those that failed."""
    missing, failed = [], []
    for trial, checksum in trials:
        key = Key(dataset.name, args.protocol, name_of(model), trial.seed, trial.fold)
        job = Job(
            dataset,
            trial.split,
            copy.deepcopy(identity["settings"]),
            trial.seed,
            key.folder(Path(args.output)),
        )
        own = {**key._asdict(), **identity, "split_sha256": checksum}
        try:
            if not is_finished(job.folder, own):
                missing.append((key, job, own))
        except ValueError as error:
            print(f"{job.folder} failed: {error}", file=sys.stderr, flush=True)
            failed.append(str(job.folder))
    if missing:
        with only_process(missing[0][1].folder.parent):
            for key, job, own in missing:
                if not is_finished(job.folder, own):  # by another process, meanwhile
                    failed += _try_run(key, job, own, facts)
    return failed


def _try_run(key: Key, job: Job, identity: dict[str, Any], facts: dict[str, Any]) -> list[str]:
    job.folder.mkdir(parents=True, exist_ok=True)
    error = job.folder / "error.txt"
    try:
        result = make_run(key, job, identity, facts)
    except Exception:  # of whatever kind: the other runs go on, and the end says what failed
        error.write_text(traceback.format_exc())
        print(f"{job.folder} failed:", traceback.format_exc(limit=-1), file=sys.stderr, flush=True)
        return [str(job.folder)]
    error.unlink(missing_ok=True)
    score = f"{result['metric']} {result['test'][result['metric']]:.4f}"
    run = f"{key.dataset}, {key.model} {key.seed}-{key.fold}"
    print(f"{run}: {score}, {result['seconds']} s", flush=True)
    return []


def _print_table(place: Path) -> list[str]:
    """Prints test scores, mean and sample standard deviation over runs, also of each target.

    Returns the folders that are left out, as their files were changed.
    """
    found, wrong = read_runs(place)
    by_model: dict[str, list[dict[str, Any]]] = {}
    for _, result in found:
        by_model.setdefault(result["model"], []).append(result)
    for model, runs in by_model.items():
        cells = _spreads([run["test"] for run in runs])
        print(f"{model:>16}, {len(runs)} runs: {cells}", flush=True)
        names = runs[0]["task_names"]
        for name in names[:SHOWN] if len(names) > 1 else ():
            print(f"{'':>16}  {name}: {_spreads([run['tasks'][name] for run in runs])}")
        if len(names) > SHOWN:
            print(f"{'':>16}  the other {len(names) - SHOWN} targets: see tasks in {RESULT}")
    for _, message in wrong:
        print(f"left out: {message}", file=sys.stderr, flush=True)
    return [str(folder) for folder, _ in wrong]


def _spreads(scores: list[dict[str, float]]) -> str:
    """Every score of some runs."""
    return ", ".join(f"{name} {mean_and_spread([s[name] for s in scores])}" for name in scores[0])


def main() -> None:
    args = parse_args()
    config = read_config(args)
    columns = table_flags(args)
    args.model = distinct_models(args.model or config["default"])
    for model in args.model:  # an unknown name stops here, not after the conformers
        model_settings(config, model, "")
    asked = list(MoleculeNet.sources) if args.dataset == ["all"] else args.dataset
    sources, refused = distinct(asked)
    if columns and not any(map(is_table, sources)):
        raise SystemExit("--smiles, --targets, --task-type and --encoding are for tables only")
    _name_unknown_lines(config, args.model, sources)
    failed = []
    for source in sources:
        try:
            failed += run_dataset(source, args, config, columns)
        except EXPECTED as error:  # a data set that is not available
            print(f"{source} failed: {error}", file=sys.stderr, flush=True)
            failed.append(source)
        except Exception:  # a defect: neither does it lose the others
            text = traceback.format_exc(limit=-1)
            print(f"{source} failed:", text, file=sys.stderr, flush=True)
            failed.append(source)
    for message in refused:
        print(f"refused: {message}", file=sys.stderr, flush=True)
        failed.append(message.partition(":")[0])
    print(f"\nruns are in {args.output}; a page of them: python -m molae_pyg.evaluation.report")
    if failed:
        raise SystemExit(f"{len(failed)} failed: {', '.join(failed)}")


def _name_unknown_lines(config: dict[str, Any], models: list[str], sources: list[str]) -> None:
    """Says which lines of ``datasets`` are for a data set that nothing here is called."""
    known = {CHEMBL, *MoleculeNet.sources, *map(name_of_source, sources)}
    for model in models:
        lines = config["models"].get(model, {}).get("datasets", {})
        if unknown := sorted(set(lines) - known):
            print(f"settings of {model}: no data set of this call is called {', '.join(unknown)}")


if __name__ == "__main__":
    main()
