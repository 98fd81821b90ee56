"""The part of a model's report about one target: scores, pictures, coverage, worst rows."""

import numpy as np
import pandas as pd

from molae_pyg.analysis import held_out
from molae_pyg.analysis.page import Answer, Page
from molae_pyg.analysis.plots import Panel, Picture, colours_of
from molae_pyg.baselines.forest import ecfp4
from molae_pyg.evaluation.figures import UNITS
from molae_pyg.metrics import DEFAULT_METRIC, LOWER_IS_BETTER
from molae_pyg.workflow.estimates import (
    LEVELS,
    interval_coverage,
    sets_out_of_fold,
    similarity_to_other_folds,
)
from molae_pyg.workflow.model import FittedModel
from molae_pyg.workflow.scores import MODEL
from molae_pyg.workflow.worst import drawings, worst_rows

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
    "log_loss": "cross entropy",
}
MODELS = {
    MODEL: "this model",
    "descriptors": "descriptors",
    "ecfp-forest": "ECFP4 forest",
    "mean": "mean of the labels",
}
_FEW = 6  # targets; of more, the scores of the folds are not drawn
_SIMILAR = 3000  # rows whose similarity is computed
_TONES = {"better": "good", "not clearly": "even", "worse": "bad"}


class Estimate:
    """What the out-of-fold predictions of a model say, as far as all targets share it.

    Args:
        model: A model of several folds, with ``metrics.csv``.
    """

    def __init__(self, model: FittedModel) -> None:
        self.model = model
        table = pd.read_csv(model.folder / "metrics.csv", dtype=str, keep_default_na=False)
        words = ("model", "target", "fold", "verdict")
        self.scores = table.apply(lambda c: c if c.name in words else pd.to_numeric(c))
        self.oof = model.oof
        self.names = {key: name for key, name in MODELS.items() if key in model.predictions}
        self.unit = UNITS.get(model.info["name"], "")
        self.errors = [self._errors(task) for task in range(len(model.targets))]
        self.worst = worst_rows(model, self.errors)
        rows = np.arange(len(model.smiles))
        if len(rows) > _SIMILAR:
            rows = np.random.default_rng(0).choice(rows, _SIMILAR, replace=False)
        rows = np.union1d(rows, np.concatenate(self.worst.rows))
        self.similarity = np.full(len(model.smiles), np.nan)
        if all(model.smiles):
            bits = ecfp4(model.smiles)
            self.similarity[rows] = similarity_to_other_folds(bits, model.fold, rows)

    def column(self, task: int, ending: str) -> np.ndarray:
        """Returns a column of the out-of-fold predictions ``[n]``."""
        return self.oof[f"{self.model.targets[task].name}_{ending}"].to_numpy()

    def of(self, task: int, name: str) -> pd.DataFrame:
        """Returns the scores of a model by fold; ``"all"`` is that of all rows."""
        is_it = (self.scores["model"] == name) & (
            self.scores["target"] == self.model.targets[task].name
        )
        return self.scores[is_it].set_index("fold")

    def _errors(self, task: int) -> np.ndarray:
        """Returns the errors of numbers, and of classes 1 - probability of the label ``[n]``."""
        y = self.model.y[:, task]
        if self.model.targets[task].kind == "regression":
            return np.abs(y - self.column(task, "predicted"))
        label = np.nan_to_num(y).astype(int)[:, None]
        p = np.take_along_axis(self.probabilities(task), label, 1)[:, 0]
        return np.where(np.isnan(y), np.nan, 1 - p)

    def probabilities(self, task: int) -> np.ndarray:
        """Returns the probabilities of the classes of a target ``[n, C]``."""
        target = self.model.targets[task]
        if target.kind == "classification":
            p = self.column(task, "probability")
            return np.stack([1 - p, p], 1)
        return np.stack([self.column(task, f"probability_{name}") for name in target.classes], 1)


def anchor_of(task: int) -> str:
    """Returns the anchor of a target's heading."""
    return f"target-{task}"


