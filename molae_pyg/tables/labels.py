"""What a cell of a table says as a label: a number, a class, nothing, or what cannot be used."""

import re
from collections.abc import Collection

#: What stands for no value, in any case.
MISSING = frozenset(
    ("", "nan", "na", "n/a", "n.a.", "#n/a", "#na", "<na>", "#value!", "#div/0!", "#null!")
    + ("none", "null", "nil", "missing", "unknown", "undefined", "not available")
    + ("nt", "n.t.", "n/t", "nd", "n.d.", "n/d", "not tested", "not determined", "not measured")
    + ("-", "--", "\u2013", "\u2014", "?", ".", "-nan", "1.#qnan", "-1.#ind")
)
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
_PLAIN = r"[+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?"
_NUMBER = re.compile(_PLAIN)
_CENSORED = re.compile(rf"(?:[<>]{{1,2}}=?|[~≥≤≈≳≲=]|=[<>]|ca\.?)\s*{_PLAIN}(?:\s*[^\d\s]\S*)?")
_COMMAS = re.compile(r"[+-]?\d+(?:,\d+)+(?:\.\d+)?(?:[eE][+-]?\d+)?|[+-]?\d+(?:\.\d{3})+,\d+")
_OTHER_NUMBER = re.compile(
    rf"{_PLAIN}\s*(?:[%°µ\u03bc]\S*|[A-Za-z]+(?:/\S+)?|(?:±|\+/?-|-|\u2013)\s*{_PLAIN}|[*#†?]|\(.*\))"
    r"|[+-]?inf(?:inity)?"
    r"|[+-]?\d{1,3}(?:[ '\u2019\u00a0\u202f]\d{3})+(?:[.,]\d+)?"
    rf"|[$€£]\s*{_PLAIN}",
    re.IGNORECASE,
)
_NEGATION = re.compile(r"(?:non|not|in|un|im|anti|no)[\s_-]*")


def number(text: str) -> float | None:
    """Returns the number that a cell holds, written with a point; None if it holds none."""
    text = text.strip().replace("\u2212", "-")  # the minus sign of word processors
    return float(text) if _NUMBER.fullmatch(text) else None


def is_missing(text: str) -> bool:
    """Whether a cell stands for no value."""
    return text.strip().lower() in MISSING


def oddity(text: str) -> str:
    """Names what keeps a cell from being read as a number although it is one; else empty.

    ``"censored"`` (``>10``), ``"commas"`` (``5,3``), ``"other"`` (``5 nM``, ``5 ± 1``, ``1 000``,
    ``inf``).
    """
    text = text.strip().replace("\u2212", "-")
    if _CENSORED.fullmatch(text):
        return "censored"
    if _COMMAS.fullmatch(text):
        return "commas"
    value = number(text)
    if _OTHER_NUMBER.fullmatch(text) or (value is not None and value in (_INF, -_INF)):
        return "other"
    return ""


_INF = float("inf")


def word(text: str) -> str:
    """A cell as a class: without blanks around it, in lower case; ``1.0`` is ``1``."""
    value = number(text)
    if value is None or value in (_INF, -_INF):
        return " ".join(text.lower().split())
    return f"{value:g}" if value == int(value) and abs(value) < 1e6 else repr(value)


def two_classes(words: Collection[str]) -> tuple[dict[str, int], bool] | None:
    """Decides which words are class 0 and which class 1.

    Args:
        words: The different :func:`word` of a column, without missing ones.

    Returns:
        The class of each word, and whether it is beyond doubt: 0 and 1, or words that are known.
        Of other two words, the second by number, or else by the alphabet, is class 1. None if
        there are more than two and not all of them are known.
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
