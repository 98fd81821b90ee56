"""Many molecules at once, on all cores, with an account of every row."""

from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future
from typing import NamedTuple

from rdkit import rdBase
from torch_geometric.data import Data
from tqdm.auto import tqdm

from molae_pyg.chem.assembly import build, build_or_raise, invalid_message, repeat
from molae_pyg.chem.conformers import Embedding, Recipe
from molae_pyg.chem.embedder import parse, run_in
from molae_pyg.chem.options import Options
from molae_pyg.chem.parsing import Molecule
from molae_pyg.chem.report import FeaturizeReport
from molae_pyg.chem.workers import WorkerPool, available_cores, borrowed

_WINDOW = 512  # molecules under way at once: bounds memory, and one slow molecule stops no other
_FEW = 32  # conformers; below it, starting processes takes longer than the work


class _Row(NamedTuple):
    """One input row on its way: at first parsed (or not), then embedded."""

    smiles: object
    molecule: Molecule | None
    error: ValueError | None
    embedding: Embedding | None = None  # None also for a molecule seen before


def featurize(
    smiles: Sequence[str],
    num_conformers: int | None = None,
    add_2d: bool = False,
    remove_hydrogens: bool = True,
    canonical: bool = True,
    max_atoms: int | None = None,
    seed: int = 0,
    time_limit: float = 30.0,
    on_error: str = "raise",
    workers: int | None = None,
    progress: bool = True,
) -> tuple[list[Data], FeaturizeReport]:
    """Turns many SMILES strings into 3D molecules.

    The result for a molecule depends on its SMILES, the seed and the options only, not on the
    number of workers, the order, or its neighbours (unless the time limit cuts it short). A
    molecule that occurs again is not embedded again.

    Worker processes are started afresh, without the calling script: no
    ``if __name__ == "__main__"`` guard is needed, in scripts, notebooks or tests. A process that
    overruns the time limit is killed; one that dies is replaced and its molecule tried once more.
    After that the molecule keeps the conformers made so far, or gets the 2D layout, or counts as
    failed, and its row says why.

    Args:
        smiles: The molecules.
        num_conformers: As in :func:`~molae_pyg.chem.from_smiles`, as are all arguments down to
            ``time_limit``.
        on_error: ``"raise"`` stops at the first row that gives no ``Data``; ``"skip"`` leaves it
            out and counts it.
        workers: Number of processes that make conformers. None takes all cores, or 1 if there is
            little to do.
        progress: Show a bar if it takes longer than a second and stderr is a terminal.

    Returns:
        The list of ``Data``, in input order, and the report, whose ``kept`` has the input row of
        each ``Data``.

    Raises:
        ValueError: With ``on_error="raise"``, naming the row (from 0), the string and the reason;
            or if an argument is out of range.
        KeyboardInterrupt: On Ctrl-C, at once.
    """
    options = Options(num_conformers, add_2d, remove_hydrogens, max_atoms, seed, time_limit)
    if on_error not in ("raise", "skip"):
        raise ValueError(f"on_error must be 'raise' or 'skip', got {on_error!r}")
    if isinstance(smiles, str):
        raise ValueError("featurize takes a sequence of SMILES; use from_smiles for a single one")
    if workers is not None and workers < 1:
        raise ValueError(f"workers must be at least 1, got {workers}; None takes all cores")
    workers = _num_workers(smiles, options, workers)
    rows = _embedded(_parsed(smiles, canonical, time_limit), options.recipe, workers)
    disable = None if progress else True  # None: where there is no terminal
    bar = tqdm(rows, "conformers", len(smiles), unit="mol", delay=1.0, disable=disable)
    with rdBase.BlockLogs():
        return _gather(bar, options, on_error)


def canonical_smiles(smiles: str) -> str:
    """The canonical isomeric SMILES, equal for equivalent strings.

    Raises:
        ValueError: If it is no valid SMILES.
    """
    try:
        return parse(smiles, True, Options().time_limit).key
    except ValueError as error:
        raise ValueError(invalid_message(smiles, error)) from None


