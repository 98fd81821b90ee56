"""Worker processes that make conformers and can be killed.

One call into RDKit can run for minutes and cannot be interrupted from Python, so a time limit that
holds needs a process to kill. A worker is this interpreter started afresh on :func:`serve`; jobs
and results go through its standard input and output. It never imports the caller's script (which
``multiprocessing`` would do, asking every user for an ``if __name__ == "__main__"`` guard), forks
no process that holds threads or a GPU, and loads RDKit and NumPy but not torch.
"""

import contextlib
import os
import pickle
import queue
import signal
import subprocess
import sys
import threading
from concurrent.futures import Future, ThreadPoolExecutor

from rdkit import Chem, rdBase

from molae_pyg.chem.conformers import (
    LARGE,
    OUT_OF_TIME,
    Embedding,
    Recipe,
    Step,
    embed,
    make,
)

GRACE = 2.0  # seconds after the time limit, in which a worker may stop by itself
LAYOUT_LIMIT = 60.0  # seconds for the 2D layout, a job of its own
_PROGRAM = "from molae_pyg.chem.workers import serve; serve()"


def run(mol: Chem.Mol, recipe: Recipe) -> Embedding:
    """Makes the conformers of one molecule; a large molecule gets a process of its own.

    Args:
        mol: The molecule with explicit hydrogens.
        recipe: How many conformers, which seed, how much time.
    """
    if mol.GetNumAtoms() <= LARGE:  # RDKit's own clock is good enough
        return make(mol, recipe)
    with WorkerPool(1) as pool:
        return pool.submit(mol, recipe).result()


class WorkerPool:
    """A number of workers behind one queue; a context manager.

    Args:
        workers: Number of processes. They start with their first job.
    """

    def __init__(self, workers: int) -> None:
        self._workers = [_Worker() for _ in range(workers)]
        self._idle: queue.SimpleQueue[_Worker] = queue.SimpleQueue()
        for worker in self._workers:
            self._idle.put(worker)
        self._threads = ThreadPoolExecutor(workers, thread_name_prefix="conformers")

    def submit(self, mol: Chem.Mol, recipe: Recipe) -> "Future[Embedding]":
        """Queues one molecule; results do not depend on the number of workers."""
        return self._threads.submit(self._run, mol, recipe)

    def _run(self, mol: Chem.Mol, recipe: Recipe) -> Embedding:
        worker = self._idle.get()
        try:
            return worker.run(mol, recipe)
        finally:
            self._idle.put(worker)

    def __enter__(self) -> "WorkerPool":
        return self

    def __exit__(self, *_: object) -> None:
        self._threads.shutdown(wait=False, cancel_futures=True)
        for worker in self._workers:
            worker.stop()
        self._threads.shutdown(wait=True)
        for worker in self._workers:
            worker.discard()


class _Worker:
    """One process, started when needed and again after it was killed or died."""

    def __init__(self) -> None:
        self._process: subprocess.Popen | None = None
        self._closed = False

    def run(self, mol: Chem.Mol, recipe: Recipe) -> Embedding:
        """Runs one job; what was made before the process was killed or died is kept."""
        embedding = Embedding()
        finished = self._attempt(mol, recipe, recipe.time_limit + GRACE, embedding)
        made = len(embedding.conformers)
        if not finished and 0 < made < recipe.count:
            embedding.add(Step("note", f"{made} of {recipe.count} conformers"))
        if embedding.lacks_layout(recipe):
            self._attempt(mol, recipe._replace(count=0), LAYOUT_LIMIT, embedding)
        return embedding

    def _attempt(self, mol: Chem.Mol, recipe: Recipe, limit: float, embedding: Embedding) -> bool:
        """Adds what the process sends to ``embedding``; returns whether it came to the end."""
        process = self._start()
        killed = threading.Event()

        def kill() -> None:
            killed.set()
            process.kill()

        timer = threading.Timer(limit, kill)
        timer.daemon = True
        timer.start()
        try:
            # With all properties: the 2D layout depends on the stereo ranks kept among them.
            binary = mol.ToBinary(int(Chem.PropertyPickleOptions.AllProps))
            pickle.dump((binary, recipe), process.stdin)
            process.stdin.flush()
            while (step := pickle.load(process.stdout)).kind != "end":
                embedding.add(step)
            return True
        except (EOFError, OSError, pickle.UnpicklingError):  # the pipe broke, perhaps half-way
            if killed.is_set():
                note = OUT_OF_TIME if recipe.count else "no time for the 2D layout"
            else:
                note = f"the conformer process died (exit code {process.wait()})"
            embedding.add(Step("note", note))
            return False
        finally:
            timer.cancel()
            timer.join()
            if killed.is_set():
                self.discard()

    def _start(self) -> subprocess.Popen:
        if self._process is not None and self._process.poll() is not None:
            self.discard()
        if self._process is None:
            # The same import path, and no module from the current folder by accident.
            path = os.pathsep.join(entry or os.getcwd() for entry in sys.path)
            self._process = subprocess.Popen(
                [sys.executable, "-c", _PROGRAM],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                env={**os.environ, "PYTHONPATH": path, "PYTHONSAFEPATH": "1"},
            )
            self._await_ready()
        if self._closed:
            self.discard()
            raise RuntimeError("the worker pool is closed")
        return self._process

    def _await_ready(self) -> None:
        """Waits for the imports to finish, from when on the time limit counts."""
        try:
            pickle.load(self._process.stdout)
        except EOFError:
            if not self._closed:
                raise RuntimeError(
                    f"a conformer process could not start ({sys.executable}); its own message is "
                    "printed above. Pass workers=1 to stay within this process."
                ) from None

    def stop(self) -> None:
        """Kills the process for good; a job in progress ends early."""
        self._closed = True
        if self._process is not None:
            self._process.kill()

    def discard(self) -> None:
        """Kills the process, if there is one, and lets go of it."""
        process, self._process = self._process, None
        if process is not None:
            process.kill()
            process.wait()
            process.stdout.close()
            with contextlib.suppress(OSError):  # unsent bytes of a job whose process is gone
                process.stdin.close()


def serve() -> None:
    """The worker's side: reads jobs from standard input until it ends, writes steps to output."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's to handle
    rdBase.DisableLog("rdApp.*")
    output = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # whatever prints must not mix with the results

    def send(step: Step) -> None:
        pickle.dump(step, output)
        output.flush()

    try:
        send(Step("ready", ""))
        while True:
            binary, recipe = pickle.load(sys.stdin.buffer)
            for step in embed(Chem.Mol(binary), recipe):
                send(step)
            send(Step("end", ""))
    except (EOFError, BrokenPipeError):  # the parent closed the pool or is gone
        return
