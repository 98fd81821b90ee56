"""Metrics against values worked out by hand."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from sklearn.metrics import roc_auc_score

from molae_pyg.kinds import KINDS
from molae_pyg.metrics import (
    DEFAULT_METRIC,
    LOWER_IS_BETTER,
    average_precision,
    choosing_metric,
    evaluate,
    evaluate_tasks,
    mae,
    metric_names,
    r2,
    rmse,
    roc_auc,
    spearman,
)

NAN = float("nan")


def test_regression_by_hand():
    y_true, y_pred = np.array([0.0, 1.0, 2.0, 3.0]), np.array([0.0, 2.0, 2.0, 5.0])
    assert rmse(y_true, y_pred) == pytest.approx(math.sqrt(5 / 4))
    assert mae(y_true, y_pred) == pytest.approx(3 / 4)
    assert r2(y_true, y_pred) == pytest.approx(1 - 5 / 5)  # total sum of squares 5
    # ranks of y_pred are 1, 2.5, 2.5, 4: covariance 4.5, variances 5 and 4.5
    assert spearman(y_true, y_pred) == pytest.approx(4.5 / math.sqrt(5 * 4.5))


def test_classification_by_hand():
    y_true, y_pred = np.array([1, 0, 1, 0]), np.array([0.9, 0.8, 0.7, 0.1])
    assert roc_auc(y_true, y_pred) == pytest.approx(3 / 4)  # 3 of 4 pairs in order
    assert average_precision(y_true, y_pred) == pytest.approx((1 + 2 / 3) / 2)


def test_mean_over_tasks_of_the_labels_present():
    y_true = np.array([[0.0, 0.0], [NAN, 0.0], [2.0, NAN]])
    y_pred = np.array([[1.0, 3.0], [9.0, 3.0], [3.0, 9.0]])
    assert rmse(y_true, y_pred) == pytest.approx((1 + 3) / 2)  # not the root of the pooled mean
    assert mae(y_true, y_pred) == pytest.approx((1 + 3) / 2)


def test_minus_one_is_a_value():
    y_true, y_pred = np.array([-1.0, -1.0, 0.0]), np.array([0.0, -1.0, 0.0])
    assert mae(y_true, y_pred) == pytest.approx(1 / 3)
    assert rmse(y_true, y_pred) == pytest.approx(math.sqrt(1 / 3))


def test_tasks_without_both_classes_are_left_out():
    y_true = np.array([[1, 1, NAN], [0, 1, NAN], [1, NAN, NAN], [0, 1, NAN]])
    y_pred = np.array([[0.9, 0, 0], [0.8, 0, 0], [0.7, 0, 0], [0.1, 0, 0]])
    assert roc_auc(y_true, y_pred) == pytest.approx(3 / 4)
    assert average_precision(y_true, y_pred) == pytest.approx(5 / 6)


@pytest.mark.parametrize("metric", [roc_auc, average_precision, r2, spearman])
def test_no_task_left_is_nan_with_a_warning(metric):
    with pytest.warns(UserWarning, match="undefined: none of 1 tasks has 2 or more different"):
        assert math.isnan(metric(np.array([1.0, 1.0, NAN]), np.zeros(3)))


@pytest.mark.parametrize("metric", [rmse, mae])
def test_no_label_at_all_is_nan_with_a_warning(metric):
    with pytest.warns(UserWarning, match="1 or more different labels"):
        assert math.isnan(metric(np.full((2, 1), NAN), np.zeros((2, 1))))


def test_constant_predictions_are_chance():
    y_true = np.array([0.0, 1.0, 1.0])
    assert spearman(y_true, np.ones(3)) == 0.0
    assert roc_auc(y_true, np.ones(3)) == 0.5
    assert average_precision(y_true, np.ones(3)) == pytest.approx(2 / 3)


def test_evaluate():
    y_true, y_pred = torch.tensor([[0.0], [1.0]]), torch.tensor([[0.0], [1.0]], requires_grad=True)
    assert evaluate(y_true, y_pred, "regression") == {
        "rmse": 0.0, "mae": 0.0, "r2": 1.0, "spearman": pytest.approx(1.0),
    }  # fmt: skip
    scores = evaluate(y_true, y_pred, "classification")
    assert scores == {"roc_auc": 1.0, "average_precision": 1.0}
    assert all(type(score) is float for score in scores.values())


#: Two targets whose units differ by 1000, and a class; every kind of score by hand below.
MIXED = ["regression", "regression", "classification"]
Y_TRUE = np.array([[0.0, 0.0, 1], [2.0, 4000.0, 0], [NAN, 2000.0, 1], [1.0, NAN, 0]])
Y_PRED = np.array([[1.0, 0.0, 0.9], [2.0, 4000.0, 0.8], [5.0, 5000.0, 0.7], [1.0, 0.0, 0.1]])
SCALE = np.array([2.0, 1000.0, NAN])


def test_errors_of_several_units_are_divided_by_their_scale():
    scores = evaluate(Y_TRUE[:, :2], Y_PRED[:, :2], "regression", SCALE[:2])
    errors = math.sqrt(1 / 3), math.sqrt(3000**2 / 3)
    assert scores["rmse"] == pytest.approx(sum(errors) / 2)  # a mean over units
    assert scores["standardised_rmse"] == pytest.approx((errors[0] / 2 + errors[1] / 1000) / 2)
    assert scores["standardised_mae"] == pytest.approx((1 / 3 / 2 + 1000 / 1000) / 2)
    default = evaluate(Y_TRUE[:, :2], Y_PRED[:, :2], ["regression"] * 2)  # std of y_true
    stds = np.std([0, 2, 1]), np.std([0, 4000, 2000])
    assert default["standardised_mae"] == pytest.approx((1 / 3 / stds[0] + 1000 / stds[1]) / 2)


def test_mixed_tasks_by_hand():
    scores = evaluate(Y_TRUE, Y_PRED, MIXED, SCALE)
    assert list(scores) == metric_names(MIXED, 3)
    assert not {"rmse", "mae"} & scores.keys()
    errors = math.sqrt(1 / 3) / 2, math.sqrt(3000**2 / 3) / 1000
    assert scores["standardised_rmse"] == pytest.approx(sum(errors) / 2)
    assert scores["roc_auc"] == pytest.approx(3 / 4)
    assert scores["mixed_error"] == pytest.approx((sum(errors) + 2 * (1 - 3 / 4)) / 3)
    assert scores["r2"] == pytest.approx((1 - 1 / 2 + 1 - 9 / 8) / 2)


def test_mixed_error_is_1_of_means_and_chance_and_0_of_the_truth():
    y = Y_TRUE[:, [0, 2]]
    mean = np.tile([1.0, 0.5], (4, 1))
    assert evaluate(y, mean, MIXED[1:])["mixed_error"] == pytest.approx(1)
    assert evaluate(y, np.nan_to_num(y), MIXED[1:])["mixed_error"] == 0


def test_each_task_has_its_own_scores_in_its_own_unit():
    found = evaluate_tasks(Y_TRUE, Y_PRED, MIXED, ["a", "b", "c"])
    assert list(found) == ["a", "b", "c"]
    assert list(found["a"]) == ["rmse", "mae", "r2", "spearman"]
    assert found["b"]["mae"] == pytest.approx(1000)
    assert found["c"] == {
        "roc_auc": pytest.approx(3 / 4),
        "average_precision": pytest.approx(5 / 6),
    }
    undefined = evaluate_tasks(
        np.array([[NAN, 1], [NAN, 1]]), Y_PRED[:2, :2], MIXED[1:], ["a", "b"]
    )
    assert all(math.isnan(x) for scores in undefined.values() for x in scores.values())
    with pytest.raises(ValueError, match="2 names for 3 tasks"):
        evaluate_tasks(Y_TRUE, Y_PRED, MIXED, ["a", "b"])
    with pytest.raises(ValueError, match="same name: a, a, b"):
        evaluate_tasks(Y_TRUE, Y_PRED, MIXED, ["a", "a", "b"])


@pytest.mark.parametrize(
    ("task_type", "num_tasks", "metric", "expected"),
    [
        ("regression", 1, None, "rmse"),
        ("regression", 1, "mae", "mae"),
        ("regression", 2, None, "standardised_rmse"),
        ("regression", 2, "mae", "standardised_mae"),
        ("regression", 2, "spearman", "spearman"),
        ("classification", 2, None, "roc_auc"),
        (MIXED, 3, None, "mixed_error"),
        (MIXED, 3, "roc_auc", "roc_auc"),
        (["classification"] * 2, 2, None, "roc_auc"),
    ],
)
def test_no_epoch_is_chosen_by_a_mean_over_units(task_type, num_tasks, metric, expected):
    assert choosing_metric(task_type, num_tasks, metric) == expected


@pytest.mark.parametrize(
    ("task_type", "num_tasks", "metric"),
    [("regression", 1, "RMSE"), ("regression", 1, "standardised_rmse"), (MIXED, 3, "rmse"),
     ("classification", 1, "rmse"), ("regression", 1, "")],
)  # fmt: skip
def test_an_unknown_metric_lists_the_known(task_type, num_tasks, metric):
    known = ", ".join(metric_names(task_type, num_tasks))
    with pytest.raises(ValueError, match=f"must be one of {known} .*got {metric!r}"):
        choosing_metric(task_type, num_tasks, metric)


def test_tables_of_metrics_fit_together():
    everything = set()
    for kind in KINDS:
        everything |= set(metric_names(kind, 2))
        assert DEFAULT_METRIC[kind] in metric_names(kind, 1)
    everything |= set(metric_names(MIXED, 3))
    assert DEFAULT_METRIC["mixed"] in metric_names(MIXED, 3)
    assert set(LOWER_IS_BETTER) < everything


def test_errors_of_task_types_and_scale():
    with pytest.raises(ValueError, match="2 task types for 3 tasks"):
        evaluate(Y_TRUE, Y_PRED, MIXED[1:])
    with pytest.raises(ValueError, match="got 'mixed'"):
        evaluate(Y_TRUE, Y_PRED, "mixed")
    with pytest.raises(ValueError, match="2 scales for 3 tasks"):
        evaluate(Y_TRUE, Y_PRED, MIXED, SCALE[:2])
    for bad in (0.0, -1.0, NAN, np.inf):
        with pytest.raises(ValueError, match="must be positive"):
            evaluate(Y_TRUE, Y_PRED, MIXED, np.array([1.0, bad, 1.0]))


def test_errors():
    with pytest.raises(ValueError, match="task_type must be one of"):
        evaluate(np.zeros(2), np.zeros(2), "ranking")
    with pytest.raises(ValueError, match=r"y_pred is NaN or infinite in 2 of 4 rows: 1, 3"):
        rmse(np.zeros((4, 2)), np.array([[0, 0], [NAN, 0], [0, 0], [0, np.inf]]))
    with pytest.raises(ValueError, match=r"in 20 of 20 rows: 0, 1, .*, 9, \.\.\.$"):
        mae(np.zeros(20), np.full(20, NAN))
    with pytest.raises(ValueError, match="y_true is infinite in 1 of 2 rows: 0"):
        r2(np.array([np.inf, 0]), np.zeros(2))
    with pytest.raises(ValueError, match=r"y_true has shape \(2, 1\), but y_pred \(3, 1\)"):
        spearman(np.zeros(2), np.zeros(3))
    with pytest.raises(ValueError, match="nothing to score"):
        mae(np.zeros((0, 1)), np.zeros((0, 1)))
    with pytest.raises(ValueError, match=r"expected shape \[n, T\] or \[n\], got \(1, 1, 1\)"):
        rmse(np.zeros((1, 1, 1)), np.zeros((1, 1, 1)))
    for metric in (roc_auc, average_precision):
        with pytest.raises(ValueError, match=r"0, 1 or NaN \(missing\), found -1"):
            metric(np.array([-1, 1, 0]), np.zeros(3))


finite = st.floats(-100, 100, width=32)


@settings(deadline=None)
@given(arrays(np.float64, (6, 2), elements=finite), arrays(np.float64, (6, 2), elements=finite))
def test_bounds_and_symmetry(y_true, y_pred):
    assert 0 <= mae(y_true, y_pred) <= rmse(y_true, y_pred) + 1e-9
    assert mae(y_true, y_pred) == pytest.approx(mae(y_pred, y_true))
    assert rmse(y_true, y_true) == 0


@settings(deadline=None)
@given(arrays(np.int64, 12, elements=st.integers(0, 1)), arrays(np.float64, 12, elements=finite))
def test_missing_labels_do_not_count(labels, scores):
    labels[:2] = [0, 1]
    padded = np.concatenate([labels, np.full(3, NAN)])
    value = roc_auc(padded, np.concatenate([scores, [5.0, -5.0, 0.0]]))
    assert value == pytest.approx(roc_auc_score(labels, scores))
    assert roc_auc(labels, -scores) == pytest.approx(1 - value)


CLASSES = np.array([0.0, 1.0, 2.0, 1.0, NAN])
PROBABILITIES = np.array(
    [[0.7, 0.2, 0.1], [0.3, 0.3, 0.4], [0.1, 0.2, 0.7], [0.2, 0.6, 0.2], [1.0, 0.0, 0.0]]
)


def test_several_classes_by_hand():
    scores = evaluate(CLASSES, PROBABILITIES, "multiclass")
    assert list(scores) == metric_names("multiclass", 1)
    assert scores["accuracy"] == pytest.approx(3 / 4)  # the second row is taken for class 2
    # class 0: 0.7 is above all others, 1; class 1: 0.3 and 0.6 beat both 0.2, 1; class 2: 1
    assert scores["macro_roc_auc"] == pytest.approx(1)
    logs = [math.log(p) for p in (0.7, 0.3, 0.7, 0.6)]
    assert scores["log_loss"] == pytest.approx(-sum(logs) / 4)
    worse = PROBABILITIES.copy()
    worse[3] = [0.8, 0.2, 0.0]  # class 0: 0.7 is below it, 2 of 3; class 1: (1 + 1/2 + 1/2) / 4...
    by_hand = [2 / 3, (1 + 1 + 0.5 + 0.5) / 4, 1]
    assert evaluate(CLASSES, worse, "multiclass")["macro_roc_auc"] == pytest.approx(
        np.mean(by_hand)
    )


def test_macro_roc_auc_is_that_of_sklearn():
    generator = np.random.default_rng(0)
    y, p = generator.integers(0, 4, 60), generator.dirichlet(np.ones(4), 60)
    wanted = roc_auc_score(y, p, multi_class="ovr", average="macro")
    assert evaluate(y, p, "multiclass")["macro_roc_auc"] == pytest.approx(wanted)


def test_a_class_that_does_not_occur_is_left_out():
    rows = np.flatnonzero(CLASSES < 2)
    scores = evaluate(CLASSES[rows], PROBABILITIES[rows], "multiclass")
    assert scores["macro_roc_auc"] == pytest.approx(1)
    with pytest.warns(UserWarning, match="macro_roc_auc is undefined"):
        one = evaluate(np.array([1.0]), PROBABILITIES[:1], "multiclass")
    assert math.isnan(one["macro_roc_auc"])
    assert one["accuracy"] == 0
    nothing = np.array([[1.0, 0.0, 0.0]] * 2)
    found = evaluate(np.array([1.0, 0.0]), nothing, "multiclass")
    assert found["log_loss"] == pytest.approx(-math.log(1e-7) / 2)


def test_mixed_tasks_have_their_own_columns():
    y = np.stack([CLASSES, [1.0, 2.0, 3.0, 4.0, 5.0], [0.0, 1.0, 0.0, 1.0, 1.0]], 1)
    predicted = np.column_stack([PROBABILITIES, [1.0, 2.0, 3.0, 4.0, 6.0], y[:, 2]])
    types, num_outputs = ["multiclass", "regression", "classification"], [3, 1, 1]
    scores = evaluate(y, predicted, types, np.array([NAN, 2.0, NAN]), num_outputs)
    assert list(scores) == metric_names(types, 3)
    rmse_of_value = math.sqrt(1 / 5)
    assert scores["mixed_error"] == pytest.approx((0 + rmse_of_value / 2 + 0) / 3)
    by_task = evaluate_tasks(y, predicted, types, ["grade", "value", "hit"], num_outputs)
    assert by_task["grade"]["accuracy"] == pytest.approx(3 / 4)
    assert by_task["value"]["mae"] == pytest.approx(1 / 5)
    assert by_task["hit"]["roc_auc"] == 1
    assert evaluate(y, predicted, types) == pytest.approx(
        evaluate(y, predicted, types, None, num_outputs)
    )
    with pytest.raises(ValueError, match=r"y_true has shape \(5, 3\), but y_pred \(5, 4\)"):
        evaluate(y, predicted[:, 1:], types, None, num_outputs)
    with pytest.raises(ValueError, match="integers from 0 to 2 or NaN"):
        evaluate(CLASSES + 1, PROBABILITIES, "multiclass")
    with pytest.raises(ValueError, match="integers from 0 to 2 or NaN"):
        evaluate(CLASSES + 0.5, PROBABILITIES, "multiclass")
