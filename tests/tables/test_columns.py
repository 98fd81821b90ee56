"""The columns of a table: which are targets, of which type, and why the others are not."""

import re
import warnings
from pathlib import Path

import pytest

from molae_pyg.datasets import CSVDataset
from molae_pyg.tables.columns import is_index_name
from molae_pyg.tables.reading import read_table

CASES = Path(__file__).parent.parent / "data" / "cases"
NAN = float("nan")


def table_of(path, *columns, **settings):
    """Reads a table whose columns are (name, cells)."""
    names = ["smiles", *(name for name, _ in columns)]
    rows = zip(*(cells.split("|") for _, cells in columns), strict=True)
    lines = [";".join(names), *(";".join(["C", *cells]) for cells in rows)]
    (path / "a.csv").write_text("\n".join(lines) + "\n", encoding="utf-8")
    return read_table(path / "a.csv", **settings)


def labels(table) -> list[float]:
    return table.y.flatten().nan_to_num(9).tolist()


@pytest.mark.parametrize(
    ("cells", "wanted"),
    [
        ("0|1|1|", [0, 1, 1, 9]),
        ("0.0|1.0|1|0", [0, 1, 1, 0]),
        ("True|False|true|FALSE", [1, 0, 1, 0]),
        ("yes|no|No|n.d.", [1, 0, 0, 9]),
        ("Y|N|N|Y", [1, 0, 0, 1]),
        ("active|inactive|Inactive|", [1, 0, 0, 9]),
        ("positive|negative|neg|pos", [1, 0, 0, 1]),
        ("+|-|-|+", [1, 0, 0, 1]),
        ("toxic|non-toxic|Non Toxic|nontoxic", [1, 0, 0, 0]),
        ("not toxic|toxic|toxic|not toxic", [0, 1, 1, 0]),
        ("non-fluffy|fluffy|fluffy|-", [0, 1, 1, 9]),
        ("BBB+|BBB-|BBB-|", [1, 0, 0, 9]),
        ("1|0|active|inactive", [1, 0, 1, 0]),
    ],
)
def test_two_certain_classes(tmp_path, cells, wanted):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        table = table_of(tmp_path, ("outcome", cells))
    assert table.task_types == ["classification"]
    assert labels(table) == wanted
    assert table.description.startswith("outcome: 2 classes (")


@pytest.mark.parametrize(
    ("cells", "wanted", "message"),
    [
        ("-1|1|1|-1", [0, 1, 1, 0], "'-1' as class 0, '1' as class 1"),
        ("1|2|2|1", [0, 1, 1, 0], "'1' as class 0, '2' as class 1"),
        ("1|2|1", [0, 1, 0], "'1' as class 0, '2' as class 1"),
        ("5.5|6.5|6.5|5.5", [0, 1, 1, 0], "'5.5' as class 0, '6.5' as class 1"),
        ("blue|red|red|?", [0, 1, 1, 9], "'blue' as class 0, 'red' as class 1"),
        ("M|F|F|M", [1, 0, 0, 1], "'F' as class 0, 'M' as class 1"),
    ],
)
def test_two_uncertain_classes(tmp_path, cells, wanted, message):
    with pytest.warns(UserWarning, match=f"a.csv: column 'c' is taken as two classes: {message}"):
        table = table_of(tmp_path, ("c", cells))
    assert table.task_types == ["classification"]
    assert labels(table) == wanted


