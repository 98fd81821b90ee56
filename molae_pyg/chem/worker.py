"""A worker process that makes conformers and can be killed.

One call into RDKit can run for minutes and cannot be interrupted from Python, so only a process
that can be killed makes a time limit certain. RDKit's ETKDG also replaces the handler of Ctrl-C
while it runs: an interrupt changes the coordinates and does not reach Python, and two threads
leave the replacement in place for good. Therefore no conformer is made in the caller's process,
and a worker blocks the signal.

A worker is a new interpreter that runs :func:`serve`. Jobs (a function that yields messages, and
its arguments) come through its standard input, and messages leave through its output. A worker
does not import the caller's script, so no ``if __name__ == "__main__"`` guard is needed (as it is
with ``multiprocessing``). It is not a fork of a process with threads or a GPU, and it loads RDKit
and NumPy but not torch.
"""

import contextlib
import math
import os
import pickle
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from typing import TypeVar

from rdkit import rdBase

from molae_pyg.chem.conformers import DIED, OUT_OF_TIME, Message

GRACE = 2.0  # seconds after the time limit in which a worker may stop by itself
_STARTS = 3  # attempts to start a process that is killed before it is ready
_ORPHAN = 30.0  # seconds after which a worker whose parent was killed ends itself
# One thread each: NumPy would otherwise start a thread for every core in every worker.
_ENVIRONMENT = {"PYTHONSAFEPATH": "1", "OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"}
_PROGRAM = "from molae_pyg.chem.worker import serve; serve()"

T = TypeVar("T")


class Worker:
    """One process. It starts when needed, and again after it was killed or died."""

    def __init__(self) -> None:
        self._process: subprocess.Popen | None = None
        self._closed = False
        self._clock = threading.Lock()  # a late kill must not hit the next job
        self._deadline = math.inf
        self._late = False

    def call(
        self,
        function: Callable[..., Iterator[Message]],
        args: tuple,
        limit: float,
        take: Callable[[Message], None],
    ) -> str:
        """Runs a generator function in the process and passes on each message as it comes.

        Args:
            function: Found in the process by its name, so it must be importable there.
            args: Its arguments; they are pickled.
            limit: Seconds until the process is killed; ``take`` may change them with
                :meth:`allow`.
            take: Called with each message, in this thread.

        Returns:
            An empty string if the function ended, else the reason: :data:`OUT_OF_TIME`, or that
            the process died.
        """
        process = self._start()
        self.allow(limit)
        try:
            pickle.dump((function, args, 2 * limit + _ORPHAN), process.stdin)
            process.stdin.flush()
            while (message := pickle.load(process.stdout)).kind != "end":
                take(message)
            return ""
        except (EOFError, OSError, pickle.UnpicklingError):  # the pipe broke, perhaps half-way
            if self._late:
                return OUT_OF_TIME
            return f"{DIED} (exit code {process.wait()})"
        except BaseException:  # such as Ctrl-C: the process still works on this job
            self.discard()
            raise
        finally:
            with self._clock:
                self._deadline = math.inf
            if self._late:
                self.discard()

    def allow(self, seconds: float) -> None:
        """Kills the process this number of seconds from now unless the function has ended."""
        with self._clock:
            self._deadline = time.monotonic() + seconds

    def kill_if_late(self) -> None:
        """Kills the process if its deadline has passed."""
        with self._clock:
            process = self._process  # another thread may discard it
            if time.monotonic() > self._deadline and process is not None:
                self._late = True
                process.kill()

    def _start(self) -> subprocess.Popen:
        if self._process is not None and self._process.poll() is not None:
            self.discard()
        for _ in range(_STARTS):
            if self._process is None and not self._closed:
                self._launch()
        if self._closed:
            self.discard()
            raise RuntimeError("the worker pool is closed")
        if self._process is None:
            raise ChildProcessError(
                f"a conformer process was killed {_STARTS} times while it started: is there "
                "enough memory? Pass fewer workers"
            )
        return self._process

    def _launch(self) -> None:
        """Starts the process; afterwards there is none if it was killed before it was ready."""
        self._late = False
        # The same import path, and no module from the current folder by accident.
        path = os.pathsep.join(entry or os.getcwd() for entry in sys.path)
        with _without_ctrl_c():
            self._process = subprocess.Popen(
                [sys.executable, "-c", _PROGRAM],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                env={**os.environ, **_ENVIRONMENT, "PYTHONPATH": path},
            )
        try:
            pickle.load(self._process.stdout)  # it is ready: the time limit counts from now on
        except (EOFError, pickle.UnpicklingError):
            code = self._process.wait()
            self.discard()
            if code >= 0 and not self._closed:
                raise ChildProcessError(
                    f"a conformer process could not start ({sys.executable}, exit code {code}); "
                    "its own message is printed above"
                ) from None
        except BaseException:  # such as Ctrl-C
            self.discard()
            raise

    def stop(self) -> None:
        """Kills the process for good; a job in progress ends early."""
        self._closed = True
        if self._process is not None:
            self._process.kill()

    def discard(self) -> None:
        """Kills the process, if there is one, and forgets it."""
        process, self._process = self._process, None
        if process is not None:
            process.kill()
            process.wait()
            process.stdout.close()
            with contextlib.suppress(OSError):  # unsent bytes of a job whose process is gone
                process.stdin.close()


def twice(attempt: Callable[[], tuple[T, str]]) -> tuple[T, str]:
    """Makes a second attempt if the process died.

    It may have been killed from outside, for lack of memory for example, and not by the molecule.

    Args:
        attempt: Returns a result, and the note of :meth:`Worker.call`.
    """
    made, note = attempt()
    if note.startswith(DIED):
        made, note = attempt()
        if note.startswith(DIED):
            note = note.replace(DIED, f"{DIED} twice", 1)
    return made, note


@contextlib.contextmanager
def _without_ctrl_c() -> Iterator[None]:
    """Blocks Ctrl-C; a process that is started meanwhile never receives it."""
    if not hasattr(signal, "pthread_sigmask"):  # Windows
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def serve() -> None:
    """Reads jobs from standard input until it ends and writes messages to output, in the worker."""
    # The parent handles Ctrl-C. On POSIX it is blocked from the start: see _without_ctrl_c.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    rdBase.DisableLog("rdApp.*")
    output = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # printed text must not mix with the results

    def send(message: Message) -> None:
        pickle.dump(message, output)
        output.flush()

    try:
        send(Message("ready"))
        while True:
            function, args, patience = pickle.load(sys.stdin.buffer)
            _end_after(patience)
            for message in function(*args):
                send(message)
                _end_after(patience)
            _end_after(0)
            send(Message("end"))
    except (EOFError, BrokenPipeError):  # the parent closed the pool or has ended
        return


def _end_after(seconds: float) -> None:
    """Ends this process after these seconds, even inside RDKit; 0 cancels it.

    The parent kills a late worker sooner. This is for a worker whose parent was killed itself.
    """
    if hasattr(signal, "setitimer"):  # not on Windows
        signal.setitimer(signal.ITIMER_REAL, seconds)
