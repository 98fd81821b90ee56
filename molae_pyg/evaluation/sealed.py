"""Finished folders: one JSON file that holds the checksums of all other files and of itself.

A folder that was changed, damaged or copied in part after it was finished is refused. The
checksums protect from accidents and from careless edits. They cannot show that somebody has
changed a file and then computed the checksums anew.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from molae_pyg.checkpoint import CheckpointError
from molae_pyg.durable import sha256_of, write_durably
from molae_pyg.fingerprint import digest
from molae_pyg.store import StoreError

#: What the package and these scripts raise with a message that says what to do.
EXPECTED = (ValueError, OSError, StoreError, CheckpointError)
FILES, OWN = "files", "sha256"  # keys: checksums of the other files, and of the rest of the content
UNSEALED = ("lock", "error.txt")  # locks and reports of failures are no part of a result


class Unsealed(ValueError):
    """A file or folder is not as it was when it was finished."""


def seal(file: Path, content: Mapping[str, Any]) -> dict[str, Any]:
    """Writes the file that finishes its folder, whole or not at all, and returns its content.

    Args:
        file: A JSON file in the folder; all other files below the folder are listed in it.
        content: What it holds besides the checksums.
    """
    folder = file.parent
    found = sorted(path for path in folder.rglob("*") if path.is_file())
    names = {path: path.relative_to(folder).as_posix() for path in found if path != file}
    files = {
        name: sha256_of(path)
        for path, name in names.items()
        if name not in UNSEALED and path.suffix != ".tmp"
    }
    content = json.loads(json.dumps({**content, FILES: files}))  # as it will be read
    content[OWN] = digest(content)
    write_durably(file, json.dumps(content, indent=2).encode() + b"\n")
    return content


def read_sealed(file: Path) -> dict[str, Any]:
    """Returns the content of a file that :func:`seal` has written.

    Raises:
        Unsealed: It, or a file that it lists, is damaged, missing or changed; the message names it.
    """
    remedy = f"remove {file.parent} to make it anew, or restore its files"
    content = read_json(file, remedy)
    if OWN not in content or not isinstance(content.get(FILES), dict):
        raise Unsealed(f"{file} has no checksums: this version did not write it; {remedy}")
    if content[OWN] != digest({key: value for key, value in content.items() if key != OWN}):
        raise Unsealed(f"{file} was changed after it was finished; {remedy}")
    check_files(file.parent, content[FILES], remedy)
    return content


def check_files(folder: Path, files: Mapping[str, str], remedy: str) -> None:
    """Compares files with their checksums.

    Raises:
        Unsealed: If one is missing or changed.
    """
    for name, checksum in files.items():
        path = folder / name
        if not path.is_file():
            raise Unsealed(f"{path} is missing; {remedy}")
        if sha256_of(path) != checksum:
            raise Unsealed(f"{path} was changed after it was finished; {remedy}")


def read_json(file: Path, remedy: str) -> dict[str, Any]:
    """Returns the object in a JSON file.

    Raises:
        Unsealed: If it holds anything else, such as the half of one.
    """
    try:
        content = json.loads(file.read_bytes())
    except (ValueError, RecursionError) as error:
        raise Unsealed(f"{file} is damaged ({error}); {remedy}") from None
    if not isinstance(content, dict):
        raise Unsealed(f"{file} is damaged: it holds no object; {remedy}")
    return content
