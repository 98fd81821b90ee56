"""What an encoder knows before any fine-tuning: linear models on its frozen representations."""

from collections.abc import Sequence
from itertools import product
from typing import NamedTuple

import numpy as np
import torch
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.model_selection import GroupKFold, KFold
from sklearn.preprocessing import StandardScaler
from torch import Tensor
from torch_geometric.data import Data, Dataset
from torch_geometric.utils import scatter

from molae_pyg.inference.batches import in_batches, mean_over_conformers
from molae_pyg.metrics import LOWER_IS_BETTER, TaskType, evaluate
from molae_pyg.models import MolAEEncoder
from molae_pyg.splits import scaffold_groups

#: Penalties tried on the squared weights, weak to strong.
PENALTIES = {
    "regression": tuple(10.0 ** np.arange(-3, 6)),
    "classification": tuple(10.0 ** np.arange(-2, 5)),
}

#: Parts of the cross-validation that chooses readout and penalty.
NUM_FOLDS = 5


class ProbeResult(NamedTuple):
    """What cross-validation chose, its mean score there, and the test predictions ``[n, T]``."""

    readout: str
    penalty: float
    cross_validated: float
    predicted: np.ndarray


def embed(
    encoder: MolAEEncoder, molecules: Dataset | Sequence[Data], batch_size: int = 32
) -> dict[str, np.ndarray]:
    """Readouts of frozen states, averaged over conformers: CLS, mean of atoms, and both.

    Returns:
        ``cls`` and ``mean`` ``[n, C]``, ``cls, mean`` ``[n, 2 C]``.
    """
    molecules = list(molecules)

    def readouts(z: Tensor, pos: Tensor, batch: Tensor) -> Tensor:
        out = encoder(z, pos, batch)
        atoms = scatter(out.x, batch, dim_size=out.molecule.size(0), reduce="mean")  # [B, C]
        return torch.stack([out.molecule, atoms], dim=1)  # [B, 2, C]

    num_atoms = [data.z.numel() for data in molecules]
    mean = mean_over_conformers(readouts)
    found = in_batches(encoder, mean, molecules, num_atoms, batch_size, "32-true").astype(float)
    cls, mean = found[:, 0], found[:, 1]  # [n, C]
    return {"cls": cls, "mean": mean, "cls, mean": np.concatenate([cls, mean], axis=1)}


def scaffold_folds(smiles: Sequence[str], rows: np.ndarray) -> list[tuple[np.ndarray, np.ndarray]]:
    """Splits rows into folds that share no scaffold: ``NUM_FOLDS`` pairs (fitted, held out).

    Rows of fewer scaffolds than that are split at random.
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
) -> ProbeResult:
    """Fits ridge or logistic regressions, one a task, on standardised features.

    Readout and penalty, the same for all tasks, are those with the best mean score over the
    folds; with them the models are fitted once more, to the molecules of all folds.

    Args:
        readouts: Representations ``[n, C]`` by name.
        y: Labels ``[n, T]``, NaN = missing.
        folds: Rows to fit and rows held out, see :func:`scaffold_folds`; no test rows.
        test: Rows to predict.
        task_type: ``"regression"`` or ``"classification"``.
        metric: Name of the score that chooses, see :func:`~molae_pyg.metrics.evaluate`.
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
            predicted = _fit_predict(x, y, fitted, held_out, task_type, penalty)
            of_folds.append(evaluate(y[held_out], predicted, task_type, scale)[metric])
        scores[name, penalty] = sign * _mean_defined(of_folds, metric)
    name, penalty = max(scores, key=scores.get)
    predicted = _fit_predict(readouts[name], y, development, test, task_type, penalty)
    return ProbeResult(name, float(penalty), float(sign * scores[name, penalty]), predicted)


def _mean_defined(scores: list[float], metric: str) -> float:
    """The mean over the folds on which a score is defined."""
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
) -> np.ndarray:
    """Values or probabilities of class 1 of the wanted rows, ``[n, T]``."""
    scaler = StandardScaler().fit(x[fitted])
    x_fitted, x_wanted = scaler.transform(x[fitted]), scaler.transform(x[wanted])
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
