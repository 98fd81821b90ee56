"""The kinds of targets: their columns, and labels that are no classes."""

import numpy as np
import pytest

from molae_pyg.kinds import (
    as_outputs,
    first_wrong_class,
    num_columns,
    output_slices,
    outputs_of,
)

NAN = float("nan")
MIXED = ["regression", "multiclass", "classification"]


def test_outputs_of_each_kind():
    assert outputs_of(["regression", "classification"]) == [1, 1]
    assert outputs_of(["multiclass"] * 2, 4) == [4, 4]
    assert outputs_of(MIXED, [1, 3, 2]) == [1, 3, 1]
    assert output_slices([1, 3, 1]) == [slice(0, 1), slice(1, 4), slice(4, 5)]


@pytest.mark.parametrize("number", [None, 1, 0, 2.0, "3"])
def test_several_classes_need_their_number(number):
    with pytest.raises(ValueError, match=f"at least 2 for a multiclass task, got {number!r}"):
        outputs_of(MIXED, [1, number, 1])


def test_numbers_of_classes_are_one_a_task():
    with pytest.raises(ValueError, match="2 numbers of classes for 3 tasks"):
        outputs_of(MIXED, [3, 3])


def test_labels_in_the_form_of_predictions():
    y = np.array([[0.5, 2.0, 1.0], [NAN, 0.0, 0.0], [1.5, NAN, NAN]])
    wanted = [[0.5, 0, 0, 1, 1], [NAN, 1, 0, 0, 0], [1.5, NAN, NAN, NAN, NAN]]
    assert np.array_equal(as_outputs(y, [1, 3, 1]), wanted, equal_nan=True)


@pytest.mark.parametrize(
    ("labels", "kind", "number", "wanted"),
    [
        ([0, 1, NAN], "classification", None, None),
        ([0, 2], "classification", None, (1, "class labels must be 0, 1 or NaN (missing)")),
        ([0.5, -3], "regression", None, None),
        ([0, 2, NAN], "multiclass", 3, None),
        ([0, 7], "multiclass", None, None),
        (
            [0, 3],
            "multiclass",
            3,
            (1, "class labels must be integers from 0 to 2 or NaN (missing)"),
        ),
        (
            [NAN, -1],
            "multiclass",
            None,
            (1, "class labels must be integers from 0 or NaN (missing)"),
        ),
        ([0.5], "multiclass", 3, (0, "class labels must be integers from 0 to 2 or NaN (missing)")),
    ],
)
def test_the_first_label_that_is_no_class(labels, kind, number, wanted):
    assert first_wrong_class(np.array(labels, float), kind, number) == wanted


def test_columns_are_counted_without_lists_of_tasks():
    assert num_columns("regression", 10**12) == 10**12
    assert num_columns("multiclass", 2, 3) == 6
    assert num_columns("multiclass", 2, [3, 4]) == 7
    assert num_columns(["regression", "multiclass"], 2, [1, 4]) == 5
    for types, number, classes in ((["regression"], 10**12, None), ("multiclass", 10**12, [2])):
        with pytest.raises(ValueError, match="for 1000000000000 tasks"):
            num_columns(types, number, classes)
