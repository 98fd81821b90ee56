"""The data set of molecules and targets: items, subsets, targets, errors."""

import pickle
import warnings

import numpy as np
import pandas as pd
import pytest
import torch
from small_tables import NAN, SMILES, Y, make
from torch_geometric.data import Data
from torch_geometric.loader import DataLoader

from molae_pyg.chem.options import Options
from molae_pyg.datasets import CSVDataset, MoleculeTable, table_settings
from molae_pyg.datasets.table_settings import TableSettings
from molae_pyg.fingerprint import of_molecules
from molae_pyg.splits import scaffold_split
from molae_pyg.tables.reading import read_table


@pytest.fixture(scope="module")
def dataset() -> MoleculeTable:
    return make(task_names=["a", "b"])


def test_items(dataset):
    assert len(dataset) == 4
    assert repr(dataset) == "MoleculeTable(table, 4)"
    assert dataset.task_names == ["a", "b"]
    assert dataset.num_tasks == 2
    assert dataset.task_type == "regression"
    item = dataset[3]
    assert isinstance(item, Data)
    assert item.smiles == "CN"
    assert item.z.tolist() == [6, 7]
    assert item.conformers.shape == (2, 3, 3)  # 2 in 3D and a flat one
    assert item.conformers.dtype == torch.float32
    assert item.row == 4
    assert item.y.shape == (1, 2)
    assert item.y.isnan().tolist() == [[True, False]]
    assert item.status == "3d"
    assert item.num_nodes == 2


def test_duplicates_and_targets_stay_with_their_rows(dataset):
    assert dataset.smiles == ["CCO", "c1ccccc1", "CCO", "CN"]
    assert torch.equal(dataset.y.nan_to_num(9), torch.tensor(Y)[[0, 1, 3, 4]].nan_to_num(9))
    assert [int(item.row) for item in dataset] == [0, 1, 3, 4]


def test_report_has_every_row(dataset):
    assert dataset.report.outcomes == ["3d", "3d", "invalid", "3d", "3d"]
    assert dataset.report.reasons[2]
    with pytest.warns(UserWarning, match="table: 1 of 5 rows gave no molecule and are left out"):
        MoleculeTable(SMILES, Y, num_conformers=1, workers=1)


def test_subsets(dataset):
    for index in (np.array([3, 0]), torch.tensor([3, 0]), [3, 0]):
        subset = dataset[index]
        assert subset.smiles == ["CN", "CCO"]
        assert subset.y[:, 1].tolist()[0] == 4.0
        assert subset[0].smiles == "CN"
        assert subset.task_names == dataset.task_names
        assert len(subset.report) == 5
    assert dataset[1:3][[1]].smiles == ["CCO"]
    assert dataset[np.array([False, True, False, False])].smiles == ["c1ccccc1"]
    split = scaffold_split(dataset.smiles, (0.75, 0.0, 0.25))
    assert dataset[split.test].smiles == ["c1ccccc1"]


def test_batches_and_transform(dataset):
    def first_conformer(data: Data) -> Data:
        data.pos = data.conformers[:, 0]
        return data

    batch = next(iter(DataLoader(dataset, batch_size=4)))
    assert batch.y.shape == (4, 2)
    assert batch.batch.tolist() == [0] * 3 + [1] * 6 + [2] * 3 + [3] * 2
    moved = make(smiles=["CCO", "CN"], y=[1, 2], transform=first_conformer)
    assert torch.equal(moved[0].pos, moved[0].conformers[:, 0])
    assert next(iter(DataLoader(moved, batch_size=2))).pos.shape == (5, 3)
    assert moved[[1]][0].pos.shape == (2, 3)
    assert "pos" not in moved.get(0)  # the stored molecule stays as it was


