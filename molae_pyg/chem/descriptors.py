"""RDKit's 217 descriptors of whole molecules, made in worker processes.

This module loads no torch: workers import it.
"""

from collections.abc import Iterator, Sequence
from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np
from rdkit.Chem import Descriptors
from tqdm.auto import tqdm

from molae_pyg.chem.conformers import Message
from molae_pyg.chem.smiles import plain_mol
from molae_pyg.chem.worker import Worker, twice
from molae_pyg.chem.workers import WorkerPool
from molae_pyg.cores import available_cores

if TYPE_CHECKING:
    from molae_pyg.datasets.table import MoleculeTable

#: Names of the descriptors, in the order of the columns.
NAMES = tuple(name for name, _ in Descriptors.descList)

_CHUNK = 16  # molecules of a job, about a tenth of a second
_LIMIT = 60.0  # seconds for a job; a large cage can take minutes
_FEW = 64  # molecules; below it, starting more processes takes longer than the work


def descriptors(smiles: Sequence[str], workers: int | None = None) -> tuple[np.ndarray, int]:
    r"""Computes RDKit's descriptors on a logarithmic scale, sign(d) · log(1 + \|d\|).

    Values that are not defined (NaN or infinite, or no value within a minute) become 0.

    Args:
        smiles: The molecules ``[n]``.
        workers: Number of processes. default: None, one for each core.

    Returns:
        The descriptors ``[n, 217]`` float64, and the number of values that were not defined.

    Raises:
        ValueError: If a SMILES cannot be parsed.
    """
    found = np.zeros((len(smiles), len(NAMES)))
    bar = tqdm(None, "descriptors", len(smiles), unit="mol", delay=1.0, disable=None)
    with bar:
        for row, values in enumerate(each_molecule(smiles, workers)):
            if isinstance(values, str):
                raise ValueError(f"row {row}: {smiles[row]!r}: {values}")
            found[row] = values
            bar.update()
    undefined = ~np.isfinite(found)
    found[undefined] = 0
    return found, int(undefined.sum())


def each_molecule(smiles: Sequence[str], workers: int | None = None) -> Iterator[np.ndarray | str]:
    """Yields the descriptors ``[217]`` of each molecule on a logarithmic scale, or its problem.

    Values that are not defined are NaN or infinite. The arguments are those of
    :func:`descriptors`.
    """
    if workers is None:
        workers = available_cores() if len(smiles) > _FEW else 1
    chunks = ((smiles[start : start + _CHUNK],) for start in range(0, len(smiles), _CHUNK))
    with WorkerPool(workers) as pool:
        for found in pool.map(_chunk, chunks):
            for values in found:
                is_text = isinstance(values, str)
                yield values if is_text else np.sign(values) * np.log1p(np.abs(values))


@lru_cache(maxsize=1)  # all seeds and models of a data set need the same ones
def descriptors_of(dataset: "MoleculeTable") -> np.ndarray:
    """Returns the descriptors of a data set as :func:`descriptors` gives them, ``[n, 217]``."""
    return descriptors(dataset.smiles)[0]


def work(smiles: Sequence[str]) -> Iterator[Message]:
    """Yields the descriptors ``[217]`` of each molecule or its problem, in the worker."""
    for text in smiles:
        try:
            mol = plain_mol(text)
        except ValueError as error:
            yield Message("invalid", str(error))
            continue
        values = Descriptors.CalcMolDescriptors(mol, missingVal=np.nan, silent=True)
        yield Message("value", np.array([values[name] for name in NAMES], float))


def _chunk(worker: Worker, smiles: Sequence[str]) -> list[np.ndarray | str]:
    """Returns the values or the problem of each molecule; NaN for those that take too long."""

    def attempt() -> tuple[list, str]:
        values: list[np.ndarray | str] = []
        note = worker.call(work, (list(smiles),), _LIMIT, lambda m: values.append(m.value))
        return values, note

    values, note = twice(attempt)
    if not note:
        return values
    if len(smiles) == 1:
        return [np.full(len(NAMES), np.nan)]
    return [value for text in smiles for value in _chunk(worker, [text])]
