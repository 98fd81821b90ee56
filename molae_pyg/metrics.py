r"""Scores of predictions against labels, for one task or many, with missing labels.

Every function takes ``y_true`` and ``y_pred`` of shape :math:`(n, T)` (or :math:`(n)` for one
task) as arrays or tensors. Of a task with C classes, ``y_pred`` has C columns, the probabilities.
Only NaN in ``y_true`` means a missing label; -1.0 is a value like any other. A score is computed
for each task on its labels and then averaged without weights.

A task is left out of the mean if its labels do not define the score: no label (RMSE, MAE), or fewer
than two different labels (all others). If no task is left, the score is NaN and a warning says so,
because a validation batch without actives should not end a training run. NaN or infinite
predictions are an error.
"""

import warnings
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from molae_pyg.kinds import (
    TaskType,
    TaskTypes,
    common_type,
    first_wrong_class,
    one_type_a_task,
    output_slices,
)
from molae_pyg.task_scores import SCORES

Array = np.ndarray | Tensor

#: The score that chooses and compares models if no other is named.
DEFAULT_METRIC = {
    "regression": "rmse",
    "classification": "roc_auc",
    "multiclass": "macro_roc_auc",
    "mixed": "mixed_error",
}

#: Scores whose lower values are better; higher values of all others are better.
LOWER_IS_BETTER = (
    *("rmse", "mae", "log_loss"),
    *("standardised_rmse", "standardised_mae", "mixed_error"),
)

_STANDARDISED = {"rmse": "standardised_rmse", "mae": "standardised_mae"}


def rmse(y_true: Array, y_pred: Array) -> float:
    """Returns the root of the mean squared error, in the unit of the labels."""
    return _mean_over_tasks("rmse", y_true, y_pred)


def mae(y_true: Array, y_pred: Array) -> float:
    """Returns the mean absolute error, in the unit of the labels."""
    return _mean_over_tasks("mae", y_true, y_pred)


def r2(y_true: Array, y_pred: Array) -> float:
    """Returns the coefficient of determination: 1 is perfect, 0 is the mean of the labels."""
    return _mean_over_tasks("r2", y_true, y_pred)


def spearman(y_true: Array, y_pred: Array) -> float:
    """Returns Spearman's rank correlation; 0 if all predictions are equal."""
    return _mean_over_tasks("spearman", y_true, y_pred)


def roc_auc(y_true: Array, y_pred: Array) -> float:
    """Returns the area under the ROC curve; labels are 0 or 1, higher predictions mean class 1."""
    return _mean_over_tasks("roc_auc", y_true, y_pred)


def average_precision(y_true: Array, y_pred: Array) -> float:
    """Returns the average precision (area under the precision-recall curve); labels are 0 or 1."""
    return _mean_over_tasks("average_precision", y_true, y_pred)


def metric_names(task_type: TaskTypes, num_tasks: int) -> list[str]:
    """Returns the names of the scores that :func:`evaluate` returns for such tasks."""
    types = one_type_a_task(task_type, num_tasks)
    kind = common_type(types)
    if kind == "mixed":
        found = [name for known in SCORES if known in types for name in SCORES[known]]
        standardised = _STANDARDISED.values() if "regression" in types else ()
        return [
            "mixed_error",
            *standardised,
            *(name for name in found if name not in _STANDARDISED),
        ]
    several = kind == "regression" and num_tasks > 1
    return [*SCORES[kind], *(_STANDARDISED.values() if several else ())]


def choosing_metric(task_type: TaskTypes, num_tasks: int, metric: str | None = None) -> str:
    """Returns the score that chooses an epoch or a model; it never adds different units.

    RMSE and MAE of several targets become their standardised forms. The default is that of
    :data:`DEFAULT_METRIC`. A name that :func:`evaluate` does not return is a ValueError.
    """
    known = metric_names(task_type, num_tasks)
    kind = common_type(one_type_a_task(task_type, num_tasks))
    chosen = DEFAULT_METRIC[kind] if metric is None else metric
    if chosen not in known:
        tasks = f"{num_tasks} {kind} task{'s' * (num_tasks > 1)}"
        raise ValueError(f"metric must be one of {', '.join(known)} for {tasks}, got {chosen!r}")
    return _STANDARDISED.get(chosen, chosen) if num_tasks > 1 else chosen


