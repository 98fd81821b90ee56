"""Makes rows on the cores of this machine or on a Ray cluster.

An engine yields rows in the order in which they are finished, and works on a bounded number of
records at a time. This module loads no torch: Ray workers import it.
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

CHUNK = 32  # number of rows of one Ray task
DEATHS = 3  # of Ray workers with a chunk, after which it is split or its row has failed
_AHEAD = 8  # number of local rows in progress for each worker, so that none waits
_CHUNKS_AHEAD = 2  # the same for chunks of Ray


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
    return (_on_ray if engine == "ray" else _on_cores)(records, settings, workers)


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
    #: Number of Ray workers that have died with it.
    deaths: int = 0

    def after_death(self) -> Iterator["_Chunk"]:
        """Yields what to try next; nothing for a single record after its last chance."""
        if self.deaths + 1 < DEATHS:
            yield _Chunk(self.records, self.deaths + 1)
        elif len(self.records) > 1:
            yield from (_Chunk([record]) for record in self.records)

    def given_up(self) -> list[tuple[int, Row]]:
        """Returns the failed row of a single record after its last chance, else nothing."""
        if len(self.records) > 1 or self.deaths + 1 < DEATHS:
            return []
        reason = f"{LOST}, {DEATHS} times in a row"
        return [(number, Row("failed", reason)) for number, _ in self.records]


def _on_ray(records: Iterable[Numbered], settings: RowSettings, workers: int | None) -> Made:
    with _ray(workers) as ray:
        cores = max(1, int(ray.cluster_resources().get("CPU", 1)))
        slots = _CHUNKS_AHEAD * cores if workers in (None, cores) else workers
        remote = ray.remote(num_cpus=1, max_retries=0)(_make_chunk)
        settings_ref = ray.put(settings)
        fresh = iter(records)
        again: deque[_Chunk] = deque()  # a Ray worker has died with them
        pending: dict[Any, _Chunk] = {}
        try:
            while True:
                while len(pending) < slots:
                    chunk = again.popleft() if again else _Chunk(list(islice(fresh, CHUNK)))
                    if not chunk.records:
                        break
                    pending[remote.remote(chunk.records, settings_ref)] = chunk
                if not pending:
                    return
                (ref,), _ = ray.wait(list(pending), num_returns=1)
                chunk = pending.pop(ref)
                try:
                    made = ray.get(ref)
                except ray.exceptions.RayTaskError as error:
                    raise error.cause from None
                except ray.exceptions.RayError:  # the worker, its node or its result is gone
                    again.extend(chunk.after_death())
                    made = chunk.given_up()
                yield from made
        finally:
            for ref in pending:  # of a cluster that others may use
                ray.cancel(ref)


def _make_chunk(records: list[Numbered], settings: RowSettings) -> list[tuple[int, Row]]:
    """Makes the rows of one Ray task in a process that can be killed without the Ray worker."""
    jobs = [_own_pool().apply(make_row, settings.read, r, *settings[1:]) for _, r in records]
    return [(number, job.result()) for (number, _), job in zip(records, jobs, strict=True)]


@lru_cache
def _own_pool() -> WorkerPool:
    """Returns the pool of one process for all tasks of a Ray worker; it ends with the worker."""
    return WorkerPool(1)


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
