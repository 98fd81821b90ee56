"""A worker's side: it reads a record and sends atoms, conformers and layout as they come.

A reader is a function from a record, as it is in the file, to a
:class:`~molae_pyg.chem.parsing.Molecule`; a worker gets its name, so it must be importable. This
module needs RDKit and NumPy only: workers import it.
"""

import pickle
from collections.abc import Callable, Iterator
from functools import lru_cache

import numpy as np
from rdkit import Chem

from molae_pyg.chem.conformers import Message, Request, first_line, generate, layout_of
from molae_pyg.chem.parsing import Molecule, atomic_numbers, compound_key, parse_smiles
from molae_pyg.chem.smiles import rdkit_errors

#: Kinds of messages beside those of conformers: the atoms, the start of the 2D layout, the value
#: that was asked for, and two reasons to end.
ATOMS, LAYING_OUT, VALUE, INVALID, REFUSED = "atoms", "laying out", "value", "invalid", "refused"
_ALL = int(Chem.PropertyPickleOptions.AllProps)  # the 2D layout depends on stereo ranks in them

#: A record as it is in the file: a SMILES string, an SDF block, or key and value of a database.
Record = str | bytes | tuple[bytes, bytes]
Reader = Callable[[Record], Molecule]


class RecordRefused(Exception):
    """A record that could do harm: the run stops."""


# A record whose compound is compared first is read twice in succession.
@lru_cache(maxsize=1)
def _read(read: Reader, record: Record) -> Molecule | Message:
    """Returns the molecule of a record, or a message that says why there is none."""
    try:
        with rdkit_errors():
            return read(record)
    except RecordRefused as error:
        return Message(REFUSED, str(error))
    except ValueError as error:
        return Message(INVALID, str(error))


def work(read: Reader, record: Record, request: Request) -> Iterator[Message]:
    """Yields the atoms of a record, then its conformers, layout and notes."""
    molecule = _read(read, record)
    if isinstance(molecule, Message):
        yield molecule
        return
    yield Message(ATOMS, molecule._replace(mol=None, given=(), layout=None))
    if molecule.note:
        yield Message("note", molecule.note)
    made = 0
    for message in _conformers(molecule, request):
        made += message.kind == "3d"
        yield message
    if request.layout or not made:
        yield Message(LAYING_OUT)
        yield lay_out(molecule)


def _conformers(molecule: Molecule, request: Request) -> Iterator[Message]:
    if molecule.given:
        yield from (Message("3d", conformer) for conformer in molecule.given[: request.count])
    elif molecule.generate:
        yield from generate(molecule.mol, request)


def work_on_layout(read: Reader, record: Record) -> Iterator[Message]:
    """Yields the 2D layout of a record that another worker, now dead, could read."""
    yield Message(LAYING_OUT)
    yield lay_out(_read(read, record))


def lay_out(molecule: Molecule) -> Message:
    """Returns the 2D layout of a molecule, or a note that says why there is none."""
    if molecule.layout is not None:
        return Message("2d", molecule.layout)
    if molecule.mol is None:
        return Message("note", "no 2D layout: no structure to make it from")
    if not molecule.given:
        return layout_of(molecule.mol)
    # The layout is made with all hydrogens, as for other molecules; AddHs appends them.
    try:
        mol, num_atoms = Chem.AddHs(molecule.mol), len(molecule.numbers)
    except (RuntimeError, ValueError) as error:
        return Message("note", f"no 2D layout: {first_line(error)}")
    if not np.array_equal(atomic_numbers(mol)[:num_atoms], molecule.numbers):
        return Message("note", "no 2D layout: the SMILES has other atoms")
    made = layout_of(mol)
    return made._replace(value=made.value[:num_atoms]) if made.kind == "2d" else made


def work_on_key(read: Reader, record: Record) -> Iterator[Message]:
    """Yields the :func:`~molae_pyg.chem.parsing.compound_key` of a record."""
    molecule = _read(read, record)
    if isinstance(molecule, Message):
        yield molecule
    elif molecule.mol is None:
        yield Message(INVALID, "no structure to compare")
    else:
        try:
            yield Message(VALUE, compound_key(molecule.mol))
        except ValueError as error:
            yield Message(INVALID, str(error))


def work_on_reading(read: Reader, record: Record) -> Iterator[Message]:
    """Yields the packed molecule of a record."""
    molecule = _read(read, record)
    yield molecule if isinstance(molecule, Message) else Message(VALUE, pack(molecule))


def pack(molecule: Molecule) -> bytes:
    """Returns a molecule as a record, which :func:`unpack` reads."""
    return pickle.dumps(molecule._replace(mol=molecule.mol.ToBinary(_ALL)))


def unpack(record: bytes) -> Molecule:
    """Reads what :func:`pack` returned."""
    molecule = pickle.loads(record)
    return molecule._replace(mol=Chem.Mol(molecule.mol))


def read_as_given(smiles: str) -> Molecule:
    """Reads a SMILES string in the atom order of the string."""
    return parse_smiles(smiles, canonical=False)
