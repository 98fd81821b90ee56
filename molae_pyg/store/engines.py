"""Makes rows on the cores of this machine or on a Ray cluster, and calls functions there.

An engine yields results in the order in which they are finished, and works on a bounded number of
records at a time. This module loads no torch: Ray workers import it.
"""

import os
import queue
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future
from contextlib import closing, contextmanager
from functools import lru_cache
from itertools import islice
from typing import Any, NamedTuple, Protocol, TypeVar

from molae_pyg.chem.options import InputError, Options
from molae_pyg.chem.records import Reader, Record
from molae_pyg.chem.rows import LOST, Exclusions, Row, make_row
from molae_pyg.chem.workers import WorkerPool

ENGINES = ("local", "ray")

CHUNK = 32  # number of rows of one Ray task
DEATHS = 3  # of Ray workers with a task, after which it is split or given up
_AHEAD = 8  # number of local rows in progress for each worker, so that none waits
_TASKS_AHEAD = 2  # the same for tasks of Ray


S, T, R = TypeVar("S"), TypeVar("T", bound="Task"), TypeVar("R")


def check_engine(engine: str, workers: int | None) -> None:
    """Raises InputError unless there is such an engine and the number of workers is possible."""
    if engine not in ENGINES:
        raise InputError(f"engine must be one of {ENGINES}, got {engine!r}")
    if workers is not None and workers < 1:
        raise InputError(f"workers must be at least 1, got {workers}; None takes all cores")


class RowSettings(NamedTuple):
    """How a row is made; the arguments of :func:`~molae_pyg.chem.rows.make_row`."""

    read: Reader
    options: Options
    exclusions: Exclusions | None = None


Numbered = tuple[int, Record]
Made = Iterator[tuple[int, Row]]


def make_rows(
    records: Iterable[Numbered], settings: RowSettings, engine: str, workers: int | None
) -> Made:
    """Makes rows on an engine.

    Args:
        records: Row numbers and records.
        settings: How a row is made.
        engine: One of :data:`ENGINES`.
        workers: Number of processes. None: one a core; with Ray, of the cluster.

    Yields:
        Row numbers and rows, in any order.

    Raises:
        RecordRefused: If a record could do harm.
        ModuleNotFoundError: If Ray is asked for and not installed.
    """
    return (_rows_on_ray if engine == "ray" else _on_cores)(records, settings, workers)


def _on_cores(records: Iterable[Numbered], settings: RowSettings, workers: int) -> Made:
    done: queue.SimpleQueue[tuple[int, Future[Row]]] = queue.SimpleQueue()

    def take() -> tuple[int, Row]:
        number, job = done.get()
        return number, job.result()

    pending = 0
    with WorkerPool(workers) as pool:
        for number, record in records:
            job = pool.apply(make_row, settings.read, record, settings.options, settings.exclusions)
            job.add_done_callback(lambda job, number=number: done.put((number, job)))
            pending += 1
            if pending >= _AHEAD * workers:
                yield take()
                pending -= 1
        for _ in range(pending):
            yield take()


class _Chunk(NamedTuple):
    """The records of one Ray task."""

    records: list[Numbered]

    def split(self) -> "list[_Chunk]":
        """Returns a chunk for each record; nothing for a single one."""
        return [_Chunk([record]) for record in self.records] if len(self.records) > 1 else []

    def given_up(self) -> list[tuple[int, Row]]:
        """Returns the failed row of a single record."""
        reason = f"{LOST}, {DEATHS} times in a row"
        return [(number, Row("failed", reason)) for number, _ in self.records]


def _rows_on_ray(records: Iterable[Numbered], settings: RowSettings, workers: int | None) -> Made:
    records = iter(records)
    chunks = iter(lambda: _Chunk(list(islice(records, CHUNK))), _Chunk([]))
    with closing(on_ray(_make_chunk, settings, chunks, workers)) as made:
        for _, rows in made:
            yield from rows


