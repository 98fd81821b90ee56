"""What each column of a table is: a target, of which type, or not, and why."""

import re
from collections import Counter
from collections.abc import Sequence

import numpy as np

from molae_pyg.tables.labels import NEGATIVE, POSITIVE, is_missing, number, oddity, two_classes
from molae_pyg.tables.labels import word as word_of
from molae_pyg.tables.text_file import SMILES

_SOME = 20  # different words that may be classes
# Last words of names that sort or describe rows.
_INDEX = frozenset(
    ("id", "ids", "cid", "sid", "idx", "row", "rows", "batch", "plate", "well", "molid", "rowid")
    + ("compoundid", "sampleid", "drugid", "substanceid", "split", "splits", "fold", "folds")
    + ("set", "subset", "partition", "year", "years", "date", "name", "names", "cas", "casrn")
    + ("key", "inchikey", "inchi", "chembl", "doi", "pmid", "barcode", "uuid", "guid", "registry")
    + ("regno", "molregno", "series", "cluster", "scaffold", "group", "groups", "seed", "lot")
    + ("vendor", "supplier", "source", "reference", "ref", "refs", "comment", "comments", "note")
    + ("notes", "remark", "remarks", "title", "journal", "author", "authors", "operator")
    + ("relation", "unit", "units", "qualifier", "formula", "link", "url", "version", "replicate")
    + ("unnamed", "timestamp", "entry", "record")
)
# Names made of such words alone count rows; a refractive index is a property.
_COUNTERS = frozenset(("number", "num", "no", "nr", "n", "#", "index", "indices"))
_BESIDE = frozenset(("count", "position", "level", "col", "column", "mol", "molecule", "compound"))
_BESIDE |= {"sample", "original", "data", "df", "smiles", "drug", "substance", "structure", "line"}
_LABEL = frozenset(
    ("class", "label", "activity", "active", "outcome", "target", "toxicity", "toxic", "category")
    + ("response", "result", "y", "status", "endpoint", "hit", "effect", "solubility", "call")
)
_GRADES = POSITIVE | NEGATIVE | {"medium", "moderate", "weak", "strong", "intermediate", "partial"}
_GRADES |= {"inconclusive", "equivocal", "mild", "severe", "very low", "very high", "unspecified"}
_SMILES = re.compile(
    r"(?=.*[CNOcno])(?:\[[^\]]+\]|Br|Cl|[BCNOPSFIbcnops*]|[-=#$:~/\\.()]|%\d\d|\d)+"
)


class Column:
    """The cells of a column: numbers as numbers, other texts once each.

    Args:
        name: Its name in the header.
    """

    def __init__(self, name: str) -> None:
        self.name = name
        self.texts: list[str] = []  # the different ones that are no finite numbers
        self._places: dict[str, int] = {}  # of each of them, in `texts`
        # Of some rows each: the different numbers and places, and for each row which of them.
        self._parts: list[tuple[np.ndarray, np.ndarray, np.ndarray]] = []

    def extend(self, cells: Sequence[str]) -> None:
        """Takes in the cells of further rows."""
        codes = {text: code for code, text in enumerate(dict.fromkeys(cells))}
        read = [self._read(text) for text in codes]
        values = np.array([value for value, _ in read], np.float64)
        places = np.array([place for _, place in read], np.int32)
        kind = np.min_scalar_type(len(codes))  # a byte a cell where there are few
        self._parts.append((values, places, np.fromiter(map(codes.get, cells), kind, len(cells))))

    def _read(self, text: str) -> tuple[float, int]:
        value = number(text)
        if value is not None and np.isfinite(value):
            return value, -1
        place = self._places.setdefault(text.strip(), len(self.texts))
        if place == len(self.texts):
            self.texts.append(text.strip())
        return np.nan, place

    @property
    def values(self) -> np.ndarray:
        """Numbers, NaN where a cell holds none, ``[n]`` float64."""
        return np.concatenate([np.zeros(0), *(values[code] for values, _, code in self._parts)])

    @property
    def places(self) -> np.ndarray:
        """Places in :attr:`texts`, -1 where a cell is a number, ``[n]`` int32."""
        found = (places[code] for _, places, code in self._parts)
        return np.concatenate([np.zeros(0, np.int32), *found])


