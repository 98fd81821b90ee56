"""Tables in many forms and lists of SMILES: all readers give the same rows."""

import csv
import gzip
import math
import re
import warnings

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from molae_pyg.datasets import CSVDataset
from molae_pyg.store.sources import MoleculeFile
from molae_pyg.tables.reading import columns_of, infer_task_type, read_smiles, read_table

PLAIN = "name,SMILES,logS,pIC50\nethanol,CCO,0.5,7\nphenol,Oc1ccccc1,,-1.0\n"
BOTH = ["logS", "pIC50"]


@pytest.fixture
def write(tmp_path):
    def write(text: str | bytes, name: str = "table.csv"):
        content = text.encode() if isinstance(text, str) else text
        packed = name.lower().endswith(".gz")
        (tmp_path / name).write_bytes(gzip.compress(content) if packed else content)
        return tmp_path / name

    return write


def smiles_of(path, **settings) -> list[str]:
    """Returns the SMILES as every reader reads them."""
    found = list(MoleculeFile(path, **settings))
    assert read_smiles(path, **settings) == found
    assert read_table(path, target_columns="y", **settings).smiles == found
    return found


def error_of(path) -> str:
    """The one error that every reader raises on a file."""
    messages = set()
    for read in (read_smiles, lambda path: list(MoleculeFile(path)), read_table):
        with pytest.raises(ValueError) as error:
            read(path)
        messages.add(str(error.value))
    (message,) = messages
    assert str(path) in message
    return message


def test_named_columns(write):
    path = write(PLAIN)
    table = read_table(path, target_columns=BOTH)
    assert table.smiles == ["CCO", "Oc1ccccc1"]
    assert (table.task_names, table.task_types) == (BOTH, ["regression"] * 2)
    assert table.y.dtype == torch.float32
    assert table.y[:, 1].tolist() == [7.0, -1.0]
    assert table.y[0, 0] == 0.5
    assert math.isnan(table.y[1, 0])
    assert read_table(path, "SMILES", ["pIC50"]).task_names == ["pIC50"]
    assert read_table(path, target_columns="logS").y.shape == (2, 1)
    assert read_table(path, target_columns=(name for name in BOTH)).task_names == BOTH
    assert read_table(path, smiles_column="name", target_columns="logS").smiles[0] == "ethanol"
    assert columns_of(path) == ["name", "SMILES", *BOTH]


@pytest.mark.parametrize(
    "name", ["smiles", "Smiles", " canonical_SMILES", "smi", "mol", "Molecule"]
)
def test_names_of_the_smiles_column(write, name):
    assert read_table(write(f"y,{name}\n1,C\n2,CC\n")).smiles == ["C", "CC"]


def test_smiles_has_priority_over_mol(write):
    assert read_table(write("mol,smiles,y\nmethane,C,1\n")).smiles == ["C"]


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("smiles,y\nC,1\nCC,2.5\n", "a.csv"),
        ("smiles,y\r\nC,1\r\nCC,2.5\r\n", "a.csv"),
        ("smiles,y\rC,1\rCC,2.5", "a.csv"),  # an old Macintosh
        ("\ufeffsmiles,y\nC,1\nCC,2.5\n", "a.csv"),
        ("smiles,y\nC,1\nCC,2.5\n", "A.CSV.GZ"),
        ("smiles;y\nC;1\nCC;2.5\n", "a.csv"),
        ("sep=;\nsmiles;y\nC;1\nCC;2.5\n", "a.csv"),  # as Excel writes it
        ("smiles\ty\nC\t1\nCC\t2.5\n", "a.Tsv"),
        ("smiles\ty\nC\t1\nCC\t2.5\n", "a.csv"),
        ("\n  \n,,\nsmiles,y\nC,1\n\nCC,2.5\n   \n\n", "a.csv"),
        ('smiles,y,"solubility (mol/L; 25 C; pH 7; measured)"\nC,1,3\nCC,2.5,4\n', "a.csv"),
        ('"IC50, nM, mean, n=3";smiles;y\n3;C;1\n4;CC;2.5\n', "a.csv"),
        ("IC50 (nM, mean, n=3);smiles;y\n3;C;1\n4;CC;2.5\n", "a.csv"),
        ('smiles,"the\nvalue",y\nC,3,1\nCC,4,2.5\n', "a.csv"),
        ('smiles,note,y\nC,"two\nlines, and more",1\nCC,"5"" long",2.5\n', "a.csv"),
        ('smiles,y,note\nC,1,"first\nsecond, third, fourth"\nCC,2.5,"a\nb, c, d"\n', "a.csv"),
        (f"smiles,note,y\nC,{'x' * 300_000},1\nCC,z,2.5\n", "a.csv"),
        ("smiles,y,note\nC,1\nCC,2.5,x,,\n", "a.csv"),  # short and long rows
        ("smiles,y,\nC,1,\nCC,2.5,\n", "a.csv"),
        ("SMILES , y\nC , 1\nCC,2.5\n", "a.csv"),
    ],
)
def test_the_same_rows_in_many_forms(write, text, name):
    path = write(text, name)
    assert smiles_of(path) == ["C", "CC"]
    assert read_table(path, target_columns="y").y.tolist() == [[1.0], [2.5]]