def _make_chunk(settings: RowSettings, chunk: _Chunk) -> list[tuple[int, Row]]:
    """Makes the rows of one Ray task in a process that can be killed without the Ray worker."""
    records = chunk.records
    jobs = [own_pool().apply(make_row, settings.read, r, *settings[1:]) for _, r in records]
    return [(number, job.result()) for (number, _), job in zip(records, jobs, strict=True)]


@lru_cache
def own_pool() -> WorkerPool:
    """Returns the pool of one process for all tasks of a Ray worker; it ends with the worker."""
    return WorkerPool(1)


class Task(Protocol):
    """What a Ray worker does at a time."""

    def split(self) -> "Sequence[Task]":
        """Returns smaller tasks, which are tried next when workers have died with this one."""

    def given_up(self) -> Any:
        """Returns the result of a task that cannot be split, or raises an error."""


def on_ray(
    function: Callable[[S, T], R], settings: S, tasks: Iterable[T], workers: int | None
) -> Iterator[tuple[T, R]]:
    """Calls a function for many tasks on the cores of a Ray cluster.

    A task is tried again when its Ray worker or its node dies; after :data:`DEATHS` deaths it is
    split or given up. A bounded number of tasks is in progress at a time.

    Args:
        function: A function of a module, which Ray workers can import.
        settings: Its first argument, which each Ray worker receives once.
        tasks: Its second arguments.
        workers: Number of tasks at a time. None: the cores of the cluster decide.

    Yields:
        Tasks and results, in any order.

    Raises:
        Exception: That of the function.
        ModuleNotFoundError: If Ray is not installed.
    """
    with _ray(workers) as ray:
        cores = max(1, int(ray.cluster_resources().get("CPU", 1)))
        slots = _TASKS_AHEAD * cores if workers in (None, cores) else workers
        remote = ray.remote(num_cpus=1, max_retries=0)(_call).options(name=function.__name__)
        reference = [ray.put(settings)]  # in a list, Ray does not unpack it for every task
        fresh = ((task, 0) for task in tasks)
        again: deque[tuple[T, int]] = deque()  # tasks, and how many Ray workers died with them
        pending: dict[Any, tuple[T, int]] = {}
        try:
            while True:
                while len(pending) < slots:
                    task, deaths = again.popleft() if again else next(fresh, (None, 0))
                    if task is None:
                        break
                    pending[remote.remote(function, reference, task)] = task, deaths
                if not pending:
                    return
                (ref,), _ = ray.wait(list(pending), num_returns=1)
                task, deaths = pending.pop(ref)
                try:
                    made = ray.get(ref)
                except ray.exceptions.RayTaskError as error:
                    raise error.cause from None
                except ray.exceptions.RayError:  # the worker, its node or its result is gone
                    if deaths + 1 < DEATHS:
                        again.append((task, deaths + 1))
                        continue
                    if parts := task.split():
                        again.extend((part, 0) for part in parts)
                        continue
                    made = task.given_up()
                yield task, made
        finally:
            for ref in pending:  # of a cluster that others may use
                ray.cancel(ref)


def _call(function: Callable[[S, T], R], settings: list[Any], task: T) -> R:
    return function(_received(settings[0]), task)


@lru_cache(maxsize=1)
def _received(reference: Any) -> Any:
    """Returns what a reference of Ray refers to; the tasks of a Ray worker receive it once."""
    import ray

    return ray.get(reference)


@contextmanager
def _ray(workers: int | None) -> Iterator[Any]:
    """Yields Ray, connected to the caller's cluster, that of ``RAY_ADDRESS`` or a new one."""
    try:
        import ray
    except ModuleNotFoundError:
        raise ModuleNotFoundError("engine 'ray' needs Ray: pip install 'molae_pyg[ray]'") from None
    if ray.is_initialized():
        yield ray
        return
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    address = os.environ.get("RAY_ADDRESS", "local")
    only_local = {"num_cpus": workers, "include_dashboard": False} if address == "local" else {}
    ray.init(address, logging_level="WARNING", **only_local)
    try:
        yield ray
    finally:
        ray.shutdown()