@pytest.mark.parametrize(
    ("cells", "message"),
    [
        ("0|1|2|0|1|2", r"holds the 3 values 0, 1, 2, which look like classes.*'regression'"),
        ("1|2|3|1|2|3", r"holds the 3 values 1, 2, 3, which look like classes"),
        ("1|-1|0|0|1|-1", r"-1 may be a missing label.*'classification'.* -1 as missing"),
        ("0|-1|0|-1", r"-1 may be a missing label"),
        ("low|medium|high|low", r"3 classes \('low', 'medium', 'high'\).* once.*'multiclass'"),
        ("<10|>100|<10|>100", r"each of its 4 labels is a bound, such as '<10'.*Write two classes"),
        ("<10|10-50|>50|<10", r"row 1 reads '10-50', which is not a number .*'multiclass'"),
        ("5|7|>9|x", r"row 3 reads 'x', which is not a number"),
        ("1|~3|2|4", r"row 1 reads '~3', which is neither a number nor a bound"),
        ("1|ca. 3|2|4", r"row 1 reads 'ca. 3', which is neither a number nor a bound"),
        ("1|=3|2|4", r"row 1 reads '=3', which is neither a number nor a bound"),
        ("1|<>3|2|4", r"row 1 reads '<>3', which is neither a number nor a bound"),
        ("1|>= 3.5 uM|2|4", r"row 1 reads '>= 3.5 uM', which is not a number"),
        ("1|>1e999|2|4", r"row 1 reads '>1e999', which is not a number"),
        ("1|>10,000|2|4", r"row 1 reads '>10,000', which is not a number: .* with a comma"),
        ("5,3|6,1|7|4,9", r"row 0 reads '5,3', which is not a number: .* with a comma.*points"),
        ("1.234,5|6|7|8", r"row 0 reads '1.234,5', .* with a comma"),
        ("1,234|6|7|8", r"row 0 reads '1,234', .* with a comma"),
        ("5.3 nM|6|7|8", r"row 0 reads '5.3 nM', which is not a number"),
        ("5.3 ± 0.2|6|7|8", r"row 0 reads '5.3 ± 0.2', which is not a number"),
        ("5.3|inf|7|8", r"row 1 reads 'inf', which is not a number"),
        ("5.3|1e999|7|8", r"row 1 reads '1e999', which is not a number"),
        ("5.3|x|7|8", r"row 1 reads 'x', which is not a number \(1 such cells: rows 1\)"),
        ("5.3|1_0|7|8", r"row 1 reads '1_0', which is not a number"),
    ],
)
def test_a_target_that_cannot_be_read(tmp_path, cells, message):
    """It is the only column, or a named one."""
    for settings in ({}, {"target_columns": "activity"}):
        with pytest.raises(ValueError, match=r"a\.csv, column 'activity': .*" + message):
            table_of(tmp_path, ("activity", cells), **settings)


@pytest.mark.parametrize("cells", ["0|1|2|3", "3|4|5|3|4|5", "0|2|4|7"])
def test_few_different_integers_are_numbers_with_a_warning(tmp_path, cells):
    with pytest.warns(UserWarning, match=r"values [\d, ]+ of column 'rings' are taken as numbers"):
        table = table_of(tmp_path, ("rings", cells))
    assert table.task_types == ["regression"]


def test_declared_types_are_used(tmp_path):
    three, signs = ("y", "0|1|2|0|1|2"), ("y", "1|-1|0|0|1|-1")
    assert labels(table_of(tmp_path, three, task_type="regression")) == [0, 1, 2, 0, 1, 2]
    assert labels(table_of(tmp_path, signs, task_type="regression")) == [1, -1, 0, 0, 1, -1]
    with pytest.warns(UserWarning, match=r"-1 in column 'y' is taken as a missing label \(2 cells"):
        table = table_of(tmp_path, signs, task_type={"y": "classification"})
    assert labels(table) == [1, 9, 0, 0, 1, 9]
    assert table.description == "y: 2 classes (2 0 = 0, 2 1 = 1), 2 missing"
    with pytest.raises(
        ValueError, match=r"3 classes \('0', '1', '2'\)\. .*'multiclass'} takes all"
    ):
        table_of(tmp_path, three, task_type="classification")
    many = ("y", "|".join(map(str, range(30))))
    with pytest.raises(ValueError, match="30 different values: two to 20 classes are needed"):
        table_of(tmp_path, many, task_type="classification")
    with pytest.raises(ValueError, match="reads 'yes', which is not a number"):
        table_of(tmp_path, ("y", "yes|no"), task_type="regression")
    numbers = table_of(tmp_path, ("y", "0|1|1"), task_type="regression")
    assert numbers.task_types == ["regression"]
    with pytest.raises(
        ValueError, match="task_type must be one of regression, classification, multiclass"
    ):
        table_of(tmp_path, three, task_type="ranking")
    with pytest.raises(ValueError, match=r"task_type names \['z'\], which are not targets"):
        table_of(tmp_path, three, target_columns="y", task_type={"z": "regression"})


