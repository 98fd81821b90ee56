"""How many molecules a second does `molae prepare` finish, with one and with more workers?

Command: python benchmarks/preparation.py zinc250k.smi.gz

Method: the first 200 molecules of a file of SMILES, with 1 conformer and with 10 and the 2D layout,
are prepared into a fresh store by each number of workers. The whole call is timed, which starts
the worker processes and writes the store, without the imports of this process. On a busy machine
the rate depends on the other work. The processor time of the workers, including their start, does
not, and gives the rate of a whole core. This process distributes and writes rows; its share of a
core limits the number of workers that it can keep busy.
"""

import argparse
import itertools
import os
import resource
import tempfile
import time
from pathlib import Path

import record

from molae_pyg.store import prepare
from molae_pyg.store.sources import MoleculeFile

RECIPES = {
    "1 conformer": {"num_conformers": 1, "add_2d": False},
    "10 conformers and 2D": {"num_conformers": 10, "add_2d": True},
}


def measure(source: Path, workers: int, settings: dict[str, object]) -> dict[str, float]:
    """Returns the rate and processor time of one call."""
    with tempfile.TemporaryDirectory() as folder:
        before = clocks()
        report = prepare(source, f"{folder}/store", workers=workers, progress=False, **settings)
        seconds, own, below = (end - start for start, end in zip(before, clocks(), strict=True))
    return {
        "seconds": round(seconds, 2),
        "molecules_per_second": round(report.num_rows / seconds, 2),
        "molecules_per_second_of_a_core": round(report.num_rows / below, 2),
        "cores_got": round(below / seconds, 2),
        "share_of_a_core_for_this_process": round(own / seconds, 4),
        "not_3d": report.num_rows - report.counts["3d"],
    }


def clocks() -> tuple[float, float, float]:
    """Returns time, processor time of this process and of its ended children, in s."""
    below = resource.getrusage(resource.RUSAGE_CHILDREN)
    return time.perf_counter(), time.process_time(), below.ru_utime + below.ru_stime


def main() -> None:
    question = __doc__.splitlines()[0]
    parser = argparse.ArgumentParser(description=question)
    parser.add_argument("source", help="file of SMILES, such as zinc250k.smi.gz")
    parser.add_argument(
        "--molecules", type=int, default=200, help="number of molecules, default: 200"
    )
    parser.add_argument(
        "--workers",
        type=int,
        nargs="+",
        default=[1, 2],
        help="numbers of worker processes, default: 1 2",
    )
    args = parser.parse_args()
    result = {"molecules": args.molecules, "load_before": os.getloadavg(), "runs": []}
    with tempfile.TemporaryDirectory() as folder:
        source = Path(folder, "molecules.smi")
        smiles = itertools.islice(MoleculeFile(args.source), args.molecules)
        source.write_text("\n".join(smiles))
        for (recipe, settings), workers in itertools.product(RECIPES.items(), args.workers):
            run = measure(source, workers, settings)
            result["runs"].append({"recipe": recipe, "workers": workers, **run})
            print(f"{recipe}, {workers} workers: {run}")
    print("written:", record.write("preparation", question, result))


if __name__ == "__main__":
    main()
