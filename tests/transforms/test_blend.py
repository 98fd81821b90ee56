"""Noise and channels of MoleBLEND's task."""

import pytest
import torch
from torch_geometric.data import Batch, Data

from molae_pyg.transforms import BlendChannels


def batch(n: int) -> Batch:
    two, three = (Data(z=torch.full((i,), 6), pos=torch.ones(i, 3)) for i in (2, 3))
    return Batch.from_data_list([two, three] * n)


def test_channels_and_noise_have_the_published_shares():
    torch.manual_seed(0)
    data = BlendChannels()(batch(2000))
    assert data.pair_channel.shape == (2000 * (4 + 9),)
    shares = data.pair_channel.bincount(minlength=3) / len(data.pair_channel)
    torch.testing.assert_close(shares, torch.tensor([0.2, 0.2, 0.6]), atol=0.02, rtol=0)
    assert data.atom_channel.shape == (10_000,)
    assert data.atom_channel.float().mean().item() == pytest.approx(0.6, abs=0.02)
    noise = data.pos_noisy - data.pos
    assert noise.std().item() == pytest.approx(0.2, rel=0.02)
    assert (data.pos == 1).all()


def test_drawn_molecule_by_molecule_and_batched():
    one = BlendChannels(pairs=(0, 1, 0), atoms=(1, 0))
    data = Batch.from_data_list([one(item) for item in batch(1).to_data_list()])
    assert data.pair_channel.tolist() == [1] * 13
    assert data.atom_channel.tolist() == [0] * 5


@pytest.mark.parametrize(
    "settings", [{"noise": -1}, {"pairs": (0, 0, 0)}, {"pairs": (1, 1)}, {"atoms": (1, -1)}]
)
def test_settings_that_make_no_sense(settings):
    with pytest.raises(ValueError, match=r"noise must not be|must be [23] weights"):
        BlendChannels(**settings)
