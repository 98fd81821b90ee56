"""Does a run that is killed at any moment, and called again, give what an uninterrupted run gives?

    python benchmarks/kill_training.py --kills 100

Method: a small fine-tuning run (two targets of both types, dropout, a moving average of the
weights) and a small pre-training run are made once without interruption, on one thread in fp32.
Then the same call runs in a forked process that gets SIGKILL at a random moment, one to four times
in a row in the same folder, and is finally run to its end. The returned scores, the returned model,
the saved model and metrics.csv are compared bit by bit, without times, and run.json must have
counted every start. The process that is forked has made all imports, so that a start is cheap. The
result is written to benchmarks/results/kill_training.json.
"""

import argparse
import collections
import json
import os
import random
import shutil
import signal
import sys
import tempfile
import time
import traceback
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import record
import scipy.stats  # noqa: F401, the package loads it late: loaded here, before the forks
import sklearn.metrics  # noqa: F401
import torch
import torch.utils.tensorboard
from torch_geometric.data import Data

from molae_pyg import ClozeDrop, MolAE, MolAEPredictor
from molae_pyg.fingerprint import of_weights
from molae_pyg.store import ConformerStore, StoreWriter
from molae_pyg.training import Finetuning, Pretraining, cloze_objective, finetune, pretrain

TIMES = ("second", "time")  # in names of columns and scores
FINETUNING = Finetuning(
    epochs=5, batch_size=8, lr=2e-3, warmup=0.1, patience=3, ema_decay=0.9, precision="32-true"
)
PRETRAINING = Pretraining(
    steps=12, pair_budget=2500, lr=1e-3, warmup_steps=4, validate_every=2, precision="32-true"
)
Run = Callable[[Path], dict[str, Any]]


def molecules(number: int, seed: int) -> list[Data]:
    """Returns chains of carbon and oxygen; targets: the share of oxygen, a value and a class."""
    rng = np.random.default_rng(seed)
    found = []
    for _ in range(number):
        size = rng.integers(4, 10)
        z = rng.choice([6, 8], size)
        chain = np.arange(size)[:, None, None] * np.array([1.5, 0, 0])
        conformers = chain + 0.3 * rng.normal(size=(size, 2, 3))
        share = float(np.mean(z == 8))
        y = torch.tensor([[100 * share, float(share > 0.5)]])
        conformers = torch.from_numpy(conformers).float()
        found.append(Data(z=torch.from_numpy(z), conformers=conformers, y=y, num_nodes=len(z)))
    return found


def finetuning() -> Run:
    """Returns a run that fine-tunes a tiny model on 24 molecules."""
    train, valid = molecules(24, 0), molecules(8, 1)

    def run(folder: Path) -> dict[str, Any]:
        torch.manual_seed(0)
        types = ["regression", "classification"]
        model = MolAEPredictor(MolAE.tiny().encoder, 2, pooler_dropout=0.1, task_type=types)
        scores = finetune(model, train, valid, folder, FINETUNING)
        return outcome(model, scores, MolAEPredictor, folder)

    return run


def pretraining(place: Path) -> Run:
    """Returns a run that pre-trains a tiny model on 80 molecules, which are stored at ``place``."""
    with StoreWriter(place, {"source": "chains"}) as writer:
        for row, data in enumerate(molecules(80, 0)):
            z, conformers = data.z.numpy(), data.conformers.numpy()
            writer.add(row, "3d", smiles=f"m{row}", z=z, conformers=conformers)
        writer.finish(80)
    store = ConformerStore(place)

    def run(folder: Path) -> dict[str, Any]:
        torch.manual_seed(0)
        model = MolAE.tiny()
        data = store[:64], store[64:]
        scores = pretrain(model, cloze_objective, *data, folder, PRETRAINING, ClozeDrop(0.3))
        return outcome(model, scores, MolAE, folder)

    return run


def outcome(
    model: torch.nn.Module, scores: dict[str, float], cls: type, folder: Path
) -> dict[str, Any]:
    """Returns everything that must be the same, by name."""
    table = pd.read_csv(folder / "metrics.csv")
    timed = [name for name in table if any(word in name for word in TIMES)]
    return {
        "returned scores": {k: v for k, v in scores.items() if not any(w in k for w in TIMES)},
        "returned model": of_weights(model),
        "saved model": of_weights(cls.from_pretrained(folder / "model")),
        "metrics.csv": table.drop(columns=timed).to_csv(index=False),
        "files": sorted(path.name for path in folder.iterdir() if path.name != "logs"),
    }


