"""MoleculeNet and the ChEMBL series: finding, reading, columns."""

import gzip
import os
import subprocess
import sys
import warnings
from pathlib import Path
from urllib.error import URLError

import pytest
import torch
from rdkit import Chem, RDConfig, rdBase

import molae_pyg.datasets as datasets
import molae_pyg.datasets.moleculenet as moleculenet_module
from molae_pyg.datasets import ChEMBLActivities, MoleculeNet
from molae_pyg.metrics import evaluate
from molae_pyg.tables.reading import infer_task_type

QM8 = ("E1", "E2", "f1", "f2")
DATA = os.environ.get("MOLAE_DATA")
HEADER = "iupac,smiles,expt,calc\n"
ROWS = HEADER + '"4-methoxy,x",COC,-1.0,2\nmethanol,CO ,-5.1,3\n'


@pytest.fixture(autouse=True)
def no_download(monkeypatch):
    """Nothing at hand in the environment and no network."""

    def fail(url: str, folder: str) -> str:
        raise URLError("no network")

    monkeypatch.delenv("MOLAE_DATA", raising=False)
    monkeypatch.setattr(moleculenet_module, "download_url", fail)


@pytest.mark.parametrize("place", ["SAMPL.csv", "SAMPL.csv.gz", "freesolv/raw/SAMPL.csv"])
def test_file_under_root(tmp_path, place):
    path = tmp_path / place
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(gzip.compress(ROWS.encode()) if place.endswith("gz") else ROWS.encode())
    table = MoleculeNet.read(tmp_path, "FreeSolv")
    assert table.smiles == ["COC", "CO"]
    assert table.task_names == ["expt"]
    assert table.y.tolist() == [[-1.0], [pytest.approx(-5.1)]]


def test_file_in_the_environment(tmp_path, monkeypatch):
    monkeypatch.setenv("MOLAE_DATA", str(tmp_path))
    (tmp_path / "moleculenet").mkdir()
    (tmp_path / "moleculenet" / "SAMPL.csv").write_text(ROWS)
    (tmp_path / "here").mkdir()
    assert len(MoleculeNet.read(tmp_path / "root", "freesolv").smiles) == 2
    (tmp_path / "root" / "SAMPL.csv").parent.mkdir(exist_ok=True)
    (tmp_path / "root" / "SAMPL.csv").write_text(HEADER + "methane,C,1,1\n")
    assert MoleculeNet.read(tmp_path / "root", "freesolv").smiles == ["C"]  # root goes first


def test_file_in_a_folder_of_its_own_in_the_environment(tmp_path, monkeypatch):
    monkeypatch.setenv("MOLAE_DATA", str(tmp_path))
    (tmp_path / "qm7").mkdir()
    (tmp_path / "qm7" / "qm7.csv").write_text("smiles,u0_atom\nC([H])([H])([H])[H],-417.96\n")
    table = MoleculeNet.read(tmp_path / "root", "qm7")
    assert table.y.tolist() == [[pytest.approx(-417.96)]]


@pytest.mark.parametrize("place", ["sider.csv", "sider.csv.gz", "sider/raw/sider.csv"])
def test_every_other_column_is_a_task(tmp_path, place):
    text = 'smiles,Eye disorders,"Neoplasms benign, malignant"\nC,0,1\nCC,1,1\n'
    path = tmp_path / place
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(gzip.compress(text.encode()) if place.endswith("gz") else text.encode())
    table = MoleculeNet.read(tmp_path, "sider")
    assert table.task_names == ["Eye disorders", "Neoplasms benign, malignant"]
    assert table.y.tolist() == [[0, 1], [1, 1]]


def test_published_score(tmp_path):
    (tmp_path / "qm7.csv").write_text("smiles,u0_atom\nC,-417.96\nCC,-712.42\n")
    dataset = MoleculeNet(tmp_path, "qm7", num_conformers=1, workers=1)
    assert (dataset.task_type, dataset.metric) == ("regression", "mae")
    assert dataset[:1].metric == "mae"  # of a part as well
    for source in MoleculeNet.sources.values():
        assert source.metric in evaluate(
            torch.tensor([0.0, 1.0]), torch.tensor([0.0, 1.0]), source.task_type
        )


