"""Chemistry targets of a store: the values, and files from which a computation resumes."""

from pathlib import Path

import numpy as np
import pytest
import torch
from rdkit import Chem
from rdkit.Chem import rdFingerprintGenerator

from molae_pyg import from_smiles
from molae_pyg.chem.descriptors import descriptors
from molae_pyg.chem.graph import add_graph
from molae_pyg.store import ConformerStore, StoreWriter, prepare
from molae_pyg.training import store_targets
from molae_pyg.training.store_targets import StoreTargets

SMILES = ["CCO", "C[N+](C)(C)CC(=O)[O-]", "c1ccccc1O", "OC1CCCO1", "N#CC1CC1", "C", "CC(C)CN"]


@pytest.fixture(scope="module")
def prepared(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("prepared")
    (folder / "some.smi").write_text("\n".join(SMILES) + "\n")
    prepare(folder / "some.smi", folder / "store", num_conformers=1, add_2d=False, workers=1)
    return folder / "store"


@pytest.fixture
def store(prepared, tmp_path) -> ConformerStore:
    (tmp_path / "store").symlink_to(prepared)
    return ConformerStore(tmp_path / "store")


@pytest.fixture
def parts(monkeypatch) -> list[int]:
    """Parts of two molecules; the first molecules of those that are computed."""
    computed, compute = [], store_targets._targets
    monkeypatch.setattr(store_targets, "CHUNK", 2)

    def noting(store, molecules, *args):
        computed.append(molecules.start)
        return compute(store, molecules, *args)

    monkeypatch.setattr(store_targets, "_targets", noting)
    return computed


def test_values_are_those_of_rdkit_and_the_graph_that_of_the_atoms(store, parts):
    known = StoreTargets(store)
    assert parts == [0, 2, 4, 6]
    order = [4, 1, 6, 5]
    batch = known.add(store.gather(order))
    wanted, undefined = descriptors([SMILES[i] for i in order], workers=1)
    assert undefined == 0
    np.testing.assert_allclose(batch.descriptors, wanted, rtol=1e-3, atol=1e-4)  # kept in 16 bits
    generator = rdFingerprintGenerator.GetMorganGenerator(radius=2, fpSize=1024)
    start = 0
    for row, i in enumerate(order):
        bits = generator.GetFingerprintAsNumPy(Chem.MolFromSmiles(SMILES[i]))
        assert np.array_equal(batch.bits[row], bits)
        alone = add_graph(from_smiles(SMILES[i], num_conformers=1))
        part = batch.batch == row
        assert torch.equal(batch.atom[part], alone.atom)
        inside = part[batch.edge_index[0]]
        half = alone.edge_index.size(1) // 2
        assert torch.equal(batch.edge_index[:, inside] - start, alone.edge_index[:, :half])
        assert torch.equal(batch.bond_type[inside], alone.bond_type[:half])
        start += alone.z.numel()


def test_targets_of_a_selection_are_those_of_the_whole_store(store, parts):
    some = StoreTargets(store[[2, 6]])
    assert parts == [2, 6]
    every = StoreTargets(store)
    assert parts == [2, 6, 0, 4]
    for name in ("descriptors", "bits", "atom", "edge_index", "bond_type"):
        a, b = (known.add(store[[2, 6]].gather([1, 0]))[name] for known in (some, every))
        assert torch.equal(a, b)
    assert torch.equal(
        every.descriptors_of(np.array([6, 2])), some.descriptors_of(np.array([6, 2]))
    )


def test_an_interrupted_computation_resumes(store, parts, monkeypatch):
    write = store_targets.write_durably

    def killed(path, *content):
        if path.name == "part-000002.npz":
            raise KeyboardInterrupt
        write(path, *content)

    with monkeypatch.context() as patch:
        patch.setattr(store_targets, "write_durably", killed)
        with pytest.raises(KeyboardInterrupt):
            StoreTargets(store)
    assert parts == [0, 2, 4]
    StoreTargets(store)
    assert parts == [0, 2, 4, 4, 6]
    StoreTargets(store)
    assert parts == [0, 2, 4, 4, 6]


def test_targets_of_other_molecules_are_refused(store, tmp_path):
    StoreTargets(store)
    (tmp_path / "other.smi").write_text("CCC\nCCN\n")
    (tmp_path / "store").unlink()
    prepare(tmp_path / "other.smi", tmp_path / "store", 1, add_2d=False, workers=1)
    with pytest.raises(ValueError, match="store-targets has targets of other molecules"):
        StoreTargets(ConformerStore(tmp_path / "store"))


def test_several_processes_do_not_compute(store, monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(ValueError, match="start the run on one process first"):
        StoreTargets(store)


def test_what_is_unknown_is_marked(tmp_path):
    with StoreWriter(tmp_path / "store", {"source": "test"}) as writer:
        one = {"z": np.array([6, 8]), "conformers": np.array([[[0.0, 0, 0]], [[1.4, 0, 0]]])}
        writer.add(0, "3d", smiles="no molecule", **one)
        writer.add(1, "3d", smiles="CO", **one)
        writer.finish(2)
    store = ConformerStore(tmp_path / "store")
    with pytest.warns(UserWarning, match="the encoder sees the coordinates of some molecules"):
        batch = StoreTargets(store).add(store.gather([0, 1]))
    assert batch.descriptors[0].isnan().all()
    assert not batch.descriptors[1].isnan().any()
    assert batch.atom[:2].eq(0).all()
    assert batch.atom[2:].gt(0).all()
    assert batch.edge_index.tolist() == [[2], [3]]