def evaluate(
    y_true: Array,
    y_pred: Array,
    task_type: TaskTypes,
    scale: Array | None = None,
    num_outputs: Sequence[int] | None = None,
) -> dict[str, float]:
    r"""Computes all scores of a task type.

    For several regression tasks, whose units may differ, there are also errors divided by the
    scale :math:`\sigma_t` of each task. Tasks of several types have no RMSE or MAE; their error is

    .. math::
        mixed\_error = \frac{1}{T} \left( \sum_{t \in values} \frac{RMSE_t}{\sigma_t}
        + \sum_{t \in classes} 2 \, (1 - AUC_t) \right)

    0 is perfect; 1 is what the mean of the labels or chance gives. The AUC of several classes is
    the macro ROC-AUC, the mean over the classes of the ROC-AUC of one class against the others.

    Args:
        y_true: Labels, NaN = missing.
        y_pred: Predictions; for classification probabilities or logits of class 1, for multiclass
            the probabilities of all classes.
        task_type: ``"regression"`` (rmse, mae, r2, spearman, of several tasks also
            standardised_rmse and standardised_mae), ``"classification"`` (roc_auc,
            average_precision) or ``"multiclass"`` (macro_roc_auc, accuracy, log_loss), or one for
            each task; if several occur, mixed_error instead of rmse and mae.
        scale: Standard deviation of the training labels of each task, used for regression tasks
            only; default: that of ``y_true``.
        num_outputs: Number of columns of each task in ``y_pred``; default: 1, and all others for
            a single multiclass task.

    Returns:
        The scores by name, each the unweighted mean over the tasks for which it is defined.

    Shapes:
        - **y_true**, **scale:** :math:`(n, T)` or :math:`(n)`; :math:`(T)`
        - **y_pred:** :math:`(n, O)`, O = T without multiclass tasks; or :math:`(n)`

    Raises:
        ValueError: If a task type is unknown, the shapes do not fit or are empty, a prediction
            is not finite, a label is infinite or not the number of a class, or the scale of a
            regression task is not positive.
    """
    y_true, y_pred, types, slices = _checked(y_true, y_pred, task_type, num_outputs)
    scores = _scores(y_true, y_pred, types, slices)
    is_value = np.array([found == "regression" for found in types])
    sigma = _scale(y_true, is_value, scale)  # [T], NaN for classes
    for name, standardised in _STANDARDISED.items():
        if name in scores:
            scores[standardised] = scores[name] / sigma
    if common_type(types) == "mixed":
        errors = np.full(len(types), np.nan)
        for task, kind in enumerate(types):
            score = scores["standardised_rmse" if is_value[task] else DEFAULT_METRIC[kind]][task]
            errors[task] = score if is_value[task] else 2 * (1 - score)
        scores["mixed_error"] = errors
    return {name: _mean(name, scores[name]) for name in metric_names(types, len(types))}


def evaluate_tasks(
    y_true: Array,
    y_pred: Array,
    task_type: TaskTypes,
    names: Sequence[str],
    num_outputs: Sequence[int] | None = None,
) -> dict[str, dict[str, float]]:
    """Computes the scores of each task, errors in the unit of the task.

    Args:
        y_true, y_pred, task_type, num_outputs: See :func:`evaluate`.
        names: Names of the tasks.

    Returns:
        For each task the scores of its type by name; NaN if its labels do not define the score.

    Raises:
        ValueError: As :func:`evaluate`, and if names are not one for each task, or not unique.
    """
    y_true, y_pred, types, slices = _checked(y_true, y_pred, task_type, num_outputs)
    if len(names) != len(types):
        raise ValueError(f"{len(names)} names for {len(types)} tasks")
    if len(set(names)) != len(names):
        raise ValueError(f"two tasks have the same name: {', '.join(names)}")
    scores = _scores(y_true, y_pred, types, slices)
    return {
        name: {metric: float(scores[metric][task]) for metric in SCORES[types[task]]}
        for task, name in enumerate(names)
    }


def _mean_over_tasks(name: str, y_true: Array, y_pred: Array) -> float:
    kind = next(kind for kind, metrics in SCORES.items() if name in metrics)
    return _mean(name, _scores(*_checked(y_true, y_pred, kind))[name])


