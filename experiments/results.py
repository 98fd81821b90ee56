"""Finished runs on disk: one folder each, complete or absent, so that a kill loses one run."""

import json
import os
import platform
import subprocess
from collections.abc import Iterator, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import torch

from molae_pyg import __version__
from molae_pyg.datasets.table import MoleculeTable
from molae_pyg.environment import processor_name
from molae_pyg.models.precision import precision
from molae_pyg.splits import Split

RESULT = "result.json"
PREDICTIONS = "predictions.csv"
LIBRARIES = ("torch", "torch-geometric", "lightning", "rdkit", "scikit-learn", "numpy")


class Key(NamedTuple):
    """What distinguishes one run from another."""

    dataset: str
    protocol: str
    model: str
    seed: int
    fold: int

    def folder(self, output: Path) -> Path:
        """Where the run stands."""
        return output / self.protocol / self.dataset / self.model / f"{self.seed}-{self.fold}"


def is_finished(folder: Path, identity: dict[str, Any]) -> bool:
    """Whether the run stands in the folder.

    Raises:
        SystemExit: If another run does: other settings, another split.
    """
    file = folder / RESULT
    if not file.is_file():
        return False
    found = json.loads(file.read_text())
    if differing := [name for name, value in identity.items() if found[name] != value]:
        raise SystemExit(
            f"{folder} holds a run with other {' and '.join(differing)}: remove it, or give "
            "another --output"
        )
    return True


def write_run(folder: Path, result: dict[str, Any], predictions: pd.DataFrame) -> None:
    """Writes both files; the one that marks the run as finished comes last and at once."""
    folder.mkdir(parents=True, exist_ok=True)
    predictions.to_csv(folder / PREDICTIONS, index=False)
    finish(folder, result)


def finish(folder: Path, result: dict[str, Any]) -> None:
    """Writes the file that marks a run as finished, whole or not at all."""
    unfinished = folder / f"{RESULT}.part"
    unfinished.write_text(json.dumps(result, indent=2) + "\n")
    os.replace(unfinished, folder / RESULT)


def read_runs(output: Path) -> Iterator[tuple[Path, dict[str, Any]]]:
    """Folder and result of every finished run below a folder."""
    for file in sorted(output.rglob(RESULT)):
        yield file.parent, json.loads(file.read_text())


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
    root = Path(__file__).parents[1]
    found = subprocess.run(
        ["git", "describe", "--always", "--dirty"], cwd=root, capture_output=True, text=True
    )
    on_gpu = torch.cuda.is_available()
    return {
        "molae_pyg": __version__,
        "commit": found.stdout.strip() or None,
        "python": platform.python_version(),
        **{name: version(name) for name in LIBRARIES},
        "machine": platform.machine(),
        "device": torch.cuda.get_device_name() if on_gpu else processor_name(),
        "threads": torch.get_num_threads(),
        "precision": precision(),  # what "auto" means on this hardware
    }
