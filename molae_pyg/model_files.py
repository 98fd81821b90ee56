"""Where the files of saved models are: folders, weights of the package, the Hugging Face hub.

The hub needs the package huggingface_hub (``pip install 'molae_pyg[hub]'``). It is imported, and
the hub contacted, only for a name that no local folder has.
"""

import os
import re
from pathlib import Path
from types import ModuleType
from typing import NamedTuple

#: Weights that ship with the package, one folder per name.
SHIPPED = Path(__file__).parent / "weights"
#: The shipped weights that are used if no name is given.
DEFAULT_WEIGHTS = "molae-graph"

CONFIG, WEIGHTS = "config.json", "model.safetensors"
CARD = "README.md"

_SCHEME = "hf://"
_HUB_NAME = re.compile(r"(?P<id>[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*)(@(?P<revision>[\w./-]+))?")
_INSTALL = "the Hugging Face hub needs huggingface_hub: pip install 'molae_pyg[hub]'"


class CheckpointError(RuntimeError):
    """A file or folder of weights cannot be used; the message names the reason and the remedy."""


class Repository(NamedTuple):
    """A repository of models on the hub."""

    id: str  #: ``organisation/name``.
    revision: str | None  #: A branch, tag or commit; None: the newest version.


def find_folder(name_or_path: str | os.PathLike) -> Path:
    """Returns the folder with the files of a model.

    Args:
        name_or_path: A folder, the name of weights that ship with the package, or, as a string,
            a repository of the Hugging Face hub: ``"hf://org/name"`` or ``"org/name"``, if need be
            with a revision, ``"org/name@v1"``. A name is local if its folder, or a folder with the
            first part of the name, exists. What was downloaded is kept by huggingface_hub.

    Raises:
        CheckpointError: There is no such folder, name or repository, or it cannot be read.
    """
    if (folder := local_folder(name_or_path)) is not None:
        return folder
    if isinstance(name_or_path, str) and (repository := as_repository(name_or_path)):
        return _download(repository, name_or_path)
    shipped = sorted(p.name for p in SHIPPED.iterdir()) if SHIPPED.is_dir() else []
    raise CheckpointError(
        f"no folder {str(name_or_path)!r}, and no weights of that name ship with the package "
        f"(names: {', '.join(shipped) or 'none'}); save_pretrained writes such a folder, "
        "from_official reads official .pt files"
    )


def local_folder(name_or_path: str | os.PathLike) -> Path | None:
    """Returns a folder, or that of shipped weights with this name; None: there is neither."""
    path = Path(name_or_path)
    if path.is_dir():
        return path
    return SHIPPED / path if (SHIPPED / path).is_dir() and len(path.parts) == 1 else None


def as_repository(name: str) -> Repository | None:
    """Returns the repository that a name means, or None if it means a local folder.

    Raises:
        CheckpointError: The name begins with ``hf://``, but no repository has such a name.
    """
    is_explicit = name.startswith(_SCHEME)
    match = _HUB_NAME.fullmatch(name.removeprefix(_SCHEME))
    if match is None:
        if is_explicit:
            raise CheckpointError(f"{name!r} names no repository: give hf://organisation/name")
        return None
    if not is_explicit and Path(name).parts and Path(Path(name).parts[0]).exists():
        return None
    return Repository(match["id"], match["revision"])


def _download(repository: Repository, name: str) -> Path:
    """Returns a folder with the newest files of the repository, or with the ones kept before."""
    try:
        hub = _import_hub()
        return Path(
            hub.snapshot_download(
                repository.id, revision=repository.revision, allow_patterns=[CONFIG, WEIGHTS]
            )
        )
    except (OSError, ValueError, ModuleNotFoundError) as error:
        raise CheckpointError(
            f"no folder {name!r}, and the Hugging Face hub gave no model {repository.id!r}: "
            f"{error}; save_pretrained writes such a folder, push_to_hub such a repository"
        ) from error


def upload(folder: str | os.PathLike, name: str, card: str, private: bool = False) -> str:
    """Uploads the files of a model to the hub and returns the address of the commit.

    Args:
        folder: Folder of the model.
        name: Name of the repository, ``"org/name"`` or ``"hf://org/name"``, made if absent.
        card: Content of the model card, written if the repository has none.
        private: Whether a repository that is made is private, default: false.

    Raises:
        ValueError: The name is not that of a repository.
        ModuleNotFoundError: huggingface_hub is not installed.
        OSError: The hub refuses, or it cannot be reached.
    """
    match = _HUB_NAME.fullmatch(name.removeprefix(_SCHEME))
    if match is None or match["revision"] is not None:
        raise ValueError(f"{name!r} names no repository: give organisation/name")
    api = _import_hub().HfApi()
    api.create_repo(match["id"], private=private, exist_ok=True)
    if not api.file_exists(match["id"], CARD):
        (Path(folder) / CARD).write_text(card, encoding="utf-8")
    commit = api.upload_folder(
        repo_id=match["id"], folder_path=folder, commit_message="Model of molae_pyg"
    )
    return commit.commit_url


def _import_hub() -> ModuleType:
    try:
        import huggingface_hub
    except ModuleNotFoundError:
        raise ModuleNotFoundError(_INSTALL) from None
    return huggingface_hub