def test_every_row_is_a_row(write):
    path = write('smiles,y\nC,1\n,2.5\n"",3\n,,\nCC,4\n')
    assert smiles_of(path) == ["C", "", "", "", "CC"]


@pytest.mark.parametrize(
    ("text", "name", "message"),
    [
        ('smiles,y\n"CCO,1\nCC,2\nC,3\n', "a.csv", "row 0 .*quote is left open"),
        ('n,smiles,y\n1,C,1\n"2,CC,2\n3,CO,3\n', "a.csv", "row 1 .*quote is left open"),
        ('smiles\tn\nC\tx\nCC\t"see p. 5\nCO\ty\n', "a.tsv", "row 1 .*quote is left open"),
        # A later quote closes it, and the row is whole:
        ('n,smiles,y\n"a,C,1\nb,CC,2\nc",CO,3\nd,CN,4\n', "a.csv", "row 0 .*below it are rows"),
        ('smiles\tn\nC\t"x\nCC\ty\nCO\tz"\nCN\tw\n', "a.tsv", "row 0 .*below it are rows"),
        ('n,smiles,y\n"a,C,1\nb,CC,2\n"c",CO,3\n', "a.csv", "row 0 .*quote is left open"),
        ('smiles,y\nC,1\n"CC"x,2\n', "a.csv", "row 1 .*enclose a whole cell"),
        ("smiles,y\nC,1\nCC,2,3\n", "a.csv", "row 1 .* has 3 cells, the header 2"),
        ("smiles,y\nC,1,5\n", "a.csv", "row 0 .* has 3 cells, the header 2"),
        ('smiles,"y\nC,1\n', "a.csv", "the header: a quote is left open"),
        ("", "a.csv", "is empty"),
        ("\n\n ,\n", "a.csv", "is empty"),
        ("a,b\n1,2\n", "a.csv", r"found no SMILES column; .* Columns: \['a', 'b'\]"),
        ("smiles,y,smiles\nC,1,C\n", "a.csv", "column 'smiles' occurs twice"),
        ("smiles,y\nC,1\nC\0C,2\n", "a.csv", "line 3 holds a NUL byte"),
        ("\0" * 500, "a.csv", "line 1 holds a NUL byte"),
        ("smiles,name,y\nC,caf\xe9,1\n".encode("latin-1"), "a.csv", "line 2 .* Save the file as"),
        ("smiles,IC50 (\xb5M)\nC,1\n".encode("cp1252"), "a.csv", "line 1 .* Save the file as"),
        ("smiles,y\nC,1\n".encode("utf-16"), "a.csv", "line 1 .* it is in UTF-16"),
        (b"PK\x03\x04\0\0", "a.csv", "workbook of Excel. Save the table as CSV"),
        (gzip.compress(b"smiles,y\nC,1\n", mtime=0), "a.csv", "packed by gzip. Give it a name"),
        ("smiles,y\nC,1\n".encode("utf-16-le"), "a.csv", "line 1 holds a NUL byte"),
    ],
)
def test_errors_that_name_file_and_row(write, text, name, message):
    found = error_of(write(text, name))
    assert re.search(message, found), found


def test_a_line_far_below_is_named(write):
    text = "smiles,y\n" + "CCO,1\n" * 200_000
    with pytest.raises(ValueError, match="line 200002 cannot be read as utf-8"):
        read_smiles(write(text.encode() + b"C,\xff\n"))
    with pytest.raises(ValueError, match=r"row 200000 .* has 3 cells"):
        read_smiles(write(text + "C,2,3\n"))


@pytest.mark.parametrize("encoding", ["latin-1", "cp1252", "utf-16", "utf-16-le", "utf-8-sig"])
def test_a_declared_encoding(write, encoding):
    path = write("smiles,\xb5,y\r\nC,\xe9,1\r\nCC,x,2\r\n".encode(encoding))
    assert smiles_of(path, encoding=encoding) == ["C", "CC"]
    assert read_table(path, target_columns="y", encoding=encoding).y.tolist() == [[1.0], [2.0]]
    assert CSVDataset(
        path, target_columns="y", encoding=encoding, num_conformers=0, workers=1
    ).smiles == ["C", "CC"]
    with pytest.raises(ValueError, match="there is no encoding 'utf-99'"):
        read_smiles(path, "utf-99")