def test_dataset(tmp_path):
    (tmp_path / "SAMPL.csv").write_text(ROWS)
    dataset = MoleculeNet(tmp_path, "FreeSolv", num_conformers=1, workers=1)
    assert repr(dataset) == "MoleculeNet(freesolv, 2)"
    assert (dataset.task_type, dataset.metric) == ("regression", "rmse")
    assert dataset[1].y.tolist() == [[pytest.approx(-5.1)]]
    assert list((tmp_path / "conformers").glob("freesolv-*.csv"))


def test_download_goes_where_pytorch_geometric_keeps_it(tmp_path, monkeypatch):
    def download(url: str, folder: str) -> str:
        assert url.endswith("/datasets/SAMPL.csv")
        path = Path(folder) / "SAMPL.csv"
        path.write_text(ROWS)
        return str(path)

    monkeypatch.setattr(moleculenet_module, "download_url", download)
    assert MoleculeNet.read(tmp_path, "freesolv").smiles == ["COC", "CO"]
    assert [path.name for path in (tmp_path / "freesolv" / "raw").iterdir()] == ["SAMPL.csv"]


def test_download_of_a_packed_file(tmp_path, monkeypatch):
    def download(url: str, folder: str) -> str:
        assert url.endswith("/datasets/clintox.csv.gz")
        path = Path(folder) / "clintox.csv.gz"
        path.write_bytes(gzip.compress(b"smiles,FDA_APPROVED,CT_TOX\nC,1,0\n"))
        return str(path)

    monkeypatch.setattr(moleculenet_module, "download_url", download)
    for _ in range(2):  # the second time from where the first has put it
        assert MoleculeNet.read(tmp_path, "clintox").y.tolist() == [[1, 0]]
        monkeypatch.undo()


def test_no_file_and_no_network(tmp_path):
    target = tmp_path / "esol" / "raw" / "delaney-processed.csv"
    with pytest.raises(FileNotFoundError, match="could not download https") as caught:
        MoleculeNet(tmp_path, "ESOL")
    assert f"put the file at {target} " in str(caught.value)
    assert "MOLAE_DATA" in str(caught.value)
    assert isinstance(caught.value.__cause__, URLError)
    assert not list(target.parent.iterdir())


def test_unknown_name(tmp_path):
    with pytest.raises(ValueError, match=r"unknown data set 'qm10'; there are \['esol', "):
        MoleculeNet(tmp_path, "qm10")


@pytest.mark.skipif(DATA is None, reason="needs the files in $MOLAE_DATA/moleculenet")
def test_a_file_with_another_checksum_is_read_with_a_warning(tmp_path):
    known = (Path(DATA) / "moleculenet" / "SAMPL.csv").read_bytes()
    packed = gzip.compress(known.replace(b"\n", b"\r\n"))
    (tmp_path / "SAMPL.csv.gz").write_bytes(packed)  # the same text: no warning
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        assert len(MoleculeNet.read(tmp_path, "freesolv").smiles) == 642
    (tmp_path / "SAMPL.csv").write_bytes(known.replace(b"-11.01", b"-11.02"))
    with pytest.warns(UserWarning, match="is not the known copy of freesolv"):
        MoleculeNet.read(tmp_path, "freesolv")


def test_quantum_sets(tmp_path):
    (tmp_path / "qm9.csv").write_text("mol_id,smiles,A,homo,lumo,gap\ngdb_1,C,1,-0.39,0.12,0.5\n")
    table = MoleculeNet.read(tmp_path, "qm9")
    assert table.task_names == ["homo", "lumo", "gap"]
    theories = [f"{what}-{how}" for how in ("CC2", "PBE0", "PBE0", "CAM") for what in QM8]
    row = ",".join(map(str, range(16)))
    (tmp_path / "qm8.csv").write_text(f"smiles,{','.join(theories)}\nC,{row}\n")
    table = MoleculeNet.read(tmp_path, "qm8")
    assert table.y.tolist() == [[0, 1, 2, 3, 4, 5, 6, 7, 12, 13, 14, 15]]


