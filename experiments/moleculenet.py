"""Compares models on molecular data sets under a named protocol.

    python experiments/moleculenet.py                                # activities from RDKit
    python experiments/moleculenet.py --dataset esol bace            # or all of MoleculeNet: all
    python experiments/moleculenet.py --dataset my.csv               # a SMILES column, numbers
    python experiments/moleculenet.py --dataset esol --protocol cv5x5 --model ecfp-forest dmpnn

Finished runs stand in <output>/<protocol>/<data set>/<model>/<seed>-<fold>; called again, the
script makes the ones that are missing. experiments/report.py makes a page of them.
"""

import argparse
import copy
import json
import sys
import traceback
from dataclasses import asdict
from pathlib import Path
from typing import Any

import yaml
from models import MODELS, Job, digest_of, timed_fit
from protocols import PROTOCOLS, make_trials
from results import (
    Key,
    environment,
    is_finished,
    mean_and_spread,
    prediction_table,
    read_runs,
    write_run,
)

from molae_pyg.datasets import (
    ChEMBLActivities,
    CSVDataset,
    MoleculeNet,
    OfficialFolder,
    check_integrity,
)
from molae_pyg.datasets.table import MoleculeTable
from molae_pyg.metrics import evaluate
from molae_pyg.training import Finetuning

CONFIGS = Path(__file__).parent / "configs"


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--dataset", nargs="+", default=["chembl2321810"], help="names, CSV files, folders; or all"
    )
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


def load_dataset(name: str, root: str, settings: dict[str, Any]) -> MoleculeTable:
    """The data set of a name, CSV file or official folder, with conformers."""
    if Path(name, "train.lmdb").exists():
        settings = {k: v for k, v in settings.items() if k != "add_2d"}  # the records have it
        return OfficialFolder(name, **settings)
    if name.lower().endswith((".csv", ".csv.gz")):
        return CSVDataset(name, root=root, **settings)
    if name.lower() == "chembl2321810":
        return ChEMBLActivities(root, **settings)
    return MoleculeNet(root, name, **settings)


def model_settings(config: dict[str, Any], model: str, dataset: str) -> dict[str, Any]:
    """The settings of a model, with what the data set changes of them.

    Raises:
        SystemExit: If the model is neither a name in the settings nor a path of weights.
    """
    sections = config["models"]
    if model in sections:
        section = copy.deepcopy(sections[model])
    elif Path(model).exists():
        section = copy.deepcopy(sections["molae"]) | {"weights": model}
    else:
        raise SystemExit(f"no model {model!r}: give one of {list(sections)} or a path of weights")
    return merged(section, section.pop("datasets", {}).get(dataset, {}))


def fit_of(model: str) -> str:
    """The function of :data:`models.MODELS` that fits a model."""
    return model if model in MODELS else "molae"


def name_of(model: str) -> str:
    """What a model is called in results; weights by their whole path."""
    if model in MODELS:
        return model
    name = "-".join(Path(model).with_suffix("").parts).strip("/-.")
    return f"weights-{name}" if name in MODELS else name


def merged(settings: dict[str, Any], changes: dict[str, Any]) -> dict[str, Any]:
    """Settings with those of the same names changed, section by section."""
    out = dict(settings)
    for key, value in changes.items():
        out[key] = merged(out.get(key, {}), value) if isinstance(value, dict) else value
    return out


def make_run(key: Key, job: Job, identity: dict[str, Any]) -> dict[str, Any]:
    """Fits, scores and writes one run; ``identity`` is what has to be the same to repeat it."""
    fitted, seconds = timed_fit(identity["fit"], job)
    dataset, y = job.dataset, job.dataset.y.numpy()
    parts = {"valid": fitted.valid, "test": fitted.test}
    result = {
        **key._asdict(),
        **identity,
        "task_type": dataset.task_type,
        "metric": dataset.metric,
        "tasks": dataset.task_names,
        "sizes": {part: len(rows) for part, rows in job.split._asdict().items()},
        **{
            part: evaluate(y[getattr(job.split, part)], predicted, dataset.task_type)
            for part, predicted in parts.items()
        },
        **fitted.facts,
        "seconds": seconds,
        "environment": environment(),
    }
    write_run(job.folder, result, prediction_table(dataset, job.split, **parts))
    return result


