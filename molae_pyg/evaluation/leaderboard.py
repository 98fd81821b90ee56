"""Evaluates models on the leaderboard data sets of the Open Graph Benchmark (ogbg-mol*).

    python -m molae_pyg.evaluation.leaderboard --dataset ogbg-molhiv
    python -m molae_pyg.evaluation.leaderboard --dataset ogbg-molesol ogbg-molbace --model gin dmpnn
    python -m molae_pyg.evaluation.submission runs/ogb/ogbg-molhiv/submissions/molae-graph

Every score is that of OGB's own evaluator, on OGB's own split. Finished runs are kept in
<output>/<data set>/runs/<model>/<seed>; the same command makes the missing ones. A run of other
molecules, labels or settings, or one whose files were changed, is refused. Averages over conformers
and blends (see --config) are made from the same runs. All runs of a model become a folder below
<output>/<data set>/submissions.
"""

import argparse
import copy
import shlex
import sys
import zipfile
import zlib
from functools import lru_cache
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np

from molae_pyg.baselines.job import DEVICE, Job, digest_of
from molae_pyg.datasets import OGBMol
from molae_pyg.durable import write_arrays
from molae_pyg.evaluation import models, runs
from molae_pyg.evaluation.config import (
    check,
    config_path,
    exit_if_failed,
    keep_going,
    merged,
    read_yaml,
    run_command,
)
from molae_pyg.evaluation.entry import (
    PAGE,
    PARTS,
    Predicted,
    blend,
    entry_name,
    mean_of,
    official_identity,
    score,
    seeds_of,
    write_submission,
)
from molae_pyg.evaluation.flags import make_parser
from molae_pyg.evaluation.row_weights import check_weights
from molae_pyg.evaluation.sources import identity_of
from molae_pyg.fingerprint import digest
from molae_pyg.inference import predict
from molae_pyg.splits import Split
from molae_pyg.training import Finetuning

PREDICTIONS = "predictions.npz"


def parse_args() -> argparse.Namespace:
    parser = make_parser(__doc__, "ogb", output="runs/ogb")
    add = parser.add_argument
    add("--dataset", nargs="+", required=True, help="names, such as ogbg-molhiv")
    what = "names in the settings, or weights: folders, official .pt files"
    add("--model", nargs="+", help=f"{what}; default: from the settings")
    add("--seeds", type=int, default=10, help="number of runs of an entry; default: 10, OGB's rule")
    what = "number of conformers per molecule"
    add("--num-conformers", type=int, metavar="K", help=f"{what}; default: from the settings")
    return parser.parse_args()


def read_config(name: str | Path) -> dict[str, Any]:
    """Returns the settings of moleculenet.yaml, changed by ogb.yaml and by a file, checked.

    Raises:
        ValueError: If a key is unknown or missing, or a value cannot be used.
    """
    config: dict[str, Any] = {}
    for path in dict.fromkeys(map(config_path, ("moleculenet", "ogb", name))):
        found = read_yaml(path)
        check(found, dict.fromkeys(("default", "data", "entry", "models")), path)
        config = merged(config, found)
    models.check_comparison(config, path, sections=("entry",), extra="external_data")
    _check_entry(config["entry"], path)
    return config


def _check_entry(entry: dict[str, Any], path: Path) -> None:
    """Raises ValueError if an entry cannot be made from its settings."""
    check(entry, ["conformers", "ensemble", "blend", "share"], f"{path}: entry")
    for name, can_be_all in (("conformers", True), ("ensemble", False)):
        number = entry[name]
        if not (number is None and can_be_all) and (type(number) is not int or number < 1):
            raise ValueError(f"{path}: entry.{name} must be a number from 1, got {number!r}")
    share = entry["share"]
    if share is not None and not (isinstance(share, int | float) and 0 <= share <= 1):
        raise ValueError(f"{path}: entry.share must be null or lie between 0 and 1, got {share!r}")


