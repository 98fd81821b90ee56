"""Blends: the predictions of two models are mixed, by a share that the validation rows choose."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from molae_pyg.baselines.job import Fitted, Job
from molae_pyg.evaluation.runs import OWN, RESULT, read_predictions, read_sealed
from molae_pyg.evaluation.sources import scale_of, scores_of
from molae_pyg.metrics import LOWER_IS_BETTER

Predicted = dict[str, np.ndarray]  # "valid" and "test", each [rows, T]
PARTS = ("valid", "test")
SHARES = np.arange(21) / 20  # shares of the second model that are tried


def mix(
    first: Predicted,
    second: Predicted,
    score: Callable[[np.ndarray], float],
    share: float | None = None,
) -> tuple[Predicted, float]:
    """Mixes two models; returns the predictions and the share of the second model.

    Args:
        first: Predictions of one model.
        second: Predictions of the other one.
        score: Gives validation predictions ``[rows, T]`` a score; the higher, the better.
        share: Share of the second model; default: the one of :data:`SHARES` that has the best
            score.
    """
    shares = SHARES if share is None else np.array([share])
    mixed = [
        {part: (1 - weight) * first[part] + weight * second[part] for part in first}
        for weight in shares.astype(np.float32)
    ]
    best = int(np.argmax([score(rows["valid"]) for rows in mixed]))
    return mixed[best], float(shares[best])


def quantiles(predicted: Predicted) -> Predicted:
    """Returns predictions ``[rows, T]`` as quantiles among the validation predictions of a task.

    ROC-AUC and average precision depend on the order only, and probabilities of two models have
    different scales. Quantiles have the same one, from 0 to 1.
    """
    found: dict[str, list[np.ndarray]] = {part: [] for part in predicted}
    for task, column in enumerate(predicted["valid"].T):
        values, counts = np.unique(column, return_counts=True)
        middle = (np.cumsum(counts) - counts / 2) / len(column)  # ties have their mean rank
        for part, rows in predicted.items():
            found[part].append(np.interp(rows[:, task], values, middle))
    return {part: np.stack(rows, 1).astype(np.float32) for part, rows in found.items()}


def members(settings: dict[str, Any], folder: Path) -> dict[str, Any]:
    """Returns the checksums of the two runs that a blend mixes, as a part of its identity.

    Args:
        settings: Settings of a model; those of a blend have ``of``, the names of two models.
        folder: Folder of the run. Those of the two models are beside it.

    Returns:
        ``{"members": {name: checksum}}``, or ``{}`` if the model is no blend.

    Raises:
        ValueError: If ``of`` does not name two models, or a run of one is missing or damaged.
    """
    if "of" not in settings:
        return {}
    names = settings["of"]
    if not isinstance(names, list) or len(names) != 2 or names[0] == names[1]:
        raise ValueError(f"`of` must name two models, got {names!r}")
    return {"members": {name: _run_of(name, folder)[OWN] for name in names}}


def blend(job: Job) -> Fitted:
    """Mixes the finished runs of two models on the same split.

    Values are mixed as they are. Of classes the quantiles are mixed, and then read as those of the
    first model, so that they stay on the scale of its probabilities.
    """
    data, split, names = job.dataset, job.split, job.settings["of"]
    runs = [_predictions_of(name, job) for name in names]
    classes = np.array([kind == "classification" for kind in data.task_types])
    first, second = (
        {part: np.where(classes, ranks[part], rows[part]) for part in rows}
        for rows, ranks in ((run, quantiles(run)) for run in runs)
    )
    scale = scale_of(data, split.train)
    sign = -1 if data.metric in LOWER_IS_BETTER else 1

    def score(predicted: np.ndarray) -> float:
        return sign * scores_of(data, split.valid, predicted, scale)[0][data.metric]

    mixed, share = mix(first, second, score)
    for task in np.flatnonzero(classes):
        values, ranks = np.sort(runs[0]["valid"][:, task]), np.sort(first["valid"][:, task])
        for rows in mixed.values():
            rows[:, task] = np.interp(rows[:, task], ranks, values)
    return Fitted(mixed["valid"], mixed["test"], {"share": share})


def _run_of(name: str, folder: Path) -> dict[str, Any]:
    """Reads the result of a model's run on the split of another run."""
    place = folder.parents[1] / name / folder.name
    if not (place / RESULT).is_file():
        raise ValueError(f"{place} has no finished run of {name}: name it before the blend")
    return read_sealed(place / RESULT)


def _predictions_of(name: str, job: Job) -> Predicted:
    """Reads the predictions of a model on the rows of a split."""
    data = job.dataset
    place = job.folder.parents[1] / name / job.folder.name
    rows, found = np.array(data.report.kept), {}
    for part, lines in zip(PARTS, read_predictions(place, *PARTS), strict=True):
        places = getattr(job.split, part)
        if lines["row"].tolist() != rows[places].tolist():
            raise ValueError(f"{place} has other {part} rows: another split")
        found[part] = lines[[f"{task} predicted" for task in data.task_names]].to_numpy()
    return found
