"""Finished runs on disk: one folder each, complete or absent, so that a kill loses one run."""

import platform
import shutil
import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import torch

from molae_pyg._version import __version__
from molae_pyg.datasets.table import MoleculeTable
from molae_pyg.durable import FolderLock, write_durably
from molae_pyg.environment import processor_name
from molae_pyg.evaluation.sealed import Unsealed, read_sealed, seal
from molae_pyg.fingerprint import differences
from molae_pyg.inference.precision import precision
from molae_pyg.splits import Split

RESULT = "result.json"
PREDICTIONS = "predictions.csv"
LIBRARIES = ("torch", "torch-geometric", "lightning", "rdkit", "scikit-learn", "numpy")
#: What all runs on a data set have in common; their conformers may differ from model to model.
SHARED = ("smiles_sha256", "labels_sha256", "task_names", "task_types", "metric")


class Key(NamedTuple):
    """What distinguishes one run from another."""

    dataset: str
    protocol: str
    model: str
    seed: int
    fold: int

    def folder(self, output: Path) -> Path:
        """The folder of the run."""
        return output / self.protocol / self.dataset / self.model / f"{self.seed}-{self.fold}"


def is_finished(folder: Path, identity: dict[str, Any]) -> bool:
    """Whether the folder holds the finished run.

    Raises:
        ValueError: If it holds another run, whose differences are named, or a damaged one.
    """
    if not (folder / RESULT).is_file():
        return False
    check_same(read_sealed(folder / RESULT), identity, folder)
    return True


def check_same(
    found: dict[str, Any], identity: dict[str, Any], folder: Path, what: str = "another run"
) -> None:
    """Compares what is in a folder with what is wanted there; ``what`` names it in the message.

    Raises:
        ValueError: If something of the identity differs; the message names it.
    """
    there = {name: found[name] for name in identity if name in found}
    if differing := differences(there, identity):
        raise ValueError(
            f"{folder} holds {what}. What differs: {'; '.join(differing)}. Remove the folder, "
            "or give another --output"
        )


def write_run(folder: Path, result: dict[str, Any], predictions: pd.DataFrame) -> dict[str, Any]:
    """Writes both files; the one that marks the run as finished comes last. Returns its content."""
    folder.mkdir(parents=True, exist_ok=True)
    write_durably(folder / PREDICTIONS, predictions.to_csv(index=False).encode())
    return seal(folder / RESULT, result)


def read_runs(
    output: Path,
) -> tuple[list[tuple[Path, dict[str, Any]]], list[tuple[Path, str]]]:
    """Folder and result of every finished run below a folder; folder and fault of damaged ones.

    A run is left out if its files are damaged or changed, or if it is not the run that its folder
    is named after.
    """
    found, wrong = [], []
    for file in sorted(output.rglob(RESULT)):
        try:
            result = read_sealed(file)
            check_place(file.parent, result)
        except Unsealed as error:
            wrong.append((file.parent, str(error)))
        else:
            found.append((file.parent, result))
    return found, wrong


def check_place(folder: Path, result: dict[str, Any]) -> None:
    """Raises :class:`Unsealed` if the run is not the one that its folder is named after."""
    if missing := [name for name in Key._fields if name not in result]:
        raise Unsealed(f"{folder / RESULT} is no run of a comparison: no {', '.join(missing)}")
    place = Key(*(result[name] for name in Key._fields)).folder(Path())
    if folder.absolute().parts[-len(place.parts) :] != place.parts:
        raise Unsealed(f"{folder} holds the run {place}: it was moved or copied; remove it")


@contextmanager
def only_process(folder: Path, wait: float = 0.0) -> Iterator[None]:
    """Holds the lock of a folder, which is made if absent.

    Args:
        folder: To be written by one process at a time.
        wait: Seconds to wait for another process. (default: :obj:`0`)

    Raises:
        BlockingIOError: If another process has it.
    """
    folder.mkdir(parents=True, exist_ok=True)
    end = time.monotonic() + wait
    while True:
        try:
            lock = FolderLock(folder)
            break
        except BlockingIOError as error:
            if time.monotonic() >= end:
                raise BlockingIOError(
                    f"{error}, which makes its runs: call again when that one has ended, or give "
                    "another --output"
                ) from None
            time.sleep(0.05)
    with lock:
        yield


def mean_and_spread(values: Sequence[float]) -> str:
    """Mean ± sample standard deviation, of a single value that value."""
    spread = f" ± {np.std(values, ddof=1):.3f}" if len(values) > 1 else ""
    return f"{np.mean(values):.3f}{spread}"


def prediction_table(
    dataset: MoleculeTable, split: Split, valid: np.ndarray, test: np.ndarray
) -> pd.DataFrame:
    """A line for each validation and test row, then for each row of the source without a molecule.

    ``row`` counts the rows of the source from 0. Every task has a column of labels (``true``) and
    one of predictions; ``note`` says why a row has neither, or what departs from the rule.
    """
    report = dataset.report
    rows = np.array(report.kept)
    tables = []
    for part, places, predicted in (("valid", split.valid, valid), ("test", split.test, test)):
        chosen = dataset[places]
        columns = {"row": rows[places], "part": part, "smiles": chosen.smiles}
        for t, (task, true) in enumerate(zip(dataset.task_names, chosen.y.numpy().T, strict=True)):
            columns |= {f"{task} true": true, f"{task} predicted": predicted[:, t]}
        notes = [report.reasons[row] for row in rows[places]]
        tables.append(pd.DataFrame(columns | {"note": notes}))
    left_out = sorted(set(range(len(report))) - set(report.kept))
    notes = [f"{report.outcomes[row]}: {report.reasons[row]}" for row in left_out]
    if left_out:
        tables.append(pd.DataFrame({"row": left_out, "part": "none", "note": notes}))
    return pd.concat(tables)


def environment() -> dict[str, Any]:
    """Versions and machine."""
    on_gpu = torch.cuda.is_available()
    return {
        "molae_pyg": __version__,
        "commit": _commit(),
        "python": platform.python_version(),
        **{name: version(name) for name in LIBRARIES},
        "machine": platform.machine(),
        "device": torch.cuda.get_device_name() if on_gpu else processor_name(),
        "threads": torch.get_num_threads(),
        "precision": precision(),  # what "auto" means on this hardware
    }


def _commit() -> str | None:
    """The commit of the scripts; None outside a repository, or without git."""
    git = shutil.which("git")
    if git is None:
        return None
    command = [git, "describe", "--always", "--dirty"]
    folder = Path(__file__).parents[1]
    found = subprocess.run(command, cwd=folder, capture_output=True, text=True)
    return found.stdout.strip() or None