def settings_of(config: dict[str, Any], model: str, dataset: str) -> dict[str, Any]:
    """Returns the settings of the runs of a model, which predict with one conformer."""
    settings = models.model_settings(config, model, dataset)
    settings.pop("external_data", None)  # belongs to the entry
    if takes_coordinates(model):
        settings["conformers"] = 1
    return settings


def takes_coordinates(model: str) -> bool:
    """Whether predictions of a model can be averaged over conformers."""
    return models.MODELS[models.fit_of(model)].predictor is not None


def make_run(dataset: OGBMol, job: Job, identity: dict[str, Any]) -> None:
    """Fits a model with one seed; writes predictions of all rows of OGB and their scores."""
    fitted, seconds = models.timed_fit(identity, job)
    predicted = official(dataset, {"valid": fitted.valid, "test": fitted.test})
    job.folder.mkdir(parents=True, exist_ok=True)
    for averages in job.folder.glob("predictions-*.npz"):  # of a fit that was removed
        averages.unlink()
    write_arrays(job.folder / PREDICTIONS, predicted)
    scores = {
        part: score(dataset.name, dataset.labels_of(part), rows) for part, rows in predicted.items()
    }
    result = {**identity, **scores, **fitted.facts, "seconds": seconds}
    runs.seal(job.folder / runs.RESULT, {**result, "environment": runs.environment()})
    print(f"{job.folder}: {result['valid']:.4f} valid, {result['test']:.4f} test, {seconds} s")


def official(dataset: OGBMol, predicted: Predicted) -> Predicted:
    """Returns predictions of all rows of OGB from those of the molecules."""
    return {
        part: dataset.official(part, rows)["y_pred"].astype(np.float32)
        for part, rows in predicted.items()
    }


def get_averages(job: Job, result: dict[str, Any], conformers: int | None) -> Predicted:
    """Returns means over conformers (None: all) of the predictions of a finished run.

    They are kept in a file with a checksum of the run and of the predictions; a file with another
    checksum is replaced.
    """
    file = job.folder / f"predictions-{conformers or 'all'}.npz"
    kept = _kept_averages(file, result, conformers)
    if kept is not None:
        return kept
    model = models.MODELS[result["fit"]].predictor.from_pretrained(job.folder / "model").to(DEVICE)
    precision = Finetuning(**job.settings["training"]).precision
    predicted = {}
    for part in PARTS:
        molecules = [job.dataset[i] for i in getattr(job.split, part).tolist()]
        predicted[part] = predict(model, molecules, precision=precision, conformers=conformers)
    predicted = official(job.dataset, predicted)
    checksum = digest(result["sha256"], conformers, predicted)
    write_arrays(file, {**predicted, "sha256": np.array(checksum)})
    return predicted


def _kept_averages(file: Path, result: dict[str, Any], conformers: int | None) -> Predicted | None:
    if not file.is_file():
        return None
    try:
        with np.load(file) as arrays:
            found = dict(arrays)
    except (ValueError, EOFError, zipfile.BadZipFile, zlib.error):
        found = {}
    checksum = str(found.pop("sha256", ""))
    if checksum == digest(result["sha256"], conformers, found):
        return found
    print(f"{file} is not of this run, or was changed: made anew")
    return None


