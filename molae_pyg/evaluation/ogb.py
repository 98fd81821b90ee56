"""Evaluates models on the leaderboard data sets of the Open Graph Benchmark (ogbg-mol*).

    python experiments/ogb_leaderboard.py --dataset ogbg-molhiv
    python experiments/ogb_leaderboard.py --dataset ogbg-molesol ogbg-molbace --model gin dmpnn
    python -m molae_pyg.evaluation.submission runs/ogb/ogbg-molhiv/submissions/molae-small

Every score is OGB's own evaluator's, on OGB's own split. Finished runs are kept in
<output>/<data set>/runs/<model>/<seed>; called again, the script makes the ones that are missing. A
run of other molecules, labels or settings, or one whose files were changed, is refused. Averages
over conformers and blends (--config) are made of the same runs. All runs of a model become a folder
below <output>/<data set>/submissions.
"""

import argparse
import copy
import io
import shlex
import sys
import traceback
import zipfile
import zlib
from functools import lru_cache
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np

from molae_pyg.baselines.schnet import SchNetPredictor
from molae_pyg.datasets import OGBMol
from molae_pyg.durable import write_durably
from molae_pyg.evaluation.config import CONFIGS, check_comparison, check_keys, merged, read_yaml
from molae_pyg.evaluation.leaderboard import (
    PARTS,
    Predicted,
    official_identity,
    score,
    write_submission,
)
from molae_pyg.evaluation.models import DEVICE, MODELS, Job, digest_of, molae, schnet, timed_fit
from molae_pyg.evaluation.naming import distinct_models, fit_of, model_settings, name_of
from molae_pyg.evaluation.runs import RESULT, environment, is_finished, only_process
from molae_pyg.evaluation.sealed import EXPECTED, read_sealed, seal
from molae_pyg.evaluation.sources import identity_of
from molae_pyg.fingerprint import digest
from molae_pyg.models import MolAEPredictor
from molae_pyg.splits import Split
from molae_pyg.training import Finetuning, predict

PREDICTIONS = "predictions.npz"
PREDICTORS = {molae: MolAEPredictor, schnet: SchNetPredictor}  # models that take coordinates
SHARES = np.linspace(0, 1, 21)  # of the second model of a blend


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--dataset", nargs="+", required=True, help="names, such as ogbg-molhiv")
    parser.add_argument("--model", nargs="+", help="names in the settings, or paths of weights")
    parser.add_argument("--seeds", type=int, default=10, help="runs of an entry; 10, as OGB asks")
    parser.add_argument("--config", help="YAML of settings beside those of ogb.yaml")
    parser.add_argument(
        "--num-conformers", type=int, help="made of a molecule; default: what the settings say"
    )
    parser.add_argument("--root", default="data", help="folder of data sets and conformers")
    parser.add_argument("--output", default="runs/ogb", help="folder of the runs")
    return parser.parse_args()


def read_config(path: str | None) -> dict[str, Any]:
    """The settings of moleculenet.yaml, changed by ogb.yaml and by the file given, checked."""
    config: dict[str, Any] = {}
    for file in filter(None, (CONFIGS / "moleculenet.yaml", CONFIGS / "ogb.yaml", path)):
        found = read_yaml(file)
        check_keys(found, ("default", "data", "entry", "models"), str(file))
        config = merged(config, found)
    name = path or CONFIGS / "ogb.yaml"
    check_comparison(config, name, extra=("external_data",))
    _check_entry(config["entry"], name)
    return config


def _check_entry(entry: dict[str, Any], path: str | Path) -> None:
    """Raises SystemExit if an entry of the settings is none of the kinds there are."""
    check_keys(entry, ("conformers", "ensemble", "blend", "share"), f"{path}: entry")
    for name, can_be_all in (("conformers", True), ("ensemble", False)):
        number = entry[name]
        if not (number is None and can_be_all) and (type(number) is not int or number < 1):
            raise SystemExit(f"{path}: entry.{name} must be a number from 1, got {number!r}")
    share = entry["share"]
    if share is not None and not (isinstance(share, int | float) and 0 <= share <= 1):
        raise SystemExit(f"{path}: entry.share must be null or lie between 0 and 1, got {share!r}")


def settings_of(config: dict[str, Any], model: str, dataset: str) -> dict[str, Any]:
    """The settings of a model; a run predicts with one conformer."""
    settings = model_settings(config, model, dataset)
    settings.pop("external_data", None)  # of the entry, not of the run
    if takes_coordinates(model):
        settings["conformers"] = 1
    return settings


