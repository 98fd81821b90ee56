"""Reading a store: items, batches, subsets."""

import pickle
import runpy
import tempfile
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from stores import META, Row, random_rows, with_molecule, write
from torch_geometric.data import Batch, Data
from torch_geometric.loader import DataLoader

import molae_pyg.store.files as store_files
import molae_pyg.store.shard as shard_module
from molae_pyg.datasets import ConformerStore
from molae_pyg.store.format import STATUSES, STORED
from molae_pyg.transforms import ClozeDrop, SampleConformer

ROWS = random_rows(30)
MOLECULES = with_molecule(ROWS)
HALF_UNIT = 0.0005 + 1e-6  # Å, and the rounding of float32


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return write(tmp_path_factory.mktemp("store"), ROWS)


@pytest.fixture(scope="module")
def store(folder):
    return ConformerStore(folder)


def first_conformer(data: Data) -> Data:
    """The item as it is in a batch of :meth:`ConformerStore.gather`."""
    return Data(z=data.z, pos=data.conformers[:, 0], row=data.row)


def assert_same(one: Batch, other: Batch, keys=("z", "pos", "batch", "ptr", "row")):
    assert one.num_graphs == other.num_graphs
    for key in keys:
        assert one[key].dtype == other[key].dtype, key
        assert torch.equal(one[key], other[key]), key


def test_items(store):
    assert len(store) == len(MOLECULES)
    for item, row in zip(store, MOLECULES, strict=True):
        assert isinstance(item, Data)
        assert item.z.dtype == torch.long
        assert item.z.tolist() == row.z.tolist()
        assert item.num_nodes == len(row.z)
        assert item.conformers.dtype == torch.float32
        assert item.conformers.is_contiguous()
        assert item.conformers.shape == row.conformers.shape
        assert np.abs(item.conformers.numpy() - row.conformers).max() <= HALF_UNIT
        assert (item.smiles, item.status, item.row.tolist()) == (row.smiles, row.status, [row.row])


def test_attributes(store, folder):
    assert store.meta == META
    assert store.folder == folder
    assert store.num_rows == 30
    assert store.num_atoms.dtype == np.int32
    assert store.num_atoms.tolist() == [len(row.z) for row in MOLECULES]
    assert store.molecule_rows.tolist() == [int(data.row) for data in store]
    assert store.num_conformers.tolist() == [row.conformers.shape[1] for row in MOLECULES]
    assert [tuple(row) for row in store.rows()] == [row[:3] for row in ROWS]
    statuses = [row.status for row in ROWS]
    assert store.outcomes() == {status: statuses.count(status) for status in STATUSES}
    assert repr(store) == f"ConformerStore('{folder}', 24)"


molecules = st.tuples(st.integers(1, 4), st.integers(1, 3)).flatmap(
    lambda sizes: st.tuples(
        st.sampled_from(STORED),
        st.text(max_size=5),
        st.text(max_size=5),
        arrays(np.uint8, sizes[0], elements=st.integers(1, 118)),
        arrays(np.float64, (*sizes, 3), elements=st.floats(-100, 100)),
    )
)
others = st.tuples(st.sampled_from([s for s in STATUSES if s not in STORED]), st.text(max_size=5))


@settings(max_examples=50, deadline=None)
@given(st.lists(molecules | others, max_size=12), st.integers(1, 5), st.randoms())
def test_round_trip(rows, shard_rows, random):
    rows = [Row(number, *row) for number, row in enumerate(rows)]
    shuffled = random.sample(rows, len(rows))
    with tempfile.TemporaryDirectory() as folder:
        store = ConformerStore(write(Path(folder), shuffled, shard_rows))
        assert [tuple(row) for row in store.rows()] == [row[:3] for row in rows]
        kept = with_molecule(rows)
        assert len(store) == len(kept)
        batch = store.gather(slice(None), conformer="first", smiles=True)
        assert batch.smiles == [row.smiles for row in kept]
        for item, placed, row in zip(store, batch.to_data_list(), kept, strict=True):
            assert (item.smiles, int(item.row)) == (row.smiles, row.row)
            assert np.array_equal(item.z, row.z)
            assert torch.equal(placed.pos, item.conformers[:, 0])
            reach = np.abs(row.conformers).max()
            error = np.abs(item.conformers.numpy() - row.conformers).max()
            assert error <= max(HALF_UNIT, reach / 32767 / 2 * 1.001) + 1e-6 * reach


