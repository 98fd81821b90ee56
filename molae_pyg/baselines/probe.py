"""Linear models and forests on frozen vectors and descriptors.

On frozen vectors they show what an encoder has learned before any fine-tuning.
"""

from collections.abc import Sequence
from functools import lru_cache
from itertools import product
from typing import NamedTuple

import numpy as np
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.model_selection import GroupKFold, KFold
from sklearn.preprocessing import StandardScaler
from torch_geometric.data import Data, Dataset

from molae_pyg import inference
from molae_pyg.baselines.forest import ForestBaseline
from molae_pyg.baselines.job import (
    DEVICE,
    Fitted,
    Job,
    as_fitted,
    digest_of,
    held_out_rows,
    load_encoder,
)
from molae_pyg.chem.descriptors import descriptors_of
from molae_pyg.datasets.table import MoleculeTable
from molae_pyg.metrics import LOWER_IS_BETTER, TaskType, choosing_metric, evaluate
from molae_pyg.models import MolAEEncoder
from molae_pyg.splits import scaffold_groups

#: Penalties on the squared weights that are tried, from weak to strong.
PENALTIES = {
    "regression": tuple(10.0 ** np.arange(-3, 6)),
    "classification": tuple(10.0 ** np.arange(-2, 5)),
}

NUM_FOLDS = 5  # of the cross-validation that chooses readout and penalty
_CLIP = 6.0  # standard deviations: some descriptors have values far from all others


def frozen_ridge(job: Job) -> Fitted:
    """Fits ridge or logistic regressions on the frozen encoder.

    Cross-validation chooses readout and penalty; if there are targets of both types, each type
    has its own. The setting ``readout`` leaves no choice of the readout; ``descriptors: true`` adds
    RDKit's descriptors to the vectors.
    """
    states = frozen_states(job.settings["weights"], job.dataset)
    if (readout := job.settings.get("readout")) is not None:
        if readout not in states:
            raise ValueError(f"readout must be one of {', '.join(states)}, got {readout!r}")
        states = {readout: states[readout]}
    if not job.settings.get("descriptors"):
        return _linear(job, states)
    more = descriptors_of(job.dataset)
    joined = {f"{name}, descriptors": np.hstack([x, more]) for name, x in states.items()}
    return _linear(job, joined, _CLIP)


def descriptors_linear(job: Job) -> Fitted:
    """Fits ridge or logistic regressions on RDKit's descriptors."""
    return _linear(job, {"descriptors": descriptors_of(job.dataset)}, _CLIP)


def _linear(job: Job, states: dict[str, np.ndarray], clip: float = np.inf) -> Fitted:
    """Fits ridge or logistic regressions on readouts ``[n, C]``, see :func:`probe`."""
    dataset, split = job.dataset, job.split
    folds = scaffold_folds(dataset.smiles, split.train)
    rows = held_out_rows(split)
    types = np.array(dataset.task_types)
    predicted, facts = np.empty((len(rows), dataset.num_tasks)), {}
    for kind in dict.fromkeys(dataset.task_types):
        tasks = types == kind
        declared = dataset.metric if dataset.task_type == kind else None  # None: its default
        metric = choosing_metric(kind, int(tasks.sum()), declared)
        found = probe(states, dataset.y.numpy()[:, tasks], folds, rows, kind, metric, clip)
        predicted[:, tasks] = found.predicted
        chosen = {"readout": found.readout, "penalty": found.penalty}
        facts |= chosen if dataset.task_type != "mixed" else {kind: chosen}
    return as_fitted(predicted, split, facts)


def frozen_forest(job: Job) -> Fitted:
    """Fits a random forest on the frozen encoder, CLS and mean over atoms."""
    settings, split = dict(job.settings), job.split
    x = frozen_states(settings.pop("weights"), job.dataset)["cls, mean"]  # [n, 2 C]
    forest = ForestBaseline(job.dataset.task_types, seed=job.seed, **settings)
    forest.fit_features(x[split.train], job.dataset.y.numpy()[split.train])
    return as_fitted(forest.predict_features(x[held_out_rows(split)]), split)


def frozen_states(weights: str, dataset: MoleculeTable) -> dict[str, np.ndarray]:
    """Returns the readouts of the frozen encoder, see :func:`embed`."""
    return _states(weights, digest_of({"weights": weights}), dataset)


@lru_cache(maxsize=1)  # all seeds and both models need the same ones
def _states(weights: str, checksum: str, dataset: MoleculeTable) -> dict[str, np.ndarray]:
    """The checksum is a key too, as the file of the weights can change."""
    return embed(load_encoder(weights).to(DEVICE), dataset)


class ProbeResult(NamedTuple):
    """The choice of the cross-validation, its mean score, and predictions ``[n, T]``."""

    readout: str
    penalty: float
    cross_validated: float
    predicted: np.ndarray