def takes_coordinates(model: str) -> bool:
    """Whether predictions of the model can be averaged over conformers."""
    return MODELS[fit_of(model)] in PREDICTORS


def make_run(dataset: OGBMol, job: Job, identity: dict[str, Any]) -> None:
    """Fits one model with one seed; writes predictions of all of OGB's rows and their scores."""
    fitted, seconds = timed_fit(identity["fit"], job)
    predicted = official(dataset, {"valid": fitted.valid, "test": fitted.test})
    job.folder.mkdir(parents=True, exist_ok=True)
    for averages in job.folder.glob("predictions-*.npz"):  # of a fit that was removed
        averages.unlink()
    _write_arrays(job.folder / PREDICTIONS, predicted)
    result = dict(identity)
    result |= {part: _score(dataset, part, rows) for part, rows in predicted.items()}
    result |= {**fitted.facts, "seconds": seconds, "environment": environment()}
    seal(job.folder / RESULT, result)
    print(f"{job.folder}: {result['valid']:.4f} valid, {result['test']:.4f} test, {seconds} s")


def _write_arrays(file: Path, arrays: dict[str, np.ndarray]) -> None:
    """Writes arrays by name, whole or not at all."""
    content = io.BytesIO()
    np.savez_compressed(content, **arrays)
    write_durably(file, content.getbuffer())


def official(dataset: OGBMol, predicted: Predicted) -> Predicted:
    """Predictions of molecules as those of all of OGB's rows."""
    return {
        part: dataset.official(part, rows)["y_pred"].astype(np.float32)
        for part, rows in predicted.items()
    }


def get_averages(job: Job, result: dict[str, Any], conformers: int | None) -> Predicted:
    """Means over conformers (``None``: all) of what the model of a run predicts; made once.

    The file says which run it is of, and has a checksum; one that does not fit is made anew.
    """
    file = job.folder / f"predictions-{conformers or 'all'}.npz"
    kept = _kept_averages(file, result, conformers)
    if kept is not None:
        return kept
    model = PREDICTORS[MODELS[result["fit"]]].from_pretrained(job.folder / "model").to(DEVICE)
    precision = Finetuning(**job.settings["training"]).precision
    predicted = {}
    for part in PARTS:
        molecules = [job.dataset[i] for i in getattr(job.split, part).tolist()]
        predicted[part] = predict(model, molecules, precision=precision, conformers=conformers)
    predicted = official(job.dataset, predicted)
    checksum = digest(result["sha256"], conformers, predicted)
    _write_arrays(file, {**predicted, "sha256": np.array(checksum)})
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
    """Predictions, as the entry averages them, and facts of a run, made unless it stands."""
    folder = Path(args.output, dataset.name, "runs", name_of(model), str(seed))
    settings = settings_of(config, model, dataset.name)
    split = Split(*(rows.numpy() for rows in dataset.get_idx_split().values()))
    identity = {
        "dataset": dataset.name,
        "model": name_of(model),
        "seed": seed,
        "data": {name: value for name, value in config["data"].items() if name != "workers"},
        "settings": settings,
        "fit": fit_of(model),
        "weights_sha256": digest_of(settings.get("weights", "random")),
        **_identity_of(dataset, args.root),
    }
    job = Job(dataset, split, copy.deepcopy(settings), seed, folder)
    if not is_finished(folder, identity):
        with only_process(folder.parent):
            make_run(dataset, job, identity)
    result = read_sealed(folder / RESULT)
    conformers = config["entry"]["conformers"]
    if conformers != 1 and takes_coordinates(model):
        with only_process(folder.parent):
            return get_averages(job, result, conformers), result
    with np.load(folder / PREDICTIONS) as arrays:
        return dict(arrays), result


@lru_cache(maxsize=1)  # the same object for all runs
def _identity_of(dataset: OGBMol, root: str) -> dict[str, Any]:
    return {**identity_of(dataset), **official_identity(root, dataset.name)}


def _score(dataset: OGBMol, part: str, predicted: np.ndarray) -> float:
    return score(dataset.name, dataset.labels_of(part), predicted)


def mean_of(runs: list[Predicted]) -> Predicted:
    """The mean prediction of several runs."""
    return {part: np.mean([run[part] for run in runs], axis=0) for part in runs[0]}


