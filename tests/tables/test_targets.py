"""Targets of several classes and with bounds, as they are read from a table."""

import math

import pytest
import torch

from molae_pyg.tables.reading import read_table


@pytest.fixture
def read(tmp_path):
    def read(name: str, cells: str, **settings):
        lines = ["smiles;" + name, *(f"C;{cell}" for cell in cells.split("|"))]
        (tmp_path / "a.csv").write_text("\n".join(lines) + "\n", encoding="utf-8")
        return read_table(tmp_path / "a.csv", **settings)

    return read


def labels(table) -> list[float]:
    return table.y.flatten().nan_to_num(9).tolist()


def test_words_are_classes_in_alphabetical_order(read):
    table = read("grade", "low|medium| High|LOW|low|high||n.d.")
    assert table.task_types == ["multiclass"]
    assert table.classes == {"grade": ["High", "low", "medium"]}
    assert labels(table) == [1, 2, 0, 1, 1, 0, 9, 9]
    assert table.description == "grade: 3 classes (2 High, 3 low, 1 medium), 2 missing"
    assert table.bound.tolist() == [[0]] * 8


def test_declared_integers_are_classes_in_their_order(read):
    table = read("y", "10|2|1|2|10|1.0", task_type="multiclass")
    assert table.classes == {"y": ["1", "2", "10"]}
    assert labels(table) == [2, 1, 0, 1, 2, 0]
    mixed = read("y", "b|2|a|2", task_type={"y": "multiclass"})
    assert mixed.classes == {"y": ["2", "a", "b"]}
    ranges = read("y", "<10|10-50|>50|<10", task_type="multiclass")
    assert ranges.classes == {"y": ["10-50", "<10", ">50"]}
    assert read("y", "yes|no", task_type="multiclass").classes == {"y": ["no", "yes"]}
    signs = read("y", "-1|0|1|-1", task_type="multiclass")
    assert labels(signs) == [0, 1, 2, 0]


def test_at_most_twenty_classes(read):
    words = [f"w{number}" for number in range(20)]
    assert len(read("class", "|".join(words * 2)).classes["class"]) == 20
    for settings in ({}, {"task_type": "multiclass"}):
        with pytest.raises(ValueError, match="21 different values: two to 20 classes are needed"):
            read("class", "|".join([*words, "more"] * 2), target_columns="class", **settings)


def test_a_third_class_that_may_be_no_label_is_a_warning(read):
    with pytest.warns(
        UserWarning, match="'inconclusive' in column 'hit' is taken as a third class"
    ):
        table = read("hit", "active|inactive|inconclusive|active|inactive|active")
    assert table.classes == {"hit": ["active", "inactive", "inconclusive"]}


def test_words_are_the_target_if_nothing_else_can_be(read):
    """Beside a number, a column of words with a name that says nothing is not the target."""
    colours = "red|blue|green|red|blue|green"
    assert read("colour", colours).task_types == ["multiclass"]
    beside = read("colour;logS", "red;1.5|blue;2|green;3|red;4|blue;5|green;6")
    assert beside.task_names == ["logS"]
    assert beside.description.endswith("; not targets: colour (words)")


def test_bounds_have_a_side(read):
    table = read("IC50", ">10000|250|<= 0.5||7|\u2265 20")
    assert table.task_types == ["regression"]
    assert labels(table) == [10000, 250, 0.5, 9, 7, 20]
    assert table.bound.dtype == torch.int8
    assert table.bound.flatten().tolist() == [1, 0, -1, 0, 0, 1]
    assert table.description == "IC50: regression, 5 labels, 3 of them bounds, 1 missing"
    assert table.classes == {}
    declared = read("IC50", ">1|0|1|1", task_type="regression")
    assert declared.bound.flatten().tolist() == [1, 0, 0, 0]


def test_kinds_beside_each_other(read):
    header = "logS;toxic;grade;IC50"
    rows = "0.5;yes;a;>9|1.5;no;b;8|;;;|2.5;no;c;7|1;yes;a;6|2;no;b;5|3;no;c;4"
    table = read(header, rows, target_columns=header.split(";"))
    kinds = ["regression", "classification", "multiclass", "regression"]
    assert table.task_types == kinds
    assert table.y[0].tolist() == [0.5, 1, 0, 9]
    assert all(math.isnan(value) for value in table.y[2].tolist())
    assert table.bound.sum(0).tolist() == [0, 0, 0, 1]
    assert table.description == (
        "logS: regression, 6 labels, 1 missing; "
        "toxic: 2 classes (4 no = 0, 2 yes = 1), 1 missing; "
        "grade: 3 classes (2 a, 2 b, 2 c), 1 missing; "
        "IC50: regression, 6 labels, 1 of them bounds, 1 missing"
    )