def run_dataset(name: str, args: argparse.Namespace, config: dict[str, Any]) -> list[str]:
    """All runs on a data set; returns what failed, each with its reason in ``error.txt``."""
    dataset = load_dataset(name, args.root, config["data"])
    place = Path(args.output, args.protocol, dataset.name)
    integrity = check_integrity(dataset)
    print(f"\n{dataset}", integrity, sep="\n", flush=True)
    trials = make_trials(dataset, args.protocol, args.seeds, place / "splits")
    (place / "integrity.json").write_text(json.dumps(asdict(integrity), indent=2) + "\n")
    failed = []
    for model in args.model:
        settings = model_settings(config, model, dataset.name)
        weights = digest_of(settings.get("weights", "random"))
        for trial, checksum in trials:
            key = Key(dataset.name, args.protocol, name_of(model), trial.seed, trial.fold)
            identity = {"source": name, "data": config["data"], "settings": settings}
            identity["fit"] = fit_of(model)
            identity |= {"weights_sha256": weights, "split_sha256": checksum}
            folder = key.folder(Path(args.output))
            if not is_finished(folder, identity):
                job = Job(dataset, trial.split, copy.deepcopy(settings), trial.seed, folder)
                failed += _try_run(key, job, identity)
    _print_table(place)
    return failed


def _try_run(key: Key, job: Job, identity: dict[str, Any]) -> list[str]:
    job.folder.mkdir(parents=True, exist_ok=True)
    error = job.folder / "error.txt"
    try:
        result = make_run(key, job, identity)
    except Exception:  # of whatever kind: the other runs go on, and the end says what failed
        error.write_text(traceback.format_exc())
        print(f"{job.folder} failed:", traceback.format_exc(limit=-1), file=sys.stderr, flush=True)
        return [str(job.folder)]
    error.unlink(missing_ok=True)
    score = f"{result['metric']} {result['test'][result['metric']]:.4f}"
    run = f"{key.dataset}, {key.model} {key.seed}-{key.fold}"
    print(f"{run}: {score}, {result['seconds']} s", flush=True)
    return []


def _print_table(place: Path) -> None:
    """Mean and sample standard deviation over runs of every test score."""
    by_model: dict[str, list[dict[str, float]]] = {}
    for _, result in read_runs(place):
        by_model.setdefault(result["model"], []).append(result["test"])
    for model, scores in by_model.items():
        cells = []
        for metric in scores[0]:
            cells.append(f"{metric} {mean_and_spread([score[metric] for score in scores])}")
        print(f"{model:>16}, {len(scores)} runs: {', '.join(cells)}", flush=True)


def main() -> None:
    args = parse_args()
    default = "published" if args.protocol == "published" else "moleculenet"
    config = yaml.safe_load(Path(args.config or CONFIGS / f"{default}.yaml").read_text())
    if args.num_conformers is not None:  # 0: the flat one alone
        config["data"]["num_conformers"] = args.num_conformers
    args.model = args.model or config["default"]
    for model in args.model:  # an unknown name or key stops here, not after the conformers
        Finetuning(**model_settings(config, model, "").get("training", {}))
    names = list(MoleculeNet.sources) if args.dataset == ["all"] else args.dataset
    failed = []
    for name in names:
        try:
            failed += run_dataset(name, args, config)
        except Exception:  # a data set that cannot be had does not lose the others
            print(f"{name} failed:", traceback.format_exc(limit=-1), file=sys.stderr, flush=True)
            failed.append(name)
    print(f"\nruns stand in {args.output}; python experiments/report.py makes a page of them")
    if failed:
        raise SystemExit(f"{len(failed)} failed: {', '.join(failed)}")


if __name__ == "__main__":
    main()
