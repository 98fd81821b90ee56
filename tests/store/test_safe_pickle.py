"""Pickles: plain data is read whole; anything else is refused and never run."""

import collections
import copyreg
import datetime
import io
import os
import pickle
import pickletools
import struct
import subprocess

import numpy as np
import pytest
from rdkit import Chem

from molae_pyg.store.safe_pickle import UnsafePickleError, loads

PROTOCOLS = range(pickle.HIGHEST_PROTOCOL + 1)


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_plain_data(protocol):
    data = {
        "atoms": ["C", "O"],
        "tuple": (1, 2.5, None, True, "Å", b"\x00\xff", b""),
        "nested": [[{}, []], {"a": (1,)}],
        "set": {1, 2},
        "ordered": collections.OrderedDict(a=1),
        "big": 2**80,
    }
    assert loads(pickle.dumps(data, protocol)) == data


@pytest.mark.parametrize("protocol", PROTOCOLS)
@pytest.mark.parametrize("dtype", ["f4", ">f8", "f2", "i8", "u1", "?", "U3", "S2"])
def test_arrays(protocol, dtype):
    array = np.arange(12).reshape(2, 2, 3).astype(dtype)
    for value in (array, np.asfortranarray(array), array[:, :1], array[:0], array[0, 0, 0]):
        found = loads(pickle.dumps({"x": [value]}, protocol))["x"][0]
        assert np.array_equal(found, value)
        assert np.shape(found) == value.shape


def test_arrays_of_objects_are_lists():
    array = np.array(["C", np.float32(1), np.ones(2)], dtype=object)
    found = loads(pickle.dumps(array))
    assert found[:2] == ["C", 1.0]
    assert found[2].tolist() == [1, 1]


def test_names_of_both_numpy_versions():
    content = pickle.dumps(np.arange(3), protocol=2)
    old, new = b"numpy.core.multiarray", b"numpy._core.multiarray"
    for there, here in ((old, new), (new, old)):
        assert loads(content.replace(there, here)).tolist() == [0, 1, 2]


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_molecules_of_rdkit_are_read_as_empty_objects(protocol):
    found = loads(pickle.dumps({"mol": Chem.MolFromSmiles("CCO"), "smi": "CCO"}, protocol))
    assert found["smi"] == "CCO"
    assert not isinstance(found["mol"], Chem.Mol)


class Calls:
    """Pickles to a call of any function with any arguments."""

    def __init__(self, function, *args):
        self.call = (function, args)

    def __reduce__(self):
        return self.call

    def __call__(self):
        """Only so that pickle takes it for the function of another call."""


class Opens:
    def __reduce__(self):
        return open, (os.environ["MARK"], "w")


def by_name(module: str, name: str, *args: str) -> bytes:
    """A protocol 4 pickle that calls ``module.name(*args)``, without importing it."""

    def text(string: str) -> bytes:
        return b"\x8c" + struct.pack("<B", len(string)) + string.encode()

    parts = [text(module), text(name), b"\x93(", *map(text, args), b"tR."]
    return b"\x80\x04" + b"".join(parts)


TOUCH_SHELL = 'touch "$MARK"'
TOUCH = "open(__import__('os').environ['MARK'], 'w')"

