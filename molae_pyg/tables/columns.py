"""The columns of a table: their labels, counted, and which of them can be a target."""

import re
from collections import Counter
from collections.abc import Collection, Sequence

import numpy as np

from molae_pyg.tables.cells import bound, is_missing, number, oddity, word
from molae_pyg.tables.text_file import SMILES

#: Words for class 1 and for class 0, in lower case.
POSITIVE = frozenset(
    ("1", "true", "t", "yes", "y", "active", "act", "positive", "pos", "+", "toxic", "tox")
    + ("hit", "high", "mutagenic", "mutagen", "inhibitor", "binder", "binding", "permeable")
    + ("soluble", "approved", "pass", "passed", "present", "substrate", "blocker", "agonist")
    + ("bbb+", "carcinogenic", "sensitizer", "sensitiser", "responder", "bioactive")
)
NEGATIVE = frozenset(
    ("0", "false", "f", "no", "n", "inactive", "inact", "negative", "neg", "-", "nontoxic")
    + ("non-hit", "miss", "low", "nonmutagenic", "noninhibitor", "nonbinder", "impermeable")
    + ("insoluble", "fail", "failed", "absent", "nonsubstrate", "nonblocker", "bbb-", "decoy")
    + ("safe", "noncarcinogenic", "nonsensitizer", "nonsensitiser", "nonresponder")
)
_NEGATION = re.compile(r"(?:non|not|in|un|im|anti|no)[\s_-]*")
_SOME = 20  # largest number of different words that may be classes
WORDS = "words"  # why a column of several words is no target beside one that can be
# Last words of the names of columns that sort or describe rows.
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
# A name of such words alone counts rows; a refractive index is a property.
_COUNTERS = frozenset(("number", "num", "no", "nr", "n", "#", "index", "indices"))
_BESIDE = frozenset(("count", "position", "level", "col", "column", "mol", "molecule", "compound"))
_BESIDE |= {"sample", "original", "data", "df", "smiles", "drug", "substance", "structure", "line"}
_LABEL = frozenset(
    ("class", "label", "activity", "active", "outcome", "target", "toxicity", "toxic", "category")
    + ("response", "result", "y", "status", "endpoint", "hit", "effect", "solubility", "call")
)
_GRADES = POSITIVE | NEGATIVE | {"medium", "moderate", "weak", "strong", "intermediate", "partial"}
_GRADES |= {"inconclusive", "equivocal", "mild", "severe", "very low", "very high", "unspecified"}


class Column:
    """The cells of a column: numbers, and each different text once.

    Args:
        name: Name in the header.
    """

    def __init__(self, name: str) -> None:
        self.name = name
        self.texts: list[str] = []  # different cells that are not finite numbers
        self._places: dict[str, int] = {}  # text -> index in `texts`
        # For each batch of rows: different numbers, different places, and which of them a row has.
        self._parts: list[tuple[np.ndarray, np.ndarray, np.ndarray]] = []

    def extend(self, cells: Sequence[str]) -> None:
        """Adds the cells of further rows."""
        codes = {text: code for code, text in enumerate(dict.fromkeys(cells))}
        read = [self._read(text) for text in codes]
        values = np.array([value for value, _ in read], np.float64)
        places = np.array([place for _, place in read], np.int32)
        kind = np.min_scalar_type(len(codes))  # a byte a cell for few different ones
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
        """Numbers, NaN in cells without one, ``[n]`` float64."""
        return np.concatenate([np.zeros(0), *(values[code] for values, _, code in self._parts)])

    @property
    def places(self) -> np.ndarray:
        """Indices in :attr:`texts`, -1 for numbers, ``[n]`` int32."""
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
        #: Bounds such as ``>10`` among the texts: number and side, see :func:`bound`.
        self.bounds = {text: found for text in self.present if (found := bound(text))}

    def words(self) -> Counter:
        """Returns the different labels as words, with the number of rows of each."""
        words = Counter()
        for text, count in self.present.items():
            words[word(text)] += count
        for value, count in zip(self.numbers.tolist(), self._repeats.tolist(), strict=True):
            words[word(repr(value))] += count
        return words

    def num_different(self) -> int:
        """Returns the number of different labels; upper and lower case are different here."""
        return len(self.numbers) + len(self.present)

    def rows_of(self, texts: Sequence[str]) -> np.ndarray:
        """Returns the rows with one of these texts."""
        wanted = [place for place, text in enumerate(self.column.texts) if text in texts]
        return np.flatnonzero(np.isin(self.places, wanted))

    def as_classes(self, classes: dict[str, int]) -> np.ndarray:
        """Returns labels ``[n]`` from the class of each word; NaN for words without a class."""
        y = np.full(len(self.values), np.nan)
        for place, text in enumerate(self.column.texts):
            if text in self.present:
                y[self.places == place] = classes.get(word(text), np.nan)
        for value in self.numbers.tolist():
            y[self.values == value] = classes.get(word(repr(value)), np.nan)
        return y