def test_wrong_file(tmp_path):
    (tmp_path / "SAMPL.csv").write_text("smiles,y\nC,1\n")
    with pytest.raises(ValueError, match=r"no column \['expt'\]. Columns: \['smiles', 'y'\]"):
        MoleculeNet(tmp_path, "freesolv")


@pytest.mark.skipif(DATA is None, reason="needs the files in $MOLAE_DATA/moleculenet")
@pytest.mark.parametrize(
    ("name", "num_rows", "num_invalid", "num_tasks", "mean"),
    [
        ("esol", 1128, 0, 1, -3.0501),  # the means that Uni-Mol's code holds as constants
        ("freesolv", 642, 0, 1, -3.8030),
        ("lipo", 4200, 0, 1, 2.1863),
        ("bace", 1513, 0, 1, 691 / 1513),
        ("bbbp", 2050, 11, 1, 1567 / 2050),
        ("clintox", 1484, 4, 2, (1390 + 112) / 2 / 1484),
        ("sider", 1427, 0, 27, 21868 / 27 / 1427),
        ("qm7", 6830, 0, 1, -1544.8361),
        ("qm8", 21786, 0, 12, 0.1308),
        ("tox21", 7831, 8, 12, 0.0752),
        ("toxcast", 8576, 0, 617, 0.0826),
        ("hiv", 41127, 7, 1, 1443 / 41127),
    ],
)
def test_real_files(monkeypatch, tmp_path, name, num_rows, num_invalid, num_tasks, mean):
    monkeypatch.setenv("MOLAE_DATA", DATA)
    table = MoleculeNet.read(tmp_path, name)
    assert table.y.shape == (num_rows, num_tasks)
    assert table.y.double().nanmean().item() == pytest.approx(mean, abs=1e-4)
    assert infer_task_type(table.y) == MoleculeNet.sources[name].task_type
    with rdBase.BlockLogs():
        assert sum(Chem.MolFromSmiles(smiles) is None for smiles in table.smiles) == num_invalid


def test_chembl_series():
    smiles, y, task_names, task_types, *_ = ChEMBLActivities.read()
    assert task_types == ["regression"]
    assert len(smiles) == len(y) == 1017
    assert task_names == ["Act"]
    assert smiles[0] == "O=S(=O)(Nc1cccs1)c2ccc(Oc3ccccc3c4ccccc4)c(c2)C#N"
    assert y[0] == pytest.approx(5.48)
    assert (y.min().item(), y.max().item()) == (pytest.approx(4.27), pytest.approx(9.22))
    assert ((y == 6).sum(), (y == 5).sum()) == (55, 30)
    assert len({Chem.CanonSmiles(text) for text in smiles}) == 1017
    assert not any("." in text for text in smiles)


def test_chembl_dataset(monkeypatch, tmp_path):
    few = ChEMBLActivities.read()
    few = few._replace(smiles=few.smiles[:2], y=few.y[:2])
    monkeypatch.setattr(ChEMBLActivities, "read", classmethod(lambda cls: few))
    dataset = ChEMBLActivities(tmp_path, num_conformers=1, workers=1)
    assert repr(dataset) == "ChEMBLActivities(CHEMBL2321810, 2)"
    assert dataset.task_type == "regression"
    assert torch.equal(dataset.y, few.y)


def test_chembl_without_contrib(monkeypatch, tmp_path):
    monkeypatch.setattr(RDConfig, "RDContribDir", str(tmp_path))
    with pytest.raises(FileNotFoundError, match="came without its Contrib folder"):
        ChEMBLActivities()


def test_names_load_on_first_use():
    assert set(dir(datasets)) >= {"CSVDataset", "ChEMBLActivities", "MoleculeNet", "MoleculeTable"}
    with pytest.raises(AttributeError, match="QM9"):
        _ = datasets.QM9
    code = "import sys, molae_pyg.datasets; sys.exit('rdkit' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
