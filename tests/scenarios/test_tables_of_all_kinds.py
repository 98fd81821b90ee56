"""The same molecules in every form that a file may have, and files that are something else."""

import gzip

import pytest
from rdkit import Chem
from tables_of_users import read_rows, write_rows

TWO = ["CCO", "c1ccccc1C"]


@pytest.fixture
def wanted(molae, model, tmp_path):
    """Predictions of two molecules from a plain table."""
    write_rows(tmp_path / "plain.csv", ["smiles"], [[smiles] for smiles in TWO])
    return predicted(molae, model, tmp_path / "plain.csv", tmp_path)


def predicted(molae, model, path, tmp_path, *flags):
    said = molae("predict", model, path, tmp_path / "out.csv", *flags)
    assert said.code == 0, said.err
    return [row["logS_predicted"] for row in read_rows(tmp_path / "out.csv")]


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("bom.csv", b"\xef\xbb\xbfsmiles\nCCO\nc1ccccc1C\n"),
        ("windows.csv", b"smiles\r\nCCO\r\nc1ccccc1C\r\n"),
        ("old mac.csv", b"smiles\rCCO\rc1ccccc1C\r"),
        ("blank lines.csv", b"\nsmiles\n\nCCO\n\n\nc1ccccc1C\n\n"),
        ("quoted.csv", b'"smiles","name"\n"CCO","a, ""b"""\n"c1ccccc1C",\n'),
        ("semicolons.csv", b"id;smiles\n1;CCO\n2;c1ccccc1C\n"),
        ("excel.csv", b"sep=;\nid;smiles\n1;CCO\n2;c1ccccc1C\n"),
        ("tabs.tsv", b"id\tsmiles\n1\tCCO\n2\tc1ccccc1C\n"),
        ("blanks.csv", b"smiles , x\n CCO , 1\n c1ccccc1C , 2\n"),
        ("capitals.csv", b"Canonical_SMILES,x\nCCO,1\nc1ccccc1C,2\n"),
        ("packed.csv.gz", gzip.compress(b"smiles\nCCO\nc1ccccc1C\n", mtime=0)),
        ("list.smi", b"CCO ethanol\nc1ccccc1C toluene\n"),
        ("list.txt", b"CCO\nc1ccccc1C"),
        ("münchen 日本.csv", b"smiles\nCCO\nc1ccccc1C\n"),
    ],
)
def test_the_same_rows(molae, model, wanted, tmp_path, name, content):
    (tmp_path / name).write_bytes(content)
    assert predicted(molae, model, tmp_path / name, tmp_path) == wanted


def test_an_sd_file_as_drawn(molae, model, wanted, tmp_path):
    with Chem.SDWriter(str(tmp_path / "drawn.sdf")) as writer:
        for smiles in TWO:
            writer.write(Chem.MolFromSmiles(smiles))
    assert predicted(molae, model, tmp_path / "drawn.sdf", tmp_path) == pytest.approx(wanted)


def test_a_column_of_any_name_and_another_encoding(molae, model, wanted, tmp_path):
    (tmp_path / "a.csv").write_bytes("Stoff,Größe\nCCO,1\nc1ccccc1C,2\n".encode("latin-1"))
    flags = ["--smiles", "Stoff", "--encoding", "latin-1"]
    assert predicted(molae, model, tmp_path / "a.csv", tmp_path, *flags) == wanted
    assert list(read_rows(tmp_path / "out.csv")[0])[1] == "Größe"


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("empty.csv", b"", "is empty"),
        ("header.csv", b"smiles\n", "has no rows"),
        ("no header.csv", b"CCO,1\nCCN,2\n", "looks like a row: write a line of names"),
        ("no header.csv", b"CCO\nCCN\n", "looks like a row"),
        (
            "other names.csv",
            b"structure_of_it,y\nCCO,1\n",
            "name it with smiles_column= (--smiles)",
        ),
        ("twice.csv", b"smiles,smiles\nCCO,C\n", "column 'smiles' occurs twice"),
        ("workbook.csv", b"PK\x03\x04....", "a workbook of Excel. Save the table as CSV"),
        ("packed.csv", gzip.compress(b"smiles\nCCO\n", mtime=0), "Give it a name that ends in .gz"),
        ("latin.csv", "smiles,é\nCCO,1\n".encode("latin-1"), "declare its encoding"),
        ("wide.csv", b"smiles\nCCO,1,2\n", "row 0"),
        ("open.csv", b'smiles,x\n"CCO,1\nCCN,2\n', "quote"),
    ],
)
def test_a_file_that_cannot_be_read_is_one_line(molae, model, tmp_path, name, content, message):
    (tmp_path / name).write_bytes(content)
    said = molae("predict", model, tmp_path / name, tmp_path / "out.csv")
    assert said.code == 1
    (line,) = said.err.splitlines()
    assert message in line
    assert not (tmp_path / "out.csv").exists()


@pytest.mark.parametrize("verb", ["predict", "explain", "embed"])
def test_the_file_that_is_read_is_never_replaced(molae, model, weights, tmp_path, verb):
    table = write_rows(tmp_path / "drugs.csv", ["smiles"], [["CCO"]])
    words = {
        "predict": [model, table, table],
        "explain": [model, table, tmp_path / "drugs.html"],  # drugs.csv is written beside it
        "embed": [table, table, "--weights", weights],
    }[verb]
    said = molae(verb, *words)
    assert said.code == 1
    assert "would replace the file that is read" in said.err
    assert table.read_text() == "smiles\nCCO\n"


def test_places_that_cannot_be_written(molae, model, solubility, quick, tmp_path):
    (tmp_path / "file").write_text("precious")
    said = molae("train", solubility, tmp_path / "file", "--targets", "logS", *quick)
    assert (said.code, said.out.count("rmse")) == (1, 0)
    assert "is a file: a folder is needed" in said.err
    assert (tmp_path / "file").read_text() == "precious"
    assert molae("predict", model, solubility, tmp_path / "file" / "out.csv").code == 1
    assert molae("predict", model, solubility, tmp_path / "absent" / "out.csv").code == 1
    assert molae("predict", model, tmp_path, tmp_path / "out.csv").code == 1
