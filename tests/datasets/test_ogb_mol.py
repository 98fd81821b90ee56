"""OGB's files as they are laid out, their order, and what the evaluator gets."""

import gzip
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from molae_pyg.datasets import OGBMol
from molae_pyg.datasets.ogb_mol import evaluator, find_folder, full_name, read_molecules, read_split
from molae_pyg.splits import scaffold_split

SMILES = ["CCO", "C1CC", "c1ccccc1", "CCO", "CN", "CCl", "OO", "CCC"]  # row 1 cannot be read
LABELS = [0, 1, "", 1, 0, 1, 0, 1]
PARTS = {"train": [0, 2, 5, 6], "valid": [4, 1], "test": [7, 3]}
DATA = os.environ.get("MOLAE_DATA")
SETS = {"molesol": 1128, "molfreesolv": 642, "molbace": 1513, "molbbbp": 2039}


@pytest.fixture
def folder(tmp_path, monkeypatch) -> Path:
    """A made data set in the layout of ogbg-molhiv."""
    monkeypatch.delenv("MOLAE_DATA", raising=False)
    return write(tmp_path / "ogbg_molhiv", "split")


def write(folder: Path, split: str) -> Path:
    (folder / "mapping").mkdir(parents=True)
    (folder / split / "scaffold").mkdir(parents=True)
    with gzip.open(folder / "mapping" / "mol.csv.gz", "wt") as file:
        file.write("HIV_active,smiles,mol_id\n")
        file.writelines(f"{y},{s},\n" for y, s in zip(LABELS, SMILES, strict=True))
    for part, rows in PARTS.items():
        with gzip.open(folder / split / "scaffold" / f"{part}.csv.gz", "wt") as file:
            file.writelines(f"{row}\n" for row in rows)
    return folder


def load(folder: Path, name: str = "ogbg-molhiv") -> OGBMol:
    with pytest.warns(UserWarning, match="1 of 8 rows gave no molecule"):
        return OGBMol(folder.parent, name, num_conformers=1, workers=1)


def test_order_and_split(folder):
    dataset = load(folder)
    assert repr(dataset) == "OGBMol(ogbg-molhiv, 7)"
    assert (dataset.task_type, dataset.metric) == ("classification", "roc_auc")
    assert dataset.task_names == ["HIV_active"]
    assert dataset.smiles == [s for s in SMILES if s != "C1CC"]
    split = dataset.get_idx_split()
    for part, rows in PARTS.items():
        found = [int(dataset[i].row) for i in split[part].tolist()]
        assert found == [row for row in rows if row != 1]
    assert [part.tolist() for part in dataset.official_split] == list(PARTS.values())
    assert dataset.is_official_split
    assert dataset[split["test"]].smiles == ["CCC", "CCO"]


def test_rows_that_cannot_be_read_get_the_share_of_the_training_labels(folder):
    dataset = load(folder, "molhiv")
    given = dataset.official("valid", np.array([[0.9]]))
    assert given["y_true"].tolist() == [[0], [1]]
    assert given["y_pred"] == pytest.approx(np.array([[0.9], [1 / 3]]))  # of 0, missing, 1, 0
    assert dataset.evaluator().eval(given) == {"rocauc": 0.0}
    with pytest.raises(ValueError, match=r"valid of ogbg-molhiv has predictions \[1, 1\]"):
        dataset.official("valid", np.zeros((2, 1)))


def test_a_recomputed_split_is_called_one(tmp_path, monkeypatch):
    monkeypatch.delenv("MOLAE_DATA", raising=False)
    folder = write(tmp_path / "ogbg_molhiv", "split_recomputed")
    with pytest.warns(UserWarning, match="not OGB's own file"):
        split, official = read_split(folder, len(SMILES))
    assert not official
    assert split.test.tolist() == PARTS["test"]


def test_what_does_not_fit_is_an_error(folder):
    with pytest.raises(ValueError, match="are not the 9 rows of the table"):
        read_split(folder, 9)
    with pytest.raises(ValueError, match="names begin with ogbg-mol"):
        full_name("ogbg-ppa")
    with pytest.raises(ValueError, match="Invalid dataset name"):
        evaluator("ogbg-molnone")
    for file in (folder / "split" / "scaffold").iterdir():
        file.unlink()
    (folder / "split" / "scaffold").rmdir()
    with pytest.raises(FileNotFoundError, match="has no split/scaffold"):
        read_split(folder, len(SMILES))


def test_download_goes_through_ogb(tmp_path, monkeypatch):
    monkeypatch.delenv("MOLAE_DATA", raising=False)
    from molae_pyg.datasets.ogb_mol import import_ogb

    url = import_ogb("ogb.utils.url")
    asked = []
    monkeypatch.setattr(url, "download_url", lambda address, place: asked.append(address))
    monkeypatch.setattr(url, "extract_zip", lambda _, place: write(Path(place, "hiv"), "split"))
    found = find_folder(tmp_path, "molhiv")
    assert asked == ["http://snap.stanford.edu/ogb/data/graphproppred/csv_mol_download/hiv.zip"]
    assert read_molecules(found).smiles == SMILES
    assert [path.name for path in tmp_path.iterdir()] == ["ogbg_molhiv"]

    def refuse(address, place):
        raise OSError("no network")

    monkeypatch.setattr(url, "download_url", refuse)
    with pytest.raises(FileNotFoundError, match=r"could not download .*esol.zip; unpack it to"):
        find_folder(tmp_path, "molesol")


def test_ogb_is_imported_without_asking_for_its_newest_version():
    code = """
import sys
from molae_pyg.datasets.ogb_mol import evaluator
assert "ogb" not in sys.modules
evaluator("molhiv")
import ogb.version
assert ogb.version.check_outdated is None and "outdated" not in sys.modules
"""
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.skipif(DATA is None, reason="needs the data that $MOLAE_DATA names")
@pytest.mark.parametrize(("name", "number"), SETS.items())
def test_official_files(name, number, tmp_path):
    folder = find_folder(tmp_path, name)
    table = read_molecules(folder)
    assert table.y.shape == (number, 1)
    split, official = read_split(folder, number)
    assert official
    for rows, expected in zip(split, scaffold_split(table.smiles, chirality=True), strict=True):
        assert rows.tolist() == sorted(expected.tolist())  # OGB's own are the same scaffolds'
