"""Makes the parts of a long result on the cores of this machine or on a Ray cluster."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing
from itertools import islice
from typing import Any, NamedTuple, NoReturn, Protocol

from rdkit import rdBase
from tqdm.auto import tqdm

from molae_pyg.chem.workers import WorkerPool
from molae_pyg.cores import available_cores
from molae_pyg.inference.parts import Part, Parts
from molae_pyg.store.engines import DEATHS, on_ray, own_pool

_AHEAD = 16  # records for each worker that wait while the model reads a part


class PartTask(NamedTuple):
    """The records of a part."""

    number: int  #: Number of the part.
    first: int  #: Row of the first record.
    records: list[Any]

    def split(self) -> list["PartTask"]:
        return []

    def given_up(self) -> NoReturn:
        raise ChildProcessError(
            f"rows {self.first} to {self.first + len(self.records) - 1}: their Ray worker died "
            f"{DEATHS} times in a row, often because memory ran out: see the logs of Ray. The same "
            "command resumes, for example on machines with more memory; a smaller --part-rows "
            "needs less, and starts anew"
        )


class Job(Protocol):
    """What is done with the records of a part; Ray workers receive a copy."""

    def start(self, pool: WorkerPool, first: int, records: list[Any]) -> Callable[[], Part]:
        """Starts what a pool does for a part; the function that is returned does the rest.

        Args:
            pool: Processes that make conformers.
            first: Row of the first record.
            records: The records.
        """


class Plan(NamedTuple):
    """How parts are made."""

    part_rows: int  #: Number of rows of a part.
    engine: str  #: One of :data:`~molae_pyg.store.engines.ENGINES`.
    workers: int | None  #: Number of processes; None: one a core.
    description: str  #: Text of the progress bar.
    total: int | None = None  #: Number of records; None: it is not known.


def make_parts(
    parts: Parts,
    job: Job,
    records: Iterable[Any],
    plan: Plan,
    add: Callable[[int, Part], None],
) -> None:
    """Makes the parts that are missing; a bounded number of records is in memory.

    Args:
        parts: The parts that are there.
        job: Makes a part.
        records: All records of the input.
        plan: How they are made.
        add: Is called with number and content of each part, in any order.
    """
    bar = tqdm(
        desc=plan.description, total=plan.total, unit="mol", delay=1, dynamic_ncols=True,
        disable=None,
    )  # fmt: skip
    rest = iter(records)

    def missing() -> Iterator[PartTask]:
        number = 0
        while some := list(islice(rest, plan.part_rows)):
            if number in parts:
                bar.update(len(some))
            else:
                yield PartTask(number, number * plan.part_rows, some)
            number += 1

    if plan.engine == "ray":
        made = on_ray(_make_part, job, missing(), plan.workers)
    else:
        made = _on_cores(job, missing(), plan.workers or available_cores())
    with rdBase.BlockLogs(), bar, closing(made):
        for task, part in made:
            add(task.number, part)
            bar.update(len(task.records))


def _on_cores(job: Job, tasks: Iterable[PartTask], workers: int) -> Iterator[tuple[PartTask, Part]]:
    """Makes the conformers of the next parts while the model reads a part."""
    with WorkerPool(workers) as pool:
        started: deque[tuple[PartTask, Callable[[], Part]]] = deque()
        number = 0  # of records that have been started
        for task in tasks:
            started.append((task, job.start(pool, task.first, task.records)))
            number += len(task.records)
            while number - len(started[0][0].records) >= _AHEAD * workers:
                first, finish = started.popleft()
                number -= len(first.records)
                yield first, finish()
        for last, finish in started:
            yield last, finish()


def _make_part(job: Job, task: PartTask) -> Part:
    """Makes a part in a Ray worker."""
    with rdBase.BlockLogs():
        return job.start(own_pool(), task.first, task.records)()
