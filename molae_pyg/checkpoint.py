"""Weights on disk: folders of safetensors and JSON.

``config.json`` holds the arguments that build the model, the SHA-256 of ``model.safetensors`` and a
checksum of itself, so that damage to either file is noticed. Older folders without checksums load
too.
"""

import hashlib
import inspect
import json
import math
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file
from safetensors.torch import save as to_safetensors
from torch import Tensor, nn
from torch.nn.modules.module import (
    register_module_buffer_registration_hook,
    register_module_parameter_registration_hook,
)

from molae_pyg._version import __version__
from molae_pyg.durable import sha256_of, write_durably
from molae_pyg.fingerprint import digest
from molae_pyg.model_files import CONFIG, SHIPPED, WEIGHTS, CheckpointError, find_folder

__all__ = ["CONFIG", "SHIPPED", "WEIGHTS", "CheckpointError", "load", "not_finite", "save"]

Model = TypeVar("Model", bound=nn.Module)

PENDING = WEIGHTS + ".new"  # weights of a save that was interrupted before its last step
KEYS = ("class", "version", "config", "recipe", "sha256", "config_sha256")  # of config.json

#: Ablation of a plain MolAE. Files written before AblatedMolAE existed hold one in each config.
PLAIN = {"drop": True, "decoder_position": True, "decoder_token": "mask", "decoder_pair": "zero"}

_LARGEST_CONFIG = 2**24  # bytes
_SLACK = 1_000_000  # elements that a model may have besides those in its file
_NAMED = 6  # keys named in a message
#: Exceptions of constructors for arguments of wrong types and sizes.
_BUILD_ERRORS = (
    TypeError, ValueError, AttributeError, LookupError, ArithmeticError, RuntimeError, MemoryError,
)  # fmt: skip


def save(model: nn.Module, folder: str | os.PathLike) -> None:
    """Writes ``model.safetensors`` and ``config.json``; ``model.config`` rebuilds the model.

    An old model in the folder is replaced as a whole: a process that is killed at any moment
    leaves the old model or the new one. ``model.recipe`` is saved as well if the model has one.

    Args:
        model: A module with an attribute ``config``, a mapping that JSON can hold.
        folder: The folder, made if absent.

    Raises:
        ValueError: A weight is NaN or infinite, or ``config`` holds such a number. Nothing is
            written.
        OSError: A file cannot be written.
    """
    folder = Path(folder)
    weights = {k: v.detach().cpu().contiguous() for k, v in model.state_dict().items()}
    if bad := not_finite(weights):
        raise ValueError(
            f"the model was not saved to {folder}: {bad} NaN or infinite (training diverged?)"
        )
    content = to_safetensors(weights, metadata={"format": "pt"})
    saved = {"class": type(model).__name__, "version": __version__, "config": model.config}
    if getattr(model, "recipe", None) is not None:
        saved["recipe"] = model.recipe
    saved["sha256"] = hashlib.sha256(content).hexdigest()
    saved = json.loads(json.dumps(saved, allow_nan=False))  # as it will be read back
    saved["config_sha256"] = digest(saved)
    folder.mkdir(parents=True, exist_ok=True)
    _finish_interrupted(folder)
    write_durably(folder / PENDING, content)
    # From here on the folder holds the new model: config.json has the checksum of PENDING.
    write_durably(folder / CONFIG, (json.dumps(saved, indent=2) + "\n").encode())
    os.replace(folder / PENDING, folder / WEIGHTS)


def _finish_interrupted(folder: Path) -> None:
    """Takes the last step of a save that was killed before it."""
    try:
        expected = json.loads((folder / CONFIG).read_bytes())["sha256"]
        if sha256_of(folder / PENDING) == expected:
            os.replace(folder / PENDING, folder / WEIGHTS)
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return  # nothing to finish: no pending weights, or no model in the folder


