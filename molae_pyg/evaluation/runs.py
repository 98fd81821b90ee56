"""Finished runs on disk: a run is complete or absent, and one that was changed is refused.

A finished folder has one JSON file with checksums of all other files and of itself. Checksums
protect from accidents and careless edits. They do not show that somebody changed a file and then
computed the checksums again.
"""

import json
import platform
import shutil
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import torch

from molae_pyg._version import __version__
from molae_pyg.durable import FolderLock, sha256_of, write_durably
from molae_pyg.environment import processor_name
from molae_pyg.fingerprint import differences, digest
from molae_pyg.inference.precision import precision

RESULT = "result.json"
PREDICTIONS = "predictions.csv"
LIBRARIES = ("torch", "torch-geometric", "lightning", "rdkit", "scikit-learn", "numpy")
FILES, OWN = "files", "sha256"  # keys: checksums of the other files, and of the rest of the content
UNSEALED = ("lock", "error.txt")  # files that are no part of a result
#: What all runs on a data set have in common; conformers may differ from model to model.
SHARED = ("smiles_sha256", "labels_sha256", "task_names", "task_types", "metric")
Found = list[tuple[Path, dict[str, Any]]]  # folders and results


class Unsealed(ValueError):
    """A file or folder is not as it was when it was finished."""


class Key(NamedTuple):
    """What distinguishes one run from another."""

    dataset: str
    protocol: str
    model: str
    seed: int
    fold: int

    def folder(self, output: Path) -> Path:
        """Returns the folder of the run."""
        return output / self.protocol / self.dataset / self.model / f"{self.seed}-{self.fold}"


def seal(file: Path, content: Mapping[str, Any]) -> dict[str, Any]:
    """Writes the file that finishes its folder, whole or not at all.

    Args:
        file: JSON file in the folder.
        content: Its content besides the checksums.

    Returns:
        The content as it is read again, with checksums of all other files below the folder.
    """
    folder = file.parent
    found = sorted(path for path in folder.rglob("*") if path.is_file())
    names = {path: path.relative_to(folder).as_posix() for path in found if path != file}
    files = {
        name: sha256_of(path)
        for path, name in names.items()
        if name not in UNSEALED and path.suffix != ".tmp"
    }
    content = json.loads(json.dumps({**content, FILES: files}))
    content[OWN] = digest(content)
    write_durably(file, json.dumps(content, indent=2).encode() + b"\n")
    return content


def read_sealed(file: Path) -> dict[str, Any]:
    """Reads a file of :func:`seal` and checks all files that it lists.

    Raises:
        Unsealed: If a file is damaged, missing or changed; the message names it.
    """
    folder = file.parent
    remedy = f"remove {folder} to make it anew, or restore its files"
    content = read_json(file, remedy)
    if OWN not in content or not isinstance(content.get(FILES), dict):
        raise Unsealed(f"{file} has no checksums: this version did not write it; {remedy}")
    if content[OWN] != digest({key: value for key, value in content.items() if key != OWN}):
        raise Unsealed(f"{file} was changed after it was finished; {remedy}")
    for name, checksum in content[FILES].items():
        path = folder / name
        if not path.is_file():
            raise Unsealed(f"{path} is missing; {remedy}")
        if sha256_of(path) != checksum:
            raise Unsealed(f"{path} was changed after it was finished; {remedy}")
    return content


def read_json(file: Path, remedy: str) -> dict[str, Any]:
    """Returns the object in a JSON file.

    Raises:
        Unsealed: If the file has anything else, such as the first half of an object.
    """
    try:
        content = json.loads(file.read_bytes())
    except (ValueError, RecursionError) as error:
        raise Unsealed(f"{file} is damaged ({error}); {remedy}") from None
    if not isinstance(content, dict):
        raise Unsealed(f"{file} is damaged: it is no JSON object; {remedy}")
    return content


def is_finished(folder: Path, identity: dict[str, Any]) -> bool:
    """Whether a folder has the finished run of an identity.

    Raises:
        ValueError: If it has another run, whose differences are named, or a damaged one.
    """
    if not (folder / RESULT).is_file():
        return False
    check_same(read_sealed(folder / RESULT), identity, folder)
    return True


def check_same(
    found: dict[str, Any], identity: dict[str, Any], folder: Path, what: str = "another run"
) -> None:
    """Compares the run in a folder with the run of this call.

    Args:
        found: Result in the folder.
        identity: What must be the same.
        folder: Folder or file, for the message.
        what: What it has if they differ, for the message. (default: ``another run``)

    Raises:
        ValueError: If they differ; the message names the differences.
    """
    there = {name: found[name] for name in identity if name in found}
    if differing := differences(there, identity):
        raise ValueError(
            f"{folder} holds {what}. What differs: {'; '.join(differing)}. Remove it, or "
            "give another --output"
        )


def check_place(folder: Path, result: dict[str, Any]) -> None:
    """Raises :class:`Unsealed` if a run is not the one that its folder is named after."""
    if missing := [name for name in Key._fields if name not in result]:
        raise Unsealed(f"{folder / RESULT} is no run of a comparison: no {', '.join(missing)}")
    place = Key(*(result[name] for name in Key._fields)).folder(Path())
    if folder.absolute().parts[-len(place.parts) :] != place.parts:
        raise Unsealed(f"{folder} holds the run {place}: it was moved or copied; remove it")