def answer(estimate: Estimate, task: int) -> Answer:
    """Returns the answer in a sentence: score, verdict, and what to expect of a prediction."""
    target = estimate.model.targets[task]
    metric = DEFAULT_METRIC[target.kind]
    scores = estimate.of(task, MODEL)
    whole = scores.loc["all"]
    mean = estimate.of(task, "mean").loc["all", metric]
    against = "the mean of the labels has" if metric in LOWER_IS_BETTER else "chance has"
    reference = _score(mean) if metric in LOWER_IS_BETTER else "0.5"
    text = (
        f"{METRICS[metric]} {_score(whole[metric])} on {int(whole['n']):,} labels "
        f"(folds {_spread(scores[metric])}; {against} {reference}). "
    )
    tone = "none"
    if verdict := whole["verdict"]:
        tone = next(tone for words, tone in _TONES.items() if verdict.startswith(words))
        text += f"The model is {verdict}. "
    if target.kind == "regression":
        half = np.median(estimate.column(task, "high") - estimate.column(task, "low")) / 2
        text += (
            f"Its 90 % intervals (±\N{NO-BREAK SPACE}{_score(half)}) contain "
            f"{_percent(whole['coverage_90'])} of the labels."
        )
    return Answer(target.name, text, tone, anchor_of(task))


def add_target(page: Page, estimate: Estimate, task: int) -> None:
    """Adds the section of a target."""
    target = estimate.model.targets[task]
    page.heading(target.name, anchor=anchor_of(task))
    page.table(*_score_table(estimate, task))
    page.text(
        "Folds: mean ± standard deviation over the folds. All other scores are those of all rows "
        "together. The baselines were trained and tested on the same folds."
    )
    panels, legend = _panels(estimate, task)
    page.picture(anchor_of(task), Picture("", panels, "small", legend))
    page.table(_coverage_table(estimate, task))
    rows = estimate.worst.rows[task]
    page.heading(f"The {len(rows)} rows with the largest errors", 3)
    page.text(_how_drawn(estimate, task))
    captions = [_caption(estimate, task, row) for row in rows.tolist()]
    smiles = [estimate.model.smiles[row] for row in rows.tolist()]
    for caption in (c for c, text in zip(captions, smiles, strict=True) if not text):
        page.text(caption)
    page.drawings(
        f"worst {task}", *drawings(estimate.model, estimate.worst, task, captions, estimate.unit)
    )


def _score_table(estimate: Estimate, task: int) -> tuple[pd.DataFrame, dict[str, set[str]]]:
    """Returns the scores by model, and the best model of each column."""
    metric = DEFAULT_METRIC[estimate.model.targets[task].kind]
    of_models = {name: estimate.of(task, key) for key, name in estimate.names.items()}
    some = of_models[MODELS[MODEL]]
    names = [name for name in METRICS if name in some and some[name].notna().any()]
    table, bold = pd.DataFrame(index=list(of_models)), {}
    for name in names:
        values = pd.Series({model: scores.loc["all", name] for model, scores in of_models.items()})
        column = METRICS[name]
        table[column] = values.map(_score)
        best = values.min() if name in LOWER_IS_BETTER else values.max()
        bold[column] = set(values.index[values == best])
        if name == metric:
            spread = {model: _spread(scores[name]) for model, scores in of_models.items()}
            table[f"{column} of the folds"] = pd.Series(spread)
    return table, bold


def _panels(estimate: Estimate, task: int) -> tuple[list[Panel], dict[str, str]]:
    """Returns the panels of a target, and the legend of their colours."""
    model = estimate.model
    target, y = model.targets[task], model.y[:, task]
    known = ~np.isnan(y)
    panels, legend = [], {}
    unit = estimate.unit or "unit of the labels"
    if len(model.targets) <= _FEW:
        metric = DEFAULT_METRIC[target.kind]
        score = METRICS[metric] + (f", {unit}" if target.kind == "regression" else "")
        of_models = {
            name: estimate.of(task, key)[metric].drop("all").to_numpy(float)
            for key, name in estimate.names.items()
        }
        panels.append(held_out.fold_panel(of_models, score))
    if target.kind == "regression":
        predicted = estimate.column(task, "predicted")
        panels.append(held_out.bounded_parity_panel(y, predicted, np.zeros(len(y)), unit))
        panels += _similarity_panels(estimate, estimate.errors[task], f"|error|, {unit}")
        measured = [share for share, _ in interval_coverage(y, predicted, model.fold)]
        panels.append(held_out.coverage_panel(LEVELS, measured, int(known.sum())))
        return panels, legend
    p = estimate.probabilities(task)
    if target.kind == "classification" and len(np.unique(y[known])) == 2:
        found = {
            name: (y[known], model.predictions[key][known, task])
            for key, name in estimate.names.items()
            if key != "mean"
        }
        legend = colours_of(found)
        panels.append(held_out.roc_panel(found, legend))
    wrong = np.where(known, p.argmax(1) != y, np.nan)
    found = "likeliest class", 1 - wrong, p.max(1)
    if target.kind == "classification":
        found = f"class {target.classes[1]}", y, p[:, 1]
    panels.append(held_out.calibration_panel(*found[1:], f"Calibration, {found[0]}"))
    panels += _similarity_panels(estimate, wrong, "share of wrong classes")
    return panels, legend


