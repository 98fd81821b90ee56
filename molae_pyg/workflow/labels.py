"""The labels that are learned: values, classes and bounds of all targets."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch

from molae_pyg.chem.options import InputError
from molae_pyg.datasets.table import MoleculeTable
from molae_pyg.fingerprint import digest
from molae_pyg.kinds import TaskType, as_outputs, output_slices, outputs_of
from molae_pyg.tables.reading import Table


class Labels(NamedTuple):
    """The labels of the rows of a table.

    Shapes:
        - **y:** :math:`(n, T)` float, NaN = missing; of classes their index
        - **bound:** :math:`(n, T)` int8: 0 = exact, 1 = the true value is at least y, -1 = it is
          at most y
    """

    y: np.ndarray
    bound: np.ndarray
    types: Sequence[TaskType]
    #: Number of columns of each target in predictions.
    num_outputs: Sequence[int]

    @classmethod
    def of(
        cls,
        y: np.ndarray,
        types: Sequence[TaskType],
        num_classes: Sequence[int] | None = None,
        bound: np.ndarray | None = None,
    ) -> "Labels":
        """Makes labels; without ``bound`` all are exact."""
        bound = np.zeros(y.shape, np.int8) if bound is None else bound
        return cls(np.asarray(y, float), bound, types, outputs_of(types, num_classes))

    @classmethod
    def of_data(cls, data: MoleculeTable) -> "Labels":
        """Returns the labels of a data set."""
        bound = None if data.bound is None else data.bound.numpy()
        return cls.of(data.y.numpy(), data.task_types, data.num_classes, bound)

    def take(self, rows: np.ndarray) -> "Labels":
        """Returns the labels of some rows."""
        return self._replace(y=self.y[rows], bound=self.bound[rows])

    @property
    def slices(self) -> list[slice]:
        """Columns of each target in predictions."""
        return output_slices(self.num_outputs)

    @property
    def exact(self) -> np.ndarray:
        """Labels without the bounds, which are NaN ``[n, T]``."""
        return np.where(self.bound == 0, self.y, np.nan)

    @property
    def outputs(self) -> np.ndarray:
        """Labels in the form of predictions ``[n, O]``: classes are ones and zeros."""
        return as_outputs(self.y, self.num_outputs)


def digest_of(table: Table) -> str:
    """Returns a checksum of the labels, their names and kinds."""
    parts = [table.y, table.task_names, table.task_types]
    if table.classes:
        parts.append(dict(table.classes))
    if table.bound is not None and table.bound.any():
        parts.append(table.bound)
    return digest(*parts)


def check_labels(table: Table) -> None:
    """Checks that each target has two different exact labels (InputError)."""
    y = table.y if table.bound is None else table.y.where(table.bound == 0, torch.nan)
    for name, labels in zip(table.task_names, y.T.numpy(), strict=True):
        different = len(np.unique(labels[~np.isnan(labels)]))
        if different < 2:
            exact = "exact " * (table.bound is not None and bool(table.bound.any()))
            raise InputError(
                f"target {name!r} has {different} different {exact}labels: two are needed"
            )
