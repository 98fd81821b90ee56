"""Tuning of fine-tuning: trials of settings, judged on validation rows of a fold's training rows.

Each fold is tuned for itself (nested validation), so that rows of the fold that is held out have no
part in the choice of the settings that predict them. The validation rows are those that choose the
epoch. The model of the best trial is the model of the fold: nothing is trained again.
"""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from tqdm.auto import tqdm

from molae_pyg.chem.options import InputError
from molae_pyg.durable import write_durably
from molae_pyg.evaluation.config import read_yaml
from molae_pyg.evaluation.search import FAILURES, suggest
from molae_pyg.metrics import LOWER_IS_BETTER

TRIALS_FILE = "trials.json"
_SECTIONS = ("training.", "head.")  # of the space; the size of the encoder is that of its weights


class Trial(NamedTuple):
    """A trial that has ended."""

    settings: dict[str, Any]
    #: Score on the validation rows; None: it failed.
    score: float | None
    #: Why it failed.
    reason: str = ""


def check_optuna() -> None:
    """Raises ModuleNotFoundError with the remedy if Optuna is not installed."""
    try:
        import optuna  # noqa: F401
    except ModuleNotFoundError:
        raise ModuleNotFoundError("tuning needs Optuna: pip install 'molae_pyg[search]'") from None


def space_of(fixed: dict[str, Any]) -> dict[str, Any]:
    """Returns the settings that are tuned, and the values that they may have.

    Args:
        fixed: Settings that the user has given, which are not tuned.
    """
    space = {}
    for name, values in read_yaml("search")["molae"].items():
        section, _, setting = name.partition(".")
        if f"{section}." in _SECTIONS and setting not in fixed:
            space[setting] = values
    return space


def tune(
    number: int,
    space: dict[str, Any],
    defaults: dict[str, Any],
    train: Callable[[dict[str, Any], Path], dict[str, float]],
    metric: str,
    folder: Path,
    final: Path,
    seed: int,
) -> dict[str, Any]:
    """Makes the missing trials and returns the settings of the best.

    The first trial has the default settings. What a trial tries depends on the seed and on the
    trials before it, not on interruptions.

    Args:
        number: Number of trials.
        space: What is tuned, see :func:`space_of`.
        defaults: Default settings.
        train: Trains with changed settings in a folder, and returns scores on validation rows.
        metric: Name of the score that chooses.
        folder: Folder of the trials; :data:`TRIALS_FILE` lists those that have ended.
        final: Gets the folder of the best trial.
        seed: Seed of the trials.

    Raises:
        InputError: All trials failed; the message is that of the first.
    """
    file = folder / TRIALS_FILE
    trials = read_trials(folder)
    bar = tqdm(total=number, initial=len(trials), desc="trials", leave=False, disable=None)
    while len(trials) < number:
        settings = _next(trials, space, defaults, metric, seed + len(trials))
        try:
            scores = train(settings, folder / f"trial-{len(trials)}")
            trial = Trial(settings, scores[f"val_{metric}"])
        except FAILURES as error:  # such as a loss that diverges
            trial = Trial(settings, None, str(error))
        trials.append(trial)
        write_durably(file, json.dumps([t._asdict() for t in trials], indent=1).encode())
        bar.update()
    bar.close()
    best = best_of(trials, metric)
    if best is None:
        raise InputError(f"all trials of {folder} failed, the first with: {trials[0].reason}")
    if not final.exists():
        (folder / f"trial-{trials.index(best)}").rename(final)
    for place in folder.glob("trial-*"):
        shutil.rmtree(place)
    return best.settings


def read_trials(folder: Path) -> list[Trial]:
    """Returns the trials of a fold that have ended."""
    file = folder / TRIALS_FILE
    return [Trial(**trial) for trial in json.loads(file.read_bytes())] if file.is_file() else []


def best_of(trials: list[Trial], metric: str) -> Trial | None:
    """Returns the best trial, of equal ones the first; None if all failed."""
    sign = 1 if metric in LOWER_IS_BETTER else -1
    whole = [trial for trial in trials if trial.score is not None]
    return min(whole, key=lambda trial: sign * trial.score, default=None)


def _next(
    trials: list[Trial],
    space: dict[str, Any],
    defaults: dict[str, Any],
    metric: str,
    seed: int,
) -> dict[str, Any]:
    """Returns the settings of the next trial."""
    import optuna

    if not trials:
        return {name: defaults[name] for name in space}
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    direction = "minimize" if metric in LOWER_IS_BETTER else "maximize"
    study = optuna.create_study(direction=direction)
    for trial in trials:
        study.enqueue_trial(trial.settings)
        asked = study.ask()
        suggest(asked, space)
        state = optuna.trial.TrialState.FAIL if trial.score is None else None
        study.tell(asked, trial.score, state=state)
    study.sampler = optuna.samplers.TPESampler(seed=seed, n_startup_trials=5)
    return suggest(study.ask(), space)


def chosen_in(folder: Path, metric: str) -> dict[str, Any]:
    """Returns what was chosen in a fold, for ``model.json``."""
    trials = read_trials(folder)
    best = best_of(trials, metric)
    return {
        "settings": best.settings,
        "metric": metric,
        "score": best.score,
        "default_score": trials[0].score,
        "trials": len(trials),
    }


def tuned_lines(tuned: list[dict[str, Any]]) -> list[str]:
    """Returns what was chosen, a line a fold."""
    lines = []
    for fold, found in enumerate(tuned):
        values = found["settings"].items()
        texts = [f"{name} {v:.2g}" if isinstance(v, float) else f"{name} {v}" for name, v in values]
        settings = ", ".join(texts)
        first = found["default_score"]
        default = "failed" if first is None else f"{first:.3f}"
        lines.append(
            f"fold {fold}: {settings}; {found['metric']} on its validation rows "
            f"{found['score']:.3f}, with default settings {default}"
        )
    return lines
