"""How fast, and in how much memory, do `molae embed` and `molae predict` screen a library?

Command: MOLAE_DATA=... python benchmarks/screening.py

Method: the first molecules of ZINC250k go through both commands as users call them, with the
default weights and with a model that `molae train` fits to ESOL by the same recipe (default
settings). The whole call is timed, with imports and worker processes. On a busy machine that
depends on the other work; the processor time of the command and of its workers hardly does. The
same is done with a tenth of the molecules: the difference is the processor time of further
molecules, without that of the start, and memory is not to grow. Peak memory is the largest sum of
the resident memory of the command and its workers, looked at five times a second.
"""

import argparse
import gzip
import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from itertools import islice
from pathlib import Path

import record

RECIPES, VERBS = ("published", "fast", "flat"), ("embed", "predict")
PAGE = os.sysconf("SC_PAGE_SIZE")
CODE = "import sys; from molae_pyg.cli import main; sys.exit(main(sys.argv[1:]))"


def resident(pid: int) -> int:
    """Returns the resident memory of a process and all below it, in bytes."""
    try:
        found = int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * PAGE
        below = [file.read_text().split() for file in Path(f"/proc/{pid}/task").glob("*/children")]
    except OSError:  # it has ended
        return 0
    return found + sum(resident(int(child)) for children in below for child in children)


def called(words: list[str]) -> dict[str, float]:
    """Runs a command of molae; returns seconds, processor seconds and peak memory."""
    start, peak, ended = time.perf_counter(), 0, threading.Event()
    process = subprocess.Popen([sys.executable, "-c", CODE, *words], stdout=subprocess.PIPE)

    def look() -> None:
        nonlocal peak
        while not ended.wait(0.2):
            peak = max(peak, resident(process.pid))

    watch = threading.Thread(target=look)
    watch.start()
    printed = process.stdout.read().decode()
    _, status, usage = os.wait4(process.pid, 0)
    ended.set()
    watch.join()
    if status:
        raise SystemExit(f"molae {' '.join(words)} has failed")
    print(printed, end="", flush=True)
    return {
        "seconds": round(time.perf_counter() - start, 1),
        "processor seconds": round(usage.ru_utime + usage.ru_stime, 1),
        "peak GiB": round(peak / 2**30, 3),
    }


def library(path: Path, number: int) -> Path:
    """Writes the first molecules of ZINC250k."""
    source = Path(os.environ["MOLAE_DATA"], "pretrain", "zinc250k.smi.gz")
    with gzip.open(source, "rt") as lines, path.open("w") as out:
        out.writelines(f"{line.split()[0]}\n" for line in islice(lines, number))
    return path


def measured(verb: str, first: list[str], flags: list[str], number: int, folder: Path) -> dict:
    """Returns the figures of a command with all molecules and with a tenth of them."""
    few = called([verb, *first, str(library(folder / "few.smi", number // 10)), *flags])
    out = Path(flags[0])
    found = called([verb, *first, str(library(folder / "all.smi", number)), *flags])
    further = found["processor seconds"] - few["processor seconds"]
    return {
        "molecules": number,
        **found,
        "processor ms a further molecule": round(1000 * further / (number - number // 10), 2),
        "molecules per second": round(number / found["seconds"], 2),
        "molecules per processor second": round(number / found["processor seconds"], 2),
        "peak GiB with a tenth": few["peak GiB"],
        "bytes of output a molecule": round(out.stat().st_size / number, 1),
    }


def screened(verb: str, recipe: str, number: int, folder: Path) -> dict:
    """Returns the figures of a command with a recipe."""
    how = ["--recipe", recipe]
    if verb == "embed":
        return measured("embed", [], [f"{folder}/x.npz", *how], number, folder)
    esol = Path(os.environ["MOLAE_DATA"], "moleculenet", "delaney-processed.csv")
    target = "measured log solubility in mols per litre"
    called(["train", str(esol), f"{folder}/m", "--targets", target, *how])
    return measured("predict", [f"{folder}/m"], [f"{folder}/y.csv"], number, folder)


def main() -> None:
    question = __doc__.splitlines()[0]
    parser = argparse.ArgumentParser(description=question)
    what = "one number for all recipes or one for each, default: 20,000"
    parser.add_argument("--molecules", type=int, nargs="+", default=[20_000], help=what)
    parser.add_argument("--recipes", nargs="+", choices=RECIPES, default=RECIPES)
    parser.add_argument("--verbs", nargs="+", choices=VERBS, default=VERBS)
    args = parser.parse_args()
    numbers = args.molecules * (len(args.recipes) if len(args.molecules) == 1 else 1)
    for verb in args.verbs:
        result: dict = {"cores": os.cpu_count(), "load before": os.getloadavg()}
        for recipe, number in zip(args.recipes, numbers, strict=True):
            with tempfile.TemporaryDirectory() as folder:
                result[recipe] = screened(verb, recipe, number, Path(folder))
            print(verb, recipe, json.dumps(result[recipe]), flush=True)
            record.write(f"screening_{verb}", question, result)  # survives an interruption


if __name__ == "__main__":
    main()