def load(cls: type[Model], name_or_path: str | os.PathLike) -> Model:
    """Builds ``cls(**config)`` from a folder of :func:`save` and fills in its weights.

    Args:
        cls: The class that was saved, or a subclass of it.
        name_or_path: A folder or a name, see :func:`~molae_pyg.model_files.find_folder`.

    Raises:
        CheckpointError: There is no such model, or a file of it cannot be read, is damaged, does
            not fit the others, or holds numbers that are not finite. A model that is larger than
            the weights in the file is not built.
    """
    folder = find_folder(name_or_path)
    saved = _read(folder)
    name = saved["class"][:80]
    if name not in [base.__name__ for base in cls.__mro__]:
        raise CheckpointError(f"{folder} holds weights of {name}: use {name}.from_pretrained")
    file = _weights_file(folder, saved.get("sha256"))
    shapes = _stored_shapes(file)
    model = _build(cls, saved["config"], shapes, folder)
    _compare(model, shapes, file)
    _check_sums(saved, file, folder)
    try:
        weights = load_file(file)
    except (OSError, SafetensorError) as error:
        raise CheckpointError(f"{file} cannot be read: {error}") from error
    if bad := not_finite(weights):
        raise CheckpointError(f"{file} cannot be used: {bad} NaN or infinite")
    model.load_state_dict(weights)
    if hasattr(model, "recipe"):
        model.recipe = saved.get("recipe")
    return model


def not_finite(weights: dict[str, Tensor]) -> str:
    """Names the floating-point tensors with NaN or infinite values; empty if there is none."""
    bad = [k for k, v in weights.items() if v.is_floating_point() and not v.isfinite().all()]
    return f"{_named(bad)} {'is' if len(bad) == 1 else 'are'}" if bad else ""


def _named(keys: list[str]) -> str:
    return ", ".join(map(str, keys[:_NAMED])) + (" ..." if len(keys) > _NAMED else "")


def saved_class(folder: Path) -> str:
    """Returns the name of the class of a saved model.

    Raises:
        CheckpointError: Its ``config.json`` cannot be read.
    """
    return _read(folder)["class"]


def saved_config(folder: Path) -> dict[str, Any]:
    """Returns the arguments of a saved model, see :func:`saved_class`."""
    return _read(folder)["config"]


def _read(folder: Path) -> dict[str, Any]:
    """Reads ``config.json`` and checks its form."""
    file = folder / CONFIG
    if not file.exists() and (folder / "model" / CONFIG).is_file():
        raise CheckpointError(f"{folder} is the folder of a run, its model is {folder / 'model'}")
    try:
        if file.stat().st_size > _LARGEST_CONFIG:
            raise ValueError(f"it has more than {_LARGEST_CONFIG} bytes")
        saved = json.loads(file.read_bytes().decode("utf-8"), parse_constant=_no_number)
        kinds = {"class": str, "config": dict}
        if not isinstance(saved, dict) or not all(
            isinstance(saved.get(key), kind) for key, kind in kinds.items()
        ):
            raise ValueError("it needs 'class', a name, and 'config', a mapping")
        if unknown := [key for key in saved if key not in KEYS]:
            raise ValueError(f"unknown keys {_named(unknown)}; the known are {', '.join(KEYS)}")
        if not isinstance(saved.get("recipe"), dict | None):
            raise ValueError("'recipe' must be a mapping")
    except (OSError, ValueError, RecursionError) as error:
        raise CheckpointError(
            f"{file} cannot be read: {type(error).__name__}: {error}; "
            "copy the folder again from its source, or save the model again"
        ) from error
    return saved


def _no_number(text: str) -> float:
    raise ValueError(f"{text} is no number that JSON allows")


def _weights_file(folder: Path, expected: str | None) -> Path:
    """Returns the weights of ``config.json``, which after an interrupted save are in PENDING."""
    file, pending = folder / WEIGHTS, folder / PENDING
    try:
        if expected and pending.is_file() and sha256_of(pending) == expected:
            return pending
    except OSError as error:
        raise CheckpointError(f"{pending} cannot be read: {error}") from error
    return file