def no_target(column: Column) -> str:
    """Returns why a column cannot be the target by itself; empty if it can."""
    if is_index_name(column.name):
        return "an identifier"
    content = Content(column)
    if content.num_labels == 0:
        return "empty"
    if content.num_different() == 1 and content.num_labels > 1:
        return "constant"
    texts = content.present
    odd = sum(n for text, n in texts.items() if text in content.bounds or oddity(text))
    if content.num_numbers + odd >= sum(texts.values()) - odd:
        return ""
    if all(text.startswith("InChI=") for text in texts):
        return "InChI"
    if all(SMILES.fullmatch(text) for text in texts) and len(texts) > 2:
        return "SMILES"
    words = content.words() if content.num_different() <= 2 * _SOME else {}
    if 0 < len(words) <= _SOME:
        if _may_be_classes(column.name, words, content.num_labels):
            return ""
        if content.num_labels >= 2 * len(words):
            return WORDS
    return "text"


def bounds_beside(columns: Sequence[Column]) -> str:
    """Returns a warning if a column beside the labels, such as ChEMBL's relation, marks bounds."""
    for column in columns:
        if {"relation", "qualifier", "operator"}.intersection(_name_words(column.name)[-1:]):
            content = Content(column)
            marks = [text for text in content.present if re.search("[<>~≤≥]", text)]
            if marks:
                number = sum(content.present[text] for text in marks)
                return (
                    f"column {column.name!r} marks {number:,} rows as bounds ({marks[0]}); their "
                    "labels are taken as values all the same. Write bounds into the cells of the "
                    "target, such as >10, or remove such rows"
                )
    return ""


def _may_be_classes(name: str, words: Counter, num_labels: int) -> bool:
    if (found := two_classes(words)) is not None:
        return found[1] or num_labels > len(words)
    is_label = bool(_LABEL.intersection(_name_words(name)))
    return (is_label and num_labels >= 2 * len(words)) or _GRADES.issuperset(words)


def is_index_name(name: str) -> bool:
    """Whether a column with this name counts, sorts or describes rows."""
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
    """Splits ``"CompoundID_2"`` into ``["compound", "id"]``."""
    found = re.findall(r"[A-Z]?[a-z]+|[A-Z]+(?![a-z])|[^\W\d_A-Za-z]+|#", name)
    return [word.lower() for word in found]


def two_classes(words: Collection[str]) -> tuple[dict[str, int], bool] | None:
    """Decides which words are class 0 and which class 1.

    Args:
        words: The different :func:`word` of a column, without missing labels.

    Returns:
        The class of each word, and whether it is certain, as for 0 and 1 and for known words. Of
        two other words, the second by number, or else by the alphabet, is class 1. None if there
        are more than two words and one of them is unknown.
    """
    plain = {text: text.replace("-", "").replace(" ", "") if len(text) > 1 else text
             for text in words}  # fmt: skip
    known = {}
    for text, bare in plain.items():
        if text in POSITIVE or bare in POSITIVE:
            known[text] = 1
        elif text in NEGATIVE or bare in NEGATIVE:
            known[text] = 0
    if len(known) == len(words) and len({*known.values()}) == min(2, len(words)):
        return known, True
    if len(words) != 2:
        return None
    first, second = sorted(words, key=_order)
    for negative, positive in ((first, second), (second, first)):
        found = _NEGATION.match(negative)
        if found and negative[found.end() :] == positive:
            return {negative: 0, positive: 1}, True
    return {first: 0, second: 1}, False


def _order(text: str) -> tuple[bool, float, str]:
    value = number(text)
    return value is None, 0.0 if value is None else value, text
