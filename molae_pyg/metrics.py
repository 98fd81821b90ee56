r"""Scores of predictions against labels, for one task or many, with labels missing.

Every function takes ``y_true`` and ``y_pred`` of shape :math:`(n, T)` (or :math:`(n)` for one
task) as arrays or tensors. NaN in ``y_true`` marks a missing label, and nothing else does:
-1.0 is a value like any other. A score is computed task by task on the labels present and then
averaged without weights.

A task on whose labels a score is undefined does not enter the mean: no label (RMSE, MAE), fewer
than two different labels (:math:`R^2`, Spearman), only one of the two classes (ROC-AUC, average
precision). If no task is left, the score is NaN and a warning says so: a validation batch
without actives should not end a training run. NaN or infinite predictions are an error.
"""

import warnings
from collections.abc import Callable
from typing import Literal

import numpy as np
import torch
from torch import Tensor

Array = np.ndarray | Tensor
TaskType = Literal["regression", "classification"]


def rmse(y_true: Array, y_pred: Array) -> float:
    """Root of the mean squared error, in the unit of the labels."""
    return _mean_over_tasks("rmse", _rmse, y_true, y_pred, min_distinct=1)


def mae(y_true: Array, y_pred: Array) -> float:
    """Mean absolute error, in the unit of the labels."""
    return _mean_over_tasks("mae", _mae, y_true, y_pred, min_distinct=1)


def r2(y_true: Array, y_pred: Array) -> float:
    """Coefficient of determination: 1 is perfect, 0 is the mean of the labels."""
    from sklearn.metrics import r2_score

    return _mean_over_tasks("r2", r2_score, y_true, y_pred, min_distinct=2)


def spearman(y_true: Array, y_pred: Array) -> float:
    """Spearman's rank correlation; 0 for predictions that are all equal."""
    return _mean_over_tasks("spearman", _spearman, y_true, y_pred, min_distinct=2)


def roc_auc(y_true: Array, y_pred: Array) -> float:
    """Area under the ROC curve. Labels are 0 or 1; any score that rises with class 1 will do."""
    from sklearn.metrics import roc_auc_score

    _check_binary(y_true)
    return _mean_over_tasks("roc_auc", roc_auc_score, y_true, y_pred, min_distinct=2)


def average_precision(y_true: Array, y_pred: Array) -> float:
    """Average precision (area under the precision-recall curve). Labels are 0 or 1."""
    from sklearn.metrics import average_precision_score

    _check_binary(y_true)
    return _mean_over_tasks(
        "average_precision", average_precision_score, y_true, y_pred, min_distinct=2
    )


_METRICS = {
    "regression": (rmse, mae, r2, spearman),
    "classification": (roc_auc, average_precision),
}

#: The score that chooses and compares models where no other is named.
HEADLINE = {"regression": "rmse", "classification": "roc_auc"}

#: Scores of which less is better; of all others more is.
ERRORS = ("rmse", "mae")


def evaluate(y_true: Array, y_pred: Array, task_type: TaskType) -> dict[str, float]:
    r"""Computes all scores of a task type.

    Args:
        y_true: Labels, NaN = missing.
        y_pred: Predictions; for classification probabilities or logits of class 1.
        task_type: ``"regression"`` (rmse, mae, r2, spearman) or ``"classification"``
            (roc_auc, average_precision).

    Returns:
        The scores by name, each the unweighted mean over tasks.

    Shapes:
        - **y_true**, **y_pred:** :math:`(n, T)` or :math:`(n)`

    Raises:
        ValueError: If the task type is unknown, the shapes differ or are empty, a prediction
            is not finite, a label is infinite, or a class label is neither 0 nor 1.
    """
    if task_type not in _METRICS:
        raise ValueError(f"task_type must be one of {list(_METRICS)}, got {task_type!r}")
    return {metric.__name__: metric(y_true, y_pred) for metric in _METRICS[task_type]}


def _mean_over_tasks(
    name: str,
    score: Callable[[np.ndarray, np.ndarray], float],
    y_true: Array,
    y_pred: Array,
    min_distinct: int,
) -> float:
    y_true, y_pred = _checked(y_true, y_pred)
    scores = []
    for labels, predictions in zip(y_true.T, y_pred.T, strict=True):
        present = ~np.isnan(labels)
        if len(np.unique(labels[present])) >= min_distinct:
            scores.append(float(score(labels[present], predictions[present])))
    if not scores:
        warnings.warn(
            f"{name} is undefined: none of {y_true.shape[1]} tasks has "
            f"{min_distinct} or more different labels",
            stacklevel=3,
        )
        return float("nan")
    return float(np.mean(scores))


def _rmse(y_true: np.ndarray, y_pred: np.ndarray) -> float:
    return np.sqrt(np.mean((y_true - y_pred) ** 2))


def _mae(y_true: np.ndarray, y_pred: np.ndarray) -> float:
    return np.mean(np.abs(y_true - y_pred))


def _spearman(y_true: np.ndarray, y_pred: np.ndarray) -> float:
    from scipy.stats import spearmanr

    if np.ptp(y_pred) == 0:  # undefined, but it orders nothing: as bad as chance, like AUC 0.5
        return 0.0
    return spearmanr(y_true, y_pred).statistic


def _checked(y_true: Array, y_pred: Array) -> tuple[np.ndarray, np.ndarray]:
    y_true, y_pred = _as_matrix(y_true), _as_matrix(y_pred)
    if y_true.shape != y_pred.shape:
        raise ValueError(f"y_true has shape {y_true.shape}, but y_pred {y_pred.shape}")
    if y_true.size == 0:
        raise ValueError(f"nothing to score: y_true has shape {y_true.shape}")
    for what, bad in (
        ("y_pred is NaN or infinite", ~np.isfinite(y_pred)),
        ("y_true is infinite", np.isinf(y_true)),
    ):
        if bad.any():
            rows = np.flatnonzero(bad.any(axis=1))
            shown = ", ".join(map(str, rows[:10])) + (", ..." if len(rows) > 10 else "")
            raise ValueError(f"{what} in {len(rows)} of {len(bad)} rows: {shown}")
    return y_true, y_pred


def _as_matrix(values: Array) -> np.ndarray:
    """To float64 of shape ``[n, T]``."""
    if isinstance(values, Tensor):
        values = values.detach().to("cpu", torch.float64).numpy()
    values = np.asarray(values, dtype=np.float64)
    if values.ndim == 1:
        values = values[:, None]  # [n] -> [n, 1]
    if values.ndim != 2:
        raise ValueError(f"expected shape [n, T] or [n], got {values.shape}")
    return values


def _check_binary(y_true: Array) -> None:
    labels = _as_matrix(y_true)
    other = labels[~np.isnan(labels) & (labels != 0) & (labels != 1)]
    if other.size:
        raise ValueError(f"class labels must be 0, 1 or NaN (missing), found {other[0]:g}")
