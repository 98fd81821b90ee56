"""Worker processes that make conformers and can be killed.

One call into RDKit can run for minutes and cannot be interrupted from Python, so a time limit that
holds needs a process to kill. A worker is this interpreter started afresh on :func:`serve`; jobs
(a function that yields steps, and its arguments) come through its standard input, and steps leave
through its output. It never imports the caller's script (which ``multiprocessing`` would do, asking
every user for an ``if __name__ == "__main__"`` guard), forks no process that holds threads or a
GPU, and loads RDKit and NumPy but not torch.
"""

import contextlib
import math
import os
import pickle
import queue
import signal
import subprocess
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

from rdkit import Chem, rdBase

from molae_pyg.chem.conformers import (
    LARGE,
    NO_LAYOUT_IN_TIME,
    OUT_OF_TIME,
    Embedding,
    Recipe,
    Step,
    embed,
    make,
)

GRACE = 2.0  # seconds after the time limit, in which a worker may stop by itself
LAYOUT_LIMIT = 60.0  # seconds for the 2D layout
_AHEAD = 64  # jobs for each worker that wait or are done, so that a slow one stops no other
_LOOKS = 0.1  # seconds between two looks at the clock
_ORPHAN = 30.0  # seconds that a worker outlives its time if nobody is left to kill it
# One thread each: on many cores NumPy would start as many in every worker.
_ENVIRONMENT = {"PYTHONSAFEPATH": "1", "OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"}
_PROGRAM = "from molae_pyg.chem.workers import serve; serve()"

T = TypeVar("T")


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


def available_cores() -> int:
    """Returns the number of cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


class WorkerPool:
    """A number of workers behind one queue; a context manager.

    Args:
        workers: Number of processes. They start with their first job.
    """

    def __init__(self, workers: int) -> None:
        self._workers = [Worker() for _ in range(workers)]
        self._idle: queue.SimpleQueue[Worker] = queue.SimpleQueue()
        for worker in self._workers:
            self._idle.put(worker)
        self._threads = ThreadPoolExecutor(workers, thread_name_prefix="conformers")
        self._closed = threading.Event()
        threading.Thread(target=self._watch, name="conformers-clock", daemon=True).start()

    def submit(self, mol: Chem.Mol, recipe: Recipe) -> "Future[Embedding]":
        """Queues one molecule; results do not depend on the number of workers."""
        return self.apply(_make_in, mol, recipe)

    def apply(self, task: Callable[..., T], *args: object) -> "Future[T]":
        """Queues ``task(worker, *args)``, which may call on the worker as often as it likes."""
        return self._threads.submit(self._apply, task, *args)

    def map(self, task: Callable[..., T], arguments: Iterable[tuple]) -> Iterator[T]:
        """Yields ``task(worker, *args)`` for each ``args``, in order, a few of them ahead."""
        under_way: deque[Future[T]] = deque()
        for args in arguments:
            under_way.append(self.apply(task, *args))
            if len(under_way) >= _AHEAD * len(self._workers):
                yield under_way.popleft().result()
        while under_way:
            yield under_way.popleft().result()

    def _apply(self, task: Callable[..., T], *args: object) -> T:
        worker = self._idle.get()
        try:
            return task(worker, *args)
        finally:
            self._idle.put(worker)

    def _watch(self) -> None:
        while not self._closed.wait(_LOOKS):
            for worker in self._workers:
                worker.kill_if_late()

    def __enter__(self) -> "WorkerPool":
        return self

    def __exit__(self, *_: object) -> None:
        self._closed.set()
        self._threads.shutdown(wait=False, cancel_futures=True)
        for worker in self._workers:
            worker.stop()
        self._threads.shutdown(wait=True)
        for worker in self._workers:
            worker.discard()


class Worker:
    """One process, started when needed and again after it was killed or died."""

    def __init__(self) -> None:
        self._process: subprocess.Popen | None = None
        self._closed = False
        self._clock = threading.Lock()  # a late kill must not fall on the next job
        self._deadline = math.inf
        self._late = False

    def call(
        self,
        function: Callable[..., Iterator[Step]],
        args: tuple,
        limit: float,
        take: Callable[[Step], None],
    ) -> str:
        """Runs a generator function in the process and hands on each step as soon as it comes.

        Args:
            function: Found in the process by its name, so it must be importable there.
            args: Its arguments; they are pickled.
            limit: Seconds until the process is killed; ``take`` may set them anew with
                :meth:`allow`.
            take: Called with each step, in this thread.

        Returns:
            Empty if the function came to its end, else why not: :data:`OUT_OF_TIME`, or that the
            process died.
        """
        process = self._start()
        self.allow(limit)
        try:
            pickle.dump((function, args, limit + LAYOUT_LIMIT + _ORPHAN), process.stdin)
            process.stdin.flush()
            while (step := pickle.load(process.stdout)).kind != "end":
                take(step)
            return ""
        except (EOFError, OSError, pickle.UnpicklingError):  # the pipe broke, perhaps half-way
            if self._late:
                return OUT_OF_TIME
            return f"the conformer process died (exit code {process.wait()})"
        finally:
            with self._clock:
                self._deadline = math.inf
            if self._late:
                self.discard()

    def allow(self, seconds: float) -> None:
        """Gives the function at work so many seconds from now."""
        with self._clock:
            self._deadline = time.monotonic() + seconds

    def kill_if_late(self) -> None:
        """Kills the process if its time is over."""
        with self._clock:
            if time.monotonic() > self._deadline and self._process is not None:
                self._late = True
                self._process.kill()

    def _start(self) -> subprocess.Popen:
        if self._process is not None and self._process.poll() is not None:
            self.discard()
        if self._process is None:
            self._late = False
            # The same import path, and no module from the current folder by accident.
            path = os.pathsep.join(entry or os.getcwd() for entry in sys.path)
            self._process = subprocess.Popen(
                [sys.executable, "-c", _PROGRAM],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                env={**os.environ, **_ENVIRONMENT, "PYTHONPATH": path},
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


def _make_in(worker: Worker, mol: Chem.Mol, recipe: Recipe) -> Embedding:
    """As :func:`~molae_pyg.chem.conformers.make`; what a dying process has made is kept."""
    embedding = Embedding()
    # With all properties: the 2D layout depends on the stereo ranks kept among them.
    binary = mol.ToBinary(int(Chem.PropertyPickleOptions.AllProps))
    note = worker.call(_embed_binary, (binary, recipe), recipe.time_limit + GRACE, embedding.add)
    if note:
        embedding.cut_short(note, recipe)
    if embedding.lacks_layout(recipe):
        only_layout = (binary, recipe._replace(count=0))
        note = worker.call(_embed_binary, only_layout, LAYOUT_LIMIT, embedding.add)
        if note:
            embedding.add(Step("note", NO_LAYOUT_IN_TIME if note == OUT_OF_TIME else note))
    return embedding


def _embed_binary(binary: bytes, recipe: Recipe) -> Iterator[Step]:
    yield from embed(Chem.Mol(binary), recipe)


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
            function, args, patience = pickle.load(sys.stdin.buffer)
            _end_after(patience)
            for step in function(*args):
                send(step)
                _end_after(patience)
            _end_after(0)
            send(Step("end", ""))
    except (EOFError, BrokenPipeError):  # the parent closed the pool or is gone
        return


def _end_after(seconds: float) -> None:
    """Ends this process at that time, even within RDKit; 0 takes it back.

    The parent kills a late worker sooner. This is for the worker whose parent was killed itself.
    """
    if hasattr(signal, "setitimer"):  # not on Windows
        signal.setitimer(signal.ITIMER_REAL, seconds)
