"""Writes the results of benchmarks, with their circumstances, to benchmarks/results/<name>.json."""

import importlib.metadata
import json
import platform
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import torch

from molae_pyg.durable import write_durably
from molae_pyg.environment import processor_name

ROOT = Path(__file__).resolve().parent.parent
RESULTS = ROOT / "benchmarks" / "results"
VERSIONS = ("molae_pyg", "torch", "torch-geometric", "numpy", "rdkit")


def device_name(device: str = "cpu") -> str:
    """Returns the name of the GPU, or the processor and the number of PyTorch's threads."""
    if torch.device(device).type == "cuda":
        return torch.cuda.get_device_name(device)
    return f"{processor_name()}, {torch.get_num_threads()} threads"


def commit() -> str | None:
    """Returns the commit, with ``-dirty`` if files differ from it; None outside a repository."""
    git = ["git", "-C", str(ROOT)]
    head = subprocess.run([*git, "rev-parse", "HEAD"], capture_output=True, text=True)
    if head.returncode != 0:
        return None
    changed = [*git, "status", "--porcelain", "--untracked-files=no", "--", ":!benchmarks/results"]
    status = subprocess.run(changed, capture_output=True, text=True, check=True)
    return head.stdout.strip() + ("-dirty" if status.stdout.strip() else "")


def command() -> str:
    """Returns the command line, of absolute paths the last part: others have other folders."""
    words = [Path(word).name if Path(word).is_absolute() else word for word in sys.argv]
    return shlex.join(["python", *words])


def write(name: str, question: str, result: Any, device: str = "cpu") -> Path:
    """Writes the result of a benchmark with the circumstances of the measurement."""
    record = {
        "question": question,
        "command": command(),
        "commit": commit(),
        "device": device_name(device),
        "python": platform.python_version(),
        "versions": {package: importlib.metadata.version(package) for package in VERSIONS},
        "result": result,
    }
    path = RESULTS / f"{name}.json"
    path.parent.mkdir(exist_ok=True)
    write_durably(path, (json.dumps(record, indent=2, ensure_ascii=False) + "\n").encode())
    return path