def stream(
    smiles: Sequence[str], options: Options, workers: int | None = None
) -> Iterator[Data | ValueError]:
    """Distinct molecules one after another, while worker processes make the next ones.

    Args:
        smiles: Canonical SMILES, all different.
        options: What to make of each.
        workers: Number of processes, as in :func:`featurize`.

    Yields:
        The ``Data`` of each, or the error, in input order.
    """
    rows = _parsed(smiles, True, options.time_limit)
    rows = _embedded(rows, options.recipe, _num_workers(smiles, options, workers), repeats=True)
    with rdBase.BlockLogs():
        for row in rows:
            try:
                if row.molecule is None:
                    raise ValueError(invalid_message(row.smiles, row.error))
                yield build_or_raise(row.molecule, row.embedding, options)
            except ValueError as error:
                yield error


def _num_workers(smiles: Sequence[str], options: Options, workers: int | None) -> int:
    if workers is not None:
        return workers
    return available_cores() if len(smiles) * options.recipe.count > _FEW else 1


def _parsed(smiles: Iterable[object], canonical: bool, time_limit: float) -> Iterator[_Row]:
    for value in smiles:
        try:
            yield _Row(value, parse(value, canonical, time_limit), None)
        except ValueError as error:
            yield _Row(value, None, error)


def _embedded(
    rows: Iterator[_Row], recipe: Recipe, workers: int, repeats: bool = False
) -> Iterator[_Row]:
    """Adds the embedding to every row with a molecule; unless ``repeats``, to its first alone."""
    seen: set[str] = set()

    def is_new(row: _Row) -> bool:
        if row.molecule is None or (row.molecule.key in seen and not repeats):
            return False
        seen.add(row.molecule.key)
        return True

    if workers == 1:
        with borrowed() as worker:
            for row in rows:
                new = is_new(row)
                made = run_in(worker, row.molecule.mol, recipe) if new else None
                yield row._replace(embedding=made)
        return
    under_way: deque[tuple[_Row, Future[Embedding] | None]] = deque()
    with WorkerPool(workers) as pool:
        for row in rows:
            job = pool.apply(run_in, row.molecule.mol, recipe) if is_new(row) else None
            under_way.append((row, job))
            if len(under_way) >= _WINDOW:
                yield _finished(*under_way.popleft())
        while under_way:
            yield _finished(*under_way.popleft())


def _finished(row: _Row, job: "Future[Embedding] | None") -> _Row:
    return row if job is None else row._replace(embedding=job.result())


def _gather(
    rows: Iterable[_Row], options: Options, on_error: str
) -> tuple[list[Data], FeaturizeReport]:
    """Builds the data and enters every row in the report."""
    found: list[Data] = []
    report = FeaturizeReport()
    first: dict[str, Data | Embedding] = {}  # by key: the data, or the embedding that failed
    for number, row in enumerate(rows):
        try:
            data = _data_of(row, options, first)
        except ValueError as error:
            if on_error == "raise":
                raise ValueError(f"row {number}: {error}") from None
            if row.molecule is None:
                report.add("invalid", str(row.error))
            else:
                report.add("failed", "; ".join(first[row.molecule.key].notes))
            continue
        found.append(data)
        report.add(data.status, data.reason, data.num_unknown, data.num_cropped)
    return found, report


def _data_of(row: _Row, options: Options, first: dict[str, Data | Embedding]) -> Data:
    if row.molecule is None:
        raise ValueError(invalid_message(row.smiles, row.error))
    key = row.molecule.key
    if row.embedding is not None:
        failed = row.embedding.status == "failed"
        first[key] = row.embedding if failed else build(row.molecule, row.embedding, options)
        if not failed:
            return first[key]
    known = first[key]
    if isinstance(known, Embedding):
        return build_or_raise(row.molecule, known, options)
    return repeat(known, row.molecule, options)
