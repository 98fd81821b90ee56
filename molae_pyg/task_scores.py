"""Scores of one task, from the labels and predictions of its labelled rows."""

from collections.abc import Callable

import numpy as np

Score = Callable[[np.ndarray, np.ndarray], float]

_SMALL = 1e-7  # smallest probability in a logarithm


def _spearman(y_true: np.ndarray, y_pred: np.ndarray) -> float:
    from scipy.stats import spearmanr

    if np.ptp(y_pred) == 0:  # undefined, but no order is as bad as chance, like AUC 0.5
        return 0.0
    return spearmanr(y_true, y_pred).statistic


def _of_sklearn(name: str) -> Score:
    def score(y_true: np.ndarray, y_pred: np.ndarray) -> float:
        from sklearn import metrics

        return getattr(metrics, name)(y_true, y_pred)

    return score


def _macro_roc_auc(labels: np.ndarray, predictions: np.ndarray) -> float:
    """Mean over the classes that occur of the ROC-AUC of one class against the others."""
    auc = _of_sklearn("roc_auc_score")
    found = [auc(labels == c, predictions[:, int(c)]) for c in np.unique(labels)]
    return float(np.mean(found))


def _log_loss(labels: np.ndarray, predictions: np.ndarray) -> float:
    of_label = np.take_along_axis(predictions, labels[:, None].astype(int), 1)
    return float(-np.mean(np.log(np.maximum(of_label, _SMALL))))


#: By task type: name -> score of labels ``[m]`` and predictions ``[m]`` (``[m, C]`` of several
#: classes), and the number of different labels that define it.
SCORES: dict[str, dict[str, tuple[Score, int]]] = {
    "regression": {
        "rmse": (lambda y_true, y_pred: np.sqrt(np.mean((y_true - y_pred) ** 2)), 1),
        "mae": (lambda y_true, y_pred: np.mean(np.abs(y_true - y_pred)), 1),
        "r2": (_of_sklearn("r2_score"), 2),
        "spearman": (_spearman, 2),
    },
    "classification": {
        "roc_auc": (_of_sklearn("roc_auc_score"), 2),
        "average_precision": (_of_sklearn("average_precision_score"), 2),
    },
    "multiclass": {
        "macro_roc_auc": (_macro_roc_auc, 2),
        "accuracy": (lambda y_true, y_pred: np.mean(y_pred.argmax(1) == y_true), 1),
        "log_loss": (_log_loss, 1),
    },
}
