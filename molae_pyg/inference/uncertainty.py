r"""Intervals and calibrated probabilities from out-of-fold predictions.

A model trained on K folds predicts every training row once without having seen it. The errors of
these predictions say how far off the ensemble of the K models will be, without any assumption on
the model or on the distribution of its errors, as long as new molecules resemble the training
molecules (the data are *exchangeable*).
"""

import math

import numpy as np
from sklearn.linear_model import LogisticRegression

#: Probabilities are kept this far from 0 and 1, so that their logits are finite.
_EPS = 1e-6


class ConformalInterval:
    r"""Prediction intervals by the CV+ method (`Barber et al. 2021
    <https://arxiv.org/abs/1905.02928>`_).

    With :math:`\hat\mu_{k}` the model of fold k, :math:`k(i)` the fold of training row i and
    :math:`R_i = |y_i - \hat\mu_{k(i)}(x_i)|` its out-of-fold error,

    .. math::
        [\, q^-_{\alpha} \{ \hat\mu_{k(i)}(x) - R_i \}, \;
            q^+_{\alpha} \{ \hat\mu_{k(i)}(x) + R_i \} \,]

    where :math:`q^-_\alpha` is the :math:`\lfloor \alpha (n + 1) \rfloor`-th smallest value and
    :math:`q^+_\alpha` the :math:`\lceil (1 - \alpha)(n + 1) \rceil`-th. It covers the true value
    with a probability of about :math:`1 - \alpha` (at least :math:`1 - 2 \alpha`).

    Args:
        y_true: Labels of the training rows ``[n]``, NaN = missing (the row is left out).
        y_pred: Their out-of-fold predictions ``[n]``.
        fold: Fold of each row ``[n]``, integers from 0.

    Raises:
        ValueError: The shapes differ, or no row has a label.
    """

    def __init__(self, y_true: np.ndarray, y_pred: np.ndarray, fold: np.ndarray):
        y_true, y_pred = np.asarray(y_true, float), np.asarray(y_pred, float)
        fold = np.asarray(fold)
        if not y_true.shape == y_pred.shape == fold.shape or y_true.ndim != 1:
            raise ValueError(
                f"expected y_true, y_pred and fold [n], got {y_true.shape}, {y_pred.shape}, "
                f"{fold.shape}"
            )
        known = ~np.isnan(y_true)
        if not known.any():
            raise ValueError("no row has a label: there is no error to make an interval of")
        residual = np.abs(y_true - y_pred)[known]  # [n]
        order = np.argsort(residual)
        self.residual, self.fold = residual[order], fold[known][order].astype(int)

    def __call__(self, y_pred: np.ndarray, alpha: float = 0.1) -> tuple[np.ndarray, np.ndarray]:
        """Returns the lower and the upper end for new molecules.

        Args:
            y_pred: Predictions of each fold's model ``[F, m]``.
            alpha: Share of true values that may be outside, default 0.1.

        Returns:
            Two arrays ``[m]``. They are infinite if there are fewer than ``1 / alpha - 1``
            training rows.

        Raises:
            ValueError: ``alpha`` is not in (0, 1), or ``y_pred`` has too few folds.
        """
        if not 0 < alpha < 1:
            raise ValueError(f"alpha must be between 0 and 1, got {alpha!r}")
        y_pred = np.asarray(y_pred, float)
        if y_pred.ndim != 2 or y_pred.shape[0] <= self.fold.max():
            raise ValueError(
                f"expected predictions of {self.fold.max() + 1} folds [F, m], got {y_pred.shape}"
            )
        rank = math.ceil((1 - alpha) * (len(self.residual) + 1))
        m = y_pred.shape[1]
        if rank > len(self.residual):
            return np.full(m, -np.inf), np.full(m, np.inf)
        low, high = np.empty(m), np.empty(m)
        step = max(1, 10_000_000 // len(self.residual))  # molecules at a time: 80 MB
        for start in range(0, m, step):
            part = slice(start, start + step)
            centre = y_pred[self.fold, part]  # [n, step]
            upper = centre + self.residual[:, None]
            lower = self.residual[:, None] - centre  # its rank-th smallest is minus the lower end
            high[part] = np.partition(upper, rank - 1, axis=0)[rank - 1]
            low[part] = -np.partition(lower, rank - 1, axis=0)[rank - 1]
        return low, high


class Calibration:
    r"""Calibrated probabilities of one or several classes (Platt scaling of the logits).

    A logistic regression maps the logits of out-of-fold predictions to the labels, so that of the
    molecules with a probability of 0.8 about 80 % are of the class. It never turns the order of the
    probabilities of two classes round: where they are worse than chance, as among few rows, the
    calibrated probability is the share of the class.

    Args:
        y_true: Class of each training row ``[n]``, integers from 0; NaN = missing.
        probability: Out-of-fold probabilities ``[n]`` (of class 1) or ``[n, C]``.

    Raises:
        ValueError: The shapes do not fit, or the labels have fewer than two classes.
    """

    def __init__(self, y_true: np.ndarray, probability: np.ndarray):
        y_true, logits = np.asarray(y_true, float), self._logits(probability)
        if y_true.shape != logits.shape[:1]:
            raise ValueError(f"{y_true.shape} labels for {logits.shape[:1]} predictions")
        known = ~np.isnan(y_true)
        classes = np.unique(y_true[known]).astype(int)
        if len(classes) < 2:
            raise ValueError(f"calibration needs two classes, the labels have {len(classes)}")
        self.classes = classes
        self.num_classes = max(logits.shape[1], 2)
        self.model = LogisticRegression(C=1e3, max_iter=1000)
        self.model.fit(logits[known], y_true[known].astype(int))
        if logits.shape[1] == 1 and self.model.coef_[0, 0] < 0:
            self.model.fit(0 * logits[known], y_true[known].astype(int))

    @staticmethod
    def _logits(probability: np.ndarray) -> np.ndarray:
        p = np.clip(np.asarray(probability, float), _EPS, 1 - _EPS)
        if p.ndim == 1:
            return np.log(p / (1 - p))[:, None]  # [n, 1]
        return np.log(p)  # [n, C]

    def __call__(self, probability: np.ndarray) -> np.ndarray:
        """Probabilities of the same shape as those given, calibrated."""
        found = self.model.predict_proba(self._logits(probability))  # [m, classes that occur]
        if np.ndim(probability) == 1:
            return found[:, 1]
        full = np.zeros((len(found), self.num_classes))
        full[:, self.classes] = found
        return full


class ConformalSet:
    r"""The classes that a molecule may have, one error rate for every class.

    Class c is in the set of a molecule if its p-value exceeds :math:`\alpha`:

    .. math::
        p_c(x) = \frac{1 + |\{ i : y_i = c, \; \hat p_c(x_i) \le \hat p_c(x) \}|}
                      {1 + |\{ i : y_i = c \}|}

    The true class is in the set with a probability of about :math:`1 - \alpha`, in each class
    (`Vovk 2012 <https://arxiv.org/abs/1209.2673>`_). An empty set means that the molecule
    resembles no class, a set with all classes that the model cannot tell.

    Args:
        y_true: Class of each training row ``[n]``, integers from 0; NaN = missing.
        probability: Out-of-fold probabilities ``[n, C]``.
    """

    def __init__(self, y_true: np.ndarray, probability: np.ndarray):
        y_true, probability = np.asarray(y_true, float), np.asarray(probability, float)
        self.scores = [np.sort(probability[y_true == c, c]) for c in range(probability.shape[1])]

    def p_values(self, probability: np.ndarray) -> np.ndarray:
        """p-value of each class ``[m, C]``."""
        probability = np.asarray(probability, float)
        columns = [
            (1 + np.searchsorted(scores, probability[:, c], side="right")) / (1 + len(scores))
            for c, scores in enumerate(self.scores)
        ]
        return np.stack(columns, axis=1)

    def __call__(self, probability: np.ndarray, alpha: float = 0.1) -> np.ndarray:
        """True where class c is in the set of a molecule ``[m, C]``."""
        if not 0 < alpha < 1:
            raise ValueError(f"alpha must be between 0 and 1, got {alpha!r}")
        return self.p_values(probability) > alpha
