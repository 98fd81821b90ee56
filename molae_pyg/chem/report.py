"""The outcome of every input row."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

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
