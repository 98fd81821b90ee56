"""Weights on disk: folders of safetensors and JSON."""

import json
import os
from pathlib import Path
from typing import Any, TypeVar

from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import nn

from molae_pyg._version import __version__

Model = TypeVar("Model", bound=nn.Module)

#: Weights that ship with the package, one folder per name.
SHIPPED = Path(__file__).parent / "weights"


class CheckpointError(RuntimeError):
    """A file or folder that does not hold what it should; the message says what and the remedy."""


def save(model: nn.Module, folder: str | os.PathLike) -> None:
    """Writes ``model.safetensors`` and ``config.json``; ``model.config`` rebuilds the model."""
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    weights = {k: v.detach().cpu().contiguous() for k, v in model.state_dict().items()}
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    config = {"class": type(model).__name__, "version": __version__, "config": model.config}
    (folder / "config.json").write_text(json.dumps(config, indent=2) + "\n")


def _folder(name_or_path: str | os.PathLike) -> Path:
    path = Path(name_or_path)
    if path.is_dir():
        return path
    if (SHIPPED / path).is_dir() and len(path.parts) == 1:
        return SHIPPED / path
    shipped = sorted(p.name for p in SHIPPED.iterdir()) if SHIPPED.is_dir() else []
    raise CheckpointError(
        f"no folder {str(path)!r}, and no weights of that name ship with the package "
        f"(names: {', '.join(shipped) or 'none'}); save_pretrained writes such a folder, "
        "from_official reads official .pt files"
    )


def read_config(cls: type, folder: Path) -> dict[str, Any]:
    """Reads ``config.json`` and checks that it describes a ``cls`` (or a base of it)."""
    try:
        saved = json.loads((folder / "config.json").read_text())
        name, config = saved["class"], saved["config"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise CheckpointError(f"{folder / 'config.json'} cannot be read: {error!r}") from error
    if name not in [base.__name__ for base in cls.__mro__]:
        raise CheckpointError(f"{folder} holds a {name}: use {name}.from_pretrained")
    return config


def load(cls: type[Model], name_or_path: str | os.PathLike) -> Model:
    """Builds ``cls(**config)`` from a folder of :func:`save` and fills in its weights."""
    folder = _folder(name_or_path)
    config = read_config(cls, folder)
    try:
        model = cls(**config)
    except (TypeError, ValueError) as error:
        raise CheckpointError(
            f"{folder / 'config.json'} does not fit {cls.__name__}: {error}"
        ) from error
    fill(model, folder)
    return model


def fill(model: nn.Module, folder: Path) -> None:
    """Loads ``model.safetensors`` of a folder; every key must be there and fit."""
    file = folder / "model.safetensors"
    try:
        weights = load_file(file)
    except (OSError, SafetensorError) as error:
        raise CheckpointError(f"{file} cannot be read: {error}") from error
    try:
        model.load_state_dict(weights)
    except RuntimeError as error:  # names the keys and shapes
        raise CheckpointError(f"{file} does not fit its config.json: {error}") from error
