import math

import goldens
import pytest
import torch
from torch_geometric.data import Batch, Data

from molae_pyg.transforms import CropAtoms


def molecule(n: int) -> Data:
    return Data(
        z=torch.full((n,), 6),
        number=torch.arange(n),
        conformers=torch.randn(n, 2, 3),
        y=torch.tensor([[1.0]]),
        smiles="C" * n,
        num_nodes=n,
    )


def test_large_molecule_keeps_a_random_subset_in_order():
    data = molecule(30)
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
    data = molecule(n)
    out = CropAtoms(12)(data)
    assert torch.equal(out.number, data.number)
    assert torch.equal(out.conformers, data.conformers)
    assert out.num_cropped == 0


def test_every_atom_equally_likely():
    torch.manual_seed(0)
    draws, transform = 800, CropAtoms(3)
    counts = torch.zeros(5)
    for _ in range(draws):
        counts[transform(molecule(5)).number] += 1
    assert (counts / draws - 0.6).abs().max() < 5 * math.sqrt(0.6 * 0.4 / draws)


def test_as_many_atoms_as_recorded():
    recorded = goldens.arrays("data/transforms")
    pos = recorded["crop/in_coords"]
    out = CropAtoms()(Data(z=torch.full((len(pos),), 6), pos=pos))
    assert out.pos.shape == recorded["crop/out_coords"].shape  # 256 of 300


def test_seeded():
    def draw(seed):
        torch.manual_seed(seed)
        return CropAtoms(20)(molecule(40)).number

    assert torch.equal(draw(1), draw(1))
    assert not torch.equal(draw(1), draw(2))


def test_cropped_and_whole_molecules_batch():
    batch = Batch.from_data_list([CropAtoms(4)(molecule(n)) for n in (3, 9)])
    assert batch.batch.tolist() == [0, 0, 0, 1, 1, 1, 1]
    assert batch.num_cropped.tolist() == [0, 5]


def test_wrong_size():
    with pytest.raises(ValueError, match="max_atoms must be positive, not 0"):
        CropAtoms(0)


def test_not_on_a_batch():
    with pytest.raises(ValueError, match="before batching"):
        CropAtoms(4)(Batch.from_data_list([molecule(9)] * 2))


def test_repr():
    assert str(CropAtoms()) == "CropAtoms(256)"
