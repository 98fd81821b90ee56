"""chemprop's D-MPNN, called as a program in an environment of its own.

chemprop needs another version of RDKit, so it cannot share an environment with molae_pyg.
``make chemprop`` installs it into ``.venv-chemprop``.
"""

import os
import re
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pandas as pd

from molae_pyg.baselines.job import Fitted, Job, as_fitted
from molae_pyg.datasets.table import MoleculeTable
from molae_pyg.metrics import choosing_metric

INSTALLED = Path(".venv-chemprop", "bin", "chemprop")  # by `make chemprop`
#: Score of a data set -> ``--metrics`` and ``--tracking-metric`` of chemprop. Standardised scores
#: choose by the validation loss, which chemprop computes on standardised labels.
METRICS = {
    "rmse": ("rmse", "rmse"),
    "mae": ("mae", "mae"),
    "standardised_rmse": ("rmse", "val_loss"),
    "standardised_mae": ("mae", "val_loss"),
    "roc_auc": ("roc", "roc"),
    "average_precision": ("prc", "prc"),
}


def find_executable() -> Path:
    """Returns the chemprop program.

    The environment variable ``CHEMPROP`` comes first, then ``.venv-chemprop`` beside the checkout
    of this package and in the current folder, then the ``PATH``.

    Raises:
        FileNotFoundError: If chemprop is not installed.
    """
    if given := os.environ.get("CHEMPROP"):
        places = [Path(given)]
    else:
        places = [Path(__file__).parents[2] / INSTALLED, INSTALLED.absolute()]
        places += map(Path, filter(None, [shutil.which("chemprop")]))
    for place in places:
        if place.is_file():
            return place
    raise FileNotFoundError(
        f"chemprop is not installed: {' and '.join(map(str, places))} not found. `make chemprop` "
        "in a checkout installs it into an environment of its own; elsewhere, run `python -m venv "
        ".venv-chemprop && .venv-chemprop/bin/pip install chemprop`, or set CHEMPROP to the path "
        "of the program"
    )


def dmpnn(job: Job) -> Fitted:
    """Trains chemprop's D-MPNN and predicts the validation and test rows.

    The best epoch is chosen by the metric of the data set on the validation rows. chemprop gets
    the labels of the training and validation rows only. Its files and its log, ``chemprop.log``,
    are in the folder of the job; the settings are arguments of ``chemprop train``, without dashes.

    Raises:
        FileNotFoundError: If chemprop is not installed.
        RuntimeError: If chemprop fails, with the end of its log.
        ValueError: If the targets are of both types, or chemprop does not have the metric.
    """
    dataset, folder = job.dataset, job.folder
    if dataset.task_type == "mixed":
        raise ValueError(
            "chemprop trains targets of one type: give --targets of values or of classes only"
        )
    score = choosing_metric(dataset.task_type, dataset.num_tasks, dataset.metric)
    if score not in METRICS:
        raise ValueError(f"chemprop cannot choose an epoch by {score}")
    metric, tracked = METRICS[score]
    command = [find_executable(), "train", "-i"]
    folder.mkdir(parents=True, exist_ok=True)
    tasks = [f"task{t}" for t in range(dataset.num_tasks)]
    parts = _tables(dataset, job, tasks)
    for name, part in parts.items():
        part.to_csv(folder / f"{name}.csv", index=False)
        command.append(folder / f"{name}.csv")
    command += ["--smiles-columns", "smiles", "--target-columns", *tasks, "-o", folder / "model"]
    command += ["-t", dataset.task_type, "--metrics", metric, "--tracking-metric", tracked]
    command += ["--pytorch-seed", job.seed, "--remove-checkpoints", "--num-workers", 0]
    for name, value in job.settings.items():
        command += [f"--{name.replace('_', '-')}", value]
    log = folder / "chemprop.log"
    with open(log, "w") as output:
        done = subprocess.run([str(word) for word in command], stdout=output, stderr=output)
    if done.returncode:
        raise RuntimeError(f"chemprop failed; the end of {log}:\n{log.read_text()[-2000:]}")
    predicted = pd.read_csv(folder / "model" / "model_0" / "test_predictions.csv")
    if predicted["smiles"].tolist() != parts["predict"]["smiles"].tolist():
        raise RuntimeError(f"{folder}: chemprop predicted other molecules than those it was given")
    facts = {"parameters": _num_parameters(log.read_text())}
    return as_fitted(predicted[tasks].to_numpy(np.float64), job.split, facts)


def _tables(dataset: MoleculeTable, job: Job, tasks: list[str]) -> dict[str, pd.DataFrame]:
    """Returns the molecules to train on, to choose the epoch by, and to predict."""
    table = pd.DataFrame(dataset.y.numpy(), columns=tasks)
    table.insert(0, "smiles", dataset.smiles)
    train, valid, test = (table.iloc[rows] for rows in job.split)
    hidden = test.copy()
    hidden[tasks] = np.nan
    return {"train": train, "valid": valid, "predict": pd.concat([valid, hidden])}


def _num_parameters(log: str) -> int | None:
    """Returns the number of parameters from the log, which has about three digits of it."""
    found = re.search(r"Total params: ([\d.]+) ?([KM]?)", log)
    return found and round(float(found[1]) * {"": 1, "K": 10**3, "M": 10**6}[found[2]])
