"""How long does loading the shipped model take, compared with importing PyTorch Geometric?

Command: python benchmarks/start_up.py

Method: each statement runs in a fresh interpreter, which times it from inside, so that the
start of the interpreter and the imports before loading weights do not count. The statements take
turns, so that a busy moment affects all of them; the first turn fills the file cache and is not
counted. Reported are the median, minimum and maximum time of the turns, and per turn the ratio to
PyTorch Geometric. The times of all imports are shown by
``python -X importtime -c "from molae_pyg import MolAE"``.
"""

import argparse
import subprocess
import sys

import record
from turns import summary

BASELINE = "import torch_geometric"
#: Statement that is timed -> the code before it.
STATEMENTS = {
    BASELINE: "",
    "import molae_pyg": "",
    "from molae_pyg import MolAE": "",
    "MolAE.from_pretrained('molae-small')": "from molae_pyg import MolAE",
}
TIMER = "import time\n{}\nstart = time.perf_counter()\n{}\nprint(time.perf_counter() - start)"


def seconds(statement: str) -> float:
    """Returns the time of one statement in a fresh interpreter."""
    script = [sys.executable, "-c", TIMER.format(STATEMENTS[statement], statement)]
    return float(subprocess.run(script, capture_output=True, text=True, check=True).stdout)


def measure(turns: int) -> dict[str, dict[str, dict[str, float]]]:
    """Returns seconds and ratio to the baseline of each statement, as median, min and max."""
    rows = [{statement: seconds(statement) for statement in STATEMENTS} for _ in range(turns + 1)]
    return {
        statement: {
            "seconds": summary([row[statement] for row in rows[1:]]),
            "ratio": summary([row[statement] / row[BASELINE] for row in rows[1:]]),
        }
        for statement in STATEMENTS
    }


def main() -> None:
    question = __doc__.splitlines()[0]
    parser = argparse.ArgumentParser(description=question)
    parser.add_argument("--turns", type=int, default=9, help="counted turns, default: 9")
    turns = parser.parse_args().turns
    result = measure(turns)
    for statement, row in result.items():
        time, ratio = row["seconds"], row["ratio"]
        print(
            f"{statement:<38} {time['median']:6.3f} s ({time['min']:.3f} to {time['max']:.3f})"
            f"   ratio {ratio['median']:.3f} ({ratio['min']:.3f} to {ratio['max']:.3f})"
        )
    print("written:", record.write("start_up", question, result | {"turns": turns}))


if __name__ == "__main__":
    main()
