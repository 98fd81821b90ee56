import math

import pytest
import torch
from torch_geometric.data import Batch, Data

from molae_pyg import SampleConformer


def molecule(n: int, k: int) -> Data:
    """Conformer c has all its coordinates equal to c."""
    conformers = torch.arange(k).float().view(1, k, 1).expand(n, k, 3).contiguous()
    return Data(z=torch.full((n,), 6), conformers=conformers, num_nodes=n)


def test_one_molecule_gets_one_conformer():
    data = molecule(5, 4)
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
    batch = Batch.from_data_list([molecule(2, 8) for _ in range(50)])
    pos = SampleConformer()(batch).pos.view(50, 6)
    assert torch.all(pos == pos[:, :1])
    assert pos[:, 0].unique().numel() == 8


@pytest.mark.parametrize("batched", [False, True])
def test_conformers_are_drawn_evenly(batched):
    torch.manual_seed(0)
    draws, transform = 2000, SampleConformer()
    if batched:
        pos = transform(Batch.from_data_list([molecule(1, 4)] * draws)).pos[:, 0]
    else:
        pos = torch.stack([transform(molecule(1, 4)).pos[0, 0] for _ in range(draws)])
    share = pos.long().bincount(minlength=4) / draws
    assert (share - 0.25).abs().max() < 5 * math.sqrt(0.25 * 0.75 / draws)


def test_seeded():
    def draw(seed):
        torch.manual_seed(seed)
        return SampleConformer()(Batch.from_data_list([molecule(1, 9)] * 20)).pos

    assert torch.equal(draw(1), draw(1))
    assert not torch.equal(draw(1), draw(2))


def test_without_conformers_pos_stays():
    data = Data(z=torch.tensor([6, 8]), pos=torch.randn(2, 3))
    assert torch.equal(SampleConformer()(data).pos, data.pos)


def test_neither_conformers_nor_pos():
    with pytest.raises(ValueError, match="neither conformers nor pos"):
        SampleConformer()(Data(z=torch.tensor([6])))


def test_batch_that_does_not_know_its_molecules():
    """PyG numbers the molecules of a batch only if it can count their atoms."""
    data = Data(z=torch.tensor([6, 8]), conformers=torch.randn(2, 3, 3))
    batch = Batch.from_data_list([data, data])
    with pytest.raises(ValueError, match=r"set num_nodes = z\.numel\(\) on every Data"):
        SampleConformer()(batch)


def test_repr():
    assert str(SampleConformer()) == "SampleConformer()"
