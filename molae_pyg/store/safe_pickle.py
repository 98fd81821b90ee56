"""Reads pickles of plain data and NumPy arrays without running what they name.

A pickle is a program: it may name any function and have it called. Here a name is refused unless
it is in a short table, whose functions are written for this purpose. NumPy's own functions are not
in it, because a state given to them can turn bytes into addresses: the type, shape and bytes of an
array are collected first and then checked.
"""

import io
import math
import pickle
import re
from collections.abc import Callable, Iterable
from itertools import chain
from reprlib import repr as shortened
from typing import Any, ClassVar

import numpy as np

#: Largest number of values, also in arrays, that a pickle may unfold to; a molecule has thousands.
MAX_VALUES = 20_000_000
_DTYPE = re.compile(r"[<>|=]?([biufcSUO]\d{1,5}|\?)")


class UnsafePickleError(Exception):
    """A pickle names something that plain data does not need."""


def loads(content: bytes) -> Any:
    """Reads a pickle of any protocol; RDKit molecules in it are read as empty objects.

    Raises:
        UnsafePickleError: If it names anything but plain containers and arrays. It has not been
            called.
        ValueError: If it contains itself, is nested too deeply, or unfolds to more than
            :data:`MAX_VALUES` values, as a few bytes that refer to each other can.
        Exception: If it is damaged, as in :func:`pickle.loads`, or the bytes of an array do not
            fit its shape.
    """
    try:
        return _Plain().of(_Unpickler(io.BytesIO(content)).load())
    except RecursionError:
        raise ValueError("it is nested too deeply") from None
    except (LookupError, AttributeError, AssertionError) as error:  # of the unpickler in Python
        raise pickle.UnpicklingError(f"it is damaged: {error!r}") from None


class _Unpickler(pickle._Unpickler):  # the one in Python, whose steps can be replaced
    dispatch: ClassVar = dict(pickle._Unpickler.dispatch)

    def find_class(self, module: str, name: str) -> Any:
        try:
            return _NAMES[module, name]
        except KeyError:
            raise UnsafePickleError(f"{module}.{name}") from None

    def persistent_load(self, pid: object) -> Any:
        raise UnsafePickleError("an object outside the pickle")

    def load_setitem(self) -> None:
        _check_keys(self.stack[-2:-1])
        super().load_setitem()

    def load_setitems(self) -> None:
        _check_keys(self.stack[::2])
        super().load_setitems()

    def load_dict(self) -> None:
        _check_keys(self.stack[::2])
        super().load_dict()

    def load_additems(self) -> None:
        _check_keys(self.stack)
        super().load_additems()

    def load_frozenset(self) -> None:
        _check_keys(self.stack)
        super().load_frozenset()

    dispatch |= {
        pickle.SETITEM[0]: load_setitem,
        pickle.SETITEMS[0]: load_setitems,
        pickle.DICT[0]: load_dict,
        pickle.ADDITEMS[0]: load_additems,
        pickle.FROZENSET[0]: load_frozenset,
    }


def _check_keys(keys: Iterable[Any]) -> None:
    """Refuses containers as keys of dicts and members of sets.

    Tuples that contain each other take exponential time to hash.
    """
    for key in keys:
        if not isinstance(key, str | bytes | int | float | None):
            raise ValueError(f"a {type(key).__name__} is a key or the member of a set")


class _Call:
    """A function that pickles may call but not change."""

    __slots__ = ("_function",)

    def __init__(self, function: Callable[..., Any]) -> None:
        object.__setattr__(self, "_function", function)

    def __call__(self, *args: object) -> Any:
        return self._function(*args)

    def __setattr__(self, name: str, value: object) -> None:
        raise UnsafePickleError("a change to a function")

    def __setstate__(self, state: object) -> None:
        raise UnsafePickleError("a change to a function")


class _Ignored:
    """An object that is not needed; its content is ignored."""

    def __setstate__(self, state: object) -> None:
        pass


class _Dtype:
    """A NumPy type while its byte order is unknown."""

    def __init__(self, text: str) -> None:
        self.text, self.order = text, "="

    def __setstate__(self, state: tuple) -> None:
        _version, order, *inner = state
        if order not in ("<", ">", "|", "=") or any(part is not None for part in inner[:3]):
            raise ValueError("an array of records is no part of a molecule")
        self.order = order

    def get(self) -> np.dtype:
        if not isinstance(self.text, str) or not _DTYPE.fullmatch(self.text):
            raise ValueError(f"no plain type of array: {shortened(self.text)}")
        return np.dtype(self.text).newbyteorder(self.order)


class _Array:
    """A NumPy array while its content is unknown."""

    def __init__(self) -> None:
        self.value: Any = None

    def __setstate__(self, state: tuple) -> None:
        _version, shape, dtype, fortran, content = state
        self.value = _array(content, dtype, shape, "F" if fortran else "C")


