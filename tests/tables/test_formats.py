"""Lists, SD files and Parquet as tables."""

import gzip
import sys

import pytest
from rdkit import Chem

from molae_pyg.tables.formats import open_table, read_cells, smiles_of
from molae_pyg.tables.reading import columns_of, read_table


def record(molecule, **properties):
    lines = [Chem.MolToMolBlock(Chem.MolFromSmiles(molecule))]
    lines += [f">  <{name}>\n{value}\n" for name, value in properties.items()]
    return "\n".join(lines) + "\n$$$$\n"


def test_a_list_has_smiles_and_names(tmp_path):
    (tmp_path / "a.smi").write_text("CCO ethanol, dry\n\nC1CC\tbad one\nCC |$;$| x\n")
    columns, rows = read_cells(tmp_path / "a.smi")
    assert columns == ["smiles", "name"]
    assert rows == [["CCO", "ethanol, dry"], ["C1CC", "bad one"], ["CC |$;$|", "x"]]
    assert smiles_of(tmp_path / "a.smi") == ["CCO", "C1CC", "CC |$;$|"]


@pytest.fixture
def sdf(tmp_path):
    path = tmp_path / "a.sdf"
    broken = record("CC", pIC50="7.5").replace("M  END", "M  ENDE")
    named = record("CCO", pIC50="5.5", smiles="other", Note="two\nlines").replace(
        "\n", "ethanol\n", 1
    )
    path.write_text(named + broken + record("c1ccccc1", pIC50="6.5", ID="3"))
    return path


def test_properties_of_an_sd_file_are_columns(sdf):
    columns, rows = read_cells(sdf)
    assert columns == ["smiles", "name", "pIC50", "smiles (property)", "Note", "ID"]
    assert rows == [
        ["CCO", "ethanol", "5.5", "other", "two\nlines", ""],
        ["", "", "7.5", "", "", ""],
        ["c1ccccc1", "", "6.5", "", "", "3"],
    ]


def test_targets_are_read_from_an_sd_file(sdf, tmp_path):
    table = read_table(sdf, target_columns="pIC50")
    assert table.smiles == ["CCO", "", "c1ccccc1"]
    assert table.y[:, 0].tolist() == [5.5, 7.5, 6.5]
    packed = tmp_path / "b.sdf.gz"
    packed.write_bytes(gzip.compress(sdf.read_bytes()))
    assert columns_of(packed) == columns_of(sdf)


def test_parquet(tmp_path):
    pytest.importorskip("pyarrow")
    import pandas as pd

    pd.DataFrame({"smiles": ["CCO", "CC"], "y": [1.5, None]}).to_parquet(tmp_path / "a.parquet")
    table = read_table(tmp_path / "a.parquet")
    assert table.smiles == ["CCO", "CC"]
    assert table.y[0, 0] == 1.5


def test_parquet_without_its_package(tmp_path, monkeypatch):
    for name in ("pyarrow", "fastparquet"):
        monkeypatch.setitem(sys.modules, name, None)
    (tmp_path / "a.parquet").write_bytes(b"PAR1")
    with (
        pytest.raises(ModuleNotFoundError, match="pip install pyarrow, or save the table as CSV"),
        open_table(tmp_path / "a.parquet"),
    ):
        pass
