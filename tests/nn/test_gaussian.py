import math

import goldens
import pytest
import torch

from molae_pyg.nn import PairBias, PairGaussian
from molae_pyg.nn.gaussian import token_pairs


def test_one_pair_by_hand():
    layer = PairGaussian(num_gaussians=2)
    with torch.no_grad():
        layer.mean.copy_(torch.tensor([[1.0, 3.0]]))
        layer.std.copy_(torch.tensor([[0.5, -2.0]]))  # the sign does not matter
        layer.scale.weight[7] = 1.5
        layer.offset.weight[7] = -0.5
    out = layer(torch.tensor([[[2.0]]]), torch.tensor([[[7]]]))  # t = 1.5 * 2 - 0.5 = 2.5
    expected = [
        math.exp(-((2.5 - 1) ** 2) / (2 * 0.50001**2)) / (math.sqrt(2 * math.pi) * 0.50001),
        math.exp(-((2.5 - 3) ** 2) / (2 * 2.00001**2)) / (math.sqrt(2 * math.pi) * 2.00001),
    ]
    assert out.shape == (1, 1, 1, 2)
    assert out.flatten().tolist() == pytest.approx(expected, rel=1e-6)


def test_recorded_features_and_bias():
    inputs, recorded = goldens.arrays("tiny/inputs"), goldens.arrays("tiny/readme")
    layer = goldens.model("tiny", []).encoder.pair_bias
    distance, pair_type = inputs["src_distance"], inputs["src_edge_type"]
    features = layer.gaussian(distance, pair_type)
    torch.testing.assert_close(features, recorded["gbf_out"], atol=1e-5, rtol=0)
    bias = layer.project(distance, pair_type).permute(0, 2, 3, 1)
    torch.testing.assert_close(bias, recorded["gbf_proj_out"], atol=1e-5, rtol=0)


def test_recorded_distances_and_pair_types():
    inputs = goldens.arrays("tiny/inputs")
    distance, pair_type = token_pairs(inputs["src_tokens"], inputs["src_coord"])
    real = inputs["src_tokens"] != 0
    real = real[:, :, None] & real[:, None, :]
    torch.testing.assert_close(distance[real], inputs["src_distance"][real], atol=1e-5, rtol=0)
    assert torch.equal(pair_type[real], inputs["src_edge_type"][real])


def test_recorded_pair_types_are_ordered():
    recorded = goldens.arrays("data/transforms")
    tokens = recorded["edge/tokens"][None]
    _, pair_type = token_pairs(tokens, torch.zeros(1, 5, 3))
    assert torch.equal(pair_type[0], recorded["edge/type"])
    assert not torch.equal(pair_type, pair_type.transpose(1, 2))


def test_bias_is_not_symmetric_for_different_elements():
    layer = PairBias(heads=2, num_gaussians=8, init="intended")
    with torch.no_grad():
        layer.gaussian.scale.weight.uniform_(0.5, 1.5)
    bias = layer(torch.tensor([[4, 6]]), torch.tensor([[[0.0, 0, 0], [1.2, 0, 0]]]))
    assert (bias[..., 0, 1] - bias[..., 1, 0]).abs().min() > 1e-5


def test_reference_initialisation():
    torch.manual_seed(0)
    layer = PairGaussian(num_gaussians=20_000)
    for parameter in (layer.mean, layer.std, layer.scale.weight, layer.offset.weight):
        error = 0.02 / math.sqrt(parameter.numel())  # of the sample mean; of the std: / sqrt(2)
        assert abs(parameter.mean().item()) < 5 * error
        assert abs(parameter.std().item() - 0.02) < 5 * error / math.sqrt(2)


def test_intended_initialisation():
    torch.manual_seed(0)
    layer = PairGaussian(num_gaussians=20_000, init="intended")
    for parameter in (layer.mean, layer.std):
        assert parameter.min() >= 0
        assert parameter.max() <= 3
        assert parameter.mean().item() == pytest.approx(1.5, abs=0.03)
        assert parameter.std().item() == pytest.approx(3 / math.sqrt(12), abs=0.03)
    assert torch.all(layer.scale.weight == 1)
    assert torch.all(layer.offset.weight == 0)


def test_unknown_initialisation():
    with pytest.raises(ValueError, match="'reference' or 'intended', not 'mine'"):
        PairGaussian(init="mine")


def test_gradients():
    torch.manual_seed(0)
    layer = PairBias(heads=2, num_gaussians=3, init="intended").double()
    token = torch.tensor([[1, 4, 6]])
    pos = torch.randn(1, 3, 3, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda x: layer(token, x), pos)


@pytest.mark.parametrize("init", ["reference", "intended"])
def test_gradient_at_distance_zero_is_finite(init):
    layer = PairBias(heads=2, num_gaussians=4, init=init)
    pos = torch.zeros(1, 3, 3, requires_grad=True)  # CLS and SEP share a place, and one atom too
    distance, _ = token_pairs(torch.tensor([[1, 2, 4]]), pos)
    assert torch.all(distance == 0)
    layer(torch.tensor([[1, 2, 4]]), pos).sum().backward()
    assert torch.all(pos.grad == 0)
    for name, parameter in layer.named_parameters():
        assert parameter.grad.isfinite().all(), name


def test_far_from_every_gaussian_features_are_next_to_nothing():
    layer = PairGaussian(4, init="intended")
    torch.nn.init.constant_(layer.std, 0.01)
    distance = torch.full((1, 1), 50.0, requires_grad=True)
    features = layer(distance, torch.zeros(1, 1, dtype=torch.long))
    assert features.max() < 1e-30
    features.sum().backward()
    assert distance.grad.item() == 0