class Content:
    """The labels of a column, counted.

    Args:
        column: The column.
    """

    def __init__(self, column: Column) -> None:
        self.column, self.values, self.places = column, column.values, column.places
        counts = np.bincount(self.places[self.places >= 0], minlength=len(column.texts))
        found = Counter(dict(zip(column.texts, counts.tolist(), strict=True)))
        self.present = Counter({t: n for t, n in found.items() if n and not is_missing(t)})
        numbers, repeats = np.unique(self.values[~np.isnan(self.values)], return_counts=True)
        self.numbers, self.num_numbers = numbers, int(repeats.sum())
        if found["-"] and {*self.present} == {"+"} and not len(numbers):
            self.present["-"] = found["-"]  # beside "+" it is a class
        self.num_labels = self.num_numbers + sum(self.present.values())
        self.num_missing = len(self.values) - self.num_labels
        self._repeats = repeats

    def words(self) -> Counter:
        """The different labels as words, with the number of rows of each."""
        words = Counter()
        for text, count in self.present.items():
            words[word_of(text)] += count
        for value, count in zip(self.numbers.tolist(), self._repeats.tolist(), strict=True):
            words[word_of(repr(value))] += count
        return words

    def num_different(self) -> int:
        """Number of different labels, words in different cases counted as such."""
        return len(self.numbers) + len(self.present)

    def rows_of(self, texts: Sequence[str]) -> np.ndarray:
        """Rows whose cell is one of these texts."""
        wanted = [place for place, text in enumerate(self.column.texts) if text in texts]
        return np.flatnonzero(np.isin(self.places, wanted))

    def as_classes(self, classes: dict[str, int]) -> np.ndarray:
        """Labels ``[n]`` from the class of each word; NaN for words that have none."""
        y = np.full(len(self.values), np.nan)
        for place, text in enumerate(self.column.texts):
            if text in self.present:
                y[self.places == place] = classes.get(word_of(text), np.nan)
        for value in self.numbers.tolist():
            y[self.values == value] = classes.get(word_of(repr(value)), np.nan)
        return y


def no_target(column: Column) -> str:
    """Returns why a column is no target where none is named; empty if it may be one."""
    if is_index_name(column.name):
        return "an identifier"
    content = Content(column)
    if content.num_labels == 0:
        return "empty"
    if content.num_different() == 1 and content.num_labels > 1:
        return "constant"
    texts = content.present
    odd = sum(count for text, count in texts.items() if oddity(text))
    if content.num_numbers + odd >= sum(texts.values()) - odd:
        return ""
    if all(text.startswith("InChI=") for text in texts):
        return "InChI"
    if all(SMILES.fullmatch(text) for text in texts) and len(texts) > 2:
        return "SMILES"
    words = content.words() if content.num_different() <= 2 * _SOME else {}
    if 0 < len(words) <= _SOME and _may_be_classes(column.name, words, content.num_labels):
        return ""
    return "text"


def bounds_beside(columns: Sequence[Column]) -> str:
    """What to say where a column beside the labels, such as ChEMBL's relation, marks bounds."""
    for column in columns:
        if {"relation", "qualifier", "operator"}.intersection(_name_words(column.name)[-1:]):
            content = Content(column)
            marks = [text for text in content.present if re.search("[<>~≤≥]", text)]
            if marks:
                number = sum(content.present[text] for text in marks)
                return (
                    f"column {column.name!r} marks {number:,} rows as bounds ({marks[0]}); their "
                    "labels are taken as values all the same. Remove such rows if that is wrong"
                )
    return ""


def _may_be_classes(name: str, words: Counter, num_labels: int) -> bool:
    if (found := two_classes(words)) is not None:
        return found[1] or num_labels > len(words)
    is_label = bool(_LABEL.intersection(_name_words(name)))
    return (is_label and num_labels >= 2 * len(words)) or _GRADES.issuperset(words)


def is_index_name(name: str) -> bool:
    """Whether a name is that of a column which counts, sorts or describes rows."""
    words = _name_words(name)
    if not words:
        return not name.strip()
    if words[-1] in _INDEX:
        return True
    if words[0] not in _INDEX | _COUNTERS | _BESIDE:
        return False
    plain = _COUNTERS | _BESIDE
    return plain.issuperset(words[1:]) and bool((_INDEX | _COUNTERS).intersection(words))


def _name_words(name: str) -> list[str]:
    """``"CompoundID_2"`` -> ``["compound", "id"]``."""
    found = re.findall(r"[A-Z]?[a-z]+|[A-Z]+(?![a-z])|[^\W\d_A-Za-z]+|#", name)
    return [word.lower() for word in found]