@pytest.mark.parametrize("name", ["a.csv.gz", "a.smi.gz", "A.TSV.GZ"])
def test_damaged_archives(write, name):
    path = write("smiles\n" + "".join(f"C{'C' * (k % 40)}\n" for k in range(50_000)), name)
    whole = path.read_bytes()
    for content in (whole[:-20], whole[: len(whole) // 2], whole[:5], b"smiles\nCCO\n"):
        path.write_bytes(content)
        with pytest.raises(ValueError, match=rf"{name} is damaged or not complete"):
            read_smiles(path)
        with pytest.raises(ValueError, match=rf"{name} is damaged or not complete"):
            list(MoleculeFile(path))


@settings(max_examples=150, deadline=None)
@given(
    rows=st.lists(
        st.tuples(
            st.sampled_from(["C", "CCO", "c1ccccc1", ""]),
            st.text("ab ,;\t\"'\n|é", max_size=8),
            st.sampled_from(["1", "2.5", "-3e2", ""]),
        ),
        min_size=1,
        max_size=6,
    ),
    separator=st.sampled_from(",;\t"),
    end=st.sampled_from(["\n", "\r\n"]),
    packed=st.booleans(),
)
def test_written_rows_are_read(tmp_path_factory, rows, separator, end, packed):
    """What csv.writer writes is read back, whatever the cells hold."""
    path = tmp_path_factory.mktemp("rows") / ("a.csv.gz" if packed else "a.csv")
    opened = gzip.open if packed else open
    with opened(path, "wt", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, delimiter=separator, lineterminator=end)
        writer.writerows([("smiles", "a; b, c", "y"), *rows])
    wanted = [smiles for smiles, _, _ in rows]
    assert read_smiles(path) == list(MoleculeFile(path)) == wanted
    if any(value for *_, value in rows):
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message=".* is taken as two classes")
            assert read_table(path, target_columns="y").smiles == wanted


def test_lists(write):
    text = "CCO ethanol\n\nc1ccccc1\n  CN\t7\r\nCC |$a;b$| a name\nCC |unclosed\r\n   \nC1CC bad"
    wanted = ["CCO", "c1ccccc1", "CN", "CC |$a;b$|", "CC", "C1CC"]
    for name in ("a.smi", "A.SMI", "a.txt.gz", "b.c.Txt.GZ"):
        path = write(text, name)
        assert read_smiles(path) == list(MoleculeFile(path)) == wanted
    (write("a.csv")).write_text("name,SMILES\nethanol,CCO\nbenzene,c1ccccc1\n")
    assert read_smiles(write("name,SMILES\nethanol,CCO\nbenzene,c1ccccc1\n")) == wanted[:2]


def test_a_file_without_smiles_is_an_error(write):
    with pytest.raises(ValueError, match="holds no SMILES"):
        read_smiles(write("\n", "empty.smi"))
    with pytest.raises(ValueError, match="has a header and no rows"):
        read_table(write("smiles,y\n"))
    with pytest.raises(ValueError, match=r"a\.sdf: the name must end in"):
        read_smiles(write("", "a.sdf"))


def test_absent_columns_are_named(write):
    path = write(PLAIN)
    columns = r"Columns: \['name', 'SMILES', 'logS', 'pIC50'\]"
    with pytest.raises(ValueError, match=r"no column \['smiles'\]. " + columns):
        read_table(path, smiles_column="smiles")
    with pytest.raises(ValueError, match=r"no column \['logP', 'EC50'\]. " + columns):
        read_table(path, target_columns=["logP", "logS", "EC50"])
    with pytest.raises(ValueError, match="no column given for the targets. " + columns):
        read_table(path, target_columns=[])
    with pytest.raises(ValueError, match="column 'logS' occurs twice"):
        read_table(path, target_columns=["logS", "logS"])


def test_a_name_that_occurs_twice(write):
    path = write("smiles,y,y,z\nC,1,5,2\nCC,2,6,3\n")
    with pytest.raises(ValueError, match="column 'y' occurs twice"):
        read_table(path, target_columns="y")
    assert read_table(path, target_columns="y", repeated="first").y.tolist() == [[1], [2]]
    assert read_table(path, target_columns="z").y.tolist() == [[2], [3]]


def test_missing_marks(write):
    marks = ["NaN", "NA", "n/a", "None", "null", "#N/A", "<NA>", "NT", "n.d.", "nd", "-", "?"]
    marks += ["missing", "MISSING", "Nd"]
    path = write("smiles,y\nC,1.5\nC,2.5\nC,\n" + "".join(f"C,{mark}\n" for mark in marks))
    table = read_table(path)
    assert table.y[:2].flatten().tolist() == [1.5, 2.5]
    assert table.y[2:].isnan().all()
    assert table.description == f"y: regression, 2 labels, {len(marks) + 1} missing"


def test_task_type():
    nan = float("nan")
    assert infer_task_type(torch.tensor([[0.0, nan], [1.0, 1.0]])) == "classification"
    assert infer_task_type(torch.tensor([[0.0, nan], [1.0, -1.0]])) == "regression"


def test_a_large_table_is_read_without_warnings(write):
    """120 columns of classes; only the texts that differ are kept."""
    header = ",".join(["smiles", *(f"assay{k}" for k in range(120))])
    row = ",".join(["CCO", *(("0", "1", "")[k % 3] for k in range(120))])
    other = ",".join(["CCN", *(("1", "0", "")[k % 3] for k in range(120))])
    path = write("\n".join([header, *[row, other] * 2000]) + "\n")
    targets = [f"assay{k}" for k in range(120) if k % 3 < 2]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        table = read_table(path, target_columns=targets)
    assert table.y.shape == (4000, 80)
    assert set(table.task_types) == {"classification"}
    assert table.description.startswith("80 targets (80 classification): assay0, assay1, ")
