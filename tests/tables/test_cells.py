"""Single cells: numbers, bounds, and numbers in a form that is not read."""

import pytest

from molae_pyg.tables.cells import bound, number, oddity


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        (">10", (10, 1)),
        (" > 10.5 ", (10.5, 1)),
        (">=1e4", (1e4, 1)),
        (">>5", (5, 1)),
        ("=>5", (5, 1)),
        ("\u22655", (5, 1)),
        ("<10", (10, -1)),
        ("<= -3", (-3, -1)),
        ("=<.5", (0.5, -1)),
        ("\u22640.5", (0.5, -1)),
        ("<\u22123", (-3, -1)),  # the minus sign of word processors
        *((text, None) for text in ("10", "~10", "ca. 10", "=10", "<>10", ">", "> x", ">10 nM")),
        *((text, None) for text in (">1,000", ">inf", ">1e999", ">5 ± 1", "10>", "", "\u227310")),
    ],
)
def test_bounds(text, wanted):
    assert bound(text) == wanted
    assert wanted is None or (number(text), oddity(text)) == (None, "")


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        *(
            (text, "approximate")
            for text in ("~5", "ca. 5", "ca 5", "\u22485", "=5", "<>5", "~5 nM")
        ),
        *((text, "commas") for text in ("5,3", "1,234,567", ">10,000", "< 5,3", "1.234,5")),
        *(
            (text, "other")
            for text in ("5 nM", ">5 nM", "5 ± 1", "1 000", "inf", ">inf", "5-6", "$5")
        ),
        *((text, "") for text in ("5", ">5", "high", "catalyst", "<low>", "=", ">")),
    ],
)
def test_numbers_in_other_forms(text, wanted):
    assert oddity(text) == wanted
