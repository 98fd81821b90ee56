"""The loop of all inference."""

import numpy as np
import pytest
import torch
from chains import molecules
from torch import nn

from molae_pyg.inference.batches import in_batches


class Noting(nn.Module):
    """Returns the first coordinate of each molecule's first atom; notes what it was called with."""

    def __init__(self):
        super().__init__()
        self.scale, self.drop = nn.Parameter(torch.ones(())), nn.Dropout(0.5)
        self.sizes, self.states = [], []

    def forward(self, z, pos, batch):
        self.sizes.append(batch.bincount().tolist())
        self.states.append((self.training, self.drop.training, torch.is_grad_enabled()))
        first = batch.diff(prepend=batch.new_tensor([-1])).bool()
        return self.drop(pos[first, :1]) * self.scale  # [B, 1]


def mean_over_conformers(function):
    """A function of batches that is the mean of another over conformers."""

    def mean(batch):
        conformers = batch.conformers.unbind(1)  # K times [N, 3]
        return sum(function(batch.z, pos, batch.batch) for pos in conformers) / len(conformers)

    return mean


@pytest.fixture
def some():
    return molecules(11)


def run(model, some, function=None, batch_size=4):
    num_atoms = [data.num_nodes for data in some]
    function = function or mean_over_conformers(model)
    return in_batches(model, function, some, num_atoms, batch_size, "32-true")


def test_rows_are_in_the_order_given_and_batches_in_that_of_size(some):
    model = Noting()
    found = run(model, some)
    expected = np.stack([data.conformers[0, :, :1].mean(0) for data in some])
    assert found.shape == (11, 1)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, expected, rtol=1e-6)
    assert np.ptp(expected) > 0.1  # so that the order shows
    sizes = [n for batch in model.sizes[::2] for n in batch]  # each batch has two conformers
    assert sizes == sorted(data.num_nodes for data in some)
    assert model.sizes[::2] == model.sizes[1::2]


def test_evaluation_mode_without_gradients_and_every_layer_back_in_its_mode(some):
    model = Noting().train()
    model.drop.eval()  # frozen, while the rest trains
    run(model, some)
    assert set(model.states) == {(False, False, False)}
    assert model.training
    assert not model.drop.training

    def fails(batch):
        raise RuntimeError("no memory")

    with pytest.raises(RuntimeError, match="no memory"):
        run(model, some, fails)
    assert model.training
    assert not model.drop.training


def test_rows_of_any_shape(some):
    model = Noting()

    def pairs(z, pos, batch):
        return torch.stack([model(z, pos, batch), 2 * model(z, pos, batch)], dim=1)

    found = run(model, some, mean_over_conformers(pairs))
    assert found.shape == (11, 2, 1)
    np.testing.assert_array_equal(found[:, 1], 2 * found[:, 0])


def test_the_generator_of_the_process_is_not_used(some):
    state = torch.get_rng_state()
    run(Noting(), some)
    assert torch.equal(torch.get_rng_state(), state)