HOSTILE = {
    "os.system": lambda: pickle.dumps(Calls(os.system, TOUCH_SHELL)),
    "posix.system": lambda: by_name("posix", "system", TOUCH_SHELL),
    "subprocess": lambda: pickle.dumps(Calls(subprocess.getoutput, TOUCH_SHELL)),
    "eval": lambda: pickle.dumps(Calls(eval, TOUCH)),
    "exec, protocol 0": lambda: pickle.dumps(Calls(exec, TOUCH), 0),
    "__import__": lambda: pickle.dumps(Calls(__import__, "os")),
    "open": lambda: pickle.dumps(Opens()),
    "getattr": lambda: pickle.dumps(Calls(getattr, [], "append")),
    "reduce in reduce": lambda: pickle.dumps(
        {"coordinates": [Calls(Calls(getattr, Calls(__import__, "os"), "system"), TOUCH_SHELL)]}
    ),
    "dotted name": lambda: by_name("builtins", "list.__class__"),
    "dotted into numpy": lambda: by_name("numpy", "ndarray.__class__"),
    "numpy.load": lambda: by_name("numpy", "load", "x"),
    "numpy's own door": lambda: by_name("numpy.testing._private.utils", "runstring", TOUCH, ""),
    "_reconstructor": lambda: pickle.dumps(Calls(copyreg._reconstructor, object, object, None)),
    "type": lambda: by_name("builtins", "type", "x"),
    "codecs other than latin-1": lambda: by_name("_codecs", "encode", "abc", "rot13"),
    "codecs.decode": lambda: by_name("_codecs", "decode", "abc", "hex"),
    "persistent id": lambda: b"\x80\x04\x8c\x01aQ.",
    "old instances": lambda: b"(S'touch \"$MARK\"'\nios\nsystem\n.",
    "extension registry": lambda: b"\x80\x02\x82\x01.",
    "a date, which is only strange": lambda: pickle.dumps(datetime.date(2024, 1, 1)),
    "state of a function": lambda: b"\x80\x04\x8c\x05numpy\x8c\x05dtype\x93}\x8c\x01a\x8c\x01bsb.",
}


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_pickles_are_refused_and_not_run(name, tmp_path, monkeypatch):
    mark = tmp_path / "mark"
    monkeypatch.setenv("MARK", str(mark))
    content = HOSTILE[name]()
    pickletools.dis(content, out=io.StringIO())  # it is a pickle
    if name == "extension registry":
        copyreg.add_extension("os", "system", 1)
    try:
        with pytest.raises(UnsafePickleError):
            loads(content)
    finally:
        if name == "extension registry":
            copyreg.remove_extension("os", "system", 1)
    assert not mark.exists()


def test_the_payloads_would_work(tmp_path, monkeypatch):
    monkeypatch.setenv("MARK", str(tmp_path / "mark"))
    for name in (
        "os.system",
        "eval",
        "exec, protocol 0",
        "old instances",
        "posix.system",
        "reduce in reduce",
    ):
        pickle.loads(HOSTILE[name]())
        (tmp_path / "mark").unlink()  # is there


def array_with(state: tuple, dtype_state: tuple | None = None, text: str = "f4") -> bytes:
    """A pickle of an array whose state, or whose type's state, is forged."""

    class Dtype:
        def __reduce__(self):
            return np.dtype, (text, False, True), *([dtype_state] if dtype_state else [])

    class Array:
        def __reduce__(self):
            parts = tuple(Dtype() if part is np.dtype else part for part in state)
            return np.ndarray(0).__reduce__()[0], (np.ndarray, (0,), b"b"), parts

    return pickle.dumps(Array())


@pytest.mark.parametrize(
    "content",
    [
        array_with((1, (10**9,), np.dtype, False, b"1234")),
        array_with((1, (-1,), np.dtype, False, b"1234")),
        array_with((1, [1], np.dtype, False, b"1234")),
        array_with((1, (1,), np.dtype, False, "1234")),
        array_with((1, (1,), None, False, b"1234")),
        array_with((1, (1,), np.dtype, False, b"12345678"), text="O8"),
        array_with((1, (1,), np.dtype, False, b"12345678"), text="V8"),
        array_with((1, (1,), np.dtype, False, b"12345678"), text="f4,O"),
        array_with(
            (1, (1,), np.dtype, False, b"12345678"),
            (3, "|", None, ("a",), {"a": (None, 0)}, 8, 1, 27),
        ),
        pickle.dumps(Calls(bytearray, 10**15)),
        pickle.dumps(Calls(bytes, 10**15)),
    ],
)
def test_forged_arrays_are_errors(content):
    with pytest.raises(ValueError):
        loads(content)


def test_an_array_of_bytes_that_pretends_to_hold_objects_holds_bytes():
    forged = (3, "|", None, None, None, 8, 8, 63)  # flags that say "holds objects"
    found = loads(array_with((1, (1,), np.dtype, False, b"12345678"), forged, "f8"))
    assert found.dtype == np.float64