def test_single_molecule(tmp_path):
    for _ in range(2):  # fresh, then from the cache
        one = make(tmp_path, smiles=["CO"], y=[0.5])
        assert len(one) == 1
        assert one.smiles == ["CO"]
        assert one.y.tolist() == [[0.5]]
        assert one[0].y.tolist() == [[0.5]]
        assert one[0].z.tolist() == [6, 8]
        assert one[[0]].smiles == ["CO"]


def test_crops_are_counted():
    assert make(max_atoms=2).report.num_cropped == [1, 4, 0, 1, 0]


def test_no_root_writes_nothing(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    make(smiles=["CO"], y=[0.5])
    assert not list(tmp_path.iterdir())


def test_pickles_for_worker_processes(dataset):
    assert pickle.loads(pickle.dumps(dataset)).smiles == dataset.smiles


def test_task_type_and_names():
    labels = [0, 1, NAN, NAN, NAN]
    assert make(y=labels).task_type == "classification"
    assert make(y=labels, task_type="regression").task_type == "regression"
    assert make(y=labels).task_names == ["y"]
    assert make().task_names == ["y0", "y1"]


def test_pandas_and_none():
    frame = pd.DataFrame({"smiles": ["CO", "CN"], "a": [1.0, None], "b": [2, 3]})
    dataset = make(smiles=frame["smiles"], y=frame[["a", "b"]])
    assert dataset.y.nan_to_num(9).tolist() == [[1, 2], [9, 3]]
    assert make(smiles=frame["smiles"], y=[0.5, None]).y.isnan().tolist() == [[False], [True]]


def test_errors():
    with pytest.raises(
        ValueError, match=r"expected y \[n, T\] or \[n\] for 5 SMILES, got \[4, 1\]"
    ):
        make(y=[1, 2, 3, 4])
    with pytest.raises(ValueError, match="every label is missing"):
        make(y=[NAN] * 5)
    with pytest.raises(ValueError, match="y is infinite in row 1"):
        make(y=[0, np.inf, 0, 0, 0])
    with pytest.raises(ValueError, match=r"task_type must be one of .*, got 'ranking'"):
        make(task_type="ranking")
    with pytest.raises(ValueError, match="class labels must be 0, 1 or NaN"):
        make(task_type="classification")
    with pytest.raises(ValueError, match="3 task_names for 2 tasks"):
        make(task_names=["a", "b", "c"])
    with pytest.raises(ValueError, match="none of 2 rows gave a molecule"):
        make(smiles=["C1CC", ""], y=[1, 2])
    with pytest.raises(ValueError, match="row 2: invalid: 'C1CC'"):
        make(on_error="raise")


def test_a_row_that_cannot_be_read_stops_before_conformers_are_made(tmp_path):
    with pytest.raises(ValueError, match="row 2: invalid"):
        make(on_error="raise", root=tmp_path)
    assert not list(tmp_path.iterdir())


def test_csv_dataset(tmp_path):
    path = tmp_path / "assay.csv"
    path.write_text("Id,Smiles,active\nx,CCO,1\ny,c1ccccc1 ,0\nz,CN,\n")
    dataset = CSVDataset(path, root=tmp_path, num_conformers=1, workers=1)
    assert repr(dataset) == "CSVDataset(assay, 3)"
    assert dataset.task_names == ["active"]
    assert dataset.task_type == "classification"
    assert dataset.smiles == ["CCO", "c1ccccc1", "CN"]
    assert dataset[0].conformers.shape == (3, 2, 3)
    assert list((tmp_path / "conformers").glob("assay-*.csv"))
    flat = CSVDataset(path, "Smiles", "active", "regression", num_conformers=1, add_2d=False)
    assert flat.task_type == "regression"
    assert flat[0].conformers.shape == (3, 1, 3)
    with pytest.raises(ValueError, match=r"Columns: \['Id', 'Smiles', 'active'\]"):
        CSVDataset(path, smiles_column="smiles")


def test_a_table_that_was_read_is_not_read_again(tmp_path):
    path = tmp_path / "assay.csv"
    path.write_text("Smiles,active\nCCO,1\nc1ccccc1,0\n")
    read = CSVDataset(path, num_conformers=0, workers=1)
    table = read_table(path)
    path.unlink()
    dataset = CSVDataset.from_table(table, path, num_conformers=0, workers=1)
    assert (dataset.name, dataset.description) == (read.name, read.description) != ("", "")
    assert dataset.fingerprint() == read.fingerprint()


def test_an_unknown_setting_is_named(tmp_path):
    (tmp_path / "a.csv").write_text("smiles,y\nCO,1.5\n")
    with pytest.raises(TypeError, match="num_conformer'"):
        CSVDataset(tmp_path / "a.csv", num_conformer=1)
    with pytest.raises(TypeError, match=r"unknown settings \['num_conformer'\]; there are"):
        MoleculeTable(["CO"], [1.5], num_conformer=1)
    assert {*TableSettings.__annotations__} == {*table_settings._DEFAULTS}


def test_settings_name_an_unknown_recipe():
    with pytest.raises(ValueError, match="unknown recipe 'quick'; there are published, fast-1"):
        MoleculeTable(["CO"], [1.5], recipe="quick")


@pytest.mark.parametrize("smiles", ["CCO", b"CCO", {"C", "CC", "CCC"}])
def test_one_string_is_no_sequence(smiles):
    with pytest.raises(ValueError, match=r"a sequence of SMILES is needed|has no order"):
        make(smiles=smiles, y=[1, 2, 3])


def test_iterators_are_read_to_their_end():
    dataset = make(smiles=(s for s in ("CO", "CN")), y=iter([0.5, 1.5]))
    assert (dataset.smiles, dataset.y.tolist()) == (["CO", "CN"], [[0.5], [1.5]])


def test_types_and_metrics():
    smiles, y = ["CO", "CN"], [[0.5, 1.0, NAN], [1.5, 0.0, NAN]]
    mixed = make(smiles=smiles, y=y)
    assert mixed.task_types == ["regression", "classification", "regression"]
    assert (mixed.task_type, mixed.metric) == ("mixed", "mixed_error")
    assert mixed[[0]].task_types == mixed.task_types
    several = make(smiles=smiles, y=y, task_type="regression")
    assert (several.task_types, several.metric) == (["regression"] * 3, "standardised_rmse")
    types = ["regression", "classification", "classification"]
    assert make(smiles=smiles, y=y, task_type=types).task_types == types
    assert make(smiles=smiles, y=[1, 0]).metric == "roc_auc"
    assert make(smiles=smiles, y=[1, 0.5]).metric == "rmse"
    with pytest.raises(ValueError, match="2 task types for 3 tasks"):
        make(smiles=smiles, y=y, task_type=types[:2])
    with pytest.raises(ValueError, match=r"class labels must be 0, 1 or NaN .*those of y0 are not"):
        make(smiles=smiles, y=y, task_type="classification")


@pytest.mark.parametrize("y", [[-1, 1, 1, -1], [0, 1, -1, 0], [0, 1, 2, 2, 1, 0], [1, 2, 2, 1]])
def test_a_warning_if_numbers_look_like_classes(y):
    smiles = ["CO"] * len(y)
    with pytest.warns(UserWarning, match=r"of y are taken as numbers\. For two classes give 0, 1"):
        assert make(smiles=smiles, y=y).task_type == "regression"
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        make(smiles=smiles, y=y, task_type="regression")
        make(smiles=smiles, y=[value + 0.5 for value in y])


def test_recipe():
    dataset = make(num_conformers=3, seed=5, max_atoms=4)
    options = Options(3, add_2d=True, seed=5, max_atoms=4)
    assert dataset.recipe == dataset[[0]].recipe == options.to_dict()


def test_fingerprint(dataset):
    same = make(task_names=["a", "b"])
    assert dataset.fingerprint() == same.fingerprint() == of_molecules(dataset)
    changed = [
        make(task_names=["a", "c"]),
        make(task_names=["a", "b"], seed=1),
        make(task_names=["a", "b"], y=[[0.5, NAN], [1.0, -1.5], *Y[2:]]),
        make(task_names=["a", "b"], smiles=["OCC", *SMILES[1:]]),
        dataset[[0, 1, 2]],
        dataset[[1, 0, 2, 3]],
    ]
    found = [other.fingerprint() for other in changed]
    assert len({dataset.fingerprint(), *found}) == 7
    assert dataset[[3, 1]].fingerprint() == same[[3, 1]].fingerprint()
    assert dataset[1:][[2, 0]].fingerprint() == dataset[[3, 1]].fingerprint()
    assert dataset[[0, 1, 2, 3]].fingerprint() == dataset.fingerprint()
    alone = make(smiles=["CN"], y=[Y[4]], task_names=["a", "b"], task_type="regression")
    assert alone.fingerprint() == dataset[[3]].fingerprint()


def test_names_of_csv_datasets(tmp_path):
    for name in ("data.v1.csv", "data.v2.CSV"):
        (tmp_path / name).write_text("smiles,y\nCO,1.5\nCN,2.5\n")
    names = {CSVDataset(path, num_conformers=0, workers=1).name for path in tmp_path.iterdir()}
    assert names == {"data-v1", "data-v2"}


def test_several_classes_and_bounds(tmp_path):
    path = tmp_path / "a.csv"
    grades = ["low", "high", "mid", "low", "", "high", "mid"]
    values = ["1", ">2", "3", "<= 4", "5", "6", "7"]
    smiles = ["C", "CC", "C1CC", "CO", "CN", "CCO", "CCC"]
    rows = zip(smiles, grades, values, strict=True)
    path.write_text("smiles,grade,IC50\n" + "".join(f"{','.join(row)}\n" for row in rows))
    with pytest.warns(UserWarning, match="1 of 7 rows gave no molecule"):
        dataset = CSVDataset(path, target_columns=["grade", "IC50"], num_conformers=0, workers=1)
    assert (dataset.task_types, dataset.task_type) == (["multiclass", "regression"], "mixed")
    assert dataset.classes == {"grade": ["high", "low", "mid"]}
    assert dataset.num_classes == [3, 1]
    assert dataset.metric == "mixed_error"
    assert dataset[1].y.tolist() == [[0.0, 2.0]]
    assert dataset[1].bound.tolist() == [[0, 1]]
    part = dataset[[2, 0]]
    assert part.bound.tolist() == [[0, -1], [0, 0]]
    assert part.num_classes == [3, 1]
    batch = next(iter(DataLoader(part, batch_size=2)))
    assert batch.bound.tolist() == part.bound.tolist()
    exact = tmp_path / "b.csv"
    exact.write_text(path.read_text().replace(">2", "2"))
    with pytest.warns(UserWarning, match="1 of 7 rows gave no molecule"):
        other = CSVDataset(exact, target_columns=["grade", "IC50"], num_conformers=0, workers=1)
    assert other.fingerprint() != dataset.fingerprint()
    assert torch.equal(other.y.nan_to_num(9), dataset.y.nan_to_num(9))


def test_numbers_of_classes(tmp_path):
    dataset = MoleculeTable(
        ["C", "CC", "CO"],
        [[0.0], [3.0], [NAN]],
        ["grade"],
        "multiclass",
        num_conformers=0,
        workers=1,
    )
    assert dataset.num_classes == [4]
    assert dataset.classes == {"grade": ["0", "1", "2", "3"]}
    assert dataset.bound is None
    assert "bound" not in dataset[0]
    for wrong in (0.5, -1.0):
        with pytest.raises(ValueError, match=r"integers from 0 or NaN .*those of grade are not"):
            MoleculeTable(["C"], [[wrong]], ["grade"], "multiclass", num_conformers=0, workers=1)