def _stored_shapes(file: Path) -> dict[str, tuple[tuple[int, ...], bool]]:
    """Returns the shape of each tensor in the file, and whether it is of floating point."""
    try:
        with safe_open(file, "pt") as content:
            parts = {key: content.get_slice(key) for key in content.keys()}  # noqa: SIM118
            return {
                key: (tuple(part.get_shape()), part.get_dtype().startswith(("F", "BF")))
                for key, part in parts.items()
            }
    except (OSError, SafetensorError) as error:
        raise CheckpointError(f"{file} cannot be read: {error}") from error


def _build(cls: type[Model], config: dict, shapes: dict, folder: Path) -> Model:
    try:
        with _no_larger_than(shapes):
            return cls(**_without_old_keys(cls, config))
    except _BUILD_ERRORS as error:
        raise CheckpointError(
            f"{folder / CONFIG} does not fit {cls.__name__}: {str(error) or repr(error)}"
        ) from error


def _without_old_keys(cls: type[Model], config: dict) -> dict:
    """Returns the config without a default ablation, for a class that takes no ablation."""
    if "ablation" not in config or "ablation" in inspect.signature(cls).parameters:
        return config
    config = dict(config)
    ablation = config.pop("ablation")
    if json.dumps(ablation, sort_keys=True) != json.dumps(PLAIN, sort_keys=True):  # true is not 1
        raise ValueError(f"it has the ablation {ablation!r}, use AblatedMolAE.from_pretrained")
    return config


@contextmanager
def _no_larger_than(shapes: dict) -> Iterator[None]:
    """Raises ValueError inside for a model with many more parameters than the file has.

    A parameter is counted as soon as its module has it, before it is initialised, so that a large
    model of a false config is never built.
    """
    thread = threading.get_ident()
    stored = sum(math.prod(shape) for shape, _ in shapes.values())
    left = {"tensors": 2 * len(shapes) + 100, "elements": 2 * stored + _SLACK}

    def check(module: nn.Module, name: str, value: Tensor | None) -> None:
        if value is None or threading.get_ident() != thread:
            return
        left["tensors"] -= 1
        left["elements"] -= value.numel()
        if min(left.values()) < 0:
            raise ValueError(
                f"it describes a larger model than the {len(shapes)} tensors and {stored:,} "
                f"numbers in {WEIGHTS}"
            )

    handles = (
        register_module_parameter_registration_hook(check),
        register_module_buffer_registration_hook(check),
    )
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def _compare(model: nn.Module, shapes: dict, file: Path) -> None:
    """Raises unless the file has the keys of the model, with their shapes and kinds."""
    expected = {k: (tuple(v.shape), v.is_floating_point()) for k, v in model.state_dict().items()}
    missing = [key for key in expected if key not in shapes]
    surplus = [key for key in shapes if key not in expected]
    other = [
        f"{key} {list(shapes[key][0])} instead of {list(expected[key][0])}"
        if shapes[key][0] != expected[key][0]
        else f"{key} of another type"
        for key in expected
        if key in shapes and shapes[key] != expected[key]
    ]
    faults = {"Missing": missing, "Unexpected": surplus, "Another shape": other}
    if any(faults.values()):
        text = "; ".join(f"{name}: {_named(keys)}" for name, keys in faults.items() if keys)
        raise CheckpointError(f"{file} does not fit its {CONFIG}: {text}")


def _check_sums(saved: dict, file: Path, folder: Path) -> None:
    """Raises for a file that changed since it was saved, if the folder has checksums."""
    if "config_sha256" in saved:
        without = {key: value for key, value in saved.items() if key != "config_sha256"}
        if digest(without) != saved["config_sha256"]:
            raise CheckpointError(
                f"{folder / CONFIG} was damaged or changed since it was saved: its checksum does "
                "not fit. Copy the folder again from its source; to load what was changed by "
                "hand, remove the line 'config_sha256' from the file"
            )
    if "sha256" in saved and sha256_of(file) != saved["sha256"]:
        raise CheckpointError(
            f"{file} was damaged or replaced since it was saved: its SHA-256 is not the one in "
            f"{CONFIG}. Copy the folder again from its source, or save the model again"
        )
