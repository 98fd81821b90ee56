"""chemprop's D-MPNN, in an environment of its own: files in, files out.

chemprop pins another RDKit, so that it cannot share an environment with molae_pyg.
``make chemprop`` installs it into ``.venv-chemprop``; ``CHEMPROP`` names another executable.
"""

import os
import re
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from molae_pyg.datasets.table import MoleculeTable
from molae_pyg.metrics import choosing_metric
from molae_pyg.splits import Split

EXECUTABLE = Path(__file__).parents[1] / ".venv-chemprop" / "bin" / "chemprop"
#: Score of a data set -> chemprop's ``--metrics`` and ``--tracking-metric``. The validation loss of
#: several targets is computed on standardised labels, so that no mean over units chooses.
METRICS = {
    "rmse": ("rmse", "rmse"),
    "mae": ("mae", "mae"),
    "standardised_rmse": ("rmse", "val_loss"),
    "standardised_mae": ("mae", "val_loss"),
    "roc_auc": ("roc", "roc"),
    "average_precision": ("prc", "prc"),
}


def fit_predict(
    dataset: MoleculeTable, split: Split, settings: dict[str, Any], seed: int, folder: Path
) -> tuple[np.ndarray, int | None]:
    """Trains on the training rows and predicts validation, then test rows, ``[n, T]``.

    The epoch is the one that is best on the validation rows by the metric of the data set.
    chemprop gets the labels of training and validation rows only.

    Args:
        dataset: Molecules.
        split: Its rows.
        settings: Arguments of ``chemprop train``, without dashes in front.
        seed: Of initial weights and order.
        folder: Gets chemprop's files and its log, ``chemprop.log``.

    Returns:
        The predictions, and the number of parameters if the log tells it.

    Raises:
        FileNotFoundError: If chemprop is not installed.
        RuntimeError: If it fails, with the end of its log.
        ValueError: If the targets are of both types, or the score is none that chemprop has.
    """
    if dataset.task_type == "mixed":
        raise ValueError(
            "chemprop trains targets of one type: give --targets of values or of classes only"
        )
    score = choosing_metric(dataset.task_type, dataset.num_tasks, dataset.metric)
    if score not in METRICS:
        raise ValueError(f"chemprop cannot choose an epoch by {score}")
    executable = Path(os.environ.get("CHEMPROP", EXECUTABLE))
    if not executable.is_file():
        raise FileNotFoundError(
            f"there is no {executable}: `make chemprop` installs chemprop into an environment of "
            "its own; or set CHEMPROP to the path of its executable"
        )
    folder.mkdir(parents=True, exist_ok=True)
    tasks = [f"task{t}" for t in range(dataset.num_tasks)]
    table = pd.DataFrame(dataset.y.numpy(), columns=tasks)
    table.insert(0, "smiles", dataset.smiles)
    hidden = table.iloc[split.test].copy()
    hidden[tasks] = np.nan
    parts = {
        "train": table.iloc[split.train],
        "valid": table.iloc[split.valid],
        "predict": pd.concat([table.iloc[split.valid], hidden]),
    }
    for name, part in parts.items():
        part.to_csv(folder / f"{name}.csv", index=False)
    metric, tracked = METRICS[score]
    command = [executable, "train", "-i", *(folder / f"{name}.csv" for name in parts)]
    command += ["--smiles-columns", "smiles", "--target-columns", *tasks, "-o", folder / "model"]
    command += ["-t", dataset.task_type, "--metrics", metric, "--tracking-metric", tracked]
    command += ["--pytorch-seed", seed, "--remove-checkpoints", "--num-workers", 0]
    for name, value in settings.items():
        command += [f"--{name.replace('_', '-')}", value]
    log = folder / "chemprop.log"
    with open(log, "w") as output:
        done = subprocess.run([str(word) for word in command], stdout=output, stderr=output)
    if done.returncode:
        raise RuntimeError(f"chemprop failed; the end of {log}:\n{log.read_text()[-2000:]}")
    predicted = pd.read_csv(folder / "model" / "model_0" / "test_predictions.csv")
    if predicted["smiles"].tolist() != parts["predict"]["smiles"].tolist():
        raise RuntimeError(f"{folder}: chemprop's predictions are of other molecules")
    return predicted[tasks].to_numpy(np.float64), _parameters(log.read_text())


def _parameters(log: str) -> int | None:
    """Number of parameters as the log tells it, to three digits or so."""
    found = re.search(r"Total params: ([\d.]+) ?([KM]?)", log)
    return found and round(float(found[1]) * {"": 1, "K": 10**3, "M": 10**6}[found[2]])
