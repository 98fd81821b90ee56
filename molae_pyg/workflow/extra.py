"""Columns of the user's own beside the molecule: numbers, words, or a second molecule.

Numbers, such as a temperature, and words, such as an assay, are one block of features of the
read-out; each word is a column of 0 and 1. A column of SMILES, such as a solvent, is a block of
RDKit's descriptors of these molecules.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from rdkit import rdBase

from molae_pyg.chem.descriptors import descriptors
from molae_pyg.chem.options import InputError
from molae_pyg.chem.rows import Row
from molae_pyg.chem.smiles import plain_mol
from molae_pyg.tables.columns import is_missing, number
from molae_pyg.tables.formats import Cells
from molae_pyg.tables.reading import Table
from molae_pyg.tables.text_file import SMILES
from molae_pyg.workflow.molecules import AnyMolecules, Molecules

if TYPE_CHECKING:
    from molae_pyg.workflow.settings import FitSettings

#: Block of the numbers and words, and the first part of the names of blocks of molecules.
EXTRA, PARTNER = "extra", "partner"
#: A table, or columns by name, such as a data frame.
Columns = Cells | Mapping[str, Sequence[object]]
_MOST_WORDS = 20


class ExtraColumn(NamedTuple):
    """A column, as it was read in the training table."""

    name: str
    kind: str  #: ``"number"``, ``"words"`` or ``"smiles"``.
    words: list[str]  #: The different words, sorted; empty for other kinds.

    @classmethod
    def of(cls, name: str, texts: Sequence[str]) -> "ExtraColumn":
        """Decides what a column holds (ValueError)."""
        different = sorted({text.strip() for text in texts if not is_missing(text)})
        if not different:
            raise InputError(f"column {name!r} of --extra is empty")
        if all(number(text) is not None for text in different):
            return cls(name, "number", [])
        with rdBase.BlockLogs():
            if not any(map(_problem_of_smiles, different)):
                return cls(name, "smiles", [])
        if len(different) > _MOST_WORDS:
            raise InputError(
                f"column {name!r} of --extra has {len(different)} different texts, such as "
                f"{different[0]!r} and {different[1]!r}: numbers, SMILES or at most {_MOST_WORDS} "
                "different words are needed"
            )
        return cls(name, "words", different)

    def __str__(self) -> str:
        kinds = {"number": "a number", "smiles": "molecules"}
        return f"{self.name}: {kinds.get(self.kind, f'{len(self.words)} words')}"

    def problem(self, text: str) -> str:
        """Returns why a cell cannot be used; empty if it can."""
        if is_missing(text):
            return f"no value in column {self.name!r}"
        if self.kind == "number":
            return "" if number(text) is not None else f"{self.name}: {text!r} is not a number"
        if self.kind == "words":
            known = text.strip() in self.words
            return "" if known else f"{self.name}: {text!r} is not in the training table"
        found = _problem_of_smiles(text)
        return found and f"{self.name}: {found}"


def _problem_of_smiles(text: str) -> str:
    try:
        plain_mol(text)
    except ValueError as error:
        return str(error)
    return ""


class Extra:
    """The columns beside the molecules of a model.

    Args:
        columns: The columns, as they were read in the training table.
    """

    def __init__(self, columns: Sequence[ExtraColumn] = ()):
        self.columns = list(columns)

    @classmethod
    def read(cls, names: Sequence[str], cells: Cells) -> "Extra":
        """Decides what each column of the training table holds (ValueError)."""
        return cls([ExtraColumn.of(name, texts) for name, texts in texts_of(names, cells).items()])

    def __bool__(self) -> bool:
        return bool(self.columns)

    def __str__(self) -> str:
        return "; ".join(map(str, self.columns))

    def beside(self, molecules: AnyMolecules, source: Columns | None) -> Molecules:
        """Joins the columns to molecules, if there are some and they have not been joined.

        Rows that lack a value become invalid.

        Args:
            molecules: The molecules ``[n]``.
            source: The columns.

        Raises:
            ValueError: A column is absent, occurs twice or has another length.
        """
        given = Molecules.of(molecules)
        if given.extra or not self.columns:
            return given
        texts = texts_of([column.name for column in self.columns], source)
        number = len(given.smiles)
        if wrong := [name for name, found in texts.items() if len(found) != number]:
            size = len(texts[wrong[0]])
            raise InputError(f"column {wrong[0]!r} has {size} values for {number} molecules")
        lost = self.problems(texts)
        rows = [Row("invalid", lost[i]) if i in lost else row for i, row in enumerate(given.given)]
        return given._replace(given=rows, extra=list(zip(*texts.values(), strict=True)))

    def problems(self, texts: Mapping[str, Sequence[str]]) -> dict[int, str]:
        """Returns the first problem of each row that has one."""
        found: dict[int, str] = {}
        with rdBase.BlockLogs():
            for column in self.columns:
                reasons = {text: column.problem(text) for text in set(texts[column.name])}
                for row, text in enumerate(texts[column.name]):
                    if reasons[text]:
                        found.setdefault(row, reasons[text])
        return found

    def features(
        self, texts: Sequence[Sequence[str]], rows: Iterable[int]
    ) -> dict[str, np.ndarray]:
        """Returns the blocks of features of rows without a problem, ``[m, F]`` by name.

        Args:
            texts: The cells of each row ``[n]``, in the order of the columns.
            rows: The rows ``[m]``.
        """
        plain, found = [], {}
        for place, column in enumerate(self.columns):
            cells = [texts[row][place].strip() for row in rows]
            if column.kind == "number":
                plain.append(np.array([[number(cell)] for cell in cells], float).reshape(-1, 1))
            elif column.kind == "words":
                plain.append(np.array([[c == w for w in column.words] for c in cells], float))
            else:
                different = sorted(set(cells))
                values = descriptors(different)[0]
                found[f"{PARTNER}{place}"] = values[[different.index(cell) for cell in cells]]
        return ({EXTRA: np.concatenate(plain, axis=1)} if plain else {}) | found


def texts_of(names: Sequence[str], given: Columns | None) -> dict[str, list[str]]:
    """Returns the cells of each column.

    Args:
        names: The columns.
        given: Where they are.

    Raises:
        ValueError: A column is absent or occurs twice.
    """
    if isinstance(given, Cells):
        columns = given.columns
        if twice := [name for name in names if columns.count(name) > 1]:
            raise InputError(f"column {twice[0]!r} of --extra occurs twice")
        given = {
            name: [row[columns.index(name)] for row in given.rows]
            for name in names
            if name in columns
        }
    given = {} if given is None else given
    if absent := [name for name in names if name not in given]:
        raise InputError(
            f"the model needs the column{'s' * (len(absent) > 1)} {', '.join(map(repr, absent))} "
            "beside the molecules (extra=, --extra)"
        )
    return {name: ["" if v is None else str(v) for v in given[name]] for name in names}


def usable(
    settings: "FitSettings", table: Table, cells: Cells
) -> tuple[Extra, list[tuple[str, ...]], Table, dict[int, str]]:
    """Reads the columns of a training table.

    Args:
        settings: The settings; ``extra`` names the columns.
        table: Molecules and targets.
        cells: All cells of the table.

    Returns:
        The columns, their cells in each row, the table without the molecules of rows that lack a
        value, and why they do.

    Raises:
        ValueError: A column is absent, a target, or cannot be read, or the encoder is fine-tuned.
    """
    names = settings.extra
    if names and not settings.frozen:
        raise InputError("only the read-out of a frozen encoder sees the columns of --extra")
    if both := [name for name in names if name in table.task_names]:
        raise InputError(f"column {both[0]!r} of --extra is a target")
    extra = Extra.read(names, cells)
    texts = texts_of(names, cells)
    lost = extra.problems(texts)
    smiles = ["" if row in lost else text for row, text in enumerate(table.smiles)]
    rows = list(zip(*texts.values(), strict=True)) or [()] * len(smiles)
    return extra, rows, table._replace(smiles=smiles), lost


def other_molecules(cells: Cells, smiles: Sequence[str], named: Sequence[str]) -> list[str]:
    """Returns the columns that hold molecules beside those of a table, and are not used.

    Args:
        cells: The cells of the table.
        smiles: Its molecules.
        named: Columns that are used.
    """
    found = []
    for place, name in enumerate(cells.columns):
        texts = [row[place].strip() for row in cells.rows]
        if name in named or texts == list(smiles):
            continue
        some = list(dict.fromkeys(text for text in texts if not is_missing(text)))[:20]
        if len(some) > 1 and all(map(SMILES.fullmatch, some)):
            with rdBase.BlockLogs():
                if not any(number(text) is not None or _problem_of_smiles(text) for text in some):
                    found.append(name)
    return found
