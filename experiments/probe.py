"""What an encoder knows before any fine-tuning: linear models on its frozen representations."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.preprocessing import StandardScaler
from torch_geometric.data import Data, Dataset
from torch_geometric.loader import DataLoader
from torch_geometric.utils import scatter

from molae_pyg import MolAEEncoder
from molae_pyg.metrics import ERRORS, TaskType, evaluate
from molae_pyg.splits import Split

#: Penalties tried on the squared weights, weak to strong.
PENALTIES = {
    "regression": tuple(10.0 ** np.arange(-3, 6)),
    "classification": tuple(10.0 ** np.arange(-2, 5)),
}


class ProbeResult(NamedTuple):
    """The chosen penalty, its validation score, and the test predictions ``[n, T]``."""

    penalty: float
    valid: float
    predicted: np.ndarray


@torch.no_grad()
def embed(
    encoder: MolAEEncoder, molecules: Dataset | Sequence[Data], batch_size: int = 32
) -> np.ndarray:
    """CLS beside the mean over atoms, averaged over the conformers, ``[n, 2 C]``."""
    molecules = list(molecules)
    order = sorted(range(len(molecules)), key=lambda i: molecules[i].z.numel())  # little padding
    device = next(encoder.parameters()).device
    was_training = encoder.training
    encoder.eval()
    found = []
    for batch in DataLoader([molecules[i] for i in order], batch_size):
        batch = batch.to(device)
        total = 0
        for pos in batch.conformers.unbind(1):  # K times [N, 3]
            out = encoder(batch.z, pos, batch.batch)
            atoms = scatter(out.x, batch.batch, dim_size=batch.num_graphs, reduce="mean")  # [B, C]
            total = total + torch.cat([out.molecule, atoms], dim=1)  # [B, 2 C]
        found.append((total / batch.conformers.size(1)).cpu())
    encoder.train(was_training)
    result = np.empty((len(molecules), found[0].size(1)), dtype=np.float64)
    result[order] = torch.cat(found).numpy()
    return result


def probe(x: np.ndarray, y: np.ndarray, split: Split, task_type: TaskType, metric: str):
    """Fits ridge or logistic regressions, one a task, on standardised features.

    All tasks share the penalty, the one with the best mean score on the validation molecules.

    Args:
        x: Representations ``[n, C]``.
        y: Labels ``[n, T]``, NaN = missing.
        split: Rows of train, valid and test.
        task_type: ``"regression"`` or ``"classification"``.
        metric: Name of the score that chooses, see :func:`~molae_pyg.metrics.evaluate`.

    Returns:
        :class:`ProbeResult`.
    """
    x = StandardScaler().fit(x[split.train]).transform(x)
    best = None
    for penalty in PENALTIES[task_type]:
        predicted = np.stack(
            [_fit_predict(x, labels, split, task_type, penalty) for labels in y.T], axis=1
        )  # [n, T]
        valid = evaluate(y[split.valid], predicted[split.valid], task_type)[metric]
        if best is None or (valid < best.valid if metric in ERRORS else valid > best.valid):
            best = ProbeResult(float(penalty), valid, predicted[split.test])
    return best


def _fit_predict(
    x: np.ndarray, labels: np.ndarray, split: Split, task_type: TaskType, penalty: float
) -> np.ndarray:
    """Values or probabilities of class 1 of every molecule, ``[n]``."""
    train = split.train[~np.isnan(labels[split.train])]
    y = labels[train]
    if task_type == "regression":
        return Ridge(penalty).fit(x[train], y).predict(x)
    if y.min() == y.max():  # one class only: nothing to fit
        return np.full(len(x), y[0])
    model = LogisticRegression(C=1 / penalty, solver="newton-cholesky")  # converges in few steps
    return model.fit(x[train], y).predict_proba(x)[:, 1]
