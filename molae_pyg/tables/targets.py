"""Reads a column as a target: numbers, two classes, or an error with the reason."""

import os
from collections.abc import Mapping
from itertools import islice
from typing import NamedTuple

import numpy as np

from molae_pyg.metrics import TaskType
from molae_pyg.tables.columns import Column, Content, no_target, oddity, two_classes

TYPES = ("regression", "classification")
DeclaredTypes = TaskType | Mapping[str, TaskType] | None
_FEW = 10  # largest number of different integers that may be classes
_SOME = 20  # largest number of different cells that may be classes
_NAMED = 12  # columns in a description
_SHOWN = 6  # words and rows in a message


class Reading(NamedTuple):
    """A column read as a target."""

    #: Description, such as ``"2 classes (3 no = 0, 2 yes = 1)"``.
    text: str
    #: Type of the target.
    task_type: TaskType = "regression"
    #: Labels ``[n]`` float64, NaN = missing; None if it cannot be read.
    y: np.ndarray | None = None
    #: Reason why it cannot be read, and the remedy.
    problem: str = ""
    #: A decision that may be wrong.
    doubt: str = ""


def read_target(column: Column, task_type: TaskType | None) -> Reading:
    """Reads a column as a target.

    Args:
        column: The column.
        task_type: Declared type. None: inferred; a column that allows several is a problem.
    """
    content = Content(column)
    if content.num_labels == 0:
        return Reading("empty", problem="every label is missing")
    if (problem := _unreadable(content)) is not None:
        return problem
    if task_type == "regression":
        return _numbers(content)
    if task_type == "classification":
        return _classes(content)
    return _inferred(content)


def _inferred(content: Content) -> Reading:
    """Infers the type of a column."""
    name, numbers = content.column.name, content.numbers
    if content.present:  # words, perhaps beside numbers
        return _classes(content)
    low, high = numbers[0], numbers[-1]
    different, labels = len(numbers), content.num_labels
    repeated = labels >= 2 * different
    integers = bool((numbers == np.round(numbers)).all())
    values = ", ".join(f"{value:g}" for value in numbers[:_FEW])
    kinds = {*numbers.tolist()}
    if {-1.0, 0.0} <= kinds <= {-1.0, 0.0, 1.0} and (repeated or different == 3):
        return Reading(
            f"{values}, where -1 is open",
            problem=f"it holds {values}, where -1 may be a missing label (as in the files of "
            f"Uni-Mol) or a value. task_type={{{name!r}: 'classification'}} takes 0 and 1 as "
            f"classes and -1 as missing, {{{name!r}: 'regression'}} takes all as numbers",
        )
    if kinds <= {0.0, 1.0} or kinds == {-1.0, 1.0} or (different == 2 and labels > 2):
        return _classes(content)
    contiguous = high - low == different - 1 and low in (-1, 0, 1)
    if integers and 3 <= different <= _FEW and contiguous and repeated:
        return Reading(
            f"{different} classes {values}, or numbers",
            problem=f"it holds the {different} values {values}, which look like classes; there are "
            f"no models for more than two. task_type={{{name!r}: 'regression'}} takes them as "
            "numbers; for two classes write 0 and 1 in the file",
        )
    reading = _numbers(content)
    if integers and 2 < different <= _FEW:
        doubt = f"the {different} values {values} of column {name!r} are taken as numbers"
        return reading._replace(doubt=doubt)
    return reading


def _numbers(content: Content) -> Reading:
    if content.present:
        text = next(iter(content.present))
        return Reading("text", problem=_not_a_number(content, [text], "is not a number"))
    return Reading(f"regression, {_labels(content)}", "regression", content.values)


def _classes(content: Content) -> Reading:
    name = content.column.name
    if content.num_different() > _SOME:
        return _no_classes(content)
    words = content.words()
    missing = 0
    if not content.present and -1.0 in content.numbers and 0.0 in content.numbers:
        missing = words.pop("-1")  # as in the files of Uni-Mol
    found = two_classes(words)
    if found is None:
        return _no_classes(content)
    classes, certain = found
    order = sorted(words, key=lambda text: (classes[text], -words[text]))
    shown = ", ".join(f"{words[text]:,} {_word(content, text)} = {classes[text]}" for text in order)
    text = f"2 classes ({shown})"
    if content.num_missing + missing:
        text += f", {content.num_missing + missing:,} missing"
    doubt = ""
    if missing:
        doubt = f"-1 in column {name!r} is taken as a missing label ({missing:,} cells)"
    elif not certain:
        taken = ", ".join(f"{_word(content, text)!r} as class {classes[text]}" for text in order)
        doubt = f"column {name!r} is taken as two classes: {taken}"
    return Reading(text, "classification", content.as_classes(classes), doubt=doubt)


