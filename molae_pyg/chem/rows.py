"""From a record of an input file to one row of a conformer store, by way of a worker."""

from collections.abc import Callable, Container, Iterator
from typing import NamedTuple

import numpy as np

from molae_pyg.chem import worker as worker_process
from molae_pyg.chem.conformers import (
    CUT_SHORT,
    DIED,
    NO_LAYOUT_IN_TIME,
    OUT_OF_TIME,
    Embedding,
    Step,
)
from molae_pyg.chem.items import (
    HEAD,
    INVALID,
    LAYING_OUT,
    REFUSED,
    Reader,
    Record,
    RecordRefused,
    compare,
    lay_out,
    work,
)
from molae_pyg.chem.options import Options, frames, kept_atoms
from molae_pyg.chem.worker import Worker, twice

#: Why a row has no outcome of its own on a Ray cluster.
LOST = "its Ray worker died"


class Row(NamedTuple):
    """What became of one input row."""

    #: ``"3d"``; ``"2d"``: the flat layout stands in; ``"failed"``: no coordinates;
    #: ``"timed out"``: the same, for want of time; ``"invalid"``: no molecule; ``"excluded"``: on
    #: the list of exclusions.
    status: str
    #: Empty where all went by the recipe, else what did not.
    reason: str = ""
    #: The SMILES as given, or as RDKit writes it.
    smiles: str = ""
    #: Atomic numbers ``[n]`` int64, of 3d and 2d rows.
    z: np.ndarray | None = None
    #: ``[n, K (+1), 3]`` float32 in Å, of 3d and 2d rows.
    conformers: np.ndarray | None = None


def ended_early(reason: str) -> bool:
    """Whether a row's reason says that time ran out or that a process died.

    Another run, on a machine with more time or memory left, may give the row all it asks for.
    """
    return any(said in reason for said in (OUT_OF_TIME, NO_LAYOUT_IN_TIME, CUT_SHORT, DIED, LOST))


class Exclusions(NamedTuple):
    """Compounds to leave out."""

    #: As :func:`~molae_pyg.chem.parsing.identity` writes them.
    identities: Container[str]
    #: The reason to give.
    reason: str


class _Taken:
    """What has come from the worker for one record.

    Args:
        worker: The worker.
        limit: Seconds for reading the record, and again for its conformers.
        layout_limit: Seconds for its 2D layout.
    """

    def __init__(self, worker: Worker, limit: float, layout_limit: float = 0.0) -> None:
        self._worker = worker
        self._limit = limit
        self._layout_limit = layout_limit
        self.head = None
        self.laying_out = False
        self.invalid: str | None = None
        self.refused: str | None = None
        self.embedding = Embedding()

    def call(self, function: Callable[..., Iterator[Step]], *args: object) -> str:
        """Has the worker run a function of :mod:`~molae_pyg.chem.items`, see Worker.call."""
        note = self._worker.call(function, args, self._limit, self._take)
        if self.refused is not None:
            raise RecordRefused(self.refused)
        return note

    def _take(self, step: Step) -> None:
        if step.kind == HEAD:
            self.head = step.value
            self._worker.allow(self._limit)  # reading has not eaten into it
        elif step.kind == LAYING_OUT:
            self.laying_out = True
            self._worker.allow(self._layout_limit)
        elif step.kind == INVALID:
            self.invalid = step.value
        elif step.kind == REFUSED:
            self.refused = step.value
        else:
            self.embedding.add(step)


def make_row(
    worker: Worker,
    read: Reader,
    record: Record,
    options: Options,
    exclusions: Exclusions | None = None,
) -> Row:
    """Makes one row; a task for :meth:`WorkerPool.apply`.

    The result depends on the record and the options only (unless time runs out). A process that
    overruns the limit is killed; one that dies is replaced and the record tried once more. After
    that the row keeps the conformers made so far, or gets the 2D layout, or says what happened.

    Args:
        worker: Does the work.
        read: Turns the record into an item, in the worker.
        record: The record as it stands in the file.
        options: What to make of it.
        exclusions: Compounds to leave out. None: none.

    Raises:
        RecordRefused: If the record could do harm.
    """
    grace = worker_process.GRACE
    limit = options.time_limit + grace
    given = record if isinstance(record, str) else ""
    if exclusions is not None:
        row = _compared(worker, read, record, limit, exclusions)
        if row is not None:
            return row._replace(smiles=row.smiles or given)

    def attempt() -> tuple[_Taken, str]:
        taken = _Taken(worker, limit, options.recipe.layout_limit + grace)
        return taken, taken.call(work, read, record, options.recipe)

    taken, note = twice(attempt)
    if taken.invalid is not None:
        return Row("invalid", taken.invalid, given)
    if taken.head is None:
        return _ended(note, given)
    _complete(taken, note, read, record, options)
    return _assembled(*taken.head, taken.embedding, options)


def identity_of(worker: Worker, read: Reader, record: Record, limit: float) -> str | Row:
    """Returns what tells compounds apart, or the row of a record of which it cannot be told."""

    def attempt() -> tuple[_Taken, str]:
        taken = _Taken(worker, limit)
        return taken, taken.call(compare, read, record)

    taken, note = twice(attempt)
    if taken.invalid is not None:
        return Row("invalid", taken.invalid)
    return _ended(note, "") if taken.head is None else taken.head


def _compared(
    worker: Worker, read: Reader, record: Record, limit: float, exclusions: Exclusions
) -> Row | None:
    identity = identity_of(worker, read, record, limit)
    if isinstance(identity, Row):
        return identity
    if identity in exclusions.identities:
        return Row("excluded", exclusions.reason, identity if isinstance(record, bytes) else "")
    return None


def _ended(note: str, smiles: str) -> Row:
    if note == OUT_OF_TIME:
        return Row("timed out", f"{note} while reading the record", smiles)
    return Row("failed", f"{note} while reading the record", smiles)


def _complete(taken: _Taken, note: str, read: Reader, record: Record, options: Options) -> None:
    """Enters why the process ended, if it did, and has another make the layout if it is missing."""
    if note and not taken.laying_out:
        taken.embedding.cut_short(note, options.recipe)
        note = ""
        if taken.embedding.lacks_layout(options.recipe):
            _, note = twice(lambda: (None, taken.call(lay_out, read, record)))
    if note:
        late = note == OUT_OF_TIME
        taken.embedding.add(Step("note", NO_LAYOUT_IN_TIME if late else note))


def _assembled(numbers: np.ndarray, smiles: str, embedding: Embedding, options: Options) -> Row:
    kept, num_cropped, notes = kept_atoms(numbers, options)
    reason = "; ".join([*embedding.notes, *notes])
    if embedding.status == "failed":
        return Row("timed out" if embedding.timed_out else "failed", reason, smiles)
    if num_cropped:
        reason = "; ".join(filter(None, [reason, f"{num_cropped} atoms cropped"]))
    return Row(embedding.status, reason, smiles, numbers[kept], frames(embedding, options)[kept])
