"""The columns that a target has in tables of predictions: values, intervals, classes, sets."""

from functools import cached_property

import numpy as np

from molae_pyg.inference.uncertainty import Calibration, ConformalInterval, ConformalSet
from molae_pyg.workflow.folder import Target
from molae_pyg.workflow.scores import calibrated_out_of_fold, intervals_out_of_fold

Columns = dict[str, np.ndarray]


class TargetColumns:
    """Makes the columns of one target.

    Args:
        target: The target, with O columns in predictions.
        y: Exact labels of the training rows ``[n]``, NaN = missing.
        oof: Their out-of-fold predictions ``[n, O]``; None with one fold.
        fold: Their folds ``[n]``.
    """

    def __init__(self, target: Target, y: np.ndarray, oof: np.ndarray | None, fold: np.ndarray):
        self.target, self.y, self.oof, self.fold = target, y, oof, fold

    def of_new(self, predicted: np.ndarray, alpha: float) -> Columns:
        """Returns the columns of new molecules.

        Args:
            predicted: Predictions of each fold's model ``[F, m, O]``.
            alpha: Share of true values that may be outside intervals and sets.
        """
        mean, has_oof = predicted.mean(0), self.oof is not None and predicted.shape[1] > 0
        if self.target.kind == "regression":
            low = high = np.full(len(mean), np.nan)
            if has_oof:
                interval = ConformalInterval(self.y, self.oof[:, 0], self.fold)
                low, high = interval(predicted[:, :, 0], alpha)
            return {"predicted": mean[:, 0], "low": low, "high": high}
        mean, sets = self.calibrated(mean), np.full(len(mean), "", object)
        if has_oof:
            conformal = ConformalSet(self.y, _of_each(self.calibrated(self.oof)))
            possible = conformal(_of_each(mean), alpha)  # [m, C]
            names = np.array(self.target.classes, object)
            sets = np.array(["|".join(names[row]) for row in possible], object)
        return self._of_classes(mean) | {"set": sets}

    @cached_property
    def of_training(self) -> Columns:
        """The columns of the training rows, each from models that have not seen it."""
        predicted = _flat(self.oof)
        if self.target.kind == "regression":
            low, high = intervals_out_of_fold(self.y, predicted, self.fold, 0.1)
            return {"predicted": predicted, "low": low, "high": high}
        p = calibrated_out_of_fold(self.y, predicted, self.fold)
        return self._of_classes(p.reshape(self.oof.shape))

    def calibrated(self, predicted: np.ndarray) -> np.ndarray:
        """Returns predictions ``[m, O]`` with calibrated probabilities.

        Numbers, and probabilities of a model of one fold, stay as they are.
        """
        if self.target.kind == "regression" or self.oof is None or not len(predicted):
            return predicted
        return self._calibration(_flat(predicted)).reshape(predicted.shape)

    @cached_property
    def _calibration(self) -> Calibration:
        return Calibration(self.y, _flat(self.oof))

    def _of_classes(self, probability: np.ndarray) -> Columns:
        """Returns the columns of probabilities ``[m, O]``."""
        names = np.array(self.target.classes, object)
        if self.target.kind == "classification":
            p = probability[:, 0]
            return {"probability": p, "predicted": names[(p >= 0.5).astype(int)]}
        found = {"predicted": names[probability.argmax(1)], "probability": probability.max(1)}
        each = zip(self.target.classes, probability.T, strict=True)
        return found | {f"probability_{name}": values for name, values in each}


def _flat(predicted: np.ndarray) -> np.ndarray:
    """Returns predictions ``[n, 1]`` as ``[n]``, those of several classes as they are."""
    return predicted[:, 0] if predicted.shape[1] == 1 else predicted


def _of_each(probability: np.ndarray) -> np.ndarray:
    """Returns probabilities of each class ``[m, C]`` from those ``[m, O]``."""
    if probability.shape[1] > 1:
        return probability
    return np.concatenate([1 - probability, probability], axis=1)
