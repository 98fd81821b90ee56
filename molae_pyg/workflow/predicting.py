"""Predictions for a file of any number of rows, part by part: a killed run resumes."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from rdkit import rdBase

from molae_pyg._version import __version__
from molae_pyg.durable import sha256_of
from molae_pyg.fingerprint import digest
from molae_pyg.inference.parts import Parts
from molae_pyg.tables.atom_lists import Records
from molae_pyg.tables.formats import Cells
from molae_pyg.workflow.atoms.model import AtomModel
from molae_pyg.workflow.atoms.output import as_texts
from molae_pyg.workflow.model import FittedModel
from molae_pyg.workflow.molecules import Molecules
from molae_pyg.workflow.output import write_beside

_AT_ONCE = 2048  # rows of a part

#: Molecules of a file: SMILES, records of atoms, or those with coordinates.
Given = Sequence[str] | Records | Molecules


def predict_file(
    model: FittedModel | AtomModel,
    molecules: Given,
    cells: Cells,
    data: str,
    output: str,
    alpha: float,
) -> tuple[pd.DataFrame, list[str]]:
    """Predicts molecules and writes the predictions beside the cells of their table.

    Args:
        model: The model.
        molecules: The molecules of the file ``[n]``.
        cells: Its cells.
        data: The file.
        output: The file to write; ``<output>.parts`` has the rows that are done until it is there.
        alpha: See :meth:`FittedModel.predict`.

    Returns:
        The predictions, and the columns of the table that were renamed.

    Raises:
        InputError: If ``<output>.parts`` has parts of another run.
    """
    identity = {
        "input": sha256_of(data),
        "smiles": digest(getattr(molecules, "smiles", molecules)),
        "model": {**model.info["identity"], "tuned": model.info.get("tuned", [])},
        "alpha": alpha,
        "rows": _AT_ONCE,
        "versions": f"molae_pyg {__version__}, rdkit {rdBase.rdkitVersion}",
    }
    with Parts(Path(output), identity) as parts:
        for first in range(parts.number * _AT_ONCE, len(cells.rows), _AT_ONCE):
            some = _rows(molecules, slice(first, first + _AT_ONCE))
            found = model.predict(some, alpha)
            parts.add({name: found[name].map(_plain) for name in found})
        frames = [pd.DataFrame(part.columns) for part in parts]
        found = pd.concat(frames, ignore_index=True).map(_array)
        return found, write_beside(output, cells, as_texts(found))


def _rows(molecules: Given, part: slice) -> Given:
    if isinstance(molecules, Records | Molecules):
        return type(molecules)(*(rows[part] for rows in molecules))
    return molecules[part]


def _plain(value: Any) -> Any:
    """Returns a list for the array of a molecule's atoms."""
    return value.tolist() if isinstance(value, np.ndarray) else value


def _array(value: Any) -> Any:
    return np.array(value, float) if isinstance(value, list) else value