def test_types_name_targets_and_may_be_mixed(tmp_path):
    columns = ("logS", "0.5|1.5|2.5"), ("toxic", "yes|no|no"), ("MW", "16|17|18")
    types = {"logS": "regression", "toxic": "classification"}
    table = table_of(tmp_path, *columns, task_type=types)
    assert (table.task_names, table.task_types) == (list(types), list(types.values()))
    text = "logS: regression, 3 labels; toxic: 2 classes (2 no = 0, 1 yes = 1)"
    assert table.description == text + "; not targets: MW (not named)"
    dataset = CSVDataset(tmp_path / "a.csv", task_type=types, num_conformers=0, workers=1)
    assert (dataset.task_type, dataset.task_types) == ("mixed", list(types.values()))
    assert (dataset.metric, dataset.description) == ("mixed_error", table.description)


@pytest.mark.parametrize(
    ("column", "reason"),
    [
        (("Unnamed: 0", "0|1|2|3"), "an identifier"),
        (("CID", "1000|1001|1002|1009"), "an identifier"),
        (("mol_id", "5|1|2|3"), "an identifier"),
        (("Compound ID", "5|1|2|3"), "an identifier"),
        (("batch", "1|1|2|2"), "an identifier"),
        (("Document Year", "1999|2001|2002|2003"), "an identifier"),
        (("split", "0|0|1|1"), "an identifier"),
        (("", "0|1|2|3"), "an identifier"),
        (("constant", "7|7|7|7"), "constant"),
        (("nothing", "|NA|-|"), "empty"),
        (("words", "good|bad|ugly|odd"), "text"),
        (("InChI text", "InChI=1S/CH4/h1H4|InChI=1S/H2O/h1H2|InChI=1S/He|InChI=1S/Ne"), "InChI"),
        (("parent", "CCO|CCN|CCC|c1ccccc1"), "SMILES"),
    ],
)
@pytest.mark.parametrize("target", [("y", "0.5|1.5|2.5|"), ("y", "0|1|1|0")])
def test_columns_beside_the_target(tmp_path, column, reason, target):
    table = table_of(tmp_path, column, target)
    assert table.task_names == ["y"]
    name = column[0] or "a column without a name"
    assert table.description.endswith(f"; not targets: {name} ({reason})")
    with pytest.raises(ValueError, match=rf"a\.csv: found no target; .*{re.escape(name)} \("):
        table_of(tmp_path, column)


def test_bounds_that_another_column_marks(tmp_path):
    relation = ("Standard Relation", "'='|'>'|'='|'<'")
    with pytest.warns(UserWarning, match="'Standard Relation' marks 2 rows as bounds"):
        table = table_of(tmp_path, relation, ("pChEMBL Value", "5.5|6|7|8.5"))
    assert table.task_names == ["pChEMBL Value"]


@pytest.mark.parametrize("cells", ["1|2|3|4", "0|1|2|3|4|5"])
def test_integers_can_be_a_target(tmp_path, cells):
    table = table_of(tmp_path, ("rank of potency", cells))
    assert table.task_types == ["regression"]
    assert labels(table) == [float(cell) for cell in cells.split("|")]


