"""The official fine-tuning folders: molecules, labels, split; damaged and hostile records."""

import pickle
import time
from pathlib import Path

import numpy as np
import pytest
import torch

from molae_pyg.chem.options import Options
from molae_pyg.chem.records import RecordRefused
from molae_pyg.datasets import OfficialFolder, check_integrity
from molae_pyg.splits import scaffold_groups

lmdb = pytest.importorskip("lmdb", reason="lmdb is not installed")

CASES = Path(__file__).parent.parent / "data" / "cases"
FRAMES = [np.arange(9.0).reshape(3, 3) + k for k in range(3)]
FLAT = np.array([[0.0, 0, 0], [1, 0, 0], [2, 1, 0]])


def record(smiles="CCO", target=(1.0,), atoms=("C", "C", "O"), **changes) -> dict:
    content = {"atoms": list(atoms), "coordinates": [*FRAMES, FLAT], "smi": smiles}
    return content | {"target": np.array(target), "scaffold": "", "ori_index": 7} | changes


def write(folder, **parts: list):
    folder.mkdir(exist_ok=True)
    for part in ("train", "valid", "test"):
        environment = lmdb.open(str(folder / f"{part}.lmdb"), subdir=False, map_size=2**22)
        with environment, environment.begin(write=True) as transaction:
            for number, content in enumerate(parts.get(part, [record()])):
                value = content if isinstance(content, bytes) else pickle.dumps(content, -1)
                transaction.put(str(number).encode(), value)
    return folder


def test_split_labels_and_conformers(tmp_path):
    train = [record("CCO", (1, -1)), record("OCC", (0, 1), ("O", "C", "C"))]
    folder = write(
        tmp_path / "BACE", train=train, valid=[record(target=(0, 0))], test=[record(target=(1, 0))]
    )
    dataset = OfficialFolder(folder, num_conformers=4)
    assert repr(dataset) == "OfficialFolder(bace, 4)"
    assert (dataset.task_type, dataset.metric) == ("classification", "roc_auc")
    assert [part.tolist() for part in dataset.split] == [[0, 1], [2], [3]]
    assert dataset.y.nan_to_num(9).tolist() == [[1, 9], [0, 1], [0, 0], [1, 0]]
    data = dataset[1]
    assert (data.z.tolist(), data.smiles, data.status) == ([8, 6, 6], "OCC", "3d")
    frames = np.stack([*FRAMES, FRAMES[0], FLAT], axis=1)  # [3, 5, 3]: one is repeated
    assert torch.equal(data.conformers, torch.from_numpy(frames).float())


def test_other_labels_are_regression_and_the_metric_goes_by_the_name(tmp_path):
    folder = write(tmp_path / "qm7dft", train=[record(target=-1.0), record(target=2.5)])
    dataset = OfficialFolder(folder)
    assert (dataset.task_type, dataset.metric) == ("regression", "rmse")
    assert dataset.y[:2].tolist() == [[-1.0], [2.5]]
    assert OfficialFolder(folder.rename(tmp_path / "qm7")).metric == "mae"


def test_a_damaged_record_is_listed_and_the_split_stays(tmp_path):
    folder = write(tmp_path / "esol", train=[record(), b"nothing", record(target=3.5)])
    with pytest.warns(UserWarning, match="1 of 5 rows"):
        dataset = OfficialFolder(folder)
    assert [part.tolist() for part in dataset.split] == [[0, 1], [2], [3]]
    assert dataset.report.outcomes == ["3d", "invalid", "3d", "3d", "3d"]
    assert "record '1' cannot be read" in dataset.report.reasons[1]


class Harm:
    def __reduce__(self):
        return print, ("harm",)


def test_a_harmful_record_stops(tmp_path, capsys):
    folder = write(tmp_path / "esol", valid=[record(mol=Harm())])
    with pytest.raises(RecordRefused, match="record '0' is refused"):
        OfficialFolder(folder)
    assert "harm" not in capsys.readouterr().out


def test_errors(tmp_path):
    folder = write(tmp_path / "esol", train=[record(target=(1, 2))])
    with pytest.raises(ValueError, match=r"records have \[1, 2\] labels"):
        OfficialFolder(folder)
    (folder / "test.lmdb").unlink()
    with pytest.raises(FileNotFoundError, match=r"has no test\.lmdb"):
        OfficialFolder(folder)
    folder = write(tmp_path / "tox", train=[record(target="high")])
    with pytest.warns(UserWarning, match="1 of 3"):
        assert "no list of numbers" in OfficialFolder(folder).report.reasons[0]


def test_cropping(tmp_path):
    dataset = OfficialFolder(write(tmp_path / "esol"), max_atoms=2)
    assert dataset[0].conformers.shape == (2, 11, 3)
    assert dataset.report.num_cropped == [1, 1, 1]


@pytest.mark.parametrize("smiles", ["C(C)(C)(C)(C)C", "C[#119]", "C C", "", "nonsense"])
def test_a_smiles_that_rdkit_rejects_is_an_invalid_row(tmp_path, smiles):
    """The other rows are kept, and all that reads SMILES afterwards can read them."""
    folder = write(tmp_path / "esol", train=[record(), record(smiles), record("CCN")])
    with pytest.warns(UserWarning, match="1 of 5 rows"):
        dataset = OfficialFolder(folder)
    assert dataset.report.outcomes == ["3d", "invalid", "3d", "3d", "3d"]
    assert [part.tolist() for part in dataset.split] == [[0, 1], [2], [3]]
    assert check_integrity(dataset).invalid == 1
    assert len(scaffold_groups(dataset.smiles)) == 1


def test_recipe_says_where_coordinates_are_from(tmp_path):
    dataset = OfficialFolder(write(tmp_path / "esol"), num_conformers=4)
    options = Options(4, add_2d=True).to_dict()
    assert dataset.recipe == options | {"source": "record"}


def test_a_conformer_with_all_atoms_at_one_place_is_left_out(tmp_path):
    zeros = np.zeros((3, 3))
    folder = write(tmp_path / "esol", train=[record(coordinates=[zeros, *FRAMES, FLAT])])
    dataset = OfficialFolder(folder, num_conformers=3)
    assert dataset[0].reason == "a conformer with all atoms at one place is left out"
    assert torch.equal(dataset[0].conformers, dataset[1].conformers)


def test_a_record_that_unfolds_without_end_is_an_invalid_row():
    """300 bytes whose lists refer to each other ten times, ten deep."""
    start = time.perf_counter()
    with pytest.warns(UserWarning, match="1 of 6 rows"):
        dataset = OfficialFolder(CASES / "official-laughs")
    assert time.perf_counter() - start < 30
    assert dataset.report.outcomes.count("invalid") == 1
    assert "unfolds to more than 20,000,000 values" in dataset.report.reasons[1]


def test_a_folder_without_a_record_that_can_be_used(tmp_path):
    folder = write(tmp_path / "esol", train=[b"x"], valid=[b"x"], test=[record("nonsense")])
    with pytest.raises(ValueError, match=r"esol: no record can be used. The first: record '0' can"):
        OfficialFolder(folder)
