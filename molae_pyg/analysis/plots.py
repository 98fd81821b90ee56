"""Plots of predictions."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from molae_pyg.analysis.panels import COLOURS, INK, Panel, Picture, colours_of, style

if TYPE_CHECKING:
    from matplotlib.axes import Axes


def parity_plot(
    y_true: np.ndarray, predictions: Mapping[str, np.ndarray], label: str, path: str | Path
) -> None:
    """Draws predicted against measured values, one panel a model, all on the same axes.

    Args:
        y_true: Measured values ``[n]``, NaN = missing.
        predictions: Model name -> predicted values ``[n]``.
        label: Name of the measured quantity, with its unit.
        path: The PNG to write.

    Raises:
        ValueError: There is no measured value or no model, or predictions have another shape than
            ``y_true`` or are not finite where a value was measured.
    """
    y_true, predictions = _known(y_true, predictions)
    panels = parity_panels({name: (y_true, y) for name, y in predictions.items()})
    Path(path).write_bytes(Picture(label, panels).png(transparent=False))


def parity_panels(
    of_models: Mapping[str, tuple[np.ndarray, np.ndarray]], unit: str = ""
) -> list[Panel]:
    """Returns panels of predicted against measured values, one a model, all on the same axes.

    Args:
        of_models: Model name -> measured and predicted values ``[n]``, NaN = missing label.
        unit: Unit of the values. (default: empty, if it is not known)
    """
    of_models = {
        name: (y[~np.isnan(y)], predicted[~np.isnan(y)])
        for name, (y, predicted) in of_models.items()
    }
    values = np.concatenate([part for pair in of_models.values() for part in pair])
    margin = 0.05 * (values.max() - values.min()) or 0.5  # all values may be equal
    limits = (values.min() - margin, values.max() + margin)
    labels = [f"{what}, {unit}" if unit else what for what in ("measured", "predicted")]

    def draw(y: np.ndarray, predicted: np.ndarray, axes: Axes) -> None:
        axes.plot(limits, limits, color=INK, linewidth=0.8, zorder=0)
        axes.scatter(y, predicted, s=10, alpha=0.5, color=COLOURS[0], linewidths=0)
        axes.set(xlim=limits, ylim=limits, aspect="equal")
        axes.locator_params(nbins=5)
        style(axes, *labels, grid=None)

    panels = []
    for name, (y, predicted) in of_models.items():
        rmse = f"{np.sqrt(np.mean((predicted - y) ** 2)):#.3g}".rstrip(".")  # 3.00, 184
        panels.append(Panel(f"{name}: RMSE {rmse}", partial(draw, y, predicted)))
    return panels


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
    colours = colours_of(predictions)

    def draw(axes: Axes) -> None:
        axes.plot([0, 1], [0, 1], color=INK, linewidth=0.8)
        for name, predicted in predictions.items():
            false, true, _ = roc_curve(y_true, predicted)
            axes.plot(false, true, color=colours[name])
        axes.set_aspect("equal")
        style(axes, "false positive rate", "true positive rate")

    legend = {
        f"{name}: AUC {roc_auc_score(y_true, predicted):.3f}": colours[name]
        for name, predicted in predictions.items()
    }
    picture = Picture("ROC curve", [Panel("", draw, height=4.4)], "large", legend)
    Path(path).write_bytes(picture.png(transparent=False))


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
