"""Significance tests: is one model better than another, or was it chance?"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from scipy.stats import rankdata, studentized_range

from molae_pyg.kinds import TaskType, output_slices
from molae_pyg.metrics import DEFAULT_METRIC, LOWER_IS_BETTER


class Intervals(NamedTuple):
    """Tukey's comparison of M models on the same folds.

    Shapes:
        - **means**: :math:`(M)` mean scores
        - **half_width**: half the width of the interval about each mean; two models differ if
          their intervals do not overlap
        - **p_values**: :math:`(M, M)`, corrected for all pairs
    """

    means: np.ndarray
    half_width: float
    p_values: np.ndarray


def tukey_hsd(scores: np.ndarray, level: float = 0.95) -> Intervals:
    r"""Computes Tukey's honestly significant difference after a repeated-measures ANOVA.

    All models have the same folds, whose difficulty is subtracted. With the score
    :math:`x_{fm}` of model m on fold f,

    .. math::
        s^2 = \frac{\sum_{fm} (x_{fm} - \bar x_f - \bar x_m + \bar x)^2}{(F - 1)(M - 1)}, \qquad
        |\bar x_m - \bar x_{m'}| > q_{M, (F - 1)(M - 1)} \sqrt{s^2 / F}

    is a significant difference, with q the studentised range. Folds of repeated cross-validation
    overlap, so that intervals are too narrow rather than too wide. Source: Ash et al.,
    https://doi.org/10.1021/acs.jcim.5c01609.

    Args:
        scores: Scores ``[F, M]`` of at least two models on at least two folds.
        level: Level of confidence for all pairs together. (default: :obj:`0.95`)

    Raises:
        ValueError: If there are fewer folds or models.
    """
    num_folds, num_models = scores.shape
    if num_folds < 2 or num_models < 2:
        raise ValueError(f"{num_models} models on {num_folds} folds: two of each are needed")
    rest = scores - scores.mean(1, keepdims=True) - scores.mean(0) + scores.mean()  # [F, M]
    freedom = (num_folds - 1) * (num_models - 1)
    error = np.sqrt((rest**2).sum() / freedom / num_folds)
    means = scores.mean(0)  # [M]
    difference = np.abs(means[:, None] - means)  # [M, M]
    with np.errstate(divide="ignore", invalid="ignore"):
        p_values = studentized_range.sf(difference / error, num_models, freedom)
    critical = studentized_range.ppf(level, num_models, freedom)
    return Intervals(means, float(critical * error / 2), np.nan_to_num(p_values, nan=1.0))


def resampled_scores(
    y: np.ndarray,
    predicted: np.ndarray,
    metric: str,
    task_types: Sequence[TaskType] | None = None,
    scale: Sequence[float] | None = None,
    times: int = 1000,
    seed: int = 0,
    num_outputs: Sequence[int] | None = None,
) -> np.ndarray:
    """Returns the scores of a prediction on test sets drawn with replacement from the test set.

    The same seed draws the same sets, so the scores of two models can be subtracted.

    Args:
        y: Labels ``[n, T]``, NaN = missing.
        predicted: Predictions ``[n, O]``.
        metric: ``"rmse"``, ``"mae"``, their standardised forms, ``"roc_auc"``,
            ``"macro_roc_auc"`` or ``"mixed_error"``: the mean over tasks, as in
            :func:`~molae_pyg.metrics.evaluate`.
        task_types: Type of each task, for ``"mixed_error"``. (default: :obj:`None`)
        scale: Divisor of the errors of each task, for scores without a unit.
            (default: :obj:`None`)
        times: Number of test sets. (default: :obj:`1000`)
        seed: Seed of the drawing. (default: :obj:`0`)
        num_outputs: Number of columns of each task in the predictions. (default: :obj:`None`, 1)

    Returns:
        Scores ``[times]``; NaN if no task of a set has both classes.

    Raises:
        ValueError: If the metric is another one, or needs a scale or types.
    """
    kinds = _kinds(metric, y.shape[1], task_types, scale)
    sigma = np.ones(y.shape[1]) if scale is None else np.asarray(scale, float)
    generator = np.random.default_rng(seed)
    n = len(y)
    weights = generator.multinomial(n, np.full(n, 1 / n), size=times).astype(float)  # [times, n]
    of_tasks = []
    slices = output_slices(num_outputs or [1] * y.shape[1])
    for task, (labels, place, kind) in enumerate(zip(y.T, slices, kinds, strict=True)):
        known = ~np.isnan(labels)
        weight, labels, values = weights[:, known], labels[known], predicted[known, place]
        if kind.endswith("roc_auc"):
            auc = _weighted_auc(labels, values, weight)
            of_tasks.append(2 * (1 - auc) if metric == "mixed_error" else auc)
            continue
        values = values[:, 0]
        error = (values - labels) ** 2 if kind == "rmse" else np.abs(values - labels)
        with np.errstate(invalid="ignore"):
            mean = (weight @ error) / weight.sum(1)
        divisor = 1 if metric in ("rmse", "mae") else sigma[task]
        of_tasks.append((np.sqrt(mean) if kind == "rmse" else mean) / divisor)
    scores = np.stack(of_tasks)  # [T, times]
    defined = ~np.isnan(scores)
    with np.errstate(invalid="ignore"):
        return np.where(defined, scores, 0).sum(0) / defined.sum(0)


def _kinds(
    metric: str,
    num_tasks: int,
    task_types: Sequence[TaskType] | None,
    scale: Sequence[float] | None,
) -> list[str]:
    """Returns the score that is computed for each task: rmse, mae, roc_auc or macro_roc_auc."""
    if metric in ("rmse", "mae", "roc_auc", "macro_roc_auc"):
        return [metric] * num_tasks
    if metric not in ("standardised_rmse", "standardised_mae", "mixed_error"):
        raise ValueError(f"test sets cannot be drawn for {metric}")
    if scale is None:
        raise ValueError(f"{metric} needs the scale of each task")
    if metric != "mixed_error":
        return [metric.removeprefix("standardised_")] * num_tasks
    if task_types is None:
        raise ValueError("mixed_error needs the type of each task")
    return [DEFAULT_METRIC[kind] for kind in task_types]


def _weighted_auc(y: np.ndarray, predicted: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Returns ROC-AUCs ``[W]`` of predictions ``[n, 1]``, macro ROC-AUCs of those ``[n, C]``."""
    if predicted.shape[1] == 1:
        return weighted_roc_auc(y, predicted[:, 0], weights)
    of_classes = np.stack(
        [weighted_roc_auc(y == c, predicted[:, int(c)], weights) for c in np.unique(y)]
    )
    defined = ~np.isnan(of_classes)  # a drawn set may lack a class
    with np.errstate(invalid="ignore"):
        return np.where(defined, of_classes, 0).sum(0) / defined.sum(0)


def weighted_roc_auc(y: np.ndarray, predicted: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Returns the ROC-AUC of classes ``y [n]`` for weights ``[W, n]``; NaN without both classes."""
    order = np.argsort(predicted, kind="stable")
    y, weights = y[order], weights[:, order]
    ranks = rankdata(predicted[order], "min").astype(int) - 1  # first index of equal predictions
    last = rankdata(predicted[order], "max").astype(int)  # index after them
    below = np.cumsum(weights * (y == 0), axis=1)  # [W, n]
    below = np.concatenate([np.zeros((len(weights), 1)), below], axis=1)  # [W, n + 1]
    positive = weights * (y == 1)
    won = (positive * (below[:, ranks] + below[:, last]) / 2).sum(1)  # ties count half
    with np.errstate(divide="ignore", invalid="ignore"):
        return won / (positive.sum(1) * below[:, -1])


def tied_with_best(scores: dict[str, np.ndarray], metric: str, level: float = 0.95) -> set[str]:
    """Returns the best model and those that are not significantly worse.

    Args:
        scores: Scores ``[times]`` of each model on the same resampled test sets.
        metric: Name of the score.
        level: A model is not worse if the central interval of this level of its differences from
            the best model includes zero. (default: :obj:`0.95`)
    """
    sign = -1 if metric in LOWER_IS_BETTER else 1
    best = max(scores, key=lambda model: sign * np.nanmean(scores[model]))
    tied = set()
    for model, values in scores.items():
        behind = sign * (scores[best] - values)  # positive: worse than the best
        low = np.nanquantile(behind, (1 - level) / 2)
        if model == best or low <= 0:
            tied.add(model)
    return tied
