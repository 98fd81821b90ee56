"""Reads a column as a target: numbers, bounds, classes, or an error with the reason."""

import os
from collections import Counter
from collections.abc import Mapping
from itertools import islice
from typing import NamedTuple

import numpy as np

from molae_pyg.kinds import KINDS, TaskType
from molae_pyg.tables.cells import number, oddity
from molae_pyg.tables.columns import WORDS, Column, Content, no_target, two_classes

DeclaredTypes = TaskType | Mapping[str, TaskType] | None
_FEW = 10  # largest number of different integers that may be classes
_SOME = 20  # largest number of different cells that may be classes
_NAMED = 12  # columns in a description
_SHOWN = 6  # words and rows in a message
# Words beside two classes that may be no label at all.
_OPEN = frozenset(("inconclusive", "equivocal", "unspecified", "indeterminate", "ambiguous"))


class Reading(NamedTuple):
    """A column read as a target."""

    #: Description, such as ``"2 classes (3 no = 0, 2 yes = 1)"``.
    text: str
    #: Type of the target.
    task_type: TaskType = "regression"
    #: Labels ``[n]`` float64, NaN = missing; None if it cannot be read.
    y: np.ndarray | None = None
    #: Side of each bound ``[n]`` int8, 0 for exact numbers; None if there is no bound.
    bound: np.ndarray | None = None
    #: Names of the classes of a multiclass target, as they are in the file.
    classes: tuple[str, ...] = ()
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
    if task_type in ("classification", "multiclass"):
        return _classes(content, task_type)
    if (problem := _unreadable(content)) is not None:
        return problem
    return _numbers(content) if task_type == "regression" else _inferred(content)


def _inferred(content: Content) -> Reading:
    """Infers the type of a column."""
    name, numbers = content.column.name, content.numbers
    if content.bounds:
        return _numbers(content)
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
            problem=f"it holds the {different} values {values}, which look like classes. "
            f"task_type={{{name!r}: 'multiclass'}} takes them as {different} classes, "
            f"{{{name!r}: 'regression'}} as numbers",
        )
    reading = _numbers(content)
    if integers and 2 < different <= _FEW:
        doubt = f"the {different} values {values} of column {name!r} are taken as numbers"
        return reading._replace(doubt=doubt)
    return reading


def _numbers(content: Content) -> Reading:
    if others := [text for text in content.present if text not in content.bounds]:
        problem = _not_a_number(content, others[:1], "is not a number")
        if content.bounds and len(content.present) > len(content.numbers):
            problem += f". task_type={{{content.column.name!r}: 'multiclass'}} takes all as classes"
        return Reading("text", problem=problem)
    if not content.bounds:
        return Reading(f"regression, {_labels(content)}", "regression", content.values)
    number_of = sum(content.present.values())
    if not content.num_numbers:
        shown = next(iter(content.bounds))
        problem = f"each of its {number_of:,} labels is a bound, such as {shown!r}"
        remedy = "Write two classes, such as active and inactive"
        return Reading("bounds alone", problem=f"{problem}. {remedy}")
    y, side = content.values.copy(), np.zeros(len(content.values), np.int8)
    for place, text in enumerate(content.column.texts):
        if text in content.bounds:
            rows = content.places == place
            y[rows], side[rows] = content.bounds[text]
    text = f"regression, {_labels(content, f', {number_of:,} of them bounds')}"
    return Reading(text, "regression", y, side)


def _classes(content: Content, declared: TaskType | None = None) -> Reading:
    if content.num_different() > _SOME:
        return _no_classes(content)
    words, missing = content.words(), 0
    if declared == "multiclass":
        return _several(content, words)
    if not content.present and -1.0 in content.numbers and 0.0 in content.numbers:
        missing = words.pop("-1")  # as in the files of Uni-Mol
    if (found := two_classes(words)) is not None:
        return _two(content, words, missing, *found)
    is_mixed = content.present and content.num_numbers > sum(content.present.values())
    repeated = content.num_labels >= 2 * len(words)
    if declared is None and len(words) > 2 and repeated and not is_mixed:
        return _several(content, words)
    return _no_classes(content)


def _two(
    content: Content, words: Counter, missing: int, classes: dict[str, int], certain: bool
) -> Reading:
    """Reads two classes; ``missing`` cells with -1 have no label."""
    name = content.column.name
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


def _several(content: Content, words: Counter) -> Reading:
    """Reads several classes, numbered in the order of numbers and of the alphabet."""
    order = sorted(words, key=lambda text: (number(text) is None, number(text) or 0.0, text))
    names = tuple(_word(content, text) for text in order)
    shown = ", ".join(f"{words[text]:,} {name}" for text, name in zip(order, names, strict=True))
    text = f"{len(names)} class{'es' * (len(names) > 1)} ({shown})"
    if content.num_missing:
        text += f", {content.num_missing:,} missing"
    y = content.as_classes({text: place for place, text in enumerate(order)})
    doubt, open_ = "", [text for text in order if text in _OPEN]
    if len(open_) == 1 and len(order) == 3:
        doubt = (
            f"{_word(content, open_[0])!r} in column {content.column.name!r} is taken as a third "
            "class: leave such cells empty if they have no label"
        )
    return Reading(text, "multiclass", y, classes=names, doubt=doubt)


