r"""Curves that turn scores of held-out rows into probabilities.

Two classes have a logistic curve of one score, several classes a multinomial one of their scores:

.. math::
    p_c(s) = (1 - \textstyle\sum_k q_k) \, \frac{\exp(b_c + w_c \cdot s)}
                                               {\sum_k \exp(b_k + w_k \cdot s)} + q_c

A class without a training row has :math:`b_c = -\infty` and :math:`q_c = 1 / (n + C)`; others have
:math:`q_c = 0`.
"""

import numpy as np
from scipy.special import expit, softmax
from sklearn.linear_model import LogisticRegression

_STRENGTH = 1e3  # inverse of the penalty of slopes
_AS_IT_IS = (4.0, -2.0)  # the logistic curve that is nearest to the score itself


def logistic_curve(y: np.ndarray, scores: np.ndarray) -> tuple[float, float]:
    """Fits slope and shift of the logits; of one class only, its probability is constant.

    A slope below 0 would turn the order of the scores round. Among few rows it comes from the means
    of the folds: without the positive rows of a fold the mean, and with it its scores, are lower.
    Then the score, a regression of 0 and 1, is taken for the probability.

    Args:
        y: Labels 0 and 1 ``[n]``, NaN = missing.
        scores: Scores of rows that were held out ``[n]``, NaN = missing.
    """
    known = ~np.isnan(y) & ~np.isnan(scores)
    if len(np.unique(y[known])) < 2:
        share = (np.nansum(y) + 1) / (np.count_nonzero(~np.isnan(y)) + 2)
        return 0.0, float(np.log(share / (1 - share)))
    model = LogisticRegression(C=_STRENGTH, max_iter=1000)
    model.fit(scores[known, None], y[known].astype(int))
    if (slope := float(model.coef_[0, 0])) < 0:
        return _AS_IT_IS
    return slope, float(model.intercept_[0])


def logistic(curve: np.ndarray, scores: np.ndarray) -> np.ndarray:
    """Returns probabilities of class 1 ``[m]`` from a :func:`logistic_curve`."""
    return expit(curve[0] * scores + curve[1])


def softmax_curve(y: np.ndarray, scores: np.ndarray) -> np.ndarray:
    """Fits the curve of several classes.

    Args:
        y: Classes ``[n]``, NaN = missing.
        scores: Scores of rows that were held out ``[n, C]``.

    Returns:
        Slopes, shift and share q of each class ``[C, C + 2]``.
    """
    known, number = ~np.isnan(y), scores.shape[1]
    labels = y[known].astype(int)
    present = np.unique(labels)
    curve = np.zeros((number, number + 2))
    curve[:, -2], curve[:, -1] = -np.inf, 1 / (len(labels) + number)
    curve[present, -2], curve[present, -1] = 0, 0
    if len(present) > 1:
        model = LogisticRegression(C=_STRENGTH, max_iter=1000).fit(scores[known], labels)
        rows = present[1:] if len(present) == 2 else present  # of two, class 0 has the logit 0
        curve[rows, :number], curve[rows, -2] = model.coef_, model.intercept_
    return curve


def softmax_of(curve: np.ndarray, scores: np.ndarray) -> np.ndarray:
    """Returns probabilities ``[m, C]`` from a :func:`softmax_curve`."""
    slopes, shift, share = curve[:, :-2], curve[:, -2], curve[:, -1]
    return softmax(scores @ slopes.T + shift, axis=1) * (1 - share.sum()) + share
