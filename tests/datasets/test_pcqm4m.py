"""PCQM4Mv2 on a small made copy in OGB's layout."""

import gzip
import pickle
from pathlib import Path

import numpy as np
import pytest
import torch

from molae_pyg import MolAE, MolAEPredictor
from molae_pyg.chem import options
from molae_pyg.chem.options import RECIPE_VERSION
from molae_pyg.datasets import PCQM4Mv2, StoreError, pcqm4m
from molae_pyg.datasets.pcqm4m import find_pcqm4m, pcqm4m_evaluator, read_pcqm4m_split
from molae_pyg.training.molecules import check_labelled

SMILES = ["CCO", "C1CC", "c1ccccc1", "CN", "CCl", "OO", "CCC", "C#N"]  # row 1 cannot be read
GAPS = [6.5, 5.0, 4.0, 7.0, 6.0, 5.5, "", ""]
PARTS = {"train": [0, 2, 4], "valid": [3, 1, 5], "test-dev": [6], "test-challenge": [7]}


@pytest.fixture
def root(tmp_path, monkeypatch) -> Path:
    monkeypatch.delenv("MOLAE_DATA", raising=False)
    folder = tmp_path / "pcqm4m-v2"
    (folder / "raw").mkdir(parents=True)
    with gzip.open(folder / "raw" / "data.csv.gz", "wt") as file:
        file.write("idx,smiles,homolumogap\n")
        rows = zip(SMILES, GAPS, strict=True)
        file.writelines(f"{i},{s},{gap}\n" for i, (s, gap) in enumerate(rows))
    torch.save({part: np.array(rows) for part, rows in PARTS.items()}, folder / "split_dict.pt")
    return tmp_path


def test_parts(root):
    train, valid, test = (
        PCQM4Mv2(root, part, workers=1) for part in ("train", "valid", "test-dev")
    )
    assert repr(train) == "PCQM4Mv2(train, 3)"
    assert [data.smiles for data in train] == ["CCO", "c1ccccc1", "CCl"]
    assert torch.equal(train.y, torch.tensor([[6.5], [4.0], [6.0]]))
    assert torch.equal(torch.cat([data.y for data in train]), train.y)
    assert train[1].conformers.shape == (6, 1, 3)
    assert train.num_atoms.tolist() == [3, 6, 2]
    assert (len(valid), valid.num_rows) == (2, 3)
    assert [int(data.row) for data in valid] == [3, 5]  # OGB's order
    assert test.y.isnan().all()
    assert len(list((root / "conformers").iterdir())) == 1  # made once


def test_its_fingerprint_is_that_of_molecules_and_gaps(root):
    """Fine-tuning takes it, and reads no molecule for it."""
    train, valid = (PCQM4Mv2(root, part, workers=1) for part in ("train", "valid"))
    again = PCQM4Mv2(root, "train", workers=1)
    assert train.fingerprint() == again.fingerprint() != valid.fingerprint()
    again._gap = again._gap + 1
    assert train.fingerprint() != again.fingerprint()
    seen = check_labelled(train, "train", MolAEPredictor(MolAE.tiny().encoder))
    assert seen.fingerprint == train.fingerprint()
    assert torch.equal(seen.y, train.y)


def test_rows_without_a_molecule_are_predicted(root):
    valid = PCQM4Mv2(root, "valid", workers=1)
    whole = valid.official(np.array([[7.5], [5.5]]), prior=5.5)
    assert whole.tolist() == [7.5, 5.5, 5.5]
    assert valid.official_labels().tolist() == [7.0, 5.0, 5.5]
    scores = pcqm4m_evaluator().eval({"y_true": valid.official_labels(), "y_pred": whole})
    assert scores["mae"] == pytest.approx(1 / 3)


def test_split_of_tensors(root):
    folder = root / "pcqm4m-v2"
    torch.save({part: torch.tensor(rows) for part, rows in PARTS.items()}, folder / "split_dict.pt")
    assert {part: rows.tolist() for part, rows in read_pcqm4m_split(folder).items()} == PARTS


class Harmful:
    def __reduce__(self):
        return (print, ("run",))


def test_a_split_that_runs_something_is_refused(root, capsys):
    folder = root / "pcqm4m-v2"
    torch.save({"train": Harmful()}, folder / "split_dict.pt")
    with pytest.raises(ValueError, match=r"split_dict.pt is not a table of row numbers: .*print"):
        read_pcqm4m_split(folder)
    (folder / "split_dict.pt").write_bytes(pickle.dumps({"train": Harmful()}))
    with pytest.raises(ValueError, match="is not a table of row numbers"):
        read_pcqm4m_split(folder)
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"valid": [3, 1, 8]}, "has row 8, the table has 8 rows"),
        ({"valid": [3, 1, -1]}, "has row -1"),
        ({"valid": [3, 1, 1]}, "has a row twice"),
        ({"valid": [3, 0]}, "has a row twice"),  # it is in the training part
        ({"valid": [3.0, 1.5]}, "valid is not a list of row numbers"),
        ({"valid": [[3, 1]]}, "valid is not a list of row numbers"),
    ],
)
def test_a_split_that_does_not_fit_the_table(root, change, message):
    parts = {part: np.array(rows) for part, rows in (PARTS | change).items()}
    torch.save(parts, root / "pcqm4m-v2" / "split_dict.pt")
    with pytest.raises(ValueError, match=rf"split_dict\.pt:? {message}"):
        PCQM4Mv2(root, "train", workers=1)


def test_a_table_that_is_cut_is_not_taken(root):
    PCQM4Mv2(root, "train", workers=1)
    with gzip.open(root / "pcqm4m-v2" / "raw" / "data.csv.gz", "wt") as file:
        file.write("idx,smiles,homolumogap\n0,CCO,6.5\n")
    with pytest.raises(StoreError, match="holds another store"):
        PCQM4Mv2(root, "train", seed=0, workers=2)


def test_the_store_is_named_by_the_recipe(root, monkeypatch):
    first = PCQM4Mv2(root, "train", workers=1)
    assert first.recipe["recipe_version"] == RECIPE_VERSION
    assert first.recipe["time_limit"] == 5.0
    for module in (options, pcqm4m):
        monkeypatch.setattr(module, "RECIPE_VERSION", RECIPE_VERSION + 1)
    PCQM4Mv2(root, "train", num_conformers=np.int64(1), workers=2)
    names = sorted(path.name for path in (root / "conformers").iterdir())
    assert len(names) == 2
    assert f"recipe{RECIPE_VERSION}-" in names[0]
    assert f"recipe{RECIPE_VERSION + 1}-" in names[1]


def test_fingerprint(root):
    train, valid = (PCQM4Mv2(root, part, workers=1) for part in ("train", "valid"))
    assert train.fingerprint() == PCQM4Mv2(root, "train", workers=1).fingerprint()
    assert train.fingerprint() != valid.fingerprint()


def test_errors(root, monkeypatch):
    with pytest.raises(ValueError, match="unknown part 'test'"):
        PCQM4Mv2(root, "test")
    from molae_pyg.datasets.ogb_mol import import_ogb

    def refuse(address, place):
        raise OSError("no network")

    monkeypatch.setattr(import_ogb("ogb.utils.url"), "download_url", refuse)
    with pytest.raises(FileNotFoundError, match=r"could not download .*pcqm4m-v2.zip; unpack it"):
        find_pcqm4m(root / "elsewhere")