def start(run: Run, folder: Path, before: Callable[[], None] = lambda: None) -> int:
    """Starts a run in a forked process, which writes its outcome beside the folder."""
    place = folder.with_suffix(".json")
    place.unlink(missing_ok=True)
    process = os.fork()
    if process:
        return process
    null = os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, 1)
    os.dup2(null, 2)
    try:
        before()
        found = run(folder)
    except BaseException as error:
        where = traceback.extract_tb(error.__traceback__)[-1]
        found = {"error": f"{type(error).__name__}: {error} ({where.filename}:{where.lineno})"}
    place.write_text(json.dumps(found))
    os._exit(0)


def wait(process: int, folder: Path) -> dict[str, Any]:
    """Returns the outcome of a forked process, or an error if it wrote none."""
    _, status = os.waitpid(process, 0)
    place = folder.with_suffix(".json")
    return json.loads(place.read_text()) if place.exists() else {"error": f"status {status}"}


def verdict(expected: dict[str, Any], found: dict[str, Any]) -> str:
    """Returns ``"equal"``, or the names of what differs."""
    if "error" in found:
        return f"resuming fails: {found['error']}"
    wrong = [name for name, value in expected.items() if found[name] != value]
    return f"different: {', '.join(wrong)}" if wrong else "equal"


def killed(run: Run, folder: Path, moments: list[float]) -> int:
    """Starts and kills the run after each of these times in s; returns the number of kills."""
    count = 0
    for moment in moments:
        process = start(run, folder)
        time.sleep(moment)
        if os.waitpid(process, os.WNOHANG)[0]:
            break  # it was finished before that time
        os.kill(process, signal.SIGKILL)
        os.waitpid(process, 0)
        count += 1
    return count


def campaign(run: Run, folder: Path, kills: int, seed: int) -> dict[str, Any]:
    """Kills and resumes runs until the number of kills is reached; counts each outcome."""
    rng = random.Random(seed)
    first = folder.with_name(f"{folder.name}-uninterrupted")
    begin = time.perf_counter()
    expected = wait(start(run, first), first)
    duration = time.perf_counter() - begin
    if "error" in expected:
        raise RuntimeError(expected["error"])
    done, outcomes = 0, collections.Counter()
    while done < kills:
        shutil.rmtree(folder, ignore_errors=True)
        number = min(rng.randint(1, 4), kills - done)
        count = killed(run, folder, [rng.uniform(0.0, 1.02 * duration) for _ in range(number)])
        done += count
        result = verdict(expected, wait(start(run, folder), folder))
        starts = json.loads((folder / "run.json").read_text())["starts"]
        if result == "equal" and not 1 <= starts <= count + 1:
            result = f"run.json counts {starts} starts of at most {count + 1}"
        outcomes[result] += 1
        print(f"{done} kills: {dict(outcomes)}", file=sys.stderr, flush=True)
    return {
        "seconds uninterrupted": round(duration, 2),
        "kills": done,
        "runs compared": sum(outcomes.values()),
        "outcomes": dict(outcomes),
    }


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--kills", type=int, default=100, help="number of kills of each kind of run"
    )
    parser.add_argument("--runs", nargs="+", default=["finetune", "pretrain"], help="kinds of runs")
    parser.add_argument("--seed", type=int, default=0, help="seed of the moments of the kills")
    parser.add_argument("--print", action="store_true", help="print the result, record nothing")
    args = parser.parse_args(arguments)
    measured = record.commit()
    torch.set_num_threads(1)
    warnings.filterwarnings("ignore")
    with tempfile.TemporaryDirectory() as folder:
        work, found = Path(folder), {}
        for kind in args.runs:
            run = finetuning() if kind == "finetune" else pretraining(work / "store")
            found[kind] = campaign(run, work / kind, args.kills, args.seed)
    if args.print or record.commit() != measured:  # files have changed since the start
        print(json.dumps({"commit": measured, **found}))
        return
    record.write("kill_training", __doc__.splitlines()[0], found)


if __name__ == "__main__":
    main()
