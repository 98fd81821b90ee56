"""The engine: a record becomes a row of atoms and conformers, in a worker that can be killed.

Molecules in memory, tables and conformer stores are all made by :func:`make_row`. This module loads
no torch: workers of Ray import it.
"""

from collections.abc import Callable, Container, Iterator
from typing import Any, NamedTuple

import numpy as np

from molae_pyg.chem import records
from molae_pyg.chem import worker as worker_process
from molae_pyg.chem.conformers import (
    CUT_SHORT,
    DIED,
    LAYOUT_LIMIT,
    NO_LAYOUT_IN_TIME,
    OUT_OF_TIME,
    Coordinates,
    Message,
)
from molae_pyg.chem.options import Options, frames, kept_atoms
from molae_pyg.chem.parsing import Molecule, parse_smiles
from molae_pyg.chem.records import Reader, Record, RecordRefused
from molae_pyg.chem.worker import Worker, twice
from molae_pyg.chem.workers import borrowed

#: Why a row on a Ray cluster has no outcome of its own.
LOST = "its Ray worker died"
#: Characters of a SMILES up to which this process reads it, in a tenth of a second at most.
LONG = 1000


class Row(NamedTuple):
    """The outcome of one input row."""

    #: ``"3d"``; ``"2d"``: the flat layout replaces conformers; ``"failed"``: no coordinates;
    #: ``"timed out"``: no coordinates because time ran out; ``"invalid"``: no molecule;
    #: ``"excluded"``: on the list of exclusions.
    status: str
    #: What departed from the recipe; empty if nothing did.
    reason: str = ""
    #: The SMILES as given, or as RDKit writes it.
    smiles: str = ""
    #: Atomic numbers ``[n]`` int64, of 3d and 2d rows.
    z: np.ndarray | None = None
    #: ``[n, K (+1), 3]`` float32 in Å, of 3d and 2d rows.
    conformers: np.ndarray | None = None
    #: Place of every atom in the input, ``[n]`` int64; -1 for hydrogens that were added.
    atom_map: np.ndarray | None = None
    #: Number of different conformers before repetition, the appended layout not counted.
    num_distinct: int = 0
    #: Number of atoms that ``max_atoms`` removed.
    num_cropped: int = 0

    def stored(self) -> tuple[str, str, str, np.ndarray | None, np.ndarray | None]:
        """Returns what a store keeps: status, reason, SMILES, atomic numbers and conformers."""
        cropped = f"{self.num_cropped} atoms cropped" if self.num_cropped else ""
        reason = "; ".join(filter(None, [self.reason, cropped]))
        return self.status, reason, self.smiles, self.z, self.conformers


def status_of(outcome: str) -> str:
    """Returns the status in tables of a row with this outcome: ``ok``, ``invalid``, ``failed``."""
    return {"3d": "ok", "2d": "ok", "timed out": "failed"}.get(outcome, outcome)


class Exclusions(NamedTuple):
    """Compounds to leave out."""

    #: Keys as :func:`~molae_pyg.chem.parsing.compound_key` returns them.
    compounds: Container[str]
    #: Reason of the rows that are left out.
    reason: str


def ended_early(reason: str) -> bool:
    """Returns whether a row's reason says that time ran out or that a process died.

    Another run, on a machine with more time or memory, may make the row complete.
    """
    return any(part in reason for part in (OUT_OF_TIME, NO_LAYOUT_IN_TIME, CUT_SHORT, DIED, LOST))


class _Received:
    """What a worker has sent about one record.

    Args:
        worker: The worker.
        limit: Seconds for reading the record, and again for its conformers.
        layout_limit: Seconds for its 2D layout.
    """

    def __init__(self, worker: Worker, limit: float, layout_limit: float) -> None:
        self._worker = worker
        self._limit = limit
        self._layout_limit = layout_limit
        self.atoms: Molecule | None = None
        self.laying_out = False
        self.value: Any = None
        self.invalid: str | None = None
        self.refused: str | None = None
        self.coordinates = Coordinates()

    def call(self, job: Callable[..., Iterator[Message]], *args: object) -> str:
        """Lets the worker run a job of :mod:`~molae_pyg.chem.records`, see Worker.call."""
        note = self._worker.call(job, args, self._limit, self._take)
        if self.refused is not None:
            raise RecordRefused(self.refused)
        return note

    def _take(self, message: Message) -> None:
        if message.kind == records.ATOMS:
            self.atoms = message.value
            self._worker.allow(self._limit)  # the time for reading is not part of it
        elif message.kind == records.LAYING_OUT:
            self.laying_out = True
            self._worker.allow(self._layout_limit)
        elif message.kind in (records.VALUE, records.INVALID, records.REFUSED):
            setattr(self, message.kind, message.value)
        else:
            self.coordinates.add(message)


def _receive(
    worker: Worker, limit: float, job: Callable[..., Iterator[Message]], *args: object
) -> tuple[_Received, str]:
    """Lets a worker run a job, a second time if its process dies; returns what came and the note.

    ``limit`` is in seconds; the layout of the molecule has a limit of its own.
    """
    grace = worker_process.GRACE

    def attempt() -> tuple[_Received, str]:
        received = _Received(worker, limit + grace, min(LAYOUT_LIMIT, limit) + grace)
        return received, received.call(job, *args)

    return twice(attempt)


