"""One cell of a table: a number, a bound, a missing label or a word."""

import math
import re

#: Texts for a missing label, in any case.
MISSING = frozenset(
    ("", "nan", "na", "n/a", "n.a.", "#n/a", "#na", "<na>", "#value!", "#div/0!", "#null!")
    + ("none", "null", "nil", "missing", "unknown", "undefined", "not available")
    + ("nt", "n.t.", "n/t", "nd", "n.d.", "n/d", "not tested", "not determined", "not measured")
    + ("-", "--", "\u2013", "\u2014", "?", ".", "-nan", "1.#qnan", "-1.#ind")
)
_PLAIN = r"[+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?"
_NUMBER = re.compile(_PLAIN)
# What is before the number of a bound, and before one that is neither exact nor a bound.
_SIGN = re.compile(r"(?:<<?=?|>>?=?|=[<>]|[≤≥])\s*")
_APPROXIMATE = re.compile(r"(?:[~≈≳≲=]|ca\.?|<>)\s*")
_UNIT = re.compile(rf"{_PLAIN}\s*[^\d\s,]\S*")
_COMMAS = re.compile(r"[+-]?\d+(?:,\d+)+(?:\.\d+)?(?:[eE][+-]?\d+)?|[+-]?\d+(?:\.\d{3})+,\d+")
_OTHER_NUMBER = re.compile(
    rf"{_PLAIN}\s*(?:[%°µ\u03bc]\S*|[A-Za-z]+(?:/\S+)?|(?:±|\+/?-|-|\u2013)\s*{_PLAIN}|[*#†?]|\(.*\))"
    r"|[+-]?inf(?:inity)?"
    r"|[+-]?\d{1,3}(?:[ '\u2019\u00a0\u202f]\d{3})+(?:[.,]\d+)?"
    rf"|[$€£]\s*{_PLAIN}",
    re.IGNORECASE,
)


def number(text: str) -> float | None:
    """Returns the number in a cell, written with a point; None if there is none."""
    text = text.strip().replace("\u2212", "-")  # the minus sign of word processors
    return float(text) if _NUMBER.fullmatch(text) else None


def is_missing(text: str) -> bool:
    """Whether a cell is a missing label."""
    return text.strip().lower() in MISSING


def bound(text: str) -> tuple[float, int] | None:
    """Returns the number of a bound such as ``>10`` and its side; None if a cell is no bound.

    The side is 1 if the true value is at least this number (``>10``, ``>= 10``, ``≥10``), -1 if it
    is at most this number (``<10``).
    """
    found = _SIGN.match(text := text.strip())
    value = number(text[found.end() :]) if found else None
    if value is None or not math.isfinite(value):
        return None
    return value, 1 if ">" in found[0] or "≥" in found[0] else -1


def oddity(text: str) -> str:
    """Returns in which unreadable form a cell holds a number; empty if it does not.

    ``"approximate"`` (``~10``, ``ca. 10``), ``"commas"`` (``5,3``, ``>1,000``), ``"other"``
    (``5 nM``, ``>5 nM``, ``5 ± 1``, ``1 000``, ``inf``).
    """
    text = text.strip().replace("\u2212", "-")
    if found := _APPROXIMATE.match(text):
        rest = text[found.end() :]
        return "approximate" if number(rest) is not None or oddity(rest) else ""
    found = _SIGN.match(text)
    rest = text[found.end() :] if found else text
    if _COMMAS.fullmatch(rest):
        return "commas"
    value = number(rest)
    if value is not None:
        return "" if math.isfinite(value) else "other"
    if _OTHER_NUMBER.fullmatch(rest) or (found and _UNIT.fullmatch(rest)):
        return "other"
    return ""


def word(text: str) -> str:
    """Returns a cell as a class: in lower case, without blanks around it; ``1.0`` is ``1``."""
    value = number(text)
    if value is None or value in (math.inf, -math.inf):
        return " ".join(text.lower().split())
    return f"{value:g}" if value == int(value) and abs(value) < 1e6 else repr(value)
