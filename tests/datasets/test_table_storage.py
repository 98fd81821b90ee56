"""The store of a table: what is read from it, when it is made anew, and how it resumes."""

import pytest
import torch
from small_tables import SMILES, Y, make

from molae_pyg.datasets import MoleculeTable, StoreWriter
from molae_pyg.store import preparation


def test_cache(tmp_path, monkeypatch):
    first = make(tmp_path)
    monkeypatch.setattr(preparation, "make_rows", None)  # would fail if called
    again = make(tmp_path, y=[row[:1] for row in Y])  # other targets, same molecules
    assert again.num_tasks == 1
    assert again.report == first.report
    assert again.smiles == first.smiles
    for old, new in zip(first, again, strict=True):
        assert old.keys() == new.keys()
        assert torch.equal(new.y.nan_to_num(9), old.y[:, :1].nan_to_num(9))
        for key in ("z", "conformers", "row", "num_unknown"):
            assert torch.equal(old[key], new[key]), key
            assert old[key].dtype == new[key].dtype
        assert (old.smiles, old.status, old.reason) == (new.smiles, new.status, new.reason)
        assert old.num_nodes == new.num_nodes
    with pytest.warns(UserWarning, match="1 of 5 rows"):
        MoleculeTable(SMILES, Y, root=tmp_path, num_conformers=2, workers=1)


@pytest.mark.parametrize(
    "change",
    [
        {"seed": 1},
        {"num_conformers": 1},
        {"add_2d": False},
        {"recipe": "fast"},
        {"smiles": [*SMILES[:4], "CS"]},
    ],
)
def test_other_settings_are_not_read_from_the_cache(tmp_path, change):
    first = make(tmp_path)
    other = make(tmp_path, **change)
    assert len(list((tmp_path / "conformers").glob("*.csv"))) == 2
    assert not torch.equal(first[1].conformers, other[1].conformers) or "smiles" in change
    assert other[3].smiles == change.get("smiles", SMILES)[4]


def test_the_recipe_names_the_store_and_the_version_of_the_package_does_not(tmp_path, monkeypatch):
    from molae_pyg import _version
    from molae_pyg.chem import options

    make(tmp_path)
    monkeypatch.setattr(_version, "__version__", "99.0")
    make(tmp_path)
    assert len(list((tmp_path / "conformers").glob("*.csv"))) == 1
    monkeypatch.setattr(options, "RECIPE_VERSION", options.RECIPE_VERSION + 1)
    make(tmp_path)
    assert len(list((tmp_path / "conformers").glob("*.csv"))) == 2


def test_a_table_of_smiles_changed_by_hand_is_not_used(tmp_path):
    first = make(tmp_path)
    (source,) = (tmp_path / "conformers").glob("*.csv")
    content = source.read_bytes()
    source.write_bytes(content.replace(b"CCO", b"CCN"))
    again = make(tmp_path)
    assert source.read_bytes() == content
    assert torch.equal(again[0].conformers, first[0].conformers)


ODD = [*SMILES, "OCC", "[H][H]", "[2H]O", "C1#CC1", "*C[Pt]", " CN ", "O" * 60]  # the last is long


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"num_conformers": 0, "max_atoms": 3},
        {"num_conformers": 1, "add_2d": False, "seed": 7, "max_atoms": 2},
        {"num_conformers": 3, "workers": 2},
    ],
    ids=str,
)
def test_a_table_has_the_same_items_in_memory_and_in_a_store(tmp_path, settings):
    y = [float(row) for row in range(len(ODD))]
    in_memory, stored = make(None, ODD, y, **settings), make(tmp_path, ODD, y, **settings)
    assert stored.report == in_memory.report
    assert stored.fingerprint() == in_memory.fingerprint()
    for ours, theirs in zip(stored, in_memory, strict=True):
        assert ours.keys() == theirs.keys()
        assert ours.num_nodes == theirs.num_nodes
        for key, value in ours.to_dict().items():
            if torch.is_tensor(value):
                assert value.dtype == theirs[key].dtype
                assert torch.equal(value, theirs[key]), key
            else:
                assert value == theirs[key]


def test_cropping_needs_no_new_conformers(tmp_path, monkeypatch):
    make(tmp_path)
    monkeypatch.setattr(preparation, "make_rows", None)
    assert [len(data.z) for data in make(tmp_path, max_atoms=2)] == [2, 2, 2, 2]


def test_an_interrupted_store_resumes(tmp_path, monkeypatch):
    real, added = StoreWriter.add, []

    def add(self, number, *row):
        if len(added) == 2:
            raise KeyboardInterrupt
        added.append(number)
        real(self, number, *row)

    monkeypatch.setattr(StoreWriter, "add", add)
    with pytest.raises(KeyboardInterrupt, match="2 rows done"):
        make(tmp_path)
    monkeypatch.setattr(
        StoreWriter, "add", lambda self, n, *row: (added.append(n), real(self, n, *row))
    )
    assert len(make(tmp_path)) == 4
    assert sorted(added) == [0, 1, 2, 3, 4]
