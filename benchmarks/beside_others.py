"""How slow is a training step beside other processes, and do threads that wait passively help?

Command: python benchmarks/beside_others.py

Method: a step (forward, backward) of molae-small on 32 molecules of 24 atoms, in fresh interpreters
in turn, on idle cores and with one busy process a core beside it; the fastest of five steps of each
interpreter. Ways: PyTorch as it is, with OMP_WAIT_POLICY=PASSIVE, which the molae command sets,
and with one thread.
"""

import argparse
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import record
from turns import summary

_STEP = """
import time, torch
from molae_pyg import MolAE
encoder = MolAE.from_pretrained("molae-small").encoder.train()
z, pos = torch.full((768,), 6), torch.randn(768, 3) * 3
batch = torch.arange(32).repeat_interleave(24)
seconds = []
for _ in range(6):
    start = time.perf_counter()
    encoder(z, pos, batch).molecule.sum().backward()
    seconds.append(time.perf_counter() - start)
print(min(seconds[1:]))
"""
WAYS = {
    "as it is": {},
    "passive": {"OMP_WAIT_POLICY": "PASSIVE"},
    "one thread": {"OMP_NUM_THREADS": "1"},
}


@contextmanager
def busy(number: int) -> Iterator[None]:
    """Keeps cores busy."""
    command = [sys.executable, "-c", "while True: pass"]
    others = [subprocess.Popen(command) for _ in range(number)]
    try:
        yield
    finally:
        for other in others:
            other.kill()
            other.wait()


def step(changes: dict[str, str]) -> float:
    """Returns the seconds of a step in a fresh interpreter."""
    environment = {name: text for name, text in os.environ.items() if not name.startswith("OMP_")}
    command = [sys.executable, "-c", _STEP]
    done = subprocess.run(
        command, env=environment | changes, capture_output=True, text=True, check=True
    )
    return float(done.stdout)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--turns", type=int, default=5, help="default: 5")
    turns = parser.parse_args().turns
    result = {}
    for place, number in {"idle cores": 0, "busy cores": os.cpu_count()}.items():
        with busy(number):
            rows = [{way: step(change) for way, change in WAYS.items()} for _ in range(turns)]
        result[place] = {way: summary([row[way] for row in rows]) for way in WAYS}
        print(place, result[place], flush=True)
    record.write("beside_others", __doc__.split("\n")[0], result)


if __name__ == "__main__":
    main()