def get_run(
    dataset: OGBMol, model: str, seed: int, args: argparse.Namespace, config: dict[str, Any]
) -> tuple[Predicted, dict[str, Any]]:
    """Returns predictions, averaged as the entry asks, and the result of a run.

    The run is made if it is missing.
    """
    folder = Path(args.output, dataset.name, "runs", models.name_of(model), str(seed))
    settings = settings_of(config, model, dataset.name)
    split = Split(*(rows.numpy() for rows in dataset.get_idx_split().values()))
    identity = {
        "dataset": dataset.name,
        "model": models.name_of(model),
        "seed": seed,
        "data": {name: value for name, value in config["data"].items() if name != "workers"},
        "settings": settings,
        "fit": models.fit_of(model),
        "weights_sha256": digest_of(settings),
        **_identity_of(dataset, args.root),
    }
    job = Job(dataset, split, copy.deepcopy(settings), seed, folder)
    if not runs.is_finished(folder, identity):
        with runs.only_process(folder.parent):
            make_run(dataset, job, identity)
    result = runs.read_sealed(folder / runs.RESULT)
    conformers = config["entry"]["conformers"]
    if conformers != 1 and takes_coordinates(model):
        with runs.only_process(folder.parent):
            return get_averages(job, result, conformers), result
    with np.load(folder / PREDICTIONS) as arrays:
        return dict(arrays), result


@lru_cache(maxsize=1)  # all runs have the same data set
def _identity_of(dataset: OGBMol, root: str) -> dict[str, Any]:
    return {**identity_of(dataset), **official_identity(root, dataset.name)}


def make_entry(
    dataset: OGBMol, model: str, args: argparse.Namespace, config: dict[str, Any]
) -> Path:
    """Makes all runs of a model, averages and blends them; returns the submission folder."""
    entry = dict(config["entry"])
    if not takes_coordinates(model):
        entry["conformers"] = 1
    averaged: list[list[Predicted]] = []  # of each model, predictions of each run of the entry
    results = []
    for name in filter(None, (model, entry["blend"])):
        averaged.append([])
        for seeds in seeds_of(args.seeds, entry["ensemble"]):
            made = [get_run(dataset, name, seed, args, config) for seed in seeds]
            averaged[-1].append(mean_of([predicted for predicted, _ in made]))
            results += [result for _, result in made]
    predicted, shares = averaged[0], None
    if entry["blend"]:
        mixed = [blend(dataset, *pair, entry["share"]) for pair in zip(*averaged, strict=True)]
        predicted, shares = ([pair[i] for pair in mixed] for i in (0, 1))
    module = "molae_pyg.evaluation.leaderboard"
    facts = {
        "command": shlex.join(["python", "-m", module, *sys.argv[1:]]),
        "entry": entry,
        "identity": official_identity(args.root, dataset.name),
        "external_data": models.model_settings(config, model, dataset.name).get("external_data"),
        "shares": shares,
    }
    name = entry_name(models.name_of(model), entry)
    folder = Path(args.output, dataset.name, "submissions", name)
    with runs.only_process(folder):
        write_submission(folder, dataset, predicted, results, facts)
    return folder


def evaluate(args: argparse.Namespace) -> None:
    """Makes the entries of all models on all data sets.

    Raises:
        ValueError: If flags or settings have an error, before any work.
        SystemExit: If something failed; the message names it.
    """
    config = read_config(args.config)
    if args.num_conformers is not None:  # 0: the 2D conformer alone
        config["data"]["num_conformers"] = args.num_conformers
    if args.seeds < 1:
        raise ValueError(f"--seeds must be at least 1, got {args.seeds}")
    chosen = models.distinct_models(args.model or config["default"])
    for model in [*chosen, *filter(None, [config["entry"]["blend"]])]:
        settings = settings_of(config, model, "")  # a wrong name is an error before the conformers
        check_weights(model, settings)
        if "of" in settings:
            raise ValueError(f"{model} is a blend: entries have the settings `blend` and `share`")
    load = lru_cache(maxsize=1)(lambda name: OGBMol(args.root, name, **config["data"]))
    failed: list[str] = []
    for name, model in product(dict.fromkeys(args.dataset), chosen):
        with keep_going(f"{name} {model}", failed):
            folder = make_entry(load(name), model, args, config)
            print((folder / PAGE).read_text(), folder, sep="\n", flush=True)
    exit_if_failed(failed)


def main() -> None:
    run_command(evaluate, parse_args())


if __name__ == "__main__":
    main()
