"""Molecules and labels as scikit-learn gives them."""

import warnings
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from sklearn.base import BaseEstimator
from sklearn.utils import check_random_state
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import check_array, validate_data

from molae_pyg.chem.options import InputError
from molae_pyg.kinds import TaskType
from molae_pyg.workflow.molecules import Molecules, listed


class Labels(NamedTuple):
    """Labels of n molecules and T targets."""

    names: list[str]
    y: np.ndarray  #: ``[n, T]`` float, NaN = missing; of classes their number.
    classes: list[np.ndarray]  #: Classes of each target; empty for numbers.
    is_flat: bool  #: Whether y was given as ``[n]``.

    @property
    def kinds(self) -> list[TaskType]:
        """Kind of each target."""
        if not self.classes:
            return ["regression"] * len(self.names)
        return ["classification" if len(c) == 2 else "multiclass" for c in self.classes]


def molecules_of(estimator: BaseEstimator, X: Any, reset: bool) -> Molecules:
    """Reads X: a list, array or column of molecules, or a frame or array with one column.

    Args:
        estimator: Gets ``n_features_in_`` and ``feature_names_in_`` of a frame, or compares them.
        X: The molecules.
        reset: Whether this is ``fit``.

    Raises:
        ValueError: X has no row, or several columns.
    """
    number = getattr(X, "ndim", 1)
    if number == 2:
        if X.shape[1] != 1:
            raise InputError(
                f"X has {X.shape[1]} columns: give the one with the molecules, such as X['smiles']"
            )
        if reset or hasattr(estimator, "n_features_in_"):
            validate_data(estimator, X, reset=reset, skip_check_array=True)
        X = X.iloc[:, 0] if hasattr(X, "iloc") else X[:, 0]
    elif number != 1:
        raise InputError(f"X has {number} dimensions: give a list or a column of molecules")
    items = listed(X)
    if not items:
        raise InputError("X has 0 molecules, at least 1 is required")
    return Molecules.of(items)


def numbers_of(y: Any) -> Labels:
    """Reads numbers ``[n]`` or ``[n, T]``, NaN = missing."""
    found = check_array(
        y, dtype=np.float64, ensure_2d=False, ensure_all_finite="allow-nan", input_name="y"
    )
    return Labels(_names(y, found), found.reshape(len(found), -1), [], found.ndim == 1)


def classes_of(y: Any) -> Labels:
    """Reads labels of classes ``[n]`` or ``[n, T]`` of any type; NaN and None are missing."""
    found = np.asarray(y)
    if found.ndim not in (1, 2) or not found.size:
        raise InputError(f"y needs the shape [n] or [n, T], got {list(found.shape)}")
    names, is_flat = _names(y, found), found.ndim == 1
    table = found.reshape(len(found), -1)
    numbers, classes = np.full(table.shape, np.nan), []
    for task, column in enumerate(table.T):
        known = ~pd.isna(column)
        check_classification_targets(column[known])
        values, numbers[known, task] = np.unique(column[known], return_inverse=True)
        if len(values) < 2:
            raise InputError(f"{names[task]} has {len(values)} class: two are needed")
        classes.append(values)
    return Labels(names, numbers, classes, is_flat)


def _names(y: Any, found: np.ndarray) -> list[str]:
    """Returns the names of the targets: those of a column or frame, else y or y0, y1 ..."""
    if found.ndim == 1:
        name = getattr(y, "name", None)
        return ["y" if name is None else str(name)]
    if hasattr(y, "columns"):
        return [str(name) for name in y.columns]
    return ["y"] if found.shape[1] == 1 else [f"y{task}" for task in range(found.shape[1])]


def seed_of(random_state: Any) -> int:
    """Returns the seed: a number as it is, else one that is drawn."""
    if isinstance(random_state, int | np.integer):
        return int(random_state)
    return int(check_random_state(random_state).randint(1_000_000))


def class_values(names: Sequence[str]) -> np.ndarray:
    """Returns classes as they were before they were written: numbers, truth values or texts."""
    if set(names) == {"False", "True"}:
        return np.array([name == "True" for name in names])
    for kind in (int, float):
        try:
            return np.array([kind(name) for name in names])
        except ValueError:
            continue
    return np.array(names)


def warn_of_lost(status: Sequence[str], reason: Iterable[str], what: str) -> None:
    """Warns once of rows that are not ok, with the reasons of the first ones."""
    rows = zip(status, reason, strict=True)
    lost = [f"row {row}: {why}" for row, (kind, why) in enumerate(rows) if kind != "ok"]
    if lost:
        shown = "; ".join(lost[:5]) + ("; ..." if len(lost) > 5 else "")
        warnings.warn(f"{len(lost)} of {len(status)} molecules {what}: {shown}", stacklevel=4)
