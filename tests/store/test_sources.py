"""Files of molecules, read record by record."""

import gzip
import itertools

import pytest

from molae_pyg.store import sources as molecule_file
from molae_pyg.store.sources import MoleculeFile
from molae_pyg.tables.reading import read_smiles

LINES = "CCO ethanol\n\n  CN\t7\r\nc1ccccc1\n   \nC1CC bad"
TABLE = 'name,SMILES,y\n"one, or two",CCO ,1\n\nshort\n"line\nbreak",CN,2\n'
SDF = "first\nM  END\n$$$$\n\nsecond\nM  END\n$$$$\nthird\nM  END\n"


@pytest.fixture
def write(tmp_path):
    def write(name: str, text: str):
        content = text.encode()
        path = tmp_path / name
        path.write_bytes(gzip.compress(content) if name.lower().endswith(".gz") else content)
        return path

    return write


@pytest.mark.parametrize("name", ["a.smi", "a.txt", "a.b.SMI", "a.smi.gz", "a.txt.GZ"])
def test_lines(write, name):
    file = MoleculeFile(write(name, LINES))
    assert list(file) == ["CCO", "CN", "c1ccccc1", "C1CC"]
    assert file.count() == 4
    assert file.num_conformers == 10


@pytest.mark.parametrize("name", ["a.csv", "a.csv.gz"])
@pytest.mark.parametrize("separator", [",", ";", "\t"])
@pytest.mark.parametrize("mark", ["", "\ufeff"])
def test_table(write, name, separator, mark):
    text = mark + TABLE.replace(",", separator)
    assert list(MoleculeFile(write(name, text))) == ["CCO", "", "CN"]


def test_same_rows_as_when_read_at_once(write):
    for path in (write("a.smi", LINES), write("b.csv", "y,smiles\n1,CCO\n2,\n\n3,CN\n")):
        assert list(MoleculeFile(path)) == read_smiles(path)


@pytest.mark.parametrize("name", ["a.sdf", "a.sdf.gz"])
def test_sdf(write, name):
    file = MoleculeFile(write(name, SDF))
    assert [block.split()[0] for block in file] == [b"first", b"second", b"third"]
    assert b"".join(file).decode() == SDF
    assert file.num_conformers == 1


@pytest.mark.parametrize("name", ["a.xyz", "a", "a.gz", "a.lmdb.gz", "a.smi.zip", "smi"])
def test_other_files(write, name):
    with pytest.raises(ValueError, match=rf"{name}: the name must end in .smi, .txt, .csv, "):
        MoleculeFile(write(name, ""))


def test_absent_file(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"there is no file .*a\.smi"):
        MoleculeFile(tmp_path / "a.smi")


def test_damage_is_an_error(write, tmp_path):
    path = write("a.smi.gz", LINES * 1000)
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(ValueError, match=r"a\.smi\.gz is damaged or not complete"):
        list(MoleculeFile(path))
    (tmp_path / "b.smi.gz").write_text("CCO\n")
    with pytest.raises(ValueError, match=r"b\.smi\.gz is damaged or not complete"):
        list(MoleculeFile(tmp_path / "b.smi.gz"))
    open_quote = write("c.csv", "smiles\nCCO\n" + '"' + "CC\n" * 100_000)
    with pytest.raises(ValueError, match=r"c\.csv, row 1 .* a quote is left open"):
        list(MoleculeFile(open_quote))
    with pytest.raises(ValueError, match=r"found no SMILES column"):
        list(MoleculeFile(write("d.csv", "a,b\n1,2\n")))


@pytest.mark.parametrize("name", ["a.smi", "a.csv", "a.tsv"])
def test_bytes_in_another_encoding_are_an_error_unless_declared(tmp_path, name):
    path = tmp_path / name
    path.write_bytes(b"smiles\nCCO\nC\xe9C\nCN\n")
    with pytest.raises(ValueError, match=rf"{name}, line 3 cannot be read as utf-8.* encod"):
        list(MoleculeFile(path))
    assert list(MoleculeFile(path, encoding="latin-1"))[-2:] == ["C\xe9C", "CN"]
    path.write_bytes(b"smiles\nC\0CO\nCN\n")
    with pytest.raises(ValueError, match=rf"{name}, line 2 holds a NUL byte"):
        list(MoleculeFile(path))


@pytest.mark.parametrize("name", ["a.smi", "a.smi.gz"])
def test_share_grows_with_the_file(write, name, monkeypatch):
    numbers = (f"{number * 7919 % 10007:05d} {number}\n" for number in range(100_000))
    file = MoleculeFile(write(name, "".join(numbers)))
    first = list(itertools.islice(file, 50_000))
    assert len(first) == 50_000
    assert file.share == pytest.approx(0.5, abs=0.2)
    assert file.count() == 100_000
    assert file.share == 1
    monkeypatch.setattr(molecule_file, "_SMALL", 1000)
    assert file.count() is None
