"""One molecule in a worker: parsed, embedded and laid out within its time limit."""

from collections.abc import Iterator

from rdkit import Chem

from molae_pyg.chem.conformers import (
    NO_LAYOUT_IN_TIME,
    OUT_OF_TIME,
    Embedding,
    Recipe,
    Step,
    embed,
)
from molae_pyg.chem.items import INVALID, Item
from molae_pyg.chem.parsing import Molecule, parse_smiles
from molae_pyg.chem.smiles import rdkit_errors
from molae_pyg.chem.worker import GRACE, Worker, twice
from molae_pyg.chem.workers import borrowed

#: Characters of a SMILES up to which this process parses it, in a tenth of a second at most.
LONG = 1000
_PARSED = "parsed"  # kind of a step
_ALL = int(Chem.PropertyPickleOptions.AllProps)  # the 2D layout depends on stereo ranks in them


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
        with rdkit_errors():
            return parse_smiles(smiles, canonical)
    with borrowed() as worker:
        return _parse_in(worker, smiles, canonical, time_limit + GRACE)


def _parse_in(worker: Worker, smiles: str, canonical: bool, limit: float) -> Molecule:
    def attempt() -> tuple[list[Step], str]:
        steps: list[Step] = []
        return steps, worker.call(_parse, (smiles, canonical), limit, steps.append)

    steps, note = twice(attempt)
    if note or not steps:
        raise ValueError(f"{note} while reading the SMILES")
    (step,) = steps
    if step.kind == INVALID:
        raise ValueError(step.value)
    binary, *rest = step.value
    return Molecule(Chem.Mol(binary), *rest)


def _parse(smiles: str, canonical: bool) -> Iterator[Step]:
    try:
        with rdkit_errors():
            mol, *rest = parse_smiles(smiles, canonical)
    except ValueError as error:
        yield Step(INVALID, str(error))
    else:
        yield Step(_PARSED, (mol.ToBinary(_ALL), *rest))


def run(mol: Chem.Mol, recipe: Recipe) -> Embedding:
    """Makes the conformers of one molecule, in a worker that stays for the next call.

    Args:
        mol: The molecule with explicit hydrogens.
        recipe: How many conformers, which seed, how much time.

    Raises:
        KeyboardInterrupt: On Ctrl-C, at once; the worker is ended.
    """
    with borrowed() as worker:
        return run_in(worker, mol, recipe)


def run_in(worker: Worker, mol: Chem.Mol, recipe: Recipe) -> Embedding:
    """As :func:`run`, in the given worker; what a dying process has made is kept."""
    binary = mol.ToBinary(_ALL)
    limit = recipe.time_limit + GRACE

    def attempt() -> tuple[Embedding, str]:
        embedding = Embedding()
        return embedding, worker.call(_embed, (binary, recipe), limit, embedding.add)

    embedding, note = twice(attempt) if recipe.count else (Embedding(), "")
    if note:
        embedding.cut_short(note, recipe)
    if embedding.lacks_layout(recipe):
        job = (binary, recipe._replace(count=0))
        limit = recipe.layout_limit + GRACE
        _, note = twice(lambda: (None, worker.call(_embed, job, limit, embedding.add)))
        if note:
            embedding.add(Step("note", NO_LAYOUT_IN_TIME if note == OUT_OF_TIME else note))
    return embedding


def lay_out(item: Item, recipe: Recipe) -> Step:
    """Returns the 2D layout of an item that has coordinates, or a note on why there is none."""
    found = Embedding()
    stored = item._replace(mol=None if item.mol is None else item.mol.ToBinary(_ALL))
    with borrowed() as worker:
        limit = recipe.layout_limit + GRACE
        _, note = twice(lambda: (None, worker.call(_lay_out, (stored,), limit, found.add)))
    if note:
        return Step("note", NO_LAYOUT_IN_TIME if note == OUT_OF_TIME else note)
    return Step("note", *found.notes) if found.layout is None else Step("2d", found.layout)


def _lay_out(item: Item) -> Iterator[Step]:
    yield item._replace(mol=None if item.mol is None else Chem.Mol(item.mol)).lay_out()


def _embed(binary: bytes, recipe: Recipe) -> Iterator[Step]:
    yield from embed(Chem.Mol(binary), recipe)