def _similarity_panels(estimate: Estimate, error: np.ndarray, name: str) -> list[Panel]:
    bins = held_out.similarity_bins(estimate.similarity, error)
    return [held_out.similarity_panel(bins, name)] if bins else []


def _coverage_table(estimate: Estimate, task: int) -> pd.DataFrame:
    """Returns the measured share of labels in their intervals or sets, by level."""
    model = estimate.model
    y, target = model.y[:, task], model.targets[task]
    index = [f"level {_percent(level, 0)}" for level in LEVELS]
    if target.kind == "regression":
        found = interval_coverage(y, estimate.column(task, "predicted"), model.fold)
        cells = [[_percent(share), f"± {_score(half)}"] for share, half in found]
        return pd.DataFrame(cells, index, ["labels inside", "interval: prediction"])
    probability, cells = estimate.probabilities(task), []
    for level in LEVELS:
        possible = sets_out_of_fold(y, probability, model.fold, 1 - level)
        classes = range(len(target.classes))
        inside = [possible[y == c, c].mean() if (y == c).any() else np.nan for c in classes]
        sizes = possible[~np.isnan(y)].sum(1)
        shares = [*inside, (sizes == 1).mean(), (sizes > 1).mean(), (sizes == 0).mean()]
        cells.append([_percent(share) for share in shares])
    columns = [f"{name} in the set" for name in target.classes]
    several = "both classes" if len(target.classes) == 2 else "several classes"
    return pd.DataFrame(cells, index, [*columns, "one class", several, "no class"])


def _how_drawn(estimate: Estimate, task: int) -> str:
    rows = estimate.worst.rows[task].tolist()
    number = sum(row in estimate.worst.explained for row in rows)
    text = (
        "Look for wrong labels, and for chemistry that the table has only once. Rows are counted "
        "from 0."
    )
    if number:
        text += (
            " Red atoms raise the prediction and blue atoms lower it, by the model of the row's "
            "fold, which has not seen the row: prediction minus that without the atom. Point at an "
            "atom for its value."
        )
    if number < len(rows):
        text += f" {number} of the {len(rows)} molecules are explained; the others have no colours."
    return text


def _caption(estimate: Estimate, task: int, row: int) -> str:
    model, target = estimate.model, estimate.model.targets[task]
    label, similarity = model.y[row, task], estimate.similarity[row]
    if target.kind == "regression":
        low, high = (estimate.column(task, end)[row] for end in ("low", "high"))
        found = (
            f"label {_value(label)}, predicted {_value(estimate.column(task, 'predicted')[row])}"
        )
        found += f" ({_value(low)} to {_value(high)})"
    else:
        named = 1 if target.kind == "classification" else int(label)
        probability = estimate.probabilities(task)[row, named]
        found = f"label {target.classes[int(label)]}, probability of {target.classes[named]} "
        found += f"{probability:.2f}"
    if not np.isnan(similarity):
        found += f", similarity {similarity:.2f}"
    return f"Row {model.rows[row]}: {found}, fold {model.fold[row]}"


def _spread(scores: pd.Series) -> str:
    """Returns mean ± standard deviation over the folds that have a score."""
    parts = scores.drop("all").dropna()
    if parts.empty:
        return "none"
    return _score(parts.mean()) + (f" ± {_score(parts.std())}" if len(parts) > 1 else "")


def _score(value: float) -> str:
    """Returns a score with three decimals, or three digits if it is very large or small."""
    if not np.isfinite(value):
        return "none"
    text = f"{value:.3f}" if value == 0 or 0.01 <= abs(value) < 1000 else f"{value:.3g}"
    return text.replace("-", "\N{MINUS SIGN}")


def _percent(share: float, decimals: int = 1) -> str:
    return "none" if np.isnan(share) else f"{100 * share:.{decimals}f} %"


def _value(value: float) -> str:
    return f"{value:.4g}".replace("-", "\N{MINUS SIGN}")
