"""Many molecules at once, on all cores, and the report on every row."""

from collections import Counter, deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial

from rdkit import rdBase
from torch_geometric.data import Data
from tqdm.auto import tqdm

from molae_pyg.chem.molecules import problem_message, to_data
from molae_pyg.chem.options import Options, kept_atoms
from molae_pyg.chem.parsing import Molecule
from molae_pyg.chem.rows import Row, parse, row_in
from molae_pyg.chem.workers import WorkerPool, borrowed
from molae_pyg.cores import available_cores

_WINDOW = 512  # molecules in progress at once: bounds memory, and a slow molecule delays no other
_FEW = 32  # conformers; below it, starting processes takes longer than the work


OUTCOMES = ("3d", "2d", "failed", "invalid")


def row_error(row: int, outcome: str, smiles: str, reason: str) -> ValueError:
    """Returns the error about a row that gives no molecule."""
    return ValueError(
        f"row {row}: {outcome}: {smiles!r}: {reason}. Correct the SMILES, or "
        "leave such rows out (on_error='skip' does so, and counts them)"
    )


@dataclass
class FeaturizeReport:
    """The report of one :func:`~molae_pyg.chem.featurize` run: every row has an outcome.

    All lists have one entry for each input row, in input order.
    """

    #: ``"3d"``, ``"2d"`` (the flat layout replaces conformers), ``"failed"`` (no coordinates), or
    #: ``"invalid"`` (no molecule). Rows of the last two kinds have no ``Data``.
    outcomes: list[str] = field(default_factory=list)
    #: What departed from the recipe; empty if nothing did.
    reasons: list[str] = field(default_factory=list)
    #: Atoms outside the vocabulary, which become ``[UNK]``.
    num_unknown: list[int] = field(default_factory=list)
    #: Atoms removed by ``max_atoms``.
    num_cropped: list[int] = field(default_factory=list)

    def add(self, outcome: str, reason: str, num_unknown: int = 0, num_cropped: int = 0) -> None:
        """Adds the next row; ``"timed out"`` counts as ``"failed"``."""
        self.outcomes.append("failed" if outcome == "timed out" else outcome)
        self.reasons.append(reason)
        self.num_unknown.append(num_unknown)
        self.num_cropped.append(num_cropped)

    def __len__(self) -> int:
        return len(self.outcomes)

    @property
    def counts(self) -> dict[str, int]:
        """Number of rows for each of the four outcomes."""
        counter = Counter(self.outcomes)
        return {outcome: counter[outcome] for outcome in OUTCOMES}

    @property
    def kept(self) -> list[int]:
        """Input row of each returned ``Data``: ``labels[report.kept]`` are its labels."""
        return [row for row, outcome in enumerate(self.outcomes) if outcome in ("3d", "2d")]

    def raise_first(self, smiles: Sequence[str]) -> None:
        """Raises an error about the first row without a molecule, if there is one.

        Raises:
            ValueError: Names the row (from 0), the SMILES given and the reason.
        """
        for row, (outcome, reason) in enumerate(zip(self.outcomes, self.reasons, strict=True)):
            if outcome in ("failed", "invalid"):
                raise row_error(row, outcome, smiles[row], reason)

    def summary(self, examples: int = 3) -> str:
        """Returns a short table: outcomes, then each reason with its first rows.

        Args:
            examples: Row numbers (from 0) to name for each reason.
        """
        counts = self.counts
        lines = [f"{len(self)} molecules: " + ", ".join(f"{n} {o}" for o, n in counts.items())]
        for name, numbers in (("unknown", self.num_unknown), ("cropped", self.num_cropped)):
            if molecules := sum(number > 0 for number in numbers):
                lines.append(f"  {sum(numbers)} {name} atoms in {molecules} molecules")
        rows: dict[tuple[str, str], list[int]] = {}
        for row, (outcome, reason) in enumerate(zip(self.outcomes, self.reasons, strict=True)):
            if reason:
                rows.setdefault((outcome, reason), []).append(row)
        for (outcome, reason), where in sorted(rows.items(), key=lambda item: -len(item[1])):
            named = ", ".join(map(str, where[:examples])) + (", …" if where[examples:] else "")
            lines.append(f"  {len(where):6d}  {outcome:7s}  {reason}  (rows {named})")
        return "\n".join(lines)

    def __str__(self) -> str:
        return self.summary()


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
    recipe: str = "published",
) -> tuple[list[Data], FeaturizeReport]:
    """Turns many SMILES strings into 3D molecules.

    The result for a molecule depends on its SMILES, the seed and the options only, not on the
    number of workers, the order, or its neighbours (unless the time limit cuts it short). The
    conformers of a molecule that occurs again are not made again.

    Worker processes are new interpreters without the calling script: no
    ``if __name__ == "__main__"`` guard is needed, in scripts, notebooks or tests. A process that
    overruns the time limit is killed; one that dies is replaced and its molecule is tried once
    more. After that the molecule keeps the conformers made so far, or gets the 2D layout, or counts
    as failed, and the report gives the reason.

    Args:
        smiles: The molecules.
        num_conformers: As in :func:`~molae_pyg.chem.from_smiles`, as are all arguments down to
            ``time_limit``.
        on_error: ``"raise"`` stops at the first row that gives no ``Data``; ``"skip"`` leaves it
            out and counts it.
        workers: Number of processes that make conformers. None takes all cores, or 1 if there is
            little to do.
        progress: Show a bar if it takes longer than a second and stderr is a terminal.
        recipe: As in :func:`~molae_pyg.chem.from_smiles`.

    Returns:
        The list of ``Data``, in input order, and the report; its ``kept`` is the input row of each
        ``Data``.

    Raises:
        ValueError: With ``on_error="raise"``, naming the row (from 0), the string and the reason;
            or if an argument is out of range.
        KeyboardInterrupt: On Ctrl-C, at once.
    """
    options = Options(num_conformers, add_2d, remove_hydrogens, max_atoms, seed, time_limit, recipe)
    if on_error not in ("raise", "skip"):
        raise ValueError(f"on_error must be 'raise' or 'skip', got {on_error!r}")
    if isinstance(smiles, str):
        raise ValueError("featurize takes a sequence of SMILES; use from_smiles for a single one")
    if workers is not None and workers < 1:
        raise ValueError(f"workers must be at least 1, got {workers}; None takes all cores")
    rows = rows_of(smiles, options, workers, canonical)
    disable = None if progress else True  # None: without a terminal
    bar = tqdm(rows, "conformers", len(smiles), unit="mol", delay=1.0, disable=disable)
    made, report = [], FeaturizeReport()
    for number, row in enumerate(bar):
        if row.z is not None:
            made.append(data := to_data(row, options))
            report.add(row.status, row.reason, data.num_unknown, row.num_cropped)
        elif on_error == "raise":
            raise ValueError(f"row {number}: {problem_message(row)}")
        else:
            report.add(row.status, row.reason)
    return made, report


