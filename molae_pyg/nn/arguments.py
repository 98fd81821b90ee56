"""Constructor arguments: checked before anything is built, and shown by ``repr``."""

import inspect
import operator
from typing import Any

from torch import nn


def size(name: str, value: Any, least: int = 1) -> int:
    """Returns a whole number as ``int``.

    Args:
        name: Name of the argument, for the message.
        value: The value given. NumPy's integers are allowed, bools and floats are not.
        least: Smallest value allowed, default: 1.

    Raises:
        ValueError: The value is no integer, or it is smaller than ``least``.
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
        ValueError: The value is no number, or it is not in [0, 1).
    """
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    if not is_number or not 0 <= value < 1:
        raise ValueError(f"{name} must be a number in [0, 1), got {value!r}")
    return value


class ShowsArguments:
    """Shows a module as the call that builds it, with every argument.

    The module keeps each argument in an attribute of the same name, or in ``config``.
    """

    def __repr__(self) -> str:
        config, shown = getattr(self, "config", {}), []
        for name, parameter in inspect.signature(type(self)).parameters.items():
            value = getattr(self, name, parameter.default)
            if not isinstance(value, ShowsArguments):  # a submodule shows itself
                value = config.get(name, value)
            if isinstance(value, nn.Dropout):
                value = value.p
            shown.append(f"{name}={value!r}" if shown else repr(value))
        return f"{type(self).__name__}({', '.join(shown)})"
