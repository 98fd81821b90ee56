"""CSV files as chemists have them."""

import gzip
import math

import pytest
import torch

from molae_pyg.datasets.reading import infer_task_type, read_smiles, read_table

PLAIN = "name,SMILES,logS,pIC50\nethanol,CCO,0.5,7\nphenol,Oc1ccccc1,,-1.0\n"


@pytest.fixture
def write(tmp_path):
    def write(text: str, name: str = "table.csv"):
        (tmp_path / name).write_text(text, encoding="utf-8")
        return tmp_path / name

    return write


def test_defaults(write):
    table = read_table(write(PLAIN))
    assert table.smiles == ["CCO", "Oc1ccccc1"]
    assert table.task_names == ["logS", "pIC50"]
    assert table.y.dtype == torch.float32
    assert table.y[:, 1].tolist() == [7.0, -1.0]
    assert table.y[0, 0] == 0.5
    assert math.isnan(table.y[1, 0])


def test_named_columns(write):
    path = write(PLAIN)
    assert read_table(path, "SMILES", ["pIC50"]).task_names == ["pIC50"]
    assert read_table(path, target_columns="logS").y.shape == (2, 1)
    assert read_table(path, smiles_column="name").smiles == ["ethanol", "phenol"]


@pytest.mark.parametrize(
    "name", ["smiles", "Smiles", " canonical_SMILES", "smi", "mol", "Molecule"]
)
def test_names_of_the_smiles_column(write, name):
    assert read_table(write(f"y,{name}\n1,C\n2,CC\n")).smiles == ["C", "CC"]


def test_smiles_goes_before_mol(write):
    assert read_table(write("mol,smiles,y\nmethane,C,1\n")).smiles == ["C"]


@pytest.mark.parametrize("separator", [";", "\t"])
def test_separators(write, separator):
    assert read_table(write(PLAIN.replace(",", separator))).task_names == ["logS", "pIC50"]


def test_gz_and_byte_order_mark(tmp_path):
    path = tmp_path / "table.csv.gz"
    path.write_bytes(gzip.compress(b"\xef\xbb\xbf" + b"smiles,y\r\nC,1\r\nCC,2\r\n"))
    assert read_table(path).smiles == ["C", "CC"]


def test_quotes_blanks_and_missing_values(write):
    text = 'name,smiles,y\n"a, b",CCO ,1\n"c\nd", C,NaN\nNA,NA,n/a\nx,,\n'
    table = read_table(write(text))
    assert table.smiles == ["CCO", "C", "NA", ""]  # "NA" stays text, for the report to name
    assert table.y[0] == 1
    assert table.y[1:].isnan().all()


@pytest.mark.parametrize("start", [0, 1])
def test_a_row_counter_is_no_target(write, start):
    rows = "".join(f"{i + start},C,{value}\n" for i, value in enumerate([3, 4, 4]))
    assert read_table(write("id,smiles,y\n" + rows)).task_names == ["y"]
    with pytest.raises(ValueError, match="found no numeric column"):
        read_table(write("id,smiles\n" + "".join(f"{i + start},C\n" for i in range(3))))


def test_almost_numeric_column_is_left_out_with_a_word(write):
    path = write("smiles,IC50,y\nC,1,1\nC,>10,2\nC,3,3.5\n")
    with pytest.warns(UserWarning, match=r"column 'IC50' is not taken as a target: row 1 reads"):
        assert read_table(path).task_names == ["y"]


def test_errors_name_what_there_is(write):
    with pytest.raises(ValueError, match=r"no SMILES column; .* Columns: \['name', 'y'\]"):
        read_table(write("name,y\nethanol,1\n"))
    path = write(PLAIN)
    columns = r"Columns: \['name', 'SMILES', 'logS', 'pIC50'\]"
    with pytest.raises(ValueError, match=r"no column \['smiles'\]. " + columns):
        read_table(path, smiles_column="smiles")
    with pytest.raises(ValueError, match=r"no column \['logP', 'EC50'\]. " + columns):
        read_table(path, target_columns=["logP", "logS", "EC50"])
    with pytest.raises(ValueError, match="no column given for the targets. " + columns):
        read_table(path, target_columns=[])
    with pytest.raises(ValueError, match="found no numeric column; name the targets"):
        read_table(write("smiles,name\nC,methane\n"))


@pytest.mark.parametrize("cell", [">10", "inf", "1,5"])
def test_target_that_is_no_number(write, cell):
    path = write(f'smiles,y\nC,1\nCC,"{cell}"\nCCC,low\n')
    with pytest.raises(ValueError, match=rf"row 1 .*, column 'y': '{cell}' is not a .*cells: 2"):
        read_table(path, target_columns=["y"])


def test_task_type():
    nan = float("nan")
    assert infer_task_type(torch.tensor([[0.0, nan], [1.0, 1.0]])) == "classification"
    assert infer_task_type(torch.tensor([[0.0, nan], [1.0, -1.0]])) == "regression"


def test_read_smiles(tmp_path):
    text = "CCO ethanol\n\nc1ccccc1\n"
    (tmp_path / "a.smi").write_text(text)
    with gzip.open(tmp_path / "a.txt.gz", "wt") as file:
        file.write(text)
    (tmp_path / "a.csv").write_text("name,SMILES\nethanol,CCO\nbenzene,c1ccccc1\n")
    for name in ("a.smi", "a.txt.gz", "a.csv"):
        assert read_smiles(tmp_path / name) == ["CCO", "c1ccccc1"]


def test_a_file_without_smiles_is_an_error(tmp_path):
    (tmp_path / "empty.smi").write_text("\n")
    with pytest.raises(ValueError, match="holds no SMILES"):
        read_smiles(tmp_path / "empty.smi")
