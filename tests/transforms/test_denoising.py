"""Noise and channels of Transformer-M's task."""

import pytest
import torch
from torch_geometric.data import Batch, Data

from molae_pyg.transforms import DenoiseAtoms


def batch(n: int) -> Batch:
    return Batch.from_data_list([Data(z=torch.tensor([6, 8]), pos=torch.ones(2, 3))] * n)


def test_modes_and_noise_have_the_published_shares():
    torch.manual_seed(0)
    data = DenoiseAtoms()(batch(5000))
    shares = data.mode.bincount(minlength=3) / 5000
    torch.testing.assert_close(shares, torch.tensor([0.2, 0.2, 0.6]), atol=0.02, rtol=0)
    noise = data.pos_noisy - data.pos
    assert noise.std().item() == pytest.approx(0.2, rel=0.02)
    assert noise.mean().abs() < 0.01
    assert (data.pos == 1).all()


def test_atoms_at_the_origin_have_no_noise():
    data = Data(z=torch.tensor([6, 8]), pos=torch.tensor([[0.0, 0, 0], [0, 0, 1]]))
    noised = DenoiseAtoms()(data)
    moved = (noised.pos_noisy != data.pos).any(1)
    assert moved.tolist() == [False, True]
    assert noised.mode.shape == (1,)


def test_weights_are_normalised():
    torch.manual_seed(0)
    data = DenoiseAtoms(modes=(7, 2, 1))(batch(5000))  # the reference falls back without a word
    shares = data.mode.bincount(minlength=3) / 5000
    torch.testing.assert_close(shares, torch.tensor([0.7, 0.2, 0.1]), atol=0.02, rtol=0)
    assert (DenoiseAtoms(modes=(0, 0, 1))(batch(50)).mode == 2).all()


def test_atoms_are_masked():
    torch.manual_seed(0)
    data = DenoiseAtoms(mask=0.5)(batch(500))
    assert (data.masked.view(500, 2).sum(1) == 2).all()  # 0.5 * 2 + 1
    data = DenoiseAtoms(mask=0.15)(batch(500))
    assert (data.masked.view(500, 2).sum(1) == 1).all()
    assert "masked" not in DenoiseAtoms()(batch(1))


@pytest.mark.parametrize(
    "settings",
    [{"mask": 2}, {"noise": -1}, {"modes": (0, 0, 0)}, {"modes": (1, 1)}, {"modes": (1, -1, 1)}],
)
def test_settings_that_make_no_sense(settings):
    with pytest.raises(ValueError, match=r"(mask|noise) must|modes must be three weights"):
        DenoiseAtoms(**settings)


def test_repr():
    assert repr(DenoiseAtoms()) == "DenoiseAtoms(0.2, modes=(0.2, 0.2, 0.6))"
    assert repr(DenoiseAtoms(mask=0.1)) == "DenoiseAtoms(0.2, modes=(0.2, 0.2, 0.6), mask=0.1)"
