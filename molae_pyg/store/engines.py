"""Where rows are made: on the cores of this machine, or on a Ray cluster.

An engine takes the records of a file with their row numbers, and a task, and gives back rows as
they are finished, in any order; a bounded number is under way at a time. It loads no torch: Ray
workers import it.
"""

import os
import queue
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from functools import lru_cache
from itertools import islice
from typing import Any, NamedTuple

from molae_pyg.chem.options import Options
from molae_pyg.chem.records import Reader, Record
from molae_pyg.chem.rows import LOST, Exclusions, Row, make_row
from molae_pyg.chem.workers import WorkerPool

ENGINES = ("local", "ray")

CHUNK = 32  # rows that one Ray task makes
DEATHS = 3  # of Ray workers with the same chunk, after which it is split, or its row is given up
_AHEAD = 8  # local rows under way for each worker, so that none waits for its next
_CHUNKS_AHEAD = 2  # the same for Ray's


class Task(NamedTuple):
    """What to make of each record; the arguments of :func:`~molae_pyg.chem.rows.make_row`."""

    read: Reader
    options: Options
    exclusions: Exclusions | None = None


Numbered = tuple[int, Record]
Made = Iterator[tuple[int, Row]]


def make_rows(records: Iterable[Numbered], task: Task, engine: str, workers: int | None) -> Made:
    """Makes rows on an engine.

    Args:
        records: Row numbers and records.
        task: What to make of each.
        engine: One of :data:`ENGINES`.
        workers: Processes at work at once. None: a core each; of Ray, all cores of the cluster.

    Yields:
        Row numbers and rows, in any order.

    Raises:
        RecordRefused: If a record could do harm.
        ModuleNotFoundError: If Ray is asked for and not installed.
    """
    return (_on_ray if engine == "ray" else _on_cores)(records, task, workers)


def _on_cores(records: Iterable[Numbered], task: Task, workers: int) -> Made:
    done: queue.SimpleQueue[tuple[int, Future[Row]]] = queue.SimpleQueue()

    def take() -> tuple[int, Row]:
        number, job = done.get()
        return number, job.result()

    under_way = 0
    with WorkerPool(workers) as pool:
        for number, record in records:
            job = pool.apply(make_row, task.read, record, task.options, task.exclusions)
            job.add_done_callback(lambda job, number=number: done.put((number, job)))
            under_way += 1
            if under_way >= _AHEAD * workers:
                yield take()
                under_way -= 1
        for _ in range(under_way):
            yield take()


class _Chunk(NamedTuple):
    """Records that one Ray task is to make."""

    records: list[Numbered]
    #: How many Ray workers have died with it.
    deaths: int = 0

    def after_death(self) -> Iterator["_Chunk"]:
        """What to try next; nothing for a single record that has had its chances."""
        if self.deaths + 1 < DEATHS:
            yield _Chunk(self.records, self.deaths + 1)
        elif len(self.records) > 1:
            yield from (_Chunk([record]) for record in self.records)

    def given_up(self) -> list[tuple[int, Row]]:
        """The row of a single record that nothing will be tried for after one more death."""
        if len(self.records) > 1 or self.deaths + 1 < DEATHS:
            return []
        reason = f"{LOST}, {DEATHS} times in a row"
        return [(number, Row("failed", reason)) for number, _ in self.records]


def _on_ray(records: Iterable[Numbered], task: Task, workers: int | None) -> Made:
    with _ray(workers) as ray:
        cores = max(1, int(ray.cluster_resources().get("CPU", 1)))
        slots = _CHUNKS_AHEAD * cores if workers in (None, cores) else workers
        remote = ray.remote(num_cpus=1, max_retries=0)(_make_chunk)
        task_ref = ray.put(task)
        fresh = iter(records)
        again: deque[_Chunk] = deque()  # a Ray worker has died with them
        under_way: dict[Any, _Chunk] = {}
        try:
            while True:
                while len(under_way) < slots:
                    chunk = again.popleft() if again else _Chunk(list(islice(fresh, CHUNK)))
                    if not chunk.records:
                        break
                    under_way[remote.remote(chunk.records, task_ref)] = chunk
                if not under_way:
                    return
                (ref,), _ = ray.wait(list(under_way), num_returns=1)
                chunk = under_way.pop(ref)
                try:
                    made = ray.get(ref)
                except ray.exceptions.RayTaskError as error:
                    raise error.cause from None
                except ray.exceptions.RayError:  # the worker, its node or its result is gone
                    again.extend(chunk.after_death())
                    made = chunk.given_up()
                yield from made
        finally:
            for ref in under_way:  # of a cluster that others may go on using
                ray.cancel(ref)


def _make_chunk(records: list[Numbered], task: Task) -> list[tuple[int, Row]]:
    """One Ray task; the process below it can be killed without harm to the Ray worker."""
    jobs = [_own_pool().apply(make_row, task.read, r, *task[1:]) for _, r in records]
    return [(number, job.result()) for (number, _), job in zip(records, jobs, strict=True)]


@lru_cache
def _own_pool() -> WorkerPool:
    """Of one process, for all tasks of a Ray worker; it ends with the Ray worker."""
    return WorkerPool(1)


@contextmanager
def _ray(workers: int | None) -> Iterator[Any]:
    """Ray, connected to the cluster of the caller or of ``RAY_ADDRESS``, else to one made here."""
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
