"""Searches the settings of a model on a data set, by its score on the validation rows.

    python -m molae_pyg.evaluation.search --dataset esol --model molae-small --trials 30

Needs Optuna: pip install 'molae_pyg[search]'. Trials are kept in a database in --output; the same
command makes the missing ones. A database of other molecules, labels, settings or another space is
refused. The best settings are written beside it as YAML, for --config of
molae_pyg.evaluation.compare. Test rows are neither predicted nor scored.
"""

import argparse
import copy
import shutil
import sqlite3
import sys
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from molae_pyg.baselines.job import Job, digest_of
from molae_pyg.datasets.table import MoleculeTable
from molae_pyg.durable import write_durably
from molae_pyg.evaluation import sources
from molae_pyg.evaluation.config import (
    config_path,
    merged,
    read_yaml,
    run_command,
)
from molae_pyg.evaluation.flags import add_table_flags, make_parser
from molae_pyg.evaluation.models import (
    MODELS,
    check_comparison,
    check_model,
    model_settings,
)
from molae_pyg.evaluation.protocols import PROTOCOLS, Trial
from molae_pyg.evaluation.row_weights import check_weights
from molae_pyg.evaluation.runs import check_same, only_process
from molae_pyg.fingerprint import digest
from molae_pyg.metrics import LOWER_IS_BETTER

IDENTITY = "identity"  # attribute of a study
FAILURES = (ValueError, ArithmeticError, RuntimeError)  # of a trial, such as a loss that diverges


def parse_args() -> argparse.Namespace:
    parser = make_parser(__doc__, "moleculenet", output="runs/search")
    add = parser.add_argument
    add("--dataset", required=True, help="name, table or official folder")
    add_table_flags(parser)
    add("--model", required=True, help="name in the settings")
    add("--protocol", choices=PROTOCOLS, default="scaffold", help="default: scaffold")
    what = "number of trials, with the finished ones"
    add("--trials", type=int, default=30, metavar="N", help=f"{what}; default: 30")
    return parser.parse_args()


def suggest(trial: Any, space: dict[str, Any]) -> dict[str, Any]:
    """Returns one point of a space: ``section.key`` -> value."""
    point = {}
    for name, values in space.items():
        if isinstance(values, list):
            point[name] = trial.suggest_categorical(name, values)
        elif isinstance(values["low"], int):
            point[name] = trial.suggest_int(name, values["low"], values["high"])
        else:
            log = values.get("log", False)
            point[name] = trial.suggest_float(name, values["low"], values["high"], log=log)
    return point


def changed(settings: dict[str, Any], point: dict[str, Any]) -> dict[str, Any]:
    """Returns a copy of the settings with each ``section.key`` (or ``key``) of a point set."""
    for name, value in point.items():
        *sections, key = name.split(".")
        change = {key: value}
        for section in reversed(sections):
            change = {section: change}
        settings = merged(settings, change)
    return settings


def validation_score(
    dataset: MoleculeTable, trials: list[Trial], model: str, settings: dict[str, Any], folder: Path
) -> float:
    """Returns the score on the validation rows, the mean over the seeds of the protocol."""
    scores = []
    for seed, fold, split in trials:
        split = split._replace(test=split.valid)  # test rows stay unseen
        place = folder / f"{seed}-{fold}"
        fitted = MODELS[model].fit(Job(dataset, split, copy.deepcopy(settings), seed, place))
        shutil.rmtree(place, ignore_errors=True)
        scale = sources.scale_of(dataset, split.train)
        found, _ = sources.scores_of(dataset, split.valid, fitted.valid, scale)
        scores.append(found[sources.headline(dataset)])
    return float(np.mean(scores))


def check_space(model: str, settings: dict[str, Any], space: dict[str, Any], path: Path) -> None:
    """Raises ValueError if a space names a setting that the model does not have."""
    first = {
        name: values[0] if isinstance(values, list) else values["low"]
        for name, values in space.items()
    }
    check_model(model, changed(settings, first), f"{path}: {model}")


def check_database(file: Path) -> None:
    """Raises ValueError if a database exists and is damaged."""
    if not file.exists():
        return
    try:
        with closing(sqlite3.connect(file)) as database:
            ((fault, *_), *_) = database.execute("PRAGMA quick_check").fetchall()
    except sqlite3.DatabaseError as error:
        fault = str(error)
    if fault != "ok":
        raise ValueError(
            f"{file} is damaged ({' '.join(fault.split())}): remove it to start the search anew, "
            "or restore it from a copy"
        )


