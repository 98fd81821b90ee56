"""The folder of a fitted model: what it was made from, and whether it is whole.

====================  ============================================================================
``model.json``        settings, targets, molecule recipe, versions, and what makes the run the same
``training.json``     the training molecules, their labels, folds and outcomes
``encoder/``          the frozen encoder
``conformers/``       conformers of the training molecules, from which a killed run resumes
``features/``         their features
``fold-0/`` ...       the model of each fold, and predictions of the rows that it has not seen
``predictions.csv``   the table with out-of-fold predictions
``metrics.csv``       scores of the model and of the baselines
``report.html``       all of it as one page
====================  ============================================================================
"""

import json
import shutil
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np

from molae_pyg._version import __version__
from molae_pyg.chem.options import InputError
from molae_pyg.datasets.table import MoleculeTable, numbered
from molae_pyg.durable import write_durably
from molae_pyg.fingerprint import differences
from molae_pyg.kinds import TaskType
from molae_pyg.tables.formats import Cells
from molae_pyg.tables.reading import Table

MODEL_FILE, TRAINING_FILE = "model.json", "training.json"
#: Version of the layout of the folder.
FORMAT = 1


class Target(NamedTuple):
    """What is learned."""

    name: str
    #: ``"regression"``, ``"classification"`` (two classes) or ``"multiclass"``; ``"atom"``: a
    #: number for each atom.
    kind: TaskType | Literal["atom"]
    #: Names of the classes as they are in the table; empty for numbers.
    classes: list[str]

    @classmethod
    def of(
        cls,
        name: str,
        kind: TaskType,
        y: np.ndarray,
        cells: Cells,
        classes: Sequence[str] = (),
    ) -> "Target":
        """Returns the target of a column; ``y [n]`` are its labels, ``classes`` several classes."""
        if kind == "regression":
            return cls(name, kind, [])
        if kind == "multiclass":
            return cls(name, kind, list(classes) or numbered(y))
        names = ["0", "1"]
        if cells.columns.count(name) == 1 and len(cells.rows) == len(y):
            index = cells.columns.index(name)
            for label in (0, 1):
                words = Counter(
                    cells.rows[row][index].strip() for row in np.flatnonzero(y == label)
                )
                names[label] = words.most_common(1)[0][0] if words else names[label]
        return cls(name, kind, ["0", "1"] if set(names) == {"0.0", "1.0"} else names)

    @property
    def num_outputs(self) -> int:
        """Number of columns in predictions: 1, or the number of several classes."""
        return len(self.classes) if self.kind == "multiclass" else 1

    @property
    def endings(self) -> list[str]:
        """Endings of the columns that the target has in tables of predictions."""
        if self.kind in ("regression", "atom"):
            return ["label", "predicted", "low", "high"]
        more = self.classes if self.kind == "multiclass" else []
        of_classes = [f"probability_{name}" for name in more]
        return ["label", "predicted", "probability", *of_classes, "set"]


def targets_of(table: Table, cells: Cells) -> list[Target]:
    """Returns the targets of a table with their classes."""
    columns = zip(table.task_names, table.task_types, table.y.T.numpy(), strict=True)
    return [
        Target.of(name, kind, y, cells, table.classes.get(name, ())) for name, kind, y in columns
    ]


def check_names(targets: Sequence[Target]) -> None:
    """Checks that no two columns of the predictions would have the same name (ValueError)."""
    columns = ["molae_fold", "molae_status", "molae_reason", "molae_similarity"]
    columns += [f"{target.name}_{end}" for target in targets for end in target.endings]
    if twice := [name for name in columns if columns.count(name) > 1]:
        raise InputError(f"two columns of the predictions would be called {twice[0]!r}: rename one")


class ModelFolder:
    """The folder while it is made; its lock is held.

    Args:
        folder: An existing folder.
        identity: What makes a run the same.

    Raises:
        ValueError: If the folder holds another model or something else.
    """

    def __init__(self, folder: Path, identity: dict[str, Any]):
        self.folder = folder
        self.content: dict[str, Any] = {"format": FORMAT, "done": False, "identity": identity}
        file = folder / MODEL_FILE
        if file.is_file():
            found = read_json(file)
            lines = differences(found.get("identity", {}), identity)
            if lines and "targets" not in found:  # settings that were refused: nothing was fitted
                shutil.rmtree(folder / "encoder", ignore_errors=True)
                self._write()
                return
            if lines:
                raise InputError(
                    f"{folder} holds a model of another run: {'; '.join(lines)}. Give another "
                    "folder, or remove this one"
                )
            self.content = found
        elif others := [p.name for p in folder.iterdir() if p.name != "lock"]:
            raise InputError(
                f"{folder} has no {MODEL_FILE}, but holds {', '.join(sorted(others)[:5])}: give an "
                "empty folder"
            )
        else:
            self._write()

    @property
    def is_done(self) -> bool:
        """Whether the model is whole."""
        return self.content["done"]

    def start(
        self,
        targets: list[Target],
        data: MoleculeTable,
        fold: np.ndarray,
        name: str,
        extra: Sequence[Sequence[Any]] = (),
        beside: Sequence[Sequence[str]] = (),
    ) -> None:
        """Writes what is known before the fit; ``beside`` are the cells of ``extra`` columns."""
        y = data.y.numpy().astype(float)
        training = {
            "smiles": list(data.smiles),
            "row": data._data.row.tolist(),
            "fold": fold.tolist(),
            "y": [[None if np.isnan(v) else v for v in row] for row in y.tolist()],
            **({} if data.bound is None else {"bound": data.bound.tolist()}),
            "outcomes": data.report.outcomes,
            "reasons": data.report.reasons,
            "extra": extra,
            "beside": beside,
        }
        write_durably(self.folder / TRAINING_FILE, json.dumps(training).encode())
        self.content |= {
            "version": __version__,
            "name": name,
            "targets": [target._asdict() for target in targets],
            "recipe": data.recipe,
        }
        self._write()

    def add(self, facts: dict[str, Any]) -> None:
        """Writes what is known after the fit."""
        self.content |= facts
        self._write()

    def finish(self) -> None:
        """Marks the model as whole."""
        self.content["done"] = True
        self._write()

    def _write(self) -> None:
        write_durably(self.folder / MODEL_FILE, json.dumps(self.content, indent=1).encode())


def read_json(path: Path) -> dict[str, Any]:
    """Reads a JSON file.

    Raises:
        ValueError: If it is damaged.
    """
    try:
        found = json.loads(path.read_bytes())
    except (ValueError, RecursionError) as error:
        raise InputError(f"{path} is damaged ({error}): train again into another folder") from None
    if not isinstance(found, dict):
        raise InputError(f"{path} is damaged: train again into another folder")
    return found
