"""Official checkpoint files are read without running code from them, and damage is reported."""

import argparse
import os
import pickle
import re
import struct
import zipfile
import zlib
from typing import Any, NamedTuple

import torch
from torch import Tensor

from molae_pyg.checkpoint import CheckpointError, not_finite

#: Buffers that some official files carry; they hold no learned value.
OFFICIAL_BUFFERS = {"embed_positions._float_tensor", "embed_positions.weights"}

_ZIP_START = b"PK\x03\x04"

#: Exceptions of zipfile and torch.load for files that are damaged or no checkpoints.
_READ_ERRORS = (
    OSError, EOFError, RuntimeError, ValueError, LookupError, TypeError, AttributeError,
    AssertionError, ArithmeticError, MemoryError, ImportError, struct.error, zlib.error,
    zipfile.BadZipFile,
)  # fmt: skip


class OfficialFile(NamedTuple):
    """Content of an official checkpoint file."""

    path: str  #: Path of the file.
    weights: dict[str, Tensor]  #: Official key -> tensor.
    args: dict[str, Any]  #: Command-line settings of the run; empty if the file has none.


def read_official(path: str | os.PathLike, part: str = "model") -> OfficialFile:
    """Reads an official ``.pt`` file without running code from it.

    The unpickler accepts tensors, plain containers and :class:`argparse.Namespace`, in which
    official files keep their command line; it refuses anything else. The checksums of the parts of
    PyTorch's zip format are compared. The format before PyTorch 1.6 has none: damage of such a file
    shows only in a checksum from its publisher.

    Args:
        path: The file.
        part: Key of the weights in it; a file without this key is the weights themselves.

    Raises:
        CheckpointError: The file cannot be read, is damaged, or holds something else.
    """
    _check_zip(path)
    try:
        with torch.serialization.safe_globals([argparse.Namespace]):
            content = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:  # torch's own message says how to run that code
        refused = re.search(r"GLOBAL ([\w.]+)", str(error))
        if refused is None:
            raise _unreadable(path, error) from None
        raise CheckpointError(
            f"{path} was not loaded: it holds more than tensors and settings ({refused[1]}), "
            "which could run code. Get the file from its source"
        ) from None
    except _READ_ERRORS as error:
        raise _unreadable(path, error) from None
    args = content.get("args") if isinstance(content, dict) else None
    weights = content.get(part, content) if isinstance(content, dict) else None
    if not isinstance(weights, dict) or not all(
        isinstance(k, str) and isinstance(v, Tensor) for k, v in weights.items()
    ):
        raise CheckpointError(f"{path} holds no {part!r} with named tensors")
    weights = {k: v for k, v in weights.items() if k not in OFFICIAL_BUFFERS}
    _check_tensors(path, weights)
    if isinstance(args, argparse.Namespace):
        args = vars(args)
    return OfficialFile(str(path), weights, dict(args) if isinstance(args, dict) else {})


def _unreadable(path: str | os.PathLike, error: Exception) -> CheckpointError:
    """Returns the error in one line, without torch's advice to load the file in an unsafe way."""
    text = " ".join(str(error).split())
    text = type(error).__name__ + (f": {text[:200]}" if "weights_only" not in text else "")
    return CheckpointError(f"{path} cannot be read as a checkpoint file: {text}")


def _check_zip(path: str | os.PathLike) -> None:
    """Raises unless the parts of a zip file fit their checksums."""
    try:
        with open(path, "rb") as file:
            if file.read(len(_ZIP_START)) != _ZIP_START:
                return
        with zipfile.ZipFile(path) as archive:
            parts = archive.infolist()
            if any(part.compress_type != zipfile.ZIP_STORED for part in parts):
                raise zipfile.BadZipFile("compressed parts, which torch.save does not write")
            if sum(part.file_size for part in parts) > os.path.getsize(path):
                raise zipfile.BadZipFile("parts larger than the file")
            damaged = archive.testzip()
    except _READ_ERRORS as error:
        raise _unreadable(path, error) from None
    if damaged is not None:
        raise CheckpointError(
            f"{path} is damaged: the checksum of its part {damaged} does not fit. "
            "Copy the file again from its source"
        )


def _check_tensors(path: str | os.PathLike, weights: dict[str, Tensor]) -> None:
    """Raises for tensors that cannot be weights: integers, sparse, larger than their storage."""
    for key, value in weights.items():
        stored = value.layout == torch.strided and value.device.type == "cpu"
        is_count = key.endswith("num_batches_tracked")  # of BatchNorm
        if not (value.is_floating_point() or is_count) or not stored:
            raise CheckpointError(f"{path}: {key} is no dense tensor of floating-point numbers")
        if value.numel() * value.element_size() > value.untyped_storage().nbytes():
            raise CheckpointError(f"{path}: {key} {list(value.shape)} is larger than its data")
    if bad := not_finite(weights):
        raise CheckpointError(f"{path} cannot be used: {bad} NaN or infinite")
