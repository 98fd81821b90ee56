"""Pictures of predictions."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np


def parity_plot(
    y_true: np.ndarray, predictions: Mapping[str, np.ndarray], label: str, path: str | Path
) -> None:
    """Draws predicted against measured values, one panel a model, all on the same axes.

    Args:
        y_true: Measured values ``[n]``, NaN = missing.
        predictions: Model name -> predicted values ``[n]``.
        label: What is measured, with its unit.
        path: The PNG to write.
    """
    plt = _pyplot()
    known = ~np.isnan(y_true)
    values = np.concatenate([y_true[known], *(p[known] for p in predictions.values())])
    margin = 0.05 * (values.max() - values.min())
    limits = (values.min() - margin, values.max() + margin)
    figure, panels = plt.subplots(
        1,
        len(predictions),
        figsize=(3.6 * len(predictions), 4.8),
        sharey=True,
        squeeze=False,
        layout="constrained",
    )
    for panel, (name, predicted) in zip(panels[0], predictions.items(), strict=True):
        rmse = np.sqrt(np.mean((predicted[known] - y_true[known]) ** 2))
        panel.plot(limits, limits, color="0.7", linewidth=1, zorder=0)
        panel.scatter(y_true[known], predicted[known], s=14, alpha=0.6, linewidths=0)
        panel.set(xlim=limits, ylim=limits, aspect="equal", xlabel="measured")
        panel.set_title(f"{name}\nRMSE {rmse:.3f}", fontsize=10)
    panels[0][0].set_ylabel("predicted")
    figure.suptitle(label, fontsize=11)  # above all panels: an axis is too short for long names
    _save(figure, path)


def roc_plot(y_true: np.ndarray, predictions: Mapping[str, np.ndarray], path: str | Path) -> None:
    """Draws the ROC curve of each model.

    Args:
        y_true: Classes ``[n]``, NaN = missing.
        predictions: Model name -> probabilities of class 1 ``[n]``.
        path: The PNG to write.
    """
    from sklearn.metrics import roc_auc_score, roc_curve

    plt = _pyplot()
    known = ~np.isnan(y_true)
    figure, axes = plt.subplots(figsize=(4.6, 4.6), layout="constrained")
    axes.plot([0, 1], [0, 1], color="0.7", linewidth=1)
    for name, predicted in predictions.items():
        false, true, _ = roc_curve(y_true[known], predicted[known])
        auc = roc_auc_score(y_true[known], predicted[known])
        axes.plot(false, true, label=f"{name}, AUC {auc:.3f}")
    axes.set(xlabel="false positive rate", ylabel="true positive rate", aspect="equal")
    axes.legend(loc="lower right", fontsize=8, frameon=False)
    _save(figure, path)


def _pyplot():
    import matplotlib

    matplotlib.use("Agg")  # files only: works without a display
    from matplotlib import pyplot

    return pyplot


def _save(figure, path: str | Path) -> None:
    figure.savefig(path, dpi=150)
    _pyplot().close(figure)
