"""What the out-of-fold predictions of a model say, for its report, and how numbers are written."""

from functools import cached_property

import numpy as np
import pandas as pd

from molae_pyg.baselines.forest import ecfp4
from molae_pyg.evaluation.figures import UNITS
from molae_pyg.metrics import DEFAULT_METRIC, LOWER_IS_BETTER
from molae_pyg.workflow.estimates import similarity_to_other_folds
from molae_pyg.workflow.model import FittedModel
from molae_pyg.workflow.report.worst import Worst, worst_rows
from molae_pyg.workflow.scores import MODEL

#: How the page writes the names of scores, and those of models in the order of its tables.
METRICS = {
    "rmse": "RMSE",
    "mae": "MAE",
    "r2": "R²",
    "spearman": "Spearman correlation",
    "roc_auc": "ROC-AUC",
    "average_precision": "average precision",
    "macro_roc_auc": "macro ROC-AUC",
    "accuracy": "accuracy",
    "log_loss": "log loss",
}
MODELS = {
    MODEL: "this model",
    "descriptors": "descriptors",
    "ecfp-forest": "ECFP4 forest",
    "mean": "mean of the labels",
    "environment-forest": "forest on environments",
    "element-mean": "mean of the element",
}
_SIMILAR = 3000  # rows whose similarity is computed


class Scores:
    """The scores of a model of several folds and of its baselines, from ``metrics.csv``.

    Args:
        model: The model.
    """

    #: What is predicted, in the plural, and the baseline that knows nothing.
    labels, simplest = "labels", "mean"

    def __init__(self, model: FittedModel) -> None:
        self.model = model
        table = pd.read_csv(model.folder / "metrics.csv", dtype=str, keep_default_na=False)
        words = ("model", "target", "fold", "verdict")
        self.table = table.apply(lambda c: c if c.name in words else pd.to_numeric(c))
        self.names = {key: name for key, name in MODELS.items() if key in model.predictions}
        self.unit = UNITS.get(model.info["name"], "")
        self.oof = model.oof

    def metric(self, task: int) -> str:
        """Returns the score that compares models."""
        return DEFAULT_METRIC.get(self.model.targets[task].kind, "rmse")

    def of(self, task: int, name: str) -> pd.DataFrame:
        """Returns the scores of a model by fold; ``"all"`` is that of all rows."""
        is_it = (self.table["model"] == name) & (
            self.table["target"] == self.model.targets[task].name
        )
        return self.table[is_it].set_index("fold")

    def column(self, task: int, ending: str) -> np.ndarray:
        """Returns a column of the out-of-fold predictions."""
        return self.oof[f"{self.model.targets[task].name}_{ending}"].to_numpy()

    def score_table(self, task: int) -> tuple[pd.DataFrame, dict[str, set[str]]]:
        """Returns the scores by model, and the best model of each column."""
        of_models = {name: self.of(task, key) for key, name in self.names.items()}
        some = of_models[MODELS[MODEL]]
        table, bold = pd.DataFrame(index=list(of_models)), {}
        for metric, column in METRICS.items():
            if metric not in some or some[metric].isna().all():
                continue
            whole = {model: scores.loc["all", metric] for model, scores in of_models.items()}
            values = pd.Series(whole)
            table[column] = values.map(score_text)
            best = values.min() if metric in LOWER_IS_BETTER else values.max()
            bold[column] = set(values.index[values == best])
            if metric == self.metric(task):
                spread = {name: spread_text(scores[metric]) for name, scores in of_models.items()}
                table[f"{column} of the folds"] = pd.Series(spread)
        return table, bold

    def of_folds(self, task: int) -> dict[str, np.ndarray]:
        """Returns the scores of the folds of each model ``[F]``."""
        metric = self.metric(task)
        return {
            name: self.of(task, key)[metric].drop("all").to_numpy(float)
            for key, name in self.names.items()
        }


class Estimate(Scores):
    """The same for targets of molecules, and the errors of the rows.

    Attributes:
        errors: Error of each row by target, each ``[n]``, NaN = no label: of numbers the absolute
            one, of bounds how far the prediction is beyond, of classes 1 - probability of the
            label.
        worst: Rows with the largest errors.
    """

    def __init__(self, model: FittedModel) -> None:
        super().__init__(model)
        self.errors = [self._errors(task) for task in range(len(model.targets))]
        self.worst: Worst = worst_rows(model, self.errors)

    @cached_property
    def similarity(self) -> np.ndarray:
        """Similarity to the nearest row of the other folds ``[n]``; NaN if it is not known.

        It is that of 3,000 rows of a larger table, and of the worst rows.
        """
        model, rows = self.model, np.arange(len(self.model.smiles))
        found = np.full(len(rows), np.nan)
        if not all(model.smiles):
            return found
        if len(rows) > _SIMILAR:
            rows = np.random.default_rng(0).choice(rows, _SIMILAR, replace=False)
        rows = np.union1d(rows, np.concatenate(self.worst.rows))
        found[rows] = similarity_to_other_folds(ecfp4(model.smiles), model.fold, rows)
        return found

    def probabilities(self, task: int) -> np.ndarray:
        """Returns the calibrated probability of each class ``[n, C]``."""
        target = self.model.targets[task]
        if target.kind == "classification":
            p = self.column(task, "probability")
            return np.stack([1 - p, p], axis=1)
        each = [self.column(task, f"probability_{name}") for name in target.classes]
        return np.stack(each, axis=1)

    def is_wrong(self, task: int) -> np.ndarray:
        """Returns 1 where another class than the label is predicted, else 0 ``[n]``."""
        y, names = self.model.y[:, task], self.model.targets[task].classes
        predicted = np.array([names.index(name) for name in self.column(task, "predicted")])
        return np.where(np.isnan(y), np.nan, predicted != y)

    def _errors(self, task: int) -> np.ndarray:
        labels, bound = self.model.labels.y[:, task], self.model.labels.bound[:, task]
        if self.model.targets[task].kind != "regression":
            known = np.flatnonzero(~np.isnan(labels))
            found = np.full(len(labels), np.nan)
            of_label = self.probabilities(task)[known, labels[known].astype(int)]
            found[known] = 1 - of_label
            return found
        error = labels - self.column(task, "predicted")
        return np.where(bound == 0, np.abs(error), np.maximum(bound * error, 0))


def spread_text(scores: pd.Series) -> str:
    """Returns mean ± standard deviation over the folds that have a score."""
    parts = scores.drop("all").dropna()
    if parts.empty:
        return "none"
    spread = f" ± {score_text(parts.std())}" if len(parts) > 1 else ""
    return score_text(parts.mean()) + spread


def score_text(value: float) -> str:
    """Returns a score with three decimals, or three digits if it is very large or small."""
    if not np.isfinite(value):
        return "none"
    text = f"{value:.3f}" if value == 0 or 0.01 <= abs(value) < 1000 else f"{value:.3g}"
    return text.replace("-", "\N{MINUS SIGN}")


def percent_text(share: float, decimals: int = 1) -> str:
    """Returns a share in per cent."""
    return f"{100 * share:.{decimals}f} %"


def value_text(value: float) -> str:
    """Returns a value with four digits."""
    return f"{value:.4g}".replace("-", "\N{MINUS SIGN}")