def check_study(study: Any, identity: dict[str, Any], file: Path) -> None:
    """Compares the identity of a study; a new study gets it.

    Raises:
        ValueError: If its trials are of other data or settings, or have no identity.
    """
    found = study.user_attrs.get(IDENTITY)
    if found is None and not study.trials:
        study.set_user_attr(IDENTITY, identity)
        return
    if found is None:
        raise ValueError(f"{file} has trials, but does not say of what: remove it")
    check_same(found, identity, file, "trials of another search")


def make_trials(args: argparse.Namespace, config: dict[str, Any], space: dict[str, Any]) -> int:
    """Makes the missing trials, writes the best settings; returns how many are still missing."""
    import optuna

    columns = sources.table_flags(args, [args.dataset])
    dataset = sources.load_dataset(args.dataset, args.root, config["data"], columns)
    settings = model_settings(config, args.model, dataset.name)
    name = f"{dataset.name}-{args.protocol}-{args.model}"
    output = Path(args.output)
    file = output / f"{name}.db"
    how = PROTOCOLS[args.protocol]
    splits = how.trials(dataset, how.seeds)
    metric = sources.headline(dataset)
    check_database(file)
    study = optuna.create_study(
        study_name=name,
        storage=f"sqlite:///{file}",
        sampler=optuna.samplers.TPESampler(seed=0),
        direction="minimize" if metric in LOWER_IS_BETTER else "maximize",
        load_if_exists=True,
    )
    identity = {
        "settings": settings,
        "space": space,
        "weights_sha256": digest_of(settings),
        "splits_sha256": digest([trial._asdict() | trial.split._asdict() for trial in splits]),
        **sources.identity_of(dataset),
    }
    check_study(study, identity, file)

    def objective(trial: optuna.Trial) -> float:
        point = suggest(trial, space)
        folder = output / f"{name}-{trial.number}"
        try:
            return validation_score(dataset, splits, args.model, changed(settings, point), folder)
        finally:
            shutil.rmtree(folder, ignore_errors=True)

    states = (optuna.trial.TrialState.COMPLETE,)
    left = args.trials - len(study.get_trials(states=states))
    study.optimize(
        objective, n_trials=max(0, left), catch=FAILURES, show_progress_bar=sys.stderr.isatty()
    )
    complete = study.get_trials(states=states)
    if not complete:
        raise ValueError(f"no trial of {name} ended with a score; the log above says why")
    best = changed(settings, study.best_params)
    chosen = {**config, "default": [args.model], "models": {**config["models"], args.model: best}}
    head = (
        f"# Best of {len(complete)} trials on the validation rows of "
        f"{dataset.name}, protocol {args.protocol}: {metric} {study.best_value:.4f}.\n"
    )
    text = head + yaml.safe_dump(chosen, sort_keys=False)
    write_durably(output / f"{name}.yaml", text.encode())
    print(f"{metric} {study.best_value:.4f} with {study.best_params}")
    print(f"written to {output / name}.yaml")
    return args.trials - len(complete)


def search(args: argparse.Namespace) -> None:
    """Checks the settings, then searches.

    Raises:
        SystemExit: If trials failed, or Optuna is not installed.
    """
    try:
        import optuna  # noqa: F401
    except ModuleNotFoundError:
        raise SystemExit("the search needs Optuna: pip install 'molae_pyg[search]'") from None
    path = config_path(args.config)
    config = read_yaml(path)
    check_comparison(config, path)
    path = config_path("search")
    spaces = read_yaml(path)
    if args.model not in spaces:
        raise ValueError(f"no space for {args.model!r} in {path}, which has {list(spaces)}")
    settings = model_settings(config, args.model, "")
    check_weights(args.model, settings)
    check_space(args.model, settings, spaces[args.model], path)
    with only_process(Path(args.output)):
        missing = make_trials(args, config, spaces[args.model])
    if missing > 0:
        raise SystemExit(f"{missing} trials failed and are missing: call again to make others")


def main() -> None:
    run_command(search, parse_args())


if __name__ == "__main__":
    main()
