"""Checks of constructor arguments, so that a wrong one is named before anything is built."""

import operator
from typing import Any


def size(name: str, value: Any, least: int = 1) -> int:
    """Returns a whole number as ``int``.

    Args:
        name: Of the argument, for the message.
        value: What was given; NumPy's integers are allowed, bools and floats are not.
        least: Smallest value allowed, default 1.

    Raises:
        ValueError: It is no integer, or smaller than ``least``.
    """
    try:
        number = None if isinstance(value, bool) else operator.index(value)
    except TypeError:
        number = None
    if number is None or number < least:
        raise ValueError(f"{name} must be an integer of at least {least}, got {value!r}")
    return number


def share(name: str, value: Any) -> float:
    """Returns the share that dropout sets to zero.

    Raises:
        ValueError: It is no number, or not in [0, 1).
    """
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    if not is_number or not 0 <= value < 1:
        raise ValueError(f"{name} must be a number in [0, 1), got {value!r}")
    return value