def make_row(
    worker: Worker,
    read: Reader,
    record: Record,
    options: Options,
    exclusions: Exclusions | None = None,
) -> Row:
    """Makes one row; a job for :meth:`WorkerPool.apply`.

    The result depends on the record and the options only (unless time runs out). A process that
    overruns the limit is killed; one that dies is replaced and the record tried once more. After
    that the row keeps the conformers made so far, or gets the 2D layout, or its status and reason
    say what happened.

    Args:
        worker: Reads the record and makes the conformers.
        read: Function that reads the record, in the worker.
        record: The record as it is in the file.
        options: What is made of the molecule.
        exclusions: Compounds to leave out, default: none.

    Raises:
        RecordRefused: If the record could do harm.
    """
    limit = options.time_limit
    given = record if isinstance(record, str) else ""
    if exclusions is not None:
        row = _compared(worker, read, record, limit, exclusions)
        if row is not None:
            return row._replace(smiles=row.smiles or given)
    received, note = _receive(worker, limit, records.work, read, record, options.request)
    if received.invalid is not None:
        return Row("invalid", received.invalid, given)
    if received.atoms is None:
        return _unread(note, given)
    _complete(received, note, read, record, options)
    return assembled(received.atoms, received.coordinates, options)


def compound_key_of(worker: Worker, read: Reader, record: Record, limit: float) -> str | Row:
    """Returns the compound key of a record, or the row of a record that has none.

    Args:
        worker: Reads the record.
        read: Function that reads the record, in the worker.
        record: The record as it is in the file.
        limit: Seconds until the process is killed, and the two seconds of every worker.
    """
    received, note = _receive(worker, limit, records.work_on_key, read, record)
    if received.invalid is not None:
        return Row("invalid", received.invalid)
    return _unread(note, "") if received.value is None else received.value


def _compared(
    worker: Worker, read: Reader, record: Record, limit: float, exclusions: Exclusions
) -> Row | None:
    key = compound_key_of(worker, read, record, limit)
    if isinstance(key, Row):
        return key
    if key in exclusions.compounds:
        return Row("excluded", exclusions.reason, key if isinstance(record, bytes) else "")
    return None


def _unread(note: str, smiles: str) -> Row:
    status = "timed out" if note == OUT_OF_TIME else "failed"
    return Row(status, f"{note} while reading the record", smiles)


def _complete(
    received: _Received, note: str, read: Reader, record: Record, options: Options
) -> None:
    """Notes why the process ended, if it did; another one makes the layout if it is missing."""
    if note and not received.laying_out:
        received.coordinates.cut_short(note, options.request)
        note = ""
        if received.coordinates.lacks_layout(options.request):
            _, note = twice(lambda: (None, received.call(records.work_on_layout, read, record)))
    if note:
        late = note == OUT_OF_TIME
        received.coordinates.add(Message("note", NO_LAYOUT_IN_TIME if late else note))


def assembled(molecule: Molecule, coordinates: Coordinates, options: Options) -> Row:
    """Returns the row of a molecule with these coordinates."""
    kept, num_cropped, notes = kept_atoms(molecule.numbers, options)
    reason = "; ".join([*coordinates.notes, *notes])
    if coordinates.status == "failed":
        status = "timed out" if coordinates.timed_out else "failed"
        return Row(status, reason, molecule.smiles)
    return Row(
        coordinates.status,
        reason,
        molecule.smiles,
        molecule.numbers[kept],
        frames(coordinates, options)[kept],
        None if molecule.atom_map is None else molecule.atom_map[kept],
        min(coordinates.num_distinct, options.count),
        num_cropped,
    )


# Molecules that this process has read ------------------------------------------------------------


def parse(smiles: object, canonical: bool, time_limit: float) -> Molecule:
    """Reads a SMILES string as :func:`~molae_pyg.chem.parsing.parse_smiles` does, in bounded time.

    Args:
        smiles: The string; anything else is an error.
        canonical: Rebuild the molecule from its canonical SMILES.
        time_limit: Seconds for a string of more than :data:`LONG` characters.

    Raises:
        ValueError: If it is no valid SMILES, or cannot be read within the time limit.
    """
    if not isinstance(smiles, str) or len(smiles) <= LONG:
        return parse_smiles(smiles, canonical)
    read = parse_smiles if canonical else records.read_as_given
    with borrowed() as worker:
        received, note = _receive(worker, time_limit, records.work_on_reading, read, smiles)
    if received.invalid is not None:
        raise ValueError(received.invalid)
    if received.value is None:
        raise ValueError(f"{note} while reading the SMILES")
    return records.unpack(received.value)


def row_in(worker: Worker, molecule: Molecule, options: Options) -> Row:
    """Makes the row of a molecule in a worker; a job for :meth:`WorkerPool.apply`."""
    return make_row(worker, records.unpack, records.pack(molecule), options)


def row_of(molecule: Molecule, options: Options) -> Row:
    """Makes the row of a molecule, in a worker that stays for the next call if one is needed.

    Raises:
        KeyboardInterrupt: On Ctrl-C, at once; the worker is ended.
    """
    if molecule.given and not options.request.layout:  # nothing is left to be made
        coordinates = Coordinates(list(molecule.given[: options.count]))
        if molecule.note:
            coordinates.add(Message("note", molecule.note))
        return assembled(molecule, coordinates, options)
    with borrowed() as worker:
        return row_in(worker, molecule, options)
