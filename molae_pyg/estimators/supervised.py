"""Regression and classification of molecules, by the workflow of ``molae train``."""

from typing import Any

import numpy as np
import pandas as pd
from sklearn.base import ClassifierMixin, RegressorMixin
from sklearn.metrics import accuracy_score, r2_score

from molae_pyg.chem.options import InputError
from molae_pyg.estimators.base import ARGUMENTS, MoleculeModel
from molae_pyg.estimators.inputs import Labels, classes_of, numbers_of
from molae_pyg.estimators.kept_folder import KeptFolder


class MolAERegressor(RegressorMixin, MoleculeModel):
    __doc__ = "Predicts numbers of molecules, with intervals." + ARGUMENTS

    _kinds = ("regression",)

    def _labels(self, y: Any) -> Labels:
        return numbers_of(y)

    def predict(
        self, X: Any, return_interval: float | None = None
    ) -> np.ndarray | tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Predicts molecules.

        Args:
            X: Molecules ``[n]``.
            return_interval: Share of true values that the interval contains, such as 0.9. default:
                None, without intervals.

        Returns:
            Values ``[n]`` or ``[n, T]``, or values, lower and upper ends.

        Raises:
            ValueError: If intervals are asked of a model of one fold.
        """
        found = self._predict(X, 0.9 if return_interval is None else return_interval)
        if return_interval is None:
            return self._columns(found, "predicted")
        if self.model_.num_folds == 1:
            raise InputError("a model of one fold has no intervals: use folds=5")
        return tuple(self._columns(found, name) for name in ("predicted", "low", "high"))

    def score(self, X: Any, y: Any, sample_weight: Any = None) -> float:
        """Returns R², the mean over targets, of the rows with a label and a prediction."""
        y, found = numbers_of(y).y, self.predict(X).reshape(len(y), -1)
        known = ~np.isnan(y) & ~np.isnan(found)
        weight = np.ones(len(y)) if sample_weight is None else np.asarray(sample_weight, float)
        parts = zip(y.T, found.T, known.T, strict=True)
        return float(np.mean([r2_score(a[k], b[k], sample_weight=weight[k]) for a, b, k in parts]))


class MolAEClassifier(ClassifierMixin, MoleculeModel):
    __doc__ = (
        "Predicts classes of molecules, with calibrated probabilities."
        + ARGUMENTS
        + "        classes_: Classes; of y ``[n, T]`` a list with those of each target.\n"
    )

    _kinds = ("classification", "multiclass")

    def _labels(self, y: Any) -> Labels:
        return classes_of(y)

    def _take(self, folder: KeptFolder, is_flat: bool, classes: list[np.ndarray]) -> None:
        super()._take(folder, is_flat, classes)
        self.classes_ = classes[0] if is_flat else classes

    def predict(self, X: Any) -> np.ndarray:
        """Returns classes ``[n]`` or ``[n, T]``; with rows of NaN the type is object."""
        return self._as_classes(self._probabilities(X))

    def predict_proba(self, X: Any) -> np.ndarray | list[np.ndarray]:
        """Returns calibrated probabilities ``[n, C]``, of y ``[n, T]`` a list of them."""
        found = self._probabilities(X)
        return found[0] if self._is_flat else found

    def predict_set(self, X: Any, level: float = 0.9) -> np.ndarray | list[np.ndarray]:
        """Returns the classes that are possible, which contain the true one in 90 % of the cases.

        Args:
            X: Molecules ``[n]``.
            level: Share of molecules of each class whose set contains it. default: 0.9.

        Returns:
            bool ``[n, C]``, of y ``[n, T]`` a list of them; all False where there is no prediction.

        Raises:
            ValueError: If the model has one fold, which gives no sets.
        """
        if self.model_.num_folds == 1:
            raise InputError("a model of one fold has no sets of classes: use folds=5")
        found, sets = self._predict(X, level), []
        for target in self.model_.targets:
            named = [set(text.split("|")) for text in found[f"{target.name}_set"]]
            sets.append(np.array([[name in names for name in target.classes] for names in named]))
        return sets[0] if self._is_flat else sets

    def score(self, X: Any, y: Any, sample_weight: Any = None) -> float:
        """Returns the accuracy, the mean over targets, of rows with a label and a prediction."""
        found = self.predict(X)
        y, found = np.asarray(y).reshape(len(found), -1), found.reshape(len(found), -1)
        known = ~pd.isna(y) & ~pd.isna(found)
        weight = np.ones(len(y)) if sample_weight is None else np.asarray(sample_weight, float)
        parts = zip(y.T, found.T, known.T, strict=True)
        return float(
            np.mean(
                [
                    accuracy_score(a[k], b[k].astype(a.dtype), sample_weight=weight[k])
                    for a, b, k in parts
                ]
            )
        )

    def _probabilities(self, X: Any) -> list[np.ndarray]:
        """Returns the probabilities of each target ``[n, C]``."""
        found, probabilities = self._predict(X), []
        for target in self.model_.targets:
            p = f"{target.name}_probability"
            if target.kind == "multiclass":
                probabilities.append(found[[f"{p}_{name}" for name in target.classes]].to_numpy())
            else:
                probabilities.append(np.stack([1 - found[p], found[p]], axis=1))
        return probabilities

    def _as_classes(self, probabilities: list[np.ndarray]) -> np.ndarray:
        """Returns the likeliest class of each target."""
        classes = [self.classes_] if self._is_flat else self.classes_
        columns = []
        for values, p in zip(classes, probabilities, strict=True):
            known = ~np.isnan(p[:, 0])
            best = p.argmax(1) if len(values) > 2 else (p[:, 1] >= 0.5).astype(int)
            column = values[best]
            if not known.all():
                column = column.astype(object)
                column[~known] = np.nan
            columns.append(column)
        return columns[0] if self._is_flat else np.stack(columns, axis=1)
