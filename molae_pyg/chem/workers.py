"""A pool of workers with one queue, and a spare worker for a call that needs just one."""

import atexit
import contextlib
import os
import queue
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

from molae_pyg.chem.worker import Worker
from molae_pyg.cores import available_cores

_AHEAD = 64  # jobs for each worker that wait or are done, so that a slow one delays no other
_LOOKS = 0.1  # seconds between two looks at the clock

T = TypeVar("T")


class WorkerPool:
    """A number of workers with one queue; a context manager.

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
        _watch(self._workers, self._closed)

    def apply(self, job: Callable[..., T], *args: object) -> "Future[T]":
        """Queues ``job(worker, *args)``, which may call the worker any number of times."""
        return self._threads.submit(self._apply, job, *args)

    def map(self, job: Callable[..., T], arguments: Iterable[tuple]) -> Iterator[T]:
        """Yields ``job(worker, *args)`` for each ``args``, in order; a few run ahead."""
        under_way: deque[Future[T]] = deque()
        for args in arguments:
            under_way.append(self.apply(job, *args))
            if len(under_way) >= _AHEAD * len(self._workers):
                yield under_way.popleft().result()
        while under_way:
            yield under_way.popleft().result()

    def _apply(self, job: Callable[..., T], *args: object) -> T:
        worker = self._idle.get()
        try:
            return job(worker, *args)
        finally:
            self._idle.put(worker)

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


def _watch(workers: list[Worker], closed: threading.Event) -> None:
    """Kills late workers, from a thread that ends when the event is set."""

    def look() -> None:
        while not closed.wait(_LOOKS):
            for worker in workers:
                worker.kill_if_late()

    threading.Thread(target=look, name="conformers-clock", daemon=True).start()


_spare: list[Worker] = []  # idle workers of this process


@contextlib.contextmanager
def borrowed() -> Iterator[Worker]:
    """Lends a worker that stays for the next call of this process; each thread gets its own."""
    try:
        worker = _spare.pop()  # atomic, as is append
    except IndexError:
        worker = Worker()
    closed = threading.Event()
    _watch([worker], closed)
    try:
        yield worker
    finally:
        closed.set()
        if len(_spare) < available_cores():
            _spare.append(worker)
        else:
            worker.discard()


@atexit.register
def _discard_spare() -> None:
    while _spare:
        _spare.pop().discard()


_inherited: list[Worker] = []


def _forget_spare() -> None:
    """Leaves the workers to the process that this one is a fork of."""
    _inherited.extend(_spare)  # kept, because collecting them would touch their pipes
    _spare.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget_spare)