def test_gather_is_a_batch_of_items(store):
    order = [5, 0, 23, 5, 17, 1]  # over all shards, not in order, one twice
    items = [first_conformer(store[i]) for i in order]
    batch = store.gather(order, conformer="first", smiles=True)
    wanted = Batch.from_data_list(items)
    assert type(batch) is type(wanted)
    assert_same(batch, wanted)
    assert batch.smiles == [store[i].smiles for i in order]
    assert batch.num_nodes == wanted.num_nodes
    for one, other in zip(batch.to_data_list(), items, strict=True):
        assert torch.equal(one.pos, other.pos)
        assert torch.equal(one.row, other.row)
    assert batch[2].smiles == store[23].smiles
    moved = pickle.loads(pickle.dumps(batch)).to("cpu")
    assert moved.num_graphs == 6
    assert_same(moved, wanted)


def test_gather_draws_conformers(store):
    index = int(np.flatnonzero(store.num_conformers == 4)[0])
    torch.manual_seed(0)
    batch = store.gather([index] * 400)
    torch.manual_seed(0)
    assert_same(batch, store.gather([index] * 400))
    assert not torch.equal(batch.pos, store.gather([index] * 400).pos)
    conformers = store[index].conformers  # [n, 4, 3]
    drawn = batch.pos.view(400, 1, -1, 3)  # [400, 1, n, 3]
    same = (drawn == conformers.transpose(0, 1)).all(-1).all(-1)  # [400, 4]
    assert (same.sum(1) == 1).all()
    assert (same.sum(0) > 60).all()  # of 100 expected
    with pytest.raises(ValueError, match='must be "random" or "first"'):
        store.gather([0], conformer="last")


def test_gather_takes_the_conformers_that_are_named(store):
    index = int(np.flatnonzero(store.num_conformers == 4)[0])
    batch = store.gather([index] * 4, conformer=np.array([3, 0, 2, 2]))
    conformers = store[index].conformers  # [n, 4, 3]
    assert torch.equal(batch.pos, conformers[:, [3, 0, 2, 2]].transpose(0, 1).flatten(0, 1))
    for wrong in (np.array([4]), np.array([-1]), np.array([0, 0])):
        with pytest.raises(ValueError, match="one integer below the number of conformers"):
            store.gather([index], conformer=wrong)


def test_transforms_work_on_a_gathered_batch(store):
    batch = SampleConformer()(ClozeDrop()(store.gather(range(24))))
    assert batch.drop_mask.shape == (store.num_atoms.sum(),)
    assert batch.pos_noisy.shape == batch.pos.shape


def test_empty_batch(store):
    batch = store.gather([])
    assert batch.num_graphs == 0
    assert batch.pos.shape == (0, 3)
    assert batch.ptr.tolist() == [0]


@pytest.mark.parametrize(
    ("idx", "places"),
    [
        (slice(3, 9, 2), [3, 5, 7]),
        (slice(None, None, -6), [23, 17, 11, 5]),
        (slice(None, 0.25), [0, 1, 2, 3, 4, 5]),
        ([4, -1, 4], [4, 23, 4]),
        ((2, 1), [2, 1]),
        (range(2), [0, 1]),
        (np.array([7, 8], np.int32), [7, 8]),
        (np.array([7, 8], np.uint8), [7, 8]),
        (torch.tensor([9, 2]), [9, 2]),
        (np.arange(24) % 10 == 1, [1, 11, 21]),
        (torch.arange(24) % 10 == 1, [1, 11, 21]),
        ([], []),
    ],
    ids=str,
)
def test_subsets(store, idx, places):
    subset = store[idx]
    assert isinstance(subset, ConformerStore)
    assert [item.smiles for item in subset] == [MOLECULES[i].smiles for i in places]
    assert subset.num_atoms.tolist() == store.num_atoms[places].tolist()
    assert subset.molecule_rows.tolist() == [int(data.row) for data in subset]
    assert subset.num_conformers.tolist() == store.num_conformers[places].tolist()
    assert_same(subset.gather(slice(None), "first"), store.gather(places, "first"))
    assert_same(store.gather(idx, "first"), store.gather(places, "first"))
    assert subset.outcomes() == store.outcomes()
    if places:
        again = subset[[-1]]
        assert len(again) == 1
        assert again[0].smiles == MOLECULES[places[-1]].smiles
        assert again.gather([0]).row.tolist() == [MOLECULES[places[-1]].row]


