"""Columns beside the molecule: how they are read, and what becomes of them as features."""

import numpy as np
import pytest

from molae_pyg.tables.formats import Cells
from molae_pyg.workflow.extra import Extra, ExtraColumn, other_molecules, texts_of
from molae_pyg.workflow.molecules import Molecules

CELLS = Cells(
    ["smiles", "temperature", "solvent", "assay"],
    [["CCO", "25", "O", "a"], ["CCC", "37.5", "CO", "b"], ["CCN", " 40 ", "O", "a"]],
)
NAMES = ["temperature", "solvent", "assay"]


@pytest.mark.parametrize(
    ("texts", "kind", "words"),
    [
        (["1", "2.5", "", "-3e2"], "number", []),
        (["O", "CO", "O", "n/a"], "smiles", []),
        (["wet", "dry", "wet"], "words", ["dry", "wet"]),
        (["C", "N", "A"], "words", ["A", "C", "N"]),
        (["1", "high"], "words", ["1", "high"]),
    ],
)
def test_what_a_column_holds(texts, kind, words):
    assert ExtraColumn.of("x", texts) == ("x", kind, words)


@pytest.mark.parametrize(
    ("texts", "message"),
    [
        (["", "NA"], "column 'x' of --extra is empty"),
        ([f"note {n}" for n in range(30)], "has 30 different texts, such as 'note 0'"),
    ],
)
def test_a_column_that_cannot_be_used(texts, message):
    with pytest.raises(ValueError, match=message):
        ExtraColumn.of("x", texts)


def test_blocks():
    rows = [row[1:] for row in CELLS.rows]
    found = Extra.read(NAMES, CELLS).features(rows, [0, 2, 1])
    assert found["extra"].tolist() == [[25, 1, 0], [40, 1, 0], [37.5, 0, 1]]
    assert found["partner1"].shape == (3, 217)
    water, again, methanol = found["partner1"]
    assert np.array_equal(water, again)
    assert not np.array_equal(water, methanol)


def test_rows_that_lack_something_have_a_reason():
    texts = {
        "temperature": ["", "warm", "25", "25", "25"],
        "solvent": ["O", "O", "C1CC", "O", "O"],
        "assay": ["a", "a", "a", "c", "b"],
    }
    extra = Extra.read(NAMES, CELLS)
    given = extra.beside(Molecules.of(["C"] * 5), texts)
    assert [row and (row.status, row.reason) for row in given.given] == [
        ("invalid", "no value in column 'temperature'"),
        ("invalid", "temperature: 'warm' is not a number"),
        ("invalid", "solvent: unclosed ring"),
        ("invalid", "assay: 'c' is not in the training table"),
        None,
    ]
    assert given.extra[4] == ("25", "O", "b")
    with pytest.raises(ValueError, match="column 'temperature' has 5 values for 2 molecules"):
        extra.beside(Molecules.of(["C"] * 2), texts)


def test_no_columns():
    extra = Extra()
    assert not extra
    assert extra.features([(), ()], [0, 1]) == {}
    assert extra.problems({}) == {}


def test_columns_of_a_table_or_a_mapping():
    assert texts_of(["assay"], CELLS) == {"assay": ["a", "b", "a"]}
    assert texts_of(["t"], {"t": [25.0, None, float("nan")]}) == {"t": ["25.0", "", "nan"]}
    with pytest.raises(ValueError, match="needs the columns 't', 'u' beside the molecules"):
        texts_of(["t", "u"], None)
    with pytest.raises(ValueError, match="column 't' of --extra occurs twice"):
        texts_of(["t"], Cells(["t", "t"], [["1", "2"]]))


def test_other_columns_with_molecules():
    smiles = [row[0] for row in CELLS.rows]
    assert other_molecules(CELLS, smiles, ["temperature"]) == ["solvent"]
    assert other_molecules(CELLS, smiles, ["solvent"]) == []
    numbers = Cells(["smiles", "n", "same"], [["CCO", "1", "CCO"], ["C", "2", "C"]])
    assert other_molecules(numbers, ["CCO", "C"], []) == []
