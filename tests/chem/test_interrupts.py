"""Ctrl-C during calls into RDKit, sent to another process at several moments."""

import ctypes
import os
import signal
import subprocess
import sys

import pytest

from molae_pyg.chem import workers
from molae_pyg.chem.options import Options
from molae_pyg.chem.parsing import parse_smiles
from molae_pyg.chem.rows import row_of

pytestmark = pytest.mark.skipif(os.name != "posix", reason="sends signals of POSIX")

# Its conformer takes about a second, in one call into RDKit.
PEPTIDE = "CC(C)C[C@H](NC(=O)[C@H](Cc1ccccc1)NC(=O)[C@H](CO)NC(=O)[C@H](CC(N)=O)NC(=O)CN)C(N)=O"

HEAD = f"""
import os, signal, threading, time
# A shell's background jobs ignore it, and their children inherit that.
signal.signal(signal.SIGINT, signal.default_int_handler)
import torch
from rdkit import Chem
from molae_pyg.chem import featurize, from_mol, from_smiles
torch.set_num_threads(1)
SMILES = {PEPTIDE!r}
"""

# Half of the signals go to the whole process group, as those of a terminal do.
INTERRUPTED = """
CALLS = [
    lambda: from_smiles(SMILES),
    lambda: from_mol(Chem.MolFromSmiles(SMILES)),
    lambda: featurize([SMILES], workers=1, progress=False)[0][0],
    lambda: featurize([SMILES] * 2, workers=2, progress=False)[0][0],
]
def send(number):
    os.killpg(0, signal.SIGINT) if number % 2 else os.kill(os.getpid(), signal.SIGINT)
whole = from_smiles(SMILES)
for call in CALLS:
    for number, seconds in enumerate((0.0, 0.02, 0.1, 0.3, 0.6)):
        try:
            threading.Timer(seconds, send, (number,)).start()
            deadline = time.monotonic() + 60
            while time.monotonic() < deadline:
                made = call()
                if (made.status, made.reason) != ("3d", "") or not torch.equal(made.pos, whole.pos):
                    print("disturbed")
            print("nothing came")
        except KeyboardInterrupt:
            print("interrupted")
    print(torch.equal(from_smiles(SMILES).pos, whole.pos))
"""

AFTER_THREADS = """
threads = [threading.Thread(target=from_smiles, args=(SMILES,)) for _ in range(4)]
threads.append(threading.Thread(target=lambda: featurize([SMILES], workers=1, progress=False)))
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
try:
    threading.Timer(0.1, os.kill, (os.getpid(), signal.SIGINT)).start()
    time.sleep(60)
    print("dead")
except KeyboardInterrupt:
    print("interrupted")
"""

DURING_THREADS = """
made = []
threads = [threading.Thread(target=lambda: made.append(from_smiles(SMILES))) for _ in range(3)]
for thread in threads:
    thread.start()
try:
    threading.Timer(0.1, os.kill, (os.getpid(), signal.SIGINT)).start()
    time.sleep(60)
    print("dead")
except KeyboardInterrupt:
    print("interrupted")
for thread in threads:
    thread.join()
print([torch.equal(data.pos, from_smiles(SMILES).pos) for data in made])
"""


def lines_of(code: str) -> list[str]:
    """Runs code in a process group of its own; returns what it prints."""
    done = subprocess.run(
        [sys.executable, "-c", HEAD + code],
        capture_output=True,
        text=True,
        timeout=300,
        start_new_session=True,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


def test_ctrl_c_comes_and_no_coordinates_are_disturbed():
    assert lines_of(INTERRUPTED) == [*["interrupted"] * 5, "True"] * 4


def test_ctrl_c_still_works_after_threads():
    assert lines_of(AFTER_THREADS) == ["interrupted"]


def test_ctrl_c_while_threads_make_conformers_reaches_the_main_thread():
    assert lines_of(DURING_THREADS) == ["interrupted", "[True, True, True]"]


def test_the_handler_of_python_stays_in_place():
    molecule = parse_smiles(PEPTIDE)
    handler = ctypes.pythonapi.PyOS_getsig  # what is in place below Python, too
    handler.restype = ctypes.c_void_p
    before = handler(signal.SIGINT)
    row_of(molecule, Options())
    assert handler(signal.SIGINT) == before


def test_a_worker_stays_for_the_next_call(monkeypatch):
    monkeypatch.setattr(workers, "_spare", spare := [])
    molecule = parse_smiles("CO")
    row_of(molecule, Options())
    (worker,) = spare
    process = worker._process
    row_of(molecule, Options())
    assert [worker] == spare
    assert worker._process is process
    worker.discard()


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_forked_process_does_not_share_the_worker(tmp_path):
    code = """
import os
from molae_pyg.chem import from_smiles
first = from_smiles("CCO").pos.tolist()
child = os.fork()
made = [from_smiles(s).pos.tolist() for s in ("CCN", "CCO", "CCF")]
assert made[1] == first
if child:
    assert os.waitpid(child, 0)[1] == 0
    print("same")
else:
    os._exit(0)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)
    assert done.stdout == "same\n", done.stderr