@pytest.mark.parametrize(
    ("column", "text"),
    [
        (("activity", "active|inactive|active|active"), "2 classes (1 inactive = 0, 3 active = 1)"),
        (("toxic", "True|False|True|NA"), "2 classes (1 False = 0, 2 True = 1), 1 missing"),
        (("IC50", ">10000|>10000|>10000|250"), "regression, 4 labels, 3 of them bounds"),
        (("IC50", ">10|<10|>10|<10"), "bounds alone"),
        (("IC50", "~5|6|7|9"), "approximate numbers"),
        (("pIC50", "5,3|6,1|7|4,9"), "numbers with commas"),
        (("IC50", "5 nM|6 nM|7|9"), "numbers with text"),
        (("price", "$5|$6|$7|$9"), "numbers with text"),
        (("IC50", "1 000|2 500|7|9"), "numbers with text"),
        (("IC50", "5 (n=3)|6 (n=1)|7|9"), "numbers with text"),
        (("label", "low|high|medium|low"), "3 classes 'low', 'high', 'medium'"),
        (("class", "0|1|2|0|1|2"), "3 classes 0, 1, 2, or numbers"),
        (("assay", "0|1|-1|0"), "-1, 0, 1, where -1 is open"),
        (("logP", "0.5|1|-1|0"), "regression, 4 labels"),
    ],
)
def test_several_candidates_are_an_error(tmp_path, column, text):
    """The label is never dropped in favour of a number beside it."""
    weights = ("MW", "|".join(f"{100.5 + k}" for k in range(len(column[1].split("|")))))
    with pytest.raises(ValueError) as error:
        table_of(tmp_path, weights, column)
    message = str(error.value)
    assert "a.csv: 2 columns can be the target: MW: regression, " in message
    assert f"; {column[0]}: {text}" in message
    assert "target_columns= (--targets)" in message


@pytest.mark.parametrize(
    "name",
    ["id", "ID", "Index", "idx", "row", "number", "No.", "#", "well", "plate_id", "fold1", "set"]
    + ["index_level_0", "Row Number", "compoundId", "CAS", "InChIKey", "date", "batch number"]
    + ["Unnamed: 0.1", "Molecule ChEMBL ID", "PubChem_CID", "test_set", "Name", "mol index"],
)
def test_index_names(name):
    assert is_index_name(name)


@pytest.mark.parametrize(
    "name",
    ["y", "logS", "pIC50", "Class", "refractive index", "acid", "lipid", "number of rings", "2024"]
    + [
        "pChEMBL Value",
        "assay1",
        "yield",
        "toxicity",
        "plated mass",
        "活性",
        "ΔG",
        "NR-AR",
        "MUV-466",
    ],
)
def test_names_of_properties(name):
    assert not is_index_name(name)


@pytest.mark.parametrize(
    ("file", "message"),
    [
        ("f02_open_quote.csv", "row 2 .*a quote is left open"),
        ("f02_open_quote_tab.csv", "row 1 .*a quote is left open"),
        ("open-quote.csv", "row 0 .*a quote is left open"),
        ("f06_minus_one_missing.csv", "2 columns can be the target: assay1: -1, 0, 1"),
        ("f06_three_classes.csv", "column 'class': it holds the 3 values 0, 1, 2"),
        ("f08_decimal_commas.csv", "2 columns .*MW: regression.*pIC50: numbers with commas"),
        (
            "f08_mostly_bounded.csv",
            "2 columns .*MW: regression.*IC50: regression, 5 labels, 3 of them bounds",
        ),
        ("f08_true_false.csv", "2 columns .*MW: regression.*toxic: 2 classes"),
        ("f08_words.csv", "2 columns .*MW: regression.*activity: 2 classes"),
        ("decimal-comma.csv", "column 'y': row 0 reads '1,5', .* with a comma"),
        ("latin1.csv", "line 2 cannot be read as utf-8"),
        ("f16_latin1.csv", "line 2 cannot be read as utf-8"),
        ("f16_cp1252_header.csv", "line 1 cannot be read as utf-8"),
        ("f16_utf16.csv", "it is in UTF-16"),
    ],
)
def test_files_with_an_ambiguous_target(file, message):
    with pytest.raises(ValueError, match=rf"{file}.*{message}"):
        CSVDataset(CASES / file, num_conformers=0, workers=1)


def test_files_that_are_read():
    with pytest.warns(UserWarning, match="column 'active' is taken as two classes"):
        signs = read_table(CASES / "f06_plus_minus_one.csv")
    assert signs.y.flatten().tolist() == [1, 0, 1, 0, 0, 1]
    assert read_table(CASES / "f16_UPPER.CSV.GZ").smiles
    assert read_table(CASES / "latin1.csv", encoding="latin-1").y.tolist() == [[1], [2], [3.5]]
    assert len(read_table(CASES / "f16_utf16.csv", encoding="utf-16").smiles) == 3