def canonical_smiles(smiles: str) -> str:
    """Returns the canonical isomeric SMILES, equal for equivalent strings.

    Raises:
        ValueError: If it is no valid SMILES.
    """
    try:
        return parse(smiles, True, Options().time_limit).key
    except ValueError as error:
        raise ValueError(problem_message(Row("invalid", str(error), smiles))) from None


def stream(
    smiles: Sequence[str], options: Options, workers: int | None = None
) -> Iterator[Data | ValueError]:
    """Yields molecules one after another, while worker processes make the next ones.

    Args:
        smiles: Canonical SMILES, all different.
        options: The settings of the conformers.
        workers: Number of processes, as in :func:`featurize`.

    Yields:
        The ``Data`` of each SMILES, or the error, in input order.
    """
    for row in rows_of(smiles, options, workers, repeats=True):
        yield ValueError(problem_message(row)) if row.z is None else to_data(row, options)


def rows_of(
    smiles: Sequence[str],
    options: Options,
    workers: int | None = None,
    canonical: bool = True,
    repeats: bool = False,
) -> Iterator[Row]:
    """Yields the row of each SMILES, in input order; repeated molecules are made once.

    Args:
        smiles: The molecules.
        options: The settings of the conformers.
        workers: Number of processes, as in :func:`featurize`.
        canonical: As in :func:`~molae_pyg.chem.from_smiles`.
        repeats: Whether repeated molecules are made again, so that no row has to be kept.
    """
    if workers is None:
        workers = available_cores() if len(smiles) * options.count > _FEW else 1
    first: dict[str, Future[Row]] = {}  # by the key of the molecule
    waiting: deque[Callable[[], Row]] = deque()

    def begin(value: object) -> Callable[[], Row]:
        try:
            molecule = parse(value, canonical, options.time_limit)
        except ValueError as error:
            return partial(Row, "invalid", str(error), value)
        if molecule.key in first:
            return lambda: _repeated(first[molecule.key].result(), molecule, options)
        job = apply(row_in, molecule, options)
        if not repeats:
            first[molecule.key] = job
        return job.result

    with rdBase.BlockLogs(), _engine(workers) as apply:
        for value in smiles:
            waiting.append(begin(value))
            if len(waiting) >= (_WINDOW if workers > 1 else 1):
                yield waiting.popleft()()
        while waiting:
            yield waiting.popleft()()


@contextmanager
def _engine(workers: int) -> Iterator[Callable[..., "Future[Row]"]]:
    """Yields what starts a job: on a pool, or at once on the worker that stays for other calls."""
    if workers > 1:
        with WorkerPool(workers) as pool:
            yield pool.apply
        return
    with borrowed() as worker:

        def apply(job: Callable[..., Row], *args: object) -> "Future[Row]":
            done: Future[Row] = Future()
            done.set_result(job(worker, *args))
            return done

        yield apply


def _repeated(first: Row, molecule: Molecule, options: Options) -> Row:
    """Returns the row of a molecule that differs from ``first`` in the input string only."""
    if first.z is None:
        return first._replace(smiles=molecule.smiles)
    kept, _, _ = kept_atoms(molecule.numbers, options)
    return first._replace(
        smiles=molecule.smiles,
        z=first.z.copy(),
        conformers=first.conformers.copy(),
        atom_map=molecule.atom_map[kept],
    )