def _word(content: Content, text: str) -> str:
    """Returns a class as it is written in the file."""
    return next((cell for cell in content.present if cell.lower() == text), text)


def _no_classes(content: Content) -> Reading:
    different, name = content.num_different(), content.column.name
    if content.num_numbers > sum(content.present.values()) and content.present:
        bad = list(content.present)
        return Reading("numbers and text", problem=_not_a_number(content, bad, "is not a number"))
    if different > _SOME:
        shown = f"{different:,} different values"
        return Reading(
            shown,
            problem=f"it holds {shown}: two to {_SOME} classes are needed, or numbers for "
            "regression",
        )
    words = content.words()
    shown = ", ".join(f"{_word(content, text)!r}" for text, _ in words.most_common(_SHOWN))
    if len(words) == 1:
        problem = f"it holds {shown} only, and its class is unknown"
        remedy = "Write 0 and 1 in the file, and leave cells without a label empty"
    else:
        rare = content.num_labels < 2 * len(words)
        problem = f"it holds {len(words)} classes ({shown})" + ", most of them once" * rare
        remedy = (
            f"task_type={{{name!r}: 'multiclass'}} takes all of them as classes; for two classes "
            "write 0 and 1 in the file"
        )
    return Reading(f"{len(words)} classes {shown}", problem=f"{problem}. {remedy}")


def _unreadable(content: Content) -> Reading | None:
    """Returns the problem of a column with numbers in an unreadable form, or None."""
    kinds: dict[str, list[str]] = {}
    for text in content.present:
        if kind := oddity(text):
            kinds.setdefault(kind, []).append(text)
    if texts := kinds.get("approximate"):
        problem = _not_a_number(content, texts, "is neither a number nor a bound")
        remedy = "Write the number alone, or a bound such as >10, or leave the cell empty"
        return Reading("approximate numbers", problem=f"{problem}. {remedy}")
    if texts := kinds.get("commas"):
        problem = _not_a_number(content, texts, "is not a number: it is written with a comma")
        remedy = "Save the table with decimal points and without separators of thousands"
        return Reading("numbers with commas", problem=f"{problem}. {remedy}")
    if texts := kinds.get("other"):
        others = sum(
            n
            for text, n in content.present.items()
            if not oddity(text) and text not in content.bounds
        )
        if content.num_labels - others > others:
            problem = _not_a_number(content, texts, "is not a number")
            remedy = "Write numbers alone"
            if content.num_labels > content.num_different() <= _SOME:
                remedy += (
                    f", or declare classes: task_type={{{content.column.name!r}: 'multiclass'}}"
                )
            return Reading("numbers with text", problem=f"{problem}. {remedy}")
    return None


def _not_a_number(content: Content, texts: list[str], what: str) -> str:
    rows = content.rows_of(texts)
    cell = content.column.texts[content.places[rows[0]]]
    named = ", ".join(map(str, rows[:_SHOWN].tolist())) + (", ..." if len(rows) > _SHOWN else "")
    return f"row {rows[0]} reads {cell!r}, which {what} ({len(rows):,} such cells: rows {named})"


def _labels(content: Content, bounds: str = "") -> str:
    missing = f", {content.num_missing:,} missing" if content.num_missing else ""
    return f"{content.num_labels:,} labels{bounds}{missing}"


def candidates(
    columns: list[Column], types: DeclaredTypes, path: str | os.PathLike, several: bool = False
) -> tuple[list[Column], dict[str, str]]:
    """Returns the one column that can be the target, or several, and why the others cannot.

    Raises:
        ValueError: If there is none, or several where one is wanted; the message lists them.
    """
    reasons = [(column, no_target(column)) for column in columns]
    found = [column for column, reason in reasons if not reason]
    found = found or [column for column, reason in reasons if reason == WORDS]
    left_out = {column.name: reason for column, reason in reasons if column not in found}
    if len(found) == 1 or (several and found):
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
        f"target_columns= (--targets), such as {found[0].name!r}, or all. {describe({}, left_out)}"
    )


def type_of(column: Column, types: DeclaredTypes) -> TaskType | None:
    """Returns the declared type of a column."""
    return types.get(column.name) if isinstance(types, Mapping) else types


def describe(readings: Mapping[str, Reading], left_out: Mapping[str, str]) -> str:
    """Returns a line with the type of each target and why the other columns are not targets."""
    parts = [f"{name}: {reading.text}" for name, reading in readings.items()]
    if len(parts) > _NAMED:
        types = [reading.task_type for reading in readings.values()]
        counts = ", ".join(f"{types.count(kind)} {kind}" for kind in KINDS if kind in types)
        parts = [f"{len(parts)} targets ({counts}): {', '.join(list(readings)[:_NAMED])}, ..."]
    others = [f"{name or 'a column without a name'} ({why})" for name, why in left_out.items()]
    if others:
        more = f" and {len(others) - _NAMED} others" if len(others) > _NAMED else ""
        parts.append(f"not targets: {', '.join(others[:_NAMED])}{more}")
    return "; ".join(parts)
