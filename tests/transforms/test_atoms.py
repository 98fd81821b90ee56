import math

import goldens
import numpy as np
import pytest
import torch
from torch_geometric.data import Batch, Data

from molae_pyg import SampleConformer
from molae_pyg.chem.elements import ELEMENTS
from molae_pyg.transforms import CropAtoms, RemoveHydrogens


def constant(n: int, k: int) -> Data:
    """Conformer c has all its coordinates equal to c."""
    conformers = torch.arange(k).float().view(1, k, 1).expand(n, k, 3).contiguous()
    return Data(z=torch.full((n,), 6), conformers=conformers, num_nodes=n)


def test_one_molecule_gets_one_conformer():
    data = constant(5, 4)
    out = SampleConformer()(data)
    assert out.pos.shape == (5, 3)
    assert out.pos.unique().numel() == 1
    assert "pos" not in data
    assert torch.equal(out.conformers, data.conformers)


def test_atoms_keep_their_order():
    conformers = torch.randn(5, 2, 3)
    out = SampleConformer()(Data(z=torch.full((5,), 6), conformers=conformers))
    assert any(torch.equal(out.pos, conformers[:, k]) for k in range(2))


def test_a_draw_for_each_molecule_of_a_batch():
    torch.manual_seed(0)
    batch = Batch.from_data_list([constant(2, 8) for _ in range(50)])
    pos = SampleConformer()(batch).pos.view(50, 6)
    assert torch.all(pos == pos[:, :1])
    assert pos[:, 0].unique().numel() == 8


@pytest.mark.parametrize("batched", [False, True])
def test_conformers_are_drawn_evenly(batched):
    torch.manual_seed(0)
    draws, transform = 2000, SampleConformer()
    if batched:
        pos = transform(Batch.from_data_list([constant(1, 4)] * draws)).pos[:, 0]
    else:
        pos = torch.stack([transform(constant(1, 4)).pos[0, 0] for _ in range(draws)])
    share = pos.long().bincount(minlength=4) / draws
    assert (share - 0.25).abs().max() < 5 * math.sqrt(0.25 * 0.75 / draws)


def test_sampling_is_seeded():
    def draw(seed):
        torch.manual_seed(seed)
        return SampleConformer()(Batch.from_data_list([constant(1, 9)] * 20)).pos

    assert torch.equal(draw(1), draw(1))
    assert not torch.equal(draw(1), draw(2))


def test_without_conformers_pos_stays():
    data = Data(z=torch.tensor([6, 8]), pos=torch.randn(2, 3))
    assert torch.equal(SampleConformer()(data).pos, data.pos)


def test_neither_conformers_nor_pos():
    with pytest.raises(ValueError, match="neither conformers nor pos"):
        SampleConformer()(Data(z=torch.tensor([6])))


def test_a_batch_without_batch_vector():
    """PyG numbers the molecules of a batch only if it can count their atoms."""
    data = Data(z=torch.tensor([6, 8]), conformers=torch.randn(2, 3, 3))
    batch = Batch.from_data_list([data, data])
    with pytest.raises(ValueError, match=r"set num_nodes = z\.numel\(\) on every Data"):
        SampleConformer()(batch)


# ---------------------------------------------------------------------------------- RemoveHydrogens


def methanol() -> Data:
    return Data(
        z=torch.tensor([1, 6, 1, 8, 1, 1]),
        conformers=torch.arange(36.0).view(6, 2, 3),
        charge=torch.arange(6),
        edge_index=torch.tensor([[0, 1, 1, 3, 3, 4], [1, 0, 3, 1, 4, 3]]),
        edge_attr=torch.arange(6),
        y=torch.tensor([[0.5, float("nan")]]),
        smiles="CO",
        num_nodes=6,
    )


def test_all_hydrogens_and_what_belongs_to_them():
    data = methanol()
    out = RemoveHydrogens()(data)
    assert out.z.tolist() == [6, 8]
    assert torch.equal(out.conformers, data.conformers[[1, 3]])
    assert out.charge.tolist() == [1, 3]
    assert out.edge_index.tolist() == [[0, 1], [1, 0]]  # the C-O bond, renumbered
    assert out.edge_attr.tolist() == [2, 3]
    assert out.num_nodes == 2
    torch.testing.assert_close(out.y, data.y, atol=0, rtol=0, equal_nan=True)
    assert out.smiles == "CO"
    assert data.z.numel() == 6  # the input is not changed


def test_trailing_hydrogens_only():
    out = RemoveHydrogens(trailing_only=True)(methanol())
    assert out.z.tolist() == [1, 6, 1, 8]
    assert out.conformers.shape == (4, 2, 3)


def atoms_of(names: np.ndarray) -> torch.Tensor:
    return torch.tensor([ELEMENTS[str(name)] for name in names])


