"""What makes a run, a store or a cache entry the same.

An identity holds content: checksums of molecules, labels, names and weights, every setting, and the
version of the molecule recipe (:data:`~molae_pyg.chem.options.RECIPE_VERSION`). It holds no counts,
file names or version of the package. It is a plain ``dict`` that JSON can hold;
:func:`differences` lists what differs between two, for messages.
"""

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, is_dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn


def digest(*values: Any) -> str:
    """Returns the SHA-256 of values, in hexadecimal digits.

    Equal content gives equal digests in every process and on every machine. The order of the keys
    of a mapping does not matter; types do: ``1``, ``1.0`` and ``"1"`` differ.

    Args:
        values: Strings, bytes, numbers, None, tensors, arrays, data classes, and lists, tuples and
            mappings of them.

    Raises:
        TypeError: If a value is of another type, whose content would not be seen.
    """
    found = hashlib.sha256()
    for value in values:
        _update(found, value)
    return found.hexdigest()


def of_weights(model: nn.Module) -> str:
    """Returns a checksum of all weights and buffers of a model, with their names and shapes.

    Modules that compute something else with the same weights have an attribute ``variant``, a
    mapping, which counts too.
    """
    modules = model.named_modules()
    variants = {
        name: m.variant for name, m in modules if isinstance(getattr(m, "variant", 0), dict)
    }
    return digest(dict(model.state_dict()) | ({"variants": variants} if variants else {}))


def of_molecules(molecules: Iterable[Any]) -> str:
    """Returns a checksum of everything that molecules hold: atoms, coordinates, labels.

    Args:
        molecules: PyG ``Data`` objects. If a data set has a method ``fingerprint``, which may be
            faster, it is called instead.
    """
    if hasattr(molecules, "fingerprint"):
        return molecules.fingerprint()
    found = hashlib.sha256()
    for data in molecules:
        _update(found, dict(data.to_dict()))
    return found.hexdigest()


def differences(found: Mapping[str, Any], wanted: Mapping[str, Any]) -> list[str]:
    """Returns a line for each difference between two identities.

    Args:
        found: Identity on disk.
        wanted: Identity of this call.

    Returns:
        Lines such as ``"settings.lr: 0.001 there, 0.002 now"``; a missing key is ``absent``.
    """
    there, now = _flat(_as_json(found)), _flat(_as_json(wanted))
    lines = []
    for key in dict.fromkeys((*there, *now)):
        old, new = (side.get(key, _missing(key, (there | now)[key])) for side in (there, now))
        if old != new or type(old) is not type(new):
            lines.append(f"{key}: {_shown(old)} there, {_shown(new)} now")
    return lines


class _Absent:
    def __repr__(self) -> str:
        return "absent"


_ABSENT = _Absent()


def _missing(key: str, other: Any) -> Any:
    """Returns what a missing key means; identities do not name the published conformer recipe."""
    is_name = key.split(".")[-1] == "recipe" and isinstance(other, str)
    return "published" if is_name else _ABSENT


def _as_json(identity: Mapping[str, Any]) -> Any:
    """Returns the identity as it will be read back: tuples become lists, keys strings."""
    return json.loads(json.dumps(identity))


def _flat(value: Any, name: str = "") -> dict[str, Any]:
    """Turns ``{"a": {"b": 1}}`` into ``{"a.b": 1}``."""
    if not isinstance(value, dict) or not value:
        return {name: value}
    flat = {}
    for key, inner in value.items():
        flat |= _flat(inner, f"{name}.{key}" if name else key)
    return flat


def _shown(value: Any) -> str:
    text = repr(value)
    is_checksum = isinstance(value, str) and len(value) == 64
    if is_checksum:
        return f"{value[:12]}…"
    return text if len(text) <= 80 else f"{text[:77]}..."


def _update(found: "hashlib._Hash", value: Any) -> None:
    """Adds a value to a hash, each piece with its kind and length, so that pieces do not merge."""
    if isinstance(value, Tensor):
        value = value.detach().cpu()
        # NumPy has no bfloat16: the bytes are hashed, with the name of the type.
        kind = f"tensor {value.dtype} {tuple(value.shape)}"
        # Strides of axes of length 1 are arbitrary, also in a contiguous tensor.
        flat = value.contiguous().as_strided((value.numel(),), (1,))
        _feed(found, kind, flat.view(torch.uint8).numpy().tobytes())
    elif isinstance(value, np.ndarray):
        if value.dtype.hasobject:
            _update(found, value.tolist())
        else:
            _feed(found, f"array {value.dtype.str} {value.shape}", value.tobytes())
    elif isinstance(value, bytes):
        _feed(found, "bytes", value)
    elif isinstance(value, str):
        _feed(found, "str", value.encode("utf-8", "surrogatepass"))
    elif value is None or isinstance(value, bool | int | float | np.generic):
        value = value.item() if isinstance(value, np.generic) else value
        _feed(found, type(value).__name__, repr(value).encode())
    elif isinstance(value, Mapping):
        keys = sorted(value, key=lambda key: (type(key).__name__, str(key)))
        _feed(found, f"mapping {len(keys)}", b"")
        for key in keys:
            _update(found, key)
            _update(found, value[key])
    elif isinstance(value, list | tuple):
        _feed(found, f"list {len(value)}", b"")
        for item in value:
            _update(found, item)
    elif is_dataclass(value) and not isinstance(value, type):
        _update(found, asdict(value))
    else:
        raise TypeError(f"the content of a {type(value).__name__} cannot be seen: {value!r}")


def _feed(found: "hashlib._Hash", kind: str, content: bytes) -> None:
    found.update(f"{kind} {len(content)}\n".encode())
    found.update(content)