def _scores(
    y_true: np.ndarray, y_pred: np.ndarray, types: Sequence[TaskType], slices: Sequence[slice]
) -> dict[str, np.ndarray]:
    """Returns each score of each task ``[T]``; NaN if type or labels do not define it."""
    found = {name: np.full(len(types), np.nan) for kind in set(types) for name in SCORES[kind]}
    for task, kind in enumerate(types):
        present = ~np.isnan(y_true[:, task])
        labels, predictions = y_true[present, task], y_pred[present, slices[task]]
        if kind != "multiclass":
            predictions = predictions[:, 0]
        if found_wrong := first_wrong_class(labels, kind, y_pred[:, slices[task]].shape[1]):
            raise ValueError(f"{found_wrong[1]}, found {labels[found_wrong[0]]:g}")
        num_distinct = len(np.unique(labels))
        for name, (score, min_distinct) in SCORES[kind].items():
            if num_distinct >= min_distinct:
                found[name][task] = score(labels, predictions)
    return found


def _mean(name: str, scores: np.ndarray) -> float:
    defined = scores[~np.isnan(scores)]
    if not defined.size:
        fewest = 1 if name in ("rmse", "mae", "accuracy", "log_loss") else 2
        warnings.warn(
            f"{name} is undefined: none of {len(scores)} tasks has "
            f"{fewest} or more different labels",
            stacklevel=4,
        )
        return float("nan")
    return float(np.mean(defined))


def _scale(y_true: np.ndarray, is_value: np.ndarray, scale: Array | None) -> np.ndarray:
    """Returns the standard deviation that divides the errors of each task ``[T]``, NaN = none."""
    if scale is None:
        labels = [column[~np.isnan(column)] for column in y_true.T]
        sigma = np.array([x.std() if len(np.unique(x)) > 1 else np.nan for x in labels])
        return np.where(is_value, sigma, np.nan)
    sigma = _as_matrix(scale)[:, 0]  # [T]
    if sigma.shape != is_value.shape:
        raise ValueError(f"{len(sigma)} scales for {len(is_value)} tasks")
    if not ((sigma > 0) & np.isfinite(sigma))[is_value].all():
        raise ValueError(f"the scale of a regression task must be positive, got {sigma.tolist()}")
    return np.where(is_value, sigma, np.nan)


def _checked(
    y_true: Array, y_pred: Array, task_type: TaskTypes, num_outputs: Sequence[int] | None = None
) -> tuple[np.ndarray, np.ndarray, list[TaskType], list[slice]]:
    """Returns labels ``[n, T]``, predictions ``[n, O]``, types, and the columns of each task."""
    y_true, y_pred = _as_matrix(y_true), _as_matrix(y_pred)
    types = one_type_a_task(task_type, y_true.shape[1])
    if num_outputs is None:
        rest = y_pred.shape[1] - len(types) + 1 if types.count("multiclass") == 1 else 1
        num_outputs = [rest if kind == "multiclass" else 1 for kind in types]
    if len(y_true) != len(y_pred) or y_pred.shape[1] != sum(num_outputs):
        raise ValueError(f"y_true has shape {y_true.shape}, but y_pred {y_pred.shape}")
    if y_true.size == 0:
        raise ValueError(f"nothing to score: y_true has shape {y_true.shape}")
    wrong = {
        "y_pred is NaN or infinite": ~np.isfinite(y_pred),
        "y_true is infinite": np.isinf(y_true),
    }
    for what, bad in wrong.items():
        rows = np.flatnonzero(bad.any(axis=1))
        if rows.size:
            shown = ", ".join(map(str, rows[:10])) + (", ..." if len(rows) > 10 else "")
            raise ValueError(f"{what} in {len(rows)} of {len(bad)} rows: {shown}")
    return y_true, y_pred, types, output_slices(num_outputs)


def _as_matrix(values: Array) -> np.ndarray:
    """Returns float64 of shape ``[n, T]``."""
    if isinstance(values, Tensor):
        values = values.detach().to("cpu", torch.float64).numpy()
    values = np.asarray(values, dtype=np.float64)
    if values.ndim == 1:
        values = values[:, None]  # [n] -> [n, 1]
    if values.ndim != 2:
        raise ValueError(f"expected shape [n, T] or [n], got {values.shape}")
    return values