@pytest.mark.parametrize("name", ["aspirin", "caffeine", "ibuprofen"])
@pytest.mark.parametrize(
    ("trailing_only", "recording"), [(False, "remove_all"), (True, "trailing")]
)
def test_recorded_molecules(name, trailing_only, recording):
    with np.load(goldens.FOLDER / "data" / "transforms.npz") as file:
        before, after = (
            Data(
                z=atoms_of(file[f"H/{name}/{kind}/atoms"]),
                pos=torch.from_numpy(file[f"H/{name}/{kind}/coords"]),
            )
            for kind in ("none", recording)
        )
    out = RemoveHydrogens(trailing_only)(before)
    assert torch.equal(out.z, after.z)
    assert torch.equal(out.pos, after.pos)
    assert out.num_nodes < before.num_nodes


def test_recorded_interleaved_hydrogens():
    with np.load(goldens.FOLDER / "data" / "transforms.npz") as file:
        z = atoms_of(file["H/interleaved/in"])
        expected = atoms_of(file["H/interleaved/trailing/atoms"])
    out = RemoveHydrogens(trailing_only=True)(Data(z=z, pos=torch.zeros(6, 3)))
    assert torch.equal(out.z, expected)


@pytest.mark.parametrize("trailing_only", [False, True])
def test_hydrogen_molecule_stays(trailing_only):
    data = Data(z=torch.tensor([1, 1]), pos=torch.randn(2, 3))
    out = RemoveHydrogens(trailing_only)(data)
    assert torch.equal(out.z, data.z)
    assert torch.equal(out.pos, data.pos)


def test_result_can_be_batched():
    batch = Batch.from_data_list([RemoveHydrogens()(methanol()) for _ in range(3)])
    assert batch.batch.tolist() == [0, 0, 1, 1, 2, 2]
    assert batch.y.shape == (3, 2)


def test_hydrogens_of_a_batch_are_not_removed():
    with pytest.raises(ValueError, match="before batching: pass the transform to the data set"):
        RemoveHydrogens()(Batch.from_data_list([methanol()] * 2))


# ---------------------------------------------------------------------------------------- CropAtoms


def chain(n: int) -> Data:
    return Data(
        z=torch.full((n,), 6),
        number=torch.arange(n),
        conformers=torch.randn(n, 2, 3),
        y=torch.tensor([[1.0]]),
        smiles="C" * n,
        num_nodes=n,
    )


def test_large_molecule_keeps_a_random_subset_in_order():
    data = chain(30)
    out = CropAtoms(12)(data)
    assert out.num_nodes == out.z.numel() == 12
    assert torch.all(out.number.diff() > 0)
    assert torch.equal(out.conformers, data.conformers[out.number])
    assert out.num_cropped == 18
    assert torch.equal(out.y, data.y)
    assert out.smiles == data.smiles
    assert data.z.numel() == 30


@pytest.mark.parametrize("n", [1, 12])
def test_small_molecule_stays(n):
    data = chain(n)
    out = CropAtoms(12)(data)
    assert torch.equal(out.number, data.number)
    assert torch.equal(out.conformers, data.conformers)
    assert out.num_cropped == 0


def test_every_atom_equally_likely():
    torch.manual_seed(0)
    draws, transform = 800, CropAtoms(3)
    counts = torch.zeros(5)
    for _ in range(draws):
        counts[transform(chain(5)).number] += 1
    assert (counts / draws - 0.6).abs().max() < 5 * math.sqrt(0.6 * 0.4 / draws)


def test_as_many_atoms_as_recorded():
    recorded = goldens.arrays("data/transforms")
    pos = recorded["crop/in_coords"]
    out = CropAtoms()(Data(z=torch.full((len(pos),), 6), pos=pos))
    assert out.pos.shape == recorded["crop/out_coords"].shape  # 256 of 300


def test_cropping_is_seeded():
    def draw(seed):
        torch.manual_seed(seed)
        return CropAtoms(20)(chain(40)).number

    assert torch.equal(draw(1), draw(1))
    assert not torch.equal(draw(1), draw(2))


def test_cropped_and_whole_molecules_batch():
    batch = Batch.from_data_list([CropAtoms(4)(chain(n)) for n in (3, 9)])
    assert batch.batch.tolist() == [0, 0, 0, 1, 1, 1, 1]
    assert batch.num_cropped.tolist() == [0, 5]


def test_wrong_size():
    with pytest.raises(ValueError, match="max_atoms must be positive, not 0"):
        CropAtoms(0)


def test_a_batch_is_not_cropped():
    with pytest.raises(ValueError, match="before batching"):
        CropAtoms(4)(Batch.from_data_list([chain(9)] * 2))
