"""The kinds of targets: numbers, two classes, several classes; and their columns in predictions.

Predictions of a model have shape ``[n, O]``. A target of numbers or of two classes has one column
(a value, or the probability of class 1), a target of C classes has C columns (the probability of
each). Labels have shape ``[n, T]``, one column for each target: the value, 0 or 1, or the index of
the class; NaN = missing.
"""

from collections.abc import Sequence
from itertools import pairwise
from typing import Literal

import numpy as np

TaskType = Literal["regression", "classification", "multiclass"]
TaskTypes = TaskType | Sequence[TaskType]

#: All kinds: numbers, two classes, three or more classes.
KINDS: tuple[TaskType, ...] = ("regression", "classification", "multiclass")


def common_type(task_types: Sequence[TaskType]) -> str:
    """Returns the type of all tasks, or ``"mixed"`` if there are tasks of several types."""
    return task_types[0] if len(set(task_types)) == 1 else "mixed"


def one_type_a_task(task_type: TaskTypes, num_tasks: int) -> list[TaskType]:
    """Repeats one task type for all tasks, or checks that there is one for each (ValueError)."""
    types = [task_type] * num_tasks if isinstance(task_type, str) else list(task_type)
    for found in types:
        if found not in KINDS:
            known = f"one of {list(KINDS)}, or a list with one for each task"
            raise ValueError(f"task_type must be {known}, got {found!r}")
    if len(types) != num_tasks:
        raise ValueError(f"{len(types)} task types for {num_tasks} tasks")
    return types


def outputs_of(
    task_types: Sequence[TaskType], num_classes: int | Sequence[int] | None = None
) -> list[int]:
    """Returns the number of outputs of each task.

    Args:
        task_types: Type of each task ``[T]``.
        num_classes: Number of classes of all multiclass tasks, or one number for each task, which
            counts for multiclass tasks only. default: None, if there is no multiclass task.

    Raises:
        ValueError: A multiclass task has no number of classes, or fewer than two.
    """
    if num_classes is None or isinstance(num_classes, int):
        num_classes = [num_classes] * len(task_types)
    if len(num_classes) != len(task_types):
        raise ValueError(f"{len(num_classes)} numbers of classes for {len(task_types)} tasks")
    found = []
    for kind, number in zip(task_types, num_classes, strict=True):
        if kind != "multiclass":
            found.append(1)
        elif isinstance(number, int) and number >= 2:
            found.append(number)
        else:
            raise ValueError(
                "num_classes must be an integer of at least 2 for a multiclass task, got "
                f"{number!r}"
            )
    return found


def num_columns(
    task_type: TaskTypes, num_tasks: int, num_classes: int | Sequence[int] | None = None
) -> int:
    """Returns the sum of :func:`outputs_of`, without a list if all tasks are alike.

    Raises:
        ValueError: There is another number of types or numbers of classes than of tasks.
    """
    if isinstance(task_type, str) and (num_classes is None or isinstance(num_classes, int)):
        return num_tasks * (max(num_classes or 1, 1) if task_type == "multiclass" else 1)
    for what, given in (("task types", task_type), ("numbers of classes", num_classes)):
        if isinstance(given, Sequence) and not isinstance(given, str) and len(given) != num_tasks:
            raise ValueError(f"{len(given)} {what} for {num_tasks} tasks")
    return sum(outputs_of(one_type_a_task(task_type, num_tasks), num_classes))


def output_slices(num_outputs: Sequence[int]) -> list[slice]:
    """Returns the columns ``[O]`` of each task in predictions."""
    ends = np.cumsum([0, *num_outputs]).tolist()
    return [slice(first, last) for first, last in pairwise(ends)]


def as_outputs(y: np.ndarray, num_outputs: Sequence[int]) -> np.ndarray:
    """Returns labels ``[n, T]`` in the form of predictions ``[n, O]``.

    Classes of a multiclass task become ones and zeros; a missing label is NaN in all its columns.
    """
    columns = []
    for labels, number in zip(y.T, num_outputs, strict=True):
        if number == 1:
            columns.append(labels[:, None])
            continue
        ones = (labels[:, None] == np.arange(number)).astype(float)  # [n, C]
        columns.append(np.where(np.isnan(labels)[:, None], np.nan, ones))
    return np.concatenate(columns, axis=1)


def of_predicted_class(logits: np.ndarray, num_outputs: Sequence[int]) -> np.ndarray:
    """Returns one column for each task ``[m, T]`` from values and logits ``[m, O]``.

    Logits of several classes become the log-odds of the class with the largest logit in row 0.
    """
    columns = []
    for place in output_slices(num_outputs):
        found = logits[:, place]  # [m, C]
        if found.shape[1] > 1:
            best = found[0].argmax()
            rest = np.logaddexp.reduce(np.delete(found, best, axis=1), axis=1)
            found = (found[:, best] - rest)[:, None]
        columns.append(found)
    return np.concatenate(columns, axis=1)


def class_weights(y: np.ndarray, number: int) -> np.ndarray:
    """Returns a weight for each class ``[number]``: classes that occur get the same sum of weights.

    The mean weight of the labels ``y [n]`` (NaN = missing) is 1; a class without a label has 1.
    """
    count = np.bincount(y[~np.isnan(y)].astype(int), minlength=number)
    weights = np.ones(number)
    weights[count > 0] = count.sum() / np.count_nonzero(count) / count[count > 0]
    return weights


def first_wrong_class(
    labels: np.ndarray, kind: TaskType, number: int | None = None
) -> tuple[int, str] | None:
    """Returns the first row whose label is no class, and what labels must be; None if all are.

    Args:
        labels: Labels of one target ``[n]``, NaN = missing.
        kind: Its type; numbers may have any value.
        number: Number of classes of a multiclass target. default: any.
    """
    if kind == "regression":
        return None
    most = 2 if kind == "classification" else number
    wrong = ~np.isnan(labels) & ((labels < 0) | (labels % 1 != 0))
    if most is not None:
        wrong |= labels >= most
    if not wrong.any():
        return None
    some = "0, 1" if most == 2 else "integers from 0" + (f" to {most - 1}" if most else "")
    return int(np.flatnonzero(wrong)[0]), f"class labels must be {some} or NaN (missing)"