def embed(
    encoder: MolAEEncoder, molecules: Dataset | Sequence[Data], batch_size: int = 32
) -> dict[str, np.ndarray]:
    """Embeds molecules by a frozen encoder, with the mean over conformers.

    Returns:
        ``cls`` ``[n, C]``, ``mean`` (over atoms) ``[n, C]``, and ``cls, mean`` ``[n, 2 C]``.
    """
    options = {"batch_size": batch_size, "precision": "32-true", "readout": "cls, mean"}
    both = inference.embed(encoder, molecules, **options).astype(float)
    cls, mean = np.split(both, 2, axis=1)  # [n, C] each
    return {"cls": cls, "mean": mean, "cls, mean": both}


def scaffold_folds(smiles: Sequence[str], rows: np.ndarray) -> list[tuple[np.ndarray, np.ndarray]]:
    """Splits rows into ``NUM_FOLDS`` pairs (fitted, held out) that share no scaffold.

    Rows with fewer scaffolds are split at random.
    """
    group_of = np.empty(len(smiles), dtype=np.int64)
    for number, members in enumerate(scaffold_groups(smiles)):
        group_of[members] = number
    if len(np.unique(group_of[rows])) < NUM_FOLDS:
        folds = KFold(NUM_FOLDS, shuffle=True, random_state=0).split(rows)
    else:
        folds = GroupKFold(NUM_FOLDS).split(rows, groups=group_of[rows])
    return [(rows[fitted], rows[held_out]) for fitted, held_out in folds]


def probe(
    readouts: dict[str, np.ndarray],
    y: np.ndarray,
    folds: Sequence[tuple[np.ndarray, np.ndarray]],
    test: np.ndarray,
    task_type: TaskType,
    metric: str,
    clip: float = np.inf,
) -> ProbeResult:
    """Fits one ridge or logistic regression per task on standardised features.

    Readout and penalty are the same for all tasks. Those with the best mean score over the folds
    are chosen; then the models are fitted to the molecules of all folds.

    Args:
        readouts: Representations ``[n, C]`` by name.
        y: Labels ``[n, T]``, NaN = missing.
        folds: Rows to fit and rows held out, see :func:`scaffold_folds`, without test rows.
        test: Rows to predict.
        task_type: ``"regression"`` or ``"classification"``.
        metric: Name of the score to choose by, see :func:`~molae_pyg.metrics.evaluate`.
        clip: Largest size of a standardised feature; larger ones are cut to it. default: any.
    """
    sign = -1 if metric in LOWER_IS_BETTER else 1  # from here on, more is better
    development = np.unique(np.concatenate([held_out for _, held_out in folds]))
    several = task_type == "regression" and y.shape[1] > 1
    scale = np.nanstd(y[development], axis=0) if several else None  # [T]
    scores = {}
    for name, penalty in product(readouts, PENALTIES[task_type]):
        x = readouts[name]
        of_folds = []
        for fitted, held_out in folds:
            predicted = _fit_predict(x, y, fitted, held_out, task_type, penalty, clip)
            of_folds.append(evaluate(y[held_out], predicted, task_type, scale)[metric])
        scores[name, penalty] = sign * _mean_defined(of_folds, metric)
    name, penalty = max(scores, key=scores.get)
    predicted = _fit_predict(readouts[name], y, development, test, task_type, penalty, clip)
    return ProbeResult(name, float(penalty), float(sign * scores[name, penalty]), predicted)


def _mean_defined(scores: list[float], metric: str) -> float:
    """Returns the mean over the folds on which the score is defined."""
    defined = [score for score in scores if not np.isnan(score)]
    if not defined:
        raise ValueError(f"{metric} is undefined on every fold: too few labels to choose by")
    return float(np.mean(defined))


def _fit_predict(
    x: np.ndarray,
    y: np.ndarray,
    fitted: np.ndarray,
    wanted: np.ndarray,
    task_type: TaskType,
    penalty: float,
    clip: float,
) -> np.ndarray:
    """Returns values or probabilities of class 1 of the wanted rows, ``[n, T]``."""
    scaler = StandardScaler().fit(x[fitted])
    x_fitted, x_wanted = (scaler.transform(x[rows]).clip(-clip, clip) for rows in (fitted, wanted))
    columns = []
    for labels in y[fitted].T:
        known = ~np.isnan(labels)
        columns.append(_fit_task(x_fitted[known], labels[known], x_wanted, task_type, penalty))
    return np.stack(columns, axis=1)


def _fit_task(
    x: np.ndarray, y: np.ndarray, x_wanted: np.ndarray, task_type: TaskType, penalty: float
) -> np.ndarray:
    if task_type == "regression":
        return Ridge(penalty).fit(x, y).predict(x_wanted)
    if y.min() == y.max():  # one class only: nothing to fit
        return np.full(len(x_wanted), y[0])
    model = LogisticRegression(C=1 / penalty, solver="newton-cholesky")  # converges in few steps
    return model.fit(x, y).predict_proba(x_wanted)[:, 1]
