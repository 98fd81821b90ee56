import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch_geometric.data import Batch, Data

from molae_pyg import CoordinateNoise
from molae_pyg.chem.elements import ELEMENTS

VOCABULARY = set(ELEMENTS.values())


def molecule(n: int) -> Data:
    generator = torch.Generator().manual_seed(n)
    return Data(z=torch.full((n,), 92), pos=10 * torch.randn(n, 3, generator=generator))


@settings(deadline=None, max_examples=50)
@given(
    sizes=st.lists(st.integers(1, 40), min_size=1, max_size=5),
    ratio=st.floats(0, 1),
    noise=st.floats(0, 5),
    keep=st.floats(0, 0.5),
    random=st.floats(0, 0.5),
    seed=st.integers(0, 2**31),
)
def test_what_it_adds(sizes, ratio, noise, keep, random, seed):
    torch.manual_seed(seed)
    data = Batch.from_data_list([molecule(n) for n in sizes])
    out = CoordinateNoise(noise, "uniform", ratio, keep, random)(data)
    assert torch.equal(out.z, data.z)
    assert torch.equal(out.pos, data.pos)
    for b, n in enumerate(sizes):
        chosen = int(out.drop_mask[out.batch == b].sum())
        assert math.floor(ratio * n - 1e-5) <= chosen <= math.ceil(ratio * n + 1e-5)
    rest = ~out.drop_mask
    assert torch.equal(out.z_noisy[rest], data.z[rest])
    assert torch.equal(out.pos_noisy[rest], data.pos[rest])
    assert (out.pos_noisy - data.pos).abs().max() <= noise + 1e-5
    # uranium, in the vocabulary nowhere, says who kept the true element
    kept = out.z_noisy == 92
    assert torch.equal(out.pos_noisy[kept], data.pos[kept])
    assert set(out.z_noisy[~kept].tolist()) <= VOCABULARY | {0}


def test_shares_of_masked_kept_and_random():
    torch.manual_seed(0)
    data = Batch.from_data_list([molecule(40)] * 1000)
    out = CoordinateNoise(ratio=0.5, keep=0.1, random=0.2)(data)
    chosen, noisy = out.drop_mask, (out.pos_noisy != data.pos).any(1)
    z = out.z_noisy[chosen]
    masked, kept = z == 0, z == 92
    for group, share in ((masked, 0.7), (kept, 0.1), (~masked & ~kept, 0.2)):
        error = 5 * math.sqrt(share * (1 - share) / len(z))
        assert group.double().mean().item() == pytest.approx(share, abs=error)
    assert torch.equal(noisy[chosen], ~kept)  # all but the kept ones move


def test_random_elements_are_the_26_evenly():
    torch.manual_seed(0)
    data = Batch.from_data_list([molecule(50)] * 1040)
    z = CoordinateNoise(ratio=1, keep=0, random=1)(data).z_noisy
    values, counts = z.unique(return_counts=True)
    assert set(values.tolist()) == VOCABULARY
    assert (counts - 2000).abs().max() < 5 * math.sqrt(2000)


def test_without_noise_only_elements_change():
    data = CoordinateNoise(noise=0, keep=0, random=0, ratio=1)(molecule(9))
    assert torch.equal(data.pos_noisy, data.pos)
    assert torch.all(data.z_noisy == 0)


@pytest.mark.parametrize("kind", ["uniform", "normal", "truncated_normal"])
def test_kind_and_size_of_the_noise(kind):
    torch.manual_seed(0)
    data = CoordinateNoise(3.0, kind, ratio=1, keep=0)(molecule(20_000))
    noise = (data.pos_noisy - data.pos).double()
    std = {"uniform": 3 / math.sqrt(3), "normal": 3, "truncated_normal": 3 * 0.959}[kind]
    assert noise.std().item() == pytest.approx(std, rel=0.015)


def test_seeded():
    def draw(seed):
        torch.manual_seed(seed)
        return CoordinateNoise()(molecule(30))

    assert torch.equal(draw(3).pos_noisy, draw(3).pos_noisy)
    assert torch.equal(draw(3).z_noisy, draw(3).z_noisy)
    assert not torch.equal(draw(3).pos_noisy, draw(4).pos_noisy)


def test_wrong_settings():
    with pytest.raises(ValueError, match="keep and random must together be between 0 and 1"):
        CoordinateNoise(keep=0.6, random=0.6)
    with pytest.raises(ValueError, match="kind must be one of"):
        CoordinateNoise(kind="cauchy")


def test_repr():
    assert str(CoordinateNoise()) == (
        "CoordinateNoise(1.0, kind='uniform', ratio=0.15, keep=0.05, random=0.05)"
    )