@pytest.mark.parametrize(
    "idx", [[24], [-25], [0.5], "3d", np.ones(23, bool), np.array(["a"])], ids=str
)
def test_bad_indices(store, idx):
    for call in (store.index_select, store.gather):
        with pytest.raises(IndexError):
            call(idx)


def test_digest_differs_between_stores_and_selections(store, folder, tmp_path):
    write(tmp_path / "other", random_rows(30, seed=1))
    stores = [store, ConformerStore(tmp_path / "other"), store[1:], store[[1, 0]], store[[0, 1]]]
    assert len({each.digest() for each in stores}) == len(stores)
    assert ConformerStore(folder).digest() == store.digest() == store[:].digest()


def test_shuffle(store):
    torch.manual_seed(0)
    shuffled, perm = store.shuffle(return_perm=True)
    assert shuffled.num_atoms.tolist() == store.num_atoms[perm].tolist()


def test_transform(folder):
    store = ConformerStore(folder, transform=SampleConformer())
    assert store[3].pos.shape == (store.num_atoms[3], 3)
    batch = next(iter(DataLoader(store, 24, exclude_keys=["conformers"])))  # K differs
    assert batch.batch.bincount().tolist() == store.num_atoms.tolist()
    assert batch.row.tolist() == [row.row for row in MOLECULES]


def test_pickle(store):
    subset = store[[9, 3]]
    store.verify()
    content = pickle.dumps(subset)
    assert len(content) < 2000  # the path, not the molecules
    again = pickle.loads(content)
    assert again[1].smiles == MOLECULES[3].smiles
    assert all(shard.verified for shard in again._files.shards)


@pytest.mark.parametrize("context", ["fork", pytest.param("spawn", marks=pytest.mark.slow)])
def test_worker_processes(store, context):
    loader = DataLoader(
        store[::2].index_select(range(12)),
        batch_size=4,
        exclude_keys=["conformers"],  # K differs
        num_workers=1,
        multiprocessing_context=context,
    )
    smiles = [smiles for batch in loader for smiles in batch.smiles]
    assert smiles == [row.smiles for row in MOLECULES[::2]]


def test_wide_molecules(tmp_path):
    conformers = np.linspace(-100, 100, 12).reshape(2, 2, 3)
    usual = MOLECULES[0]
    rows = [
        Row(0, "3d", "", "CC", np.array([6, 6]), conformers),
        usual._replace(row=1),
        Row(2, "3d", "", "C", np.array([6]), np.full((1, 1, 3), -32.767)),
        Row(3, "3d", "", "C", np.array([6]), np.full((1, 1, 3), 1e30)),
    ]
    store = ConformerStore(write(tmp_path, rows, shard_rows=2))
    assert np.abs(store[0].conformers.numpy() - conformers).max() <= 100 / 32767 / 2 + 1e-5
    assert np.abs(store[1].conformers.numpy() - usual.conformers).max() <= HALF_UNIT
    assert np.abs(store[2].conformers.numpy() + 32.767).max() <= HALF_UNIT
    assert np.allclose(store[3].conformers.numpy(), 1e30, rtol=1e-4)
    wanted = Batch.from_data_list([first_conformer(store[i]) for i in (3, 1, 0, 2)])
    assert_same(store.gather([3, 1, 0, 2], "first"), wanted)


def test_rows_without_any_molecule(tmp_path):
    rows = [Row(i, "failed" if i % 2 else "excluded", "no") for i in range(5)]
    store = ConformerStore(write(tmp_path, rows, shard_rows=2))
    assert len(store) == 0
    assert store.num_atoms.shape == (0,)
    assert store.outcomes()["excluded"] == 3
    assert [row.reason for row in store.rows()] == ["no"] * 5
    assert store.gather([]).num_graphs == 0


def test_reads_without_pread(folder, store, monkeypatch):
    """As on Windows, which has no os.pread."""
    wanted = store.gather(range(24), "first")
    with monkeypatch.context() as patch:
        patch.delattr("os.pread")
        module = runpy.run_path(shard_module.__file__)
    assert module["pread"] is not shard_module.pread
    for user in (shard_module, store_files):
        monkeypatch.setattr(user, "pread", module["pread"])
    without = ConformerStore(folder)
    assert_same(without.gather(range(24), "first"), wanted)
    assert without[5].smiles == store[5].smiles
