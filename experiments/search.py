"""Searches the settings of a model on a data set, by its score on the validation rows.

    python experiments/search.py --dataset esol --model molae-small --trials 30

Needs Optuna: pip install 'molae_pyg[search]'. Trials stand in a database in --output; called again,
the script makes those that are missing. The best settings are written beside it as YAML, for
experiments/moleculenet.py --config. Test rows are neither predicted nor scored.
"""

import argparse
import copy
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from models import MODELS, Job
from moleculenet import CONFIGS, load_dataset, merged, model_settings
from protocols import PROTOCOLS

from molae_pyg.datasets.table import MoleculeTable
from molae_pyg.metrics import LOWER_IS_BETTER, evaluate


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--dataset", required=True, help="name, CSV file or official folder")
    parser.add_argument("--model", required=True, help="name in the settings")
    parser.add_argument("--protocol", choices=PROTOCOLS, default="scaffold", help="scaffold")
    parser.add_argument("--trials", type=int, default=30, help="in all, finished ones included; 30")
    parser.add_argument("--config", default=CONFIGS / "moleculenet.yaml", help="YAML to start from")
    parser.add_argument("--root", default="data", help="folder of data files and conformers")
    parser.add_argument("--output", default="runs/search", help="folder of trials and result")
    return parser.parse_args()


def suggest(trial: Any, space: dict[str, Any]) -> dict[str, Any]:
    """One point of a space: ``section.key`` -> value."""
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
    """A copy of the settings with ``section.key`` (or ``key``) set."""
    for name, value in point.items():
        *sections, key = name.split(".")
        change = {key: value}
        for section in reversed(sections):
            change = {section: change}
        settings = merged(settings, change)
    return settings


def validation_score(
    dataset: MoleculeTable, protocol: str, model: str, settings: dict[str, Any], folder: Path
) -> float:
    """The score on the validation rows, the mean over the seeds of the protocol."""
    how = PROTOCOLS[protocol]
    scores = []
    for seed, _, split in how.trials(dataset, how.seeds):
        split = split._replace(test=split.valid)  # test rows stay unseen
        job = Job(dataset, split, copy.deepcopy(settings), seed, folder)
        fitted = MODELS[model](job)
        shutil.rmtree(folder, ignore_errors=True)
        y = dataset.y.numpy()[split.valid]
        scores.append(evaluate(y, fitted.valid, dataset.task_type)[dataset.metric])
    return float(np.mean(scores))


def main() -> None:
    args = parse_args()
    try:
        import optuna
    except ModuleNotFoundError:
        raise SystemExit("the search needs Optuna: pip install 'molae_pyg[search]'") from None
    config = yaml.safe_load(Path(args.config).read_text())
    spaces = yaml.safe_load((CONFIGS / "search.yaml").read_text())
    if args.model not in spaces:
        raise SystemExit(f"no space for {args.model!r} in search.yaml, which has {list(spaces)}")
    dataset = load_dataset(args.dataset, args.root, config["data"])
    settings = model_settings(config, args.model, dataset.name)
    name = f"{dataset.name}-{args.protocol}-{args.model}"
    output = Path(args.output)
    output.mkdir(parents=True, exist_ok=True)
    study = optuna.create_study(
        study_name=name,
        storage=f"sqlite:///{output / name}.db",
        sampler=optuna.samplers.TPESampler(seed=0),
        direction="minimize" if dataset.metric in LOWER_IS_BETTER else "maximize",
        load_if_exists=True,
    )

    def objective(trial: optuna.Trial) -> float:
        point = suggest(trial, spaces[args.model])
        folder = output / f"{name}-{trial.number}"
        return validation_score(
            dataset, args.protocol, args.model, changed(settings, point), folder
        )

    complete = optuna.trial.TrialState.COMPLETE
    left = args.trials - len(study.get_trials(states=(complete,)))
    study.optimize(objective, n_trials=max(0, left), show_progress_bar=True)
    best = changed(settings, study.best_params)
    chosen = {**config, "default": [args.model], "models": {**config["models"], args.model: best}}
    file = output / f"{name}.yaml"
    head = (
        f"# Best of {len(study.get_trials(states=(complete,)))} trials on the validation rows of "
        f"{dataset.name}, protocol {args.protocol}: {dataset.metric} {study.best_value:.4f}.\n"
    )
    file.write_text(head + yaml.safe_dump(chosen, sort_keys=False))
    print(f"{dataset.metric} {study.best_value:.4f} with {study.best_params}\nwritten to {file}")


if __name__ == "__main__":
    main()