def read_runs(output: Path) -> tuple[Found, list[tuple[Path, str]]]:
    """Reads the finished runs below a folder.

    Returns:
        Folder and result of each run, and folder and fault of each that is left out: its files
        are damaged or changed, or its folder has another name.
    """
    found, wrong = [], []
    for file in sorted(output.rglob(RESULT)):
        try:
            result = read_sealed(file)
            check_place(file.parent, result)
        except Unsealed as error:
            wrong.append((file.parent, str(error)))
        else:
            found.append((file.parent, result))
    return found, wrong


def comparable(found: Found) -> tuple[Found, list[tuple[Path, str]]]:
    """Leaves out runs that cannot stand in a table with the others, and says why.

    Their data are not those of the first run on the data set, or settings or weights of its row.
    """
    kept, wrong, first = [], [], {}
    for folder, result in found:
        try:
            place = (result["protocol"], result["dataset"])
            other = first.setdefault(place, result)
            data = {name: other[name] for name in SHARED if name in other}
            check_same(result, data, folder, "a run on other data")
            other = first.setdefault((*place, result["model"]), result)
            # Weights that only give a size count by that; old runs have a checksum of them, too.
            is_size = other.get("settings", {}).get("pretrained") is False
            names = ("data", "settings", "fit", "parameters" if is_size else "weights_sha256")
            same = {name: other[name] for name in names if name in other}
            check_same(result, same, folder, "a run with other settings than its row")
        except ValueError as error:
            wrong.append((folder, str(error)))
        else:
            kept.append((folder, result))
    return kept, wrong


def read_predictions(folder: Path, *parts: str) -> list[pd.DataFrame]:
    """Returns the lines of ``predictions.csv`` of each part, ``"valid"`` or ``"test"``."""
    table = pd.read_csv(folder / PREDICTIONS)
    return [table[table["part"] == part] for part in parts]


def read_results(path: Path) -> list[dict]:
    """Reads results of :func:`add_result`; a last line that is incomplete is left out.

    Raises:
        ValueError: If another line is damaged or was changed; the message names it.
    """
    results = []
    lines = path.read_bytes().split(b"\n") if path.is_file() else [b""]
    for number, line in enumerate(lines, start=1):
        fault = f"{path}, line {number} was changed after it was written"
        try:
            result = json.loads(line)
            checksum = result.pop(OWN, None)
        except (ValueError, AttributeError):
            if number == len(lines):  # complete lines end in a line break
                if line:
                    print(f"{path}: the last line is torn; that run is made anew", flush=True)
                continue
            result, checksum, fault = None, "", f"{path}, line {number} is damaged"
        if checksum != digest(result):
            raise ValueError(f"{fault}: remove it to make that run anew")
        results.append(result)
    return results


def add_result(path: Path, result: dict) -> None:
    """Adds a result, as a line of JSON with a checksum; the file is replaced as a whole."""
    results = [*read_results(path), json.loads(json.dumps(result))]
    lines = (json.dumps({**one, OWN: digest(one)}) + "\n" for one in results)
    write_durably(path, "".join(lines).encode())


@contextmanager
def only_process(folder: Path, wait: float = 0.0) -> Iterator[None]:
    """Holds the lock of a folder, which is made if it is missing.

    Args:
        folder: Folder that one process at a time may write.
        wait: Seconds to wait for another process. (default: :obj:`0`)

    Raises:
        BlockingIOError: If another process has the lock.
    """
    folder.mkdir(parents=True, exist_ok=True)
    end = time.monotonic() + wait
    while True:
        try:
            lock = FolderLock(folder)
            break
        except BlockingIOError as error:
            if time.monotonic() >= end:
                raise BlockingIOError(
                    f"{error}, which makes its runs: call again when that process has ended, or "
                    "give another --output"
                ) from None
            time.sleep(0.05)
    with lock:
        yield


def mean_and_spread(values: Sequence[float]) -> str:
    """Returns mean ± sample standard deviation, or the value if there is one."""
    spread = f" ± {np.std(values, ddof=1):.3f}" if len(values) > 1 else ""
    return f"{np.mean(values):.3f}{spread}"


def environment() -> dict[str, Any]:
    """Returns versions and hardware."""
    on_gpu = torch.cuda.is_available()
    return {
        "molae_pyg": __version__,
        "commit": _commit(),
        "python": platform.python_version(),
        **{name: version(name) for name in LIBRARIES},
        "machine": platform.machine(),
        "device": torch.cuda.get_device_name() if on_gpu else processor_name(),
        "threads": torch.get_num_threads(),
        "precision": precision(),  # what "auto" means on this hardware
    }


def _commit() -> str | None:
    """Returns the commit of this package's checkout; None if it is installed, or without git."""
    checkout = Path(__file__).parents[2]
    git = shutil.which("git")
    if git is None or not (checkout / ".git").exists():
        return None
    command = [git, "describe", "--always", "--dirty"]
    found = subprocess.run(command, cwd=checkout, capture_output=True, text=True)
    return found.stdout.strip() or None
