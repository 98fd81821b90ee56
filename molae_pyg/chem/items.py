"""One record of an input file: read, embedded and laid out, all in a worker process.

A reader is a function from a record as it stands in the file to an :class:`Item`; a worker gets
its name, so it must be importable. This module needs RDKit and NumPy only: workers import it.
"""

from collections.abc import Callable, Iterator
from functools import lru_cache
from typing import NamedTuple

import numpy as np
from rdkit import Chem

from molae_pyg.chem.conformers import Recipe, Step, embed, first_line, layout_step
from molae_pyg.chem.parsing import Molecule, atomic_numbers, identity, parse_smiles
from molae_pyg.chem.sdf import read_sdf
from molae_pyg.chem.smiles import rdkit_errors

#: The kinds of :class:`~molae_pyg.chem.conformers.Step` that :func:`work` adds to those of the
#: ladder: the atoms, the start of the 2D layout, and two ends.
HEAD, LAYING_OUT, INVALID, REFUSED = "head", "laying out", "invalid", "refused"


class Item(NamedTuple):
    """A record that has been read."""

    #: Atomic numbers ``[n]`` int64.
    numbers: np.ndarray
    #: The SMILES as given, or as RDKit writes it.
    smiles: str
    #: To be embedded, laid out and compared; None where there is no structure.
    mol: Chem.Mol | None
    #: The record's own conformers, each ``[n, 3]`` float32 in Å; none is made beside them.
    given: tuple[np.ndarray, ...] = ()
    #: The record's own 2D layout, ``[n, 3]`` float32.
    layout: np.ndarray | None = None
    #: What departs from the rule.
    note: str = ""
    #: Whether conformers are to be made where none are given.
    embed: bool = True

    @classmethod
    def of(cls, molecule: Molecule, note: str = "") -> "Item":
        """The item of a molecule of RDKit's."""
        numbers = atomic_numbers(molecule.mol)
        note = "; ".join(filter(None, [note, molecule.note]))
        return cls(numbers, molecule.smiles, molecule.mol, molecule.given, note=note)

    def lay_out(self) -> Step:
        """Returns the 2D layout, or a note on why there is none."""
        if self.layout is not None:
            return Step("2d", self.layout)
        if self.mol is None:
            return Step("note", "no 2D layout: no structure to make it from")
        if not self.given:
            return layout_step(self.mol)
        # The layout is made with all hydrogens, as for other molecules; AddHs appends them.
        try:
            mol, num_atoms = Chem.AddHs(self.mol), len(self.numbers)
        except (RuntimeError, ValueError) as error:
            return Step("note", f"no 2D layout: {first_line(error)}")
        if not np.array_equal(atomic_numbers(mol)[:num_atoms], self.numbers):
            return Step("note", "no 2D layout: the SMILES has other atoms")
        step = layout_step(mol)
        return step._replace(value=step.value[:num_atoms]) if step.kind == "2d" else step


class RecordRefused(Exception):
    """A record that asks for something no molecule needs: the run stops."""


#: A record as it stands in the file: a SMILES string, an SDF block, or key and value of a database.
Record = str | bytes | tuple[bytes, bytes]
Reader = Callable[[Record], Item]


def read_smiles_record(smiles: str) -> Item:
    """Reads a SMILES string, in canonical atom order."""
    return Item.of(parse_smiles(smiles))


def read_sdf_record(block: bytes) -> Item:
    """Reads one record of an SD file, as :func:`~molae_pyg.chem.from_sdf` does."""
    return Item.of(read_sdf(block))


# A record that is compared first and then embedded comes twice in a row.
@lru_cache(maxsize=1)
def _read(read: Reader, record: Record) -> Item:
    with rdkit_errors():
        return read(record)


def compare(read: Reader, record: Record) -> Iterator[Step]:
    """Yields what tells whether two records hold the same compound, see :func:`identity`."""
    try:
        item = _read(read, record)
        if item.mol is None:
            raise ValueError("no structure to compare")
        with rdkit_errors():
            compound = identity(item.mol)
        yield Step(HEAD, compound)
    except RecordRefused as error:
        yield Step(REFUSED, str(error))
    except ValueError as error:
        yield Step(INVALID, str(error))


def work(read: Reader, record: Record, recipe: Recipe) -> Iterator[Step]:
    """Yields the atoms of a record (numbers and SMILES), then the steps of the ladder."""
    try:
        item = _read(read, record)
    except RecordRefused as error:
        yield Step(REFUSED, str(error))
        return
    except ValueError as error:
        yield Step(INVALID, str(error))
        return
    yield Step(HEAD, (item.numbers, item.smiles))
    if item.note:
        yield Step("note", item.note)
    made = 0
    for step in _conformers(item, recipe):
        made += step.kind == "3d"
        yield step
    if recipe.layout or not made:
        yield Step(LAYING_OUT, "")
        yield item.lay_out()


def lay_out(read: Reader, record: Record) -> Iterator[Step]:
    """Yields the 2D layout of a record that a worker now dead could read."""
    item = _read(read, record)
    yield Step(LAYING_OUT, "")
    yield item.lay_out()


def _conformers(item: Item, recipe: Recipe) -> Iterator[Step]:
    if item.given:
        yield from (Step("3d", conformer) for conformer in item.given[: recipe.count])
    elif item.embed and recipe.count:
        yield from embed(item.mol, recipe)
