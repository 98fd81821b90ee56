"""Pictures of predictions."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def parity_plot(
    y_true: np.ndarray, predictions: Mapping[str, np.ndarray], label: str, path: str | Path
) -> None:
    """Draws predicted against measured values, one panel a model, all on the same axes.

    Args:
        y_true: Measured values ``[n]``, NaN = missing.
        predictions: Model name -> predicted values ``[n]``.
        label: What is measured, with its unit.
        path: The PNG to write.

    Raises:
        ValueError: There is no measured value or no model, or predictions have another shape than
            ``y_true`` or are not finite where a value was measured.
    """
    y_true, predictions = _known(y_true, predictions)
    values = np.concatenate([y_true, *predictions.values()])
    margin = 0.05 * (values.max() - values.min()) or 0.5  # all values may be one
    limits = (values.min() - margin, values.max() + margin)
    figure = _figure(3.6 * len(predictions), 4.8)
    panels = figure.subplots(1, len(predictions), sharey=True, squeeze=False)
    for panel, (name, predicted) in zip(panels[0], predictions.items(), strict=True):
        rmse = np.sqrt(np.mean((predicted - y_true) ** 2))
        panel.plot(limits, limits, color="0.7", linewidth=1, zorder=0)
        panel.scatter(y_true, predicted, s=14, alpha=0.6, linewidths=0)
        panel.set(xlim=limits, ylim=limits, aspect="equal", xlabel="measured")
        panel.set_title(f"{name}\nRMSE {rmse:.3f}", fontsize=10)
    panels[0][0].set_ylabel("predicted")
    figure.suptitle(label, fontsize=11)  # above all panels: an axis is too short for long names
    figure.savefig(path, dpi=150)


def roc_plot(y_true: np.ndarray, predictions: Mapping[str, np.ndarray], path: str | Path) -> None:
    """Draws the ROC curve of each model.

    Args:
        y_true: Classes ``[n]``, NaN = missing.
        predictions: Model name -> probabilities of class 1 ``[n]``.
        path: The PNG to write.

    Raises:
        ValueError: As :func:`parity_plot`, or the known labels are not both 0 and 1.
    """
    from sklearn.metrics import roc_auc_score, roc_curve

    y_true, predictions = _known(y_true, predictions)
    if set(np.unique(y_true)) != {0.0, 1.0}:
        raise ValueError(f"a ROC curve needs labels 0 and 1, got {np.unique(y_true)[:5]}")
    figure = _figure(4.6, 4.6)
    axes = figure.subplots()
    axes.plot([0, 1], [0, 1], color="0.7", linewidth=1)
    for name, predicted in predictions.items():
        false, true, _ = roc_curve(y_true, predicted)
        axes.plot(false, true, label=f"{name}, AUC {roc_auc_score(y_true, predicted):.3f}")
    axes.set(xlabel="false positive rate", ylabel="true positive rate", aspect="equal")
    axes.legend(loc="lower right", fontsize=8, frameon=False)
    figure.savefig(path, dpi=150)


def _figure(width: float, height: float) -> Figure:
    from matplotlib.figure import Figure  # not pyplot: works without a display, leaves no state

    return Figure(figsize=(width, height), layout="constrained")


def _known(
    y_true: np.ndarray, predictions: Mapping[str, np.ndarray]
) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """Labels ``[m]`` and predictions ``[m]``, without the rows that have no label."""
    y_true = np.asarray(y_true, dtype=float)
    known = ~np.isnan(y_true)
    if y_true.ndim != 1 or not known.any() or not predictions:
        raise ValueError(
            f"expected y_true [n] with known values, and predictions of at least one model; "
            f"got {list(y_true.shape)}, {int(known.sum())} known, {len(predictions)} models"
        )
    found = {}
    for name, predicted in predictions.items():
        predicted = np.asarray(predicted, dtype=float)
        if predicted.shape != y_true.shape:
            raise ValueError(
                f"predictions of {name!r} have the shape {list(predicted.shape)}, "
                f"y_true {list(y_true.shape)}"
            )
        if not np.isfinite(predicted[known]).all():
            raise ValueError(f"predictions of {name!r} are not finite")
        found[name] = predicted[known]
    return y_true[known], found