def _word(content: Content, text: str) -> str:
    """Returns a class as it is written in the file."""
    return next((cell for cell in content.present if cell.lower() == text), text)


def _no_classes(content: Content) -> Reading:
    different = content.num_different()
    if content.num_numbers > sum(content.present.values()) and content.present:
        bad = list(content.present)
        return Reading("numbers and text", problem=_not_a_number(content, bad, "is not a number"))
    if different > _SOME:
        shown = f"{different:,} different values"
        return Reading(
            shown, problem=f"it holds {shown}: two classes are needed, or numbers for regression"
        )
    words = content.words()
    shown = ", ".join(f"{_word(content, text)!r}" for text, _ in words.most_common(_SHOWN))
    if len(words) == 1:
        problem = f"it holds {shown} only, and its class is unknown"
    else:
        problem = f"it holds {len(words)} classes ({shown}), but models are for two"
    return Reading(
        f"{len(words)} classes {shown}",
        problem=f"{problem}. Write 0 and 1 in the file, and leave cells without a label empty",
    )


def _unreadable(content: Content) -> Reading | None:
    """Returns the problem of a column with numbers in an unreadable form, or None."""
    kinds: dict[str, list[str]] = {}
    for text in content.present:
        if kind := oddity(text):
            kinds.setdefault(kind, []).append(text)
    if texts := kinds.get("censored"):
        problem = _not_a_number(content, texts, "is a bound, not a value (censored)")
        remedy = "Remove such rows, or write two classes, such as active and inactive"
        return Reading("censored numbers", problem=f"{problem}. {remedy}")
    if texts := kinds.get("commas"):
        problem = _not_a_number(content, texts, "is not a number: it is written with a comma")
        remedy = "Save the table with decimal points and without separators of thousands"
        return Reading("numbers with commas", problem=f"{problem}. {remedy}")
    if texts := kinds.get("other"):
        others = sum(n for text, n in content.present.items() if not oddity(text))
        if content.num_labels - others > others:
            problem = _not_a_number(content, texts, "is not a number")
            return Reading("numbers with text", problem=f"{problem}. Write numbers alone")
    return None


def _not_a_number(content: Content, texts: list[str], what: str) -> str:
    rows = content.rows_of(texts)
    cell = content.column.texts[content.places[rows[0]]]
    named = ", ".join(map(str, rows[:_SHOWN].tolist())) + (", ..." if len(rows) > _SHOWN else "")
    return f"row {rows[0]} reads {cell!r}, which {what} ({len(rows):,} such cells: rows {named})"


def _labels(content: Content) -> str:
    missing = f", {content.num_missing:,} missing" if content.num_missing else ""
    return f"{content.num_labels:,} labels{missing}"


def candidates(
    columns: list[Column], types: DeclaredTypes, path: str | os.PathLike
) -> tuple[list[Column], dict[str, str]]:
    """Returns the one column that can be the target, and why the others cannot.

    Raises:
        ValueError: If there is none, or several; the message lists them with their types.
    """
    reasons = [(column, no_target(column)) for column in columns]
    found = [column for column, reason in reasons if not reason]
    left_out = {column.name: reason for column, reason in reasons if reason}
    if len(found) == 1:
        return found, left_out
    if not found:
        raise ValueError(
            f"{path}: found no target; name the targets with target_columns= (--targets). "
            f"{describe({}, left_out) or 'There is no column but the SMILES'}"
        )
    named = {column.name: read_target(column, type_of(column, types)) for column in found}
    listed = "; ".join(f"{name}: {reading.text}" for name, reading in islice(named.items(), 40))
    raise ValueError(
        f"{path}: {len(found)} columns can be the target: {listed}. Name those that are with "
        f"target_columns= (--targets), such as {found[0].name!r}. {describe({}, left_out)}"
    )


def type_of(column: Column, types: DeclaredTypes) -> TaskType | None:
    """Returns the declared type of a column."""
    return types.get(column.name) if isinstance(types, Mapping) else types


def describe(readings: Mapping[str, Reading], left_out: Mapping[str, str]) -> str:
    """Returns a line with the type of each target and why the other columns are not targets."""
    parts = [f"{name}: {reading.text}" for name, reading in readings.items()]
    if len(parts) > _NAMED:
        types = [reading.task_type for reading in readings.values()]
        counts = ", ".join(f"{types.count(kind)} {kind}" for kind in TYPES if kind in types)
        parts = [f"{len(parts)} targets ({counts}): {', '.join(list(readings)[:_NAMED])}, ..."]
    others = [f"{name or 'a column without a name'} ({why})" for name, why in left_out.items()]
    if others:
        more = f" and {len(others) - _NAMED} others" if len(others) > _NAMED else ""
        parts.append(f"not targets: {', '.join(others[:_NAMED])}{more}")
    return "; ".join(parts)
