"""How slow are training and embedding beside other processes, by how long idle threads wait?

Command: MOLAE_DATA=... python benchmarks/beside_others.py

Method: molae-small, in fresh interpreters in turn. A step is forward and backward of 32 molecules
of 24 atoms, the fastest of three, on idle cores and with one busy process a core beside it. `embed`
takes new ZINC molecules, for which worker processes make conformers on all cores; its time is that
of the call, and the processor time that of the calling process alone. Ways: the threads of PyTorch
as they come, which wait long for work; as molae_pyg sets them (`molae_pyg.cores`); waiting without
taking processor time (OMP_WAIT_POLICY=PASSIVE); and a single thread.
"""

import argparse
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import record
from embedding import smiles
from turns import summary

from molae_pyg.cores import SHORT_WAITS, available_cores

_START = """
import sys, time, torch  # before molae_pyg, which would set the variables
from molae_pyg import MolAE
model = MolAE.from_pretrained("molae-small")
"""
_STEP = """
encoder = model.encoder.train()
z, pos = torch.full((768,), 6), torch.randn(768, 3) * 3
batch = torch.arange(32).repeat_interleave(24)
seconds = []
for _ in range(4):
    start = time.perf_counter()
    encoder(z, pos, batch).molecule.sum().backward()
    seconds.append(time.perf_counter() - start)
print(min(seconds[1:]))
"""
_EMBED = """
smiles = sys.stdin.read().split()
start, begun = time.perf_counter(), time.process_time()
model.embed(smiles, cache=False, recipe="published")
print(time.perf_counter() - start, time.process_time() - begun)
"""
WAYS = {
    "as it comes": {},
    "molae_pyg": SHORT_WAITS,
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


def seconds(program: str, changes: dict[str, str], given: str = "") -> list[float]:
    """Returns what a program prints in a fresh interpreter."""
    own = {name: text for name, text in os.environ.items() if not name.startswith(("OMP_", "GOMP"))}
    done = subprocess.run(
        [sys.executable, "-c", _START + program],
        env=own | changes,
        input=given,
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    return [float(text) for text in done.stdout.split()]


def measure(program: str, turns: int, given: str = "") -> list[dict[str, list[float]]]:
    """Returns way -> seconds of each turn."""
    return [
        {way: seconds(program, changes, given) for way, changes in WAYS.items()}
        for _ in range(turns)
    ]


def main() -> None:
    question = __doc__.splitlines()[0]
    parser = argparse.ArgumentParser(description=question)
    parser.add_argument("--turns", type=int, default=2, help="default: 2")
    parser.add_argument("--molecules", type=int, default=300, help="for embed, default: 300")
    args = parser.parse_args()
    result = {}
    for place, number in {"idle cores": 0, "a busy process a core": available_cores()}.items():
        with busy(number):
            rows = measure(_STEP, args.turns)
        result[f"step, {place}"] = {way: summary([row[way][0] for row in rows]) for way in WAYS}
    rows = measure(_EMBED, args.turns, "\n".join(smiles(args.molecules)))
    for number, title in enumerate(("embed", "embed, processor time of the caller")):
        result[title] = {way: summary([row[way][number] for row in rows]) for way in WAYS}
    print(json.dumps(result, indent=2))
    print("written:", record.write("beside_others", question, result))


if __name__ == "__main__":
    main()