@pytest.mark.parametrize("content", [b"", b"nonsense", pickle.dumps([1, 2, 3])[:-3]])
def test_damaged_pickles_are_errors(content):
    with pytest.raises((pickle.UnpicklingError, EOFError, ValueError)):
        loads(content)


def laughs(kind, depth: int = 12, width: int = 10):
    """A few bytes that unfold to ``width ** depth`` values."""
    value = kind([0.5])
    for _ in range(depth):
        value = kind([value] * width) if kind is not dict else dict.fromkeys(range(width), value)
    return pickle.dumps(value)


@pytest.mark.parametrize("kind", [list, tuple])
def test_few_bytes_that_unfold_to_many_values(kind):
    content = laughs(kind)
    assert len(content) < 1000
    with pytest.raises(ValueError, match="unfolds to more than 20,000,000 values"):
        loads(content)
    assert np.asarray(loads(laughs(kind, depth=3))).shape == (10, 10, 10, 1)


def test_dicts_and_arrays_that_unfold():
    shared = np.ones(1000)
    rows = [shared] * 1000
    with pytest.raises(ValueError, match="unfolds to more than"):
        loads(pickle.dumps([rows] * 1000))
    assert len(loads(pickle.dumps(rows))) == 1000
    value: dict = {"a": 1}
    for _ in range(12):
        value = {key: value for key in "abcdefghij"}  # noqa: C420, one dict many times
    with pytest.raises(ValueError, match="unfolds to more than"):
        loads(pickle.dumps(value))


def test_what_contains_itself_or_is_too_deep():
    own: list = [1]
    own.append(own)
    with pytest.raises(ValueError, match="contains itself"):
        loads(pickle.dumps(own))
    deep = b"]" + b"]" * 100_000 + b"a" * 100_000 + b"."
    with pytest.raises(ValueError, match="nested too deeply"):
        loads(deep)


def test_what_is_shared_stays_shared():
    atoms = ["C", "O"]
    found = loads(pickle.dumps({"a": atoms, "b": [atoms, atoms]}))
    assert found["a"] == atoms
    assert found["a"] is found["b"][0] is found["b"][1]


def nested_tuples(depth: int) -> bytes:
    """Opcodes of a tuple that holds another one twice, and so on: its hash takes 2^depth steps."""
    return b"K\x01\x85" + b"".join(b"q%c0h%ch%c\x86" % (i, i, i) for i in range(depth))


@pytest.mark.parametrize(
    "content",
    [
        b"\x80\x04}" + nested_tuples(60) + b"K\x01s.",  # {tuples: 1}
        b"\x80\x04}(" + nested_tuples(60) + b"K\x01u.",
        b"\x80\x04(" + nested_tuples(60) + b"K\x01d.",
        b"\x80\x04\x8f(" + nested_tuples(60) + b"\x90.",  # {tuples}, a set
        b"\x80\x04(" + nested_tuples(60) + b"\x91.",  # a frozenset
        b"\x80\x04cbuiltins\nset\n]" + nested_tuples(60) + b"a\x85R.",
        b"\x80\x04cbuiltins\ndict\n](" + nested_tuples(60) + b"K\x01\x86e\x85R.",
        b"\x80\x04ccollections\nOrderedDict\n](" + nested_tuples(60) + b"K\x01\x86e\x85R.",
    ],
)
def test_tuples_that_take_for_ever_to_hash_are_refused_as_keys(content):
    with pytest.raises(ValueError, match="a tuple is a key or the member of a set"):
        loads(content)


def test_a_message_does_not_unfold_what_it_names():
    shape = nested_tuples(60)
    array = b"\x80\x04cnumpy.core.numeric\n_frombuffer\n(C\x00"
    array += b"cnumpy\ndtype\nX\x02\x00\x00\x00f4\x85R"
    with pytest.raises(ValueError, match="no shape of an array") as error:
        loads(array + shape + b"X\x01\x00\x00\x00CtR.")
    assert len(str(error.value)) < 1000