def blend(
    dataset: OGBMol, first: Predicted, second: Predicted, share: float | None = None
) -> tuple[Predicted, float]:
    """Two models mixed, with a share of the second or the one best on the validation rows."""
    sign = -1
    if dataset.metric != "rmse":
        sign, first, second = 1, quantiles(first), quantiles(second)
    shares = SHARES if share is None else np.array([share])
    mixed = [
        {part: (1 - weight) * first[part] + weight * second[part] for part in first}
        for weight in shares.astype(np.float32)
    ]
    best = int(np.argmax([sign * _score(dataset, "valid", rows["valid"]) for rows in mixed]))
    return mixed[best], float(shares[best])


def quantiles(predicted: Predicted) -> Predicted:
    """Predictions ``[rows, T]`` as quantiles among the validation predictions of their task.

    ROC-AUC and average precision look at the order alone, and probabilities of two models have no
    scale in common. Quantiles lie on the one between 0 and 1.
    """
    found: dict[str, list[np.ndarray]] = {part: [] for part in predicted}
    for task, column in enumerate(predicted["valid"].T):
        values, counts = np.unique(column, return_counts=True)
        middle = (np.cumsum(counts) - counts / 2) / len(column)  # of equal ones the mean rank
        for part, rows in predicted.items():
            found[part].append(np.interp(rows[:, task], values, middle))
    return {part: np.stack(rows, 1).astype(np.float32) for part, rows in found.items()}


def make_entry(
    dataset: OGBMol, model: str, args: argparse.Namespace, config: dict[str, Any]
) -> Path:
    """All runs of a model, averaged and blended as the settings say, as a submission folder."""
    entry = dict(config["entry"])
    if not takes_coordinates(model):
        entry["conformers"] = 1
    models = [model, entry["blend"]] if entry["blend"] else [model]
    size = entry["ensemble"]
    averaged, results = [], []  # for each model: the mean predictions of each run of the entry
    for name in models:
        averaged.append([])
        for first in range(0, args.seeds * size, size):
            seeds = range(first, first + size)
            runs = [get_run(dataset, name, seed, args, config) for seed in seeds]
            averaged[-1].append(mean_of([predicted for predicted, _ in runs]))
            results += [result for _, result in runs]
    predicted, shares = averaged[0], None
    if entry["blend"]:
        mixed = [blend(dataset, *pair, entry["share"]) for pair in zip(*averaged, strict=True)]
        predicted, shares = ([pair[i] for pair in mixed] for i in (0, 1))
    facts = {
        "command": shlex.join(["python", "experiments/ogb_leaderboard.py", *sys.argv[1:]]),
        "entry": entry,
        "identity": official_identity(args.root, dataset.name),
        "external_data": model_settings(config, model, dataset.name).get("external_data"),
        "shares": shares,
    }
    name = "-".join(
        [name_of(model)]
        + ([f"{entry['conformers'] or 'all'}conformers"] if entry["conformers"] != 1 else [])
        + ([f"{entry['ensemble']}runs"] if entry["ensemble"] > 1 else [])
        + ([f"with-{entry['blend']}"] if entry["blend"] else [])
        + ([f"{entry['share']:g}"] if entry["blend"] and entry["share"] is not None else [])
    )
    folder = Path(args.output, dataset.name, "submissions", name)
    with only_process(folder):
        write_submission(folder, dataset, predicted, results, facts)
    return folder


def main() -> None:
    args = parse_args()
    config = read_config(args.config)
    if args.num_conformers is not None:  # 0: the flat one alone
        config["data"]["num_conformers"] = args.num_conformers
    if args.seeds < 1:
        raise SystemExit(f"--seeds must be at least 1, got {args.seeds}")
    models = distinct_models(args.model or config["default"])
    for model in [*models, *filter(None, [config["entry"]["blend"]])]:
        settings_of(config, model, "")  # an unknown name stops here, not after the conformers
    load = lru_cache(maxsize=1)(lambda name: OGBMol(args.root, name, **config["data"]))
    failed = []
    for name, model in product(dict.fromkeys(args.dataset), models):
        try:
            folder = make_entry(load(name), model, args, config)
        except EXPECTED as error:
            print(f"{name} {model} failed: {error}", file=sys.stderr, flush=True)
            failed.append(f"{name} {model}")
            continue
        except Exception:  # the other models and data sets go on, and the end says what failed
            traceback.print_exc(limit=-1)
            failed.append(f"{name} {model}")
            continue
        print((folder / "submission.md").read_text(), folder, sep="\n", flush=True)
    if failed:
        raise SystemExit(f"{len(failed)} failed: {', '.join(failed)}")


if __name__ == "__main__":
    main()
