"""Molecules of several scaffolds, and functions that start a script."""

import importlib
import multiprocessing
import os
import runpy
import subprocess
import sys
from pathlib import Path

import torch

EXPERIMENTS = Path(__file__).parents[1] / "experiments"
#: Module of a script that only calls its ``main``, or that has no file in experiments/.
HOMES = {
    "moleculenet": "molae_pyg.evaluation.compare",
    "ogb_leaderboard": "molae_pyg.evaluation.leaderboard",
    "paper": "molae_pyg.evaluation.paper",
    "pcqm4m": "molae_pyg.evaluation.pcqm4m",
    "pretrain": "molae_pyg.evaluation.pretraining",
    "report": "molae_pyg.evaluation.report",
    "rerun": "molae_pyg.evaluation.rerun",
    "search": "molae_pyg.evaluation.search",
    "submission": "molae_pyg.evaluation.submission",
    "transfer": "molae_pyg.evaluation.transfer",
}
RINGS = ["c1ccccc1", "C1CCCCC1", "c1ccncc1", "C1CCOC1", "c1ccsc1", "C1CCNC1", "c1ccoc1", "C1CC1"]
SMILES = [f"{tail}{ring}" for ring in RINGS for tail in ("", "C", "CC", "OC", "NC", "CCC")]


# A process with the imports of all scripts, which forks, so that no test waits for them.
_READY = multiprocessing.get_context("forkserver")
_READY.set_forkserver_preload(
    [
        *("molae_pyg.evaluation.models", "molae_pyg.evaluation.sources", "molae_pyg.analysis"),
        *("molae_pyg.evaluation.systems", "molae_pyg.evaluation.score_tables"),
        *("sklearn.ensemble", "sklearn.linear_model", "scipy.stats"),
    ]
)


def run(
    folder: Path, script: str, *args: str, **environment: str
) -> subprocess.CompletedProcess[str]:
    """Runs a script in ``folder``, whose files are the only data it finds."""
    inherited = {name: value for name, value in os.environ.items() if name != "MOLAE_DATA"}
    environment = {**inherited, "OMP_NUM_THREADS": "1", **environment}
    command = [script, *args]
    printed = [folder / f".{script}.{stream}" for stream in ("stdout", "stderr")]
    process = _READY.Process(target=_start, args=(folder, command, environment, printed))
    process.start()
    process.join()
    texts = [file.read_text() for file in printed]
    for file in printed:
        file.unlink()
    return subprocess.CompletedProcess(command, process.exitcode, *texts)


def _start(
    folder: Path, command: list[str], environment: dict[str, str], printed: list[Path]
) -> None:
    """Does what ``python SCRIPT ARGS`` does, in a process that has its modules."""
    for stream, file in zip((1, 2), printed, strict=True):
        os.dup2(os.open(file, os.O_WRONLY | os.O_CREAT | os.O_TRUNC), stream)
    os.environ.clear()
    os.environ.update(environment)
    os.chdir(folder)
    torch.set_num_threads(1)  # torch has read the number of the forking process
    sys.argv = command
    name = command[0].removesuffix(".py")
    if name in HOMES:
        runpy.run_module(HOMES[name], run_name="__main__")
    else:
        sys.path.insert(0, str(EXPERIMENTS / "data"))
        (path,) = EXPERIMENTS.rglob(command[0])
        runpy.run_path(str(path), run_name="__main__")


def printed_by(folder: Path, script: str, *args: str) -> str:
    """Runs a script and returns its output; fails with what it printed if it fails."""
    done = run(folder, script, *args)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def call(monkeypatch, capsys, script: str, *args: str | Path) -> tuple[int, str]:
    """Calls ``main`` of a script in this process, which is quicker; returns status and output."""
    module = importlib.import_module(HOMES[script])
    monkeypatch.setattr(sys, "argv", [f"{script}.py", *map(str, args)])
    capsys.readouterr()
    status, last = 0, ""
    try:
        module.main()
    except SystemExit as ended:
        if isinstance(ended.code, str):
            status, last = 1, ended.code
        else:
            status = ended.code or 0
    printed = capsys.readouterr()
    return status, printed.out + printed.err + last