def _array(content: Any, dtype: Any, shape: Any, order: str) -> np.ndarray | list:
    """Builds an array from its parts; one of objects becomes a list of them."""
    if type(shape) is not tuple or any(type(size) is not int or size < 0 for size in shape):
        raise ValueError(f"no shape of an array: {shortened(shape)}")
    if not isinstance(dtype, _Dtype):
        raise ValueError("the type of an array is missing")
    if (plain := dtype.get()).hasobject:
        if type(content) is not list or len(shape) != 1 or len(content) != shape[0]:
            raise ValueError("an array of objects is no plain list of them")
        return content
    if not isinstance(content, bytes | bytearray):
        raise ValueError("the content of an array is not bytes")
    if len(content) != math.prod(shape) * plain.itemsize:
        raise ValueError(f"{len(content)} bytes do not fit an array of shape {shape}")
    flat = np.frombuffer(content, plain) if content else np.zeros(0, plain)
    return flat.reshape(shape, order="F" if order == "F" else "C")


def _frombuffer(content: Any, dtype: Any, shape: Any, order: Any) -> _Array:
    array = _Array()
    array.value = _array(content, dtype, shape, order)
    return array


def _scalar(dtype: Any, content: Any) -> Any:
    return _array(content, dtype, (1,), "C")[0].item()


def _encode(text: Any, encoding: Any = None) -> bytes:
    """Decodes bytes as old protocols write them."""
    if type(text) is not str or encoding not in ("latin1", "latin-1"):
        raise UnsafePickleError(f"codecs.encode to {shortened(encoding)}")
    return text.encode("latin-1")


def _container(kind: type) -> _Call:
    """Makes a container of given things; a number as argument could ask for all memory."""

    def make(*things: Any) -> Any:
        if len(things) > 1 or not all(isinstance(t, list | tuple | bytes) for t in things):
            raise ValueError(f"{kind.__name__} of something else than a list")
        if kind in (set, frozenset):
            _check_keys(*things)
        elif kind is dict:
            _check_keys(pair[0] for pair in chain(*things))
        return kind(*things)

    return _Call(make)


class _Plain:
    """Replaces collected arrays by NumPy's, in lists, tuples and dicts.

    What occurs several times is converted once, but its values count each time, as a reader of the
    result meets them each time.
    """

    def __init__(self) -> None:
        self._done: dict[int, tuple[Any, int]] = {}  # id -> result, number of values
        self._open: set[int] = set()

    def of(self, value: Any) -> Any:
        """Returns the value with arrays in it."""
        return self._counted(value)[0]

    def _counted(self, value: Any) -> tuple[Any, int]:
        if isinstance(value, np.ndarray):
            return value, self._checked(1 + value.size)
        if isinstance(value, set | frozenset):
            return value, self._checked(1 + len(value))
        if not isinstance(value, _Array | list | tuple | dict):
            return value, 1
        place = id(value)
        if place in self._done:
            return self._done[place]
        if place in self._open:
            raise ValueError("it contains itself")
        self._open.add(place)
        if isinstance(value, _Array):
            found = self._counted(value.value)
        elif isinstance(value, dict):
            parts = [self._counted(item) for item in value.values()]
            plain = (part for part, _ in parts)
            found = dict(zip(value, plain, strict=True)), self._sum(parts)
        else:
            parts = [self._counted(item) for item in value]
            found = type(value)(part for part, _ in parts), self._sum(parts)
        self._open.remove(place)
        self._done[place] = found
        return found

    def _sum(self, parts: list[tuple[Any, int]]) -> int:
        return self._checked(1 + sum(number for _, number in parts))

    def _checked(self, number: int) -> int:
        if number > MAX_VALUES:
            raise ValueError(f"it unfolds to more than {MAX_VALUES:,} values")
        return number


# NumPy 2 renamed its modules.
_CORES = ("numpy.core", "numpy._core")
_ARRAYS = {
    "multiarray._reconstruct": _Call(lambda *_: _Array()),
    "multiarray.scalar": _Call(_scalar),
    "numeric._frombuffer": _Call(_frombuffer),
}
_NAMES: dict[tuple[str, str], Any] = {
    ("numpy", "ndarray"): _Call(lambda *_: _Array()),
    ("numpy", "dtype"): _Call(lambda text, *_: _Dtype(text)),
    ("_codecs", "encode"): _Call(_encode),
    ("collections", "OrderedDict"): _container(dict),
    ("rdkit.Chem.rdchem", "Mol"): _Call(lambda *_: _Ignored()),
}
for _core in _CORES:
    for _name, _function in _ARRAYS.items():
        _module, _, _attribute = f"{_core}.{_name}".rpartition(".")
        _NAMES[_module, _attribute] = _function
for _module in ("builtins", "__builtin__"):  # the latter is what protocols 0 to 2 write
    for _kind in (list, tuple, dict, set, frozenset, bytes, bytearray):
        _NAMES[_module, _kind.__name__] = _container(_kind)
