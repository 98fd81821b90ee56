import math

import goldens
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch_geometric.data import Batch, Data

from molae_pyg import ClozeDrop, CoordinateNoise
from molae_pyg.chem.elements import ELEMENTS
from molae_pyg.transforms.cloze import choose_atoms, coordinate_noise

VOCABULARY = set(ELEMENTS.values())
KINDS = ["uniform", "normal", "truncated_normal"]


def molecule(n: int) -> Data:
    generator = torch.Generator().manual_seed(n)
    z = torch.randint(1, 17, (n,), generator=generator)
    return Data(z=z, pos=10 * torch.randn(n, 3, generator=generator))


@settings(deadline=None, max_examples=50)
@given(
    sizes=st.lists(st.integers(1, 40), min_size=1, max_size=5),
    ratio=st.floats(0, 1),
    noise=st.floats(0, 5),
    kind=st.sampled_from(KINDS),
    keep=st.floats(0, 1),
    seed=st.integers(0, 2**31),
)
def test_fields_of_cloze_drop(sizes, ratio, noise, kind, keep, seed):
    """On a batch: floor(ratio n + u) atoms of each molecule move, all else stays."""
    torch.manual_seed(seed)
    data = Batch.from_data_list([molecule(n) for n in sizes])
    out = ClozeDrop(ratio, noise, kind, keep)(data)
    assert torch.equal(out.z, data.z)
    assert torch.equal(out.pos, data.pos)
    assert "drop_mask" not in data  # the input is not changed
    assert out.drop_mask.dtype == torch.bool
    assert torch.equal(out.pos_noisy[~out.drop_mask], data.pos[~out.drop_mask])
    for b, n in enumerate(sizes):
        dropped = int(out.drop_mask[out.batch == b].sum())
        # float32 may round ratio * n up to a whole number, or down to one
        assert math.floor(ratio * n - 1e-5) <= dropped <= math.ceil(ratio * n + 1e-5)
    bound = {"uniform": noise, "truncated_normal": 2 * noise, "normal": 7 * noise}[kind]
    assert (out.pos_noisy - data.pos).abs().max() <= bound + 1e-5


def test_one_molecule_by_hand():
    torch.manual_seed(0)
    data = ClozeDrop(ratio=0.5, noise=0.3, keep=0)(molecule(4))  # 0.5 * 4 is whole: always 2
    assert data.drop_mask.sum() == 2
    moved = (data.pos_noisy != data.pos).any(1)
    assert torch.equal(moved, data.drop_mask)


@pytest.mark.parametrize("ratio", [0.15, 0.4])
def test_mean_share_and_equal_chances(ratio):
    torch.manual_seed(0)
    n, draws = 7, 40_000
    batch = torch.arange(draws).repeat_interleave(n)
    drop = choose_atoms(batch, draws, ratio).view(draws, n)
    count = drop.sum(1)
    assert set(count.tolist()) == {math.floor(ratio * n), math.ceil(ratio * n)}
    assert count.double().mean().item() == pytest.approx(ratio * n, abs=0.015)  # error .0025
    error = 5 * math.sqrt(ratio * (1 - ratio) / draws)
    assert (drop.double().mean(0) - ratio).abs().max() < error  # every place in the molecule
    together = (drop[:, 0] & drop[:, 1]).double().mean().item()
    pairs = (count * (count - 1)).double().mean().item() / (n * (n - 1))
    assert together == pytest.approx(pairs, abs=error)  # places are chosen without preference


def test_data_and_batch_have_the_same_distribution():
    torch.manual_seed(0)
    draws, n = 1500, 5
    transform = ClozeDrop(0.3)
    single = torch.stack([transform(molecule(n)).drop_mask for _ in range(draws)])
    batch = transform(Batch.from_data_list([molecule(n)] * draws)).drop_mask.view(draws, n)
    for size in (1, 2):  # floor(1.5 + u): one half each
        share = [(drop.sum(1) == size).double().mean().item() for drop in (single, batch)]
        assert share == pytest.approx([0.5, 0.5], abs=5 * 0.5 / math.sqrt(draws))
    assert (single.double().mean(0) - batch.double().mean(0)).abs().max() < 0.09


@pytest.mark.parametrize(("ratio", "dropped"), [(0, 0), (1, 6)])
def test_none_and_all(ratio, dropped):
    assert ClozeDrop(ratio)(molecule(6)).drop_mask.sum() == dropped


@pytest.mark.parametrize("kind", KINDS)
def test_size_of_the_noise(kind):
    torch.manual_seed(0)
    noise = coordinate_noise(torch.zeros(50_000, 3), 0.7, kind).double()
    assert noise.mean().item() == pytest.approx(0, abs=0.01)
    # of N(0, 1) clipped at 2: 1 - 2 (2 phi(2) + Phi(-2)) + 2 * 4 Phi(-2) = 0.920
    std = {"uniform": 0.7 / math.sqrt(3), "normal": 0.7, "truncated_normal": 0.7 * 0.959}[kind]
    assert noise.std().item() == pytest.approx(std, rel=0.01)
    bound = {"uniform": 0.7, "normal": math.inf, "truncated_normal": 1.4}[kind]
    assert noise.abs().max() <= bound + 1e-6
    if kind == "truncated_normal":  # clipped, not drawn again: mass at the bound
        assert (noise.abs() > 1.4 - 1e-6).double().mean().item() == pytest.approx(0.0455, abs=0.004)


@pytest.mark.parametrize("kind", KINDS)
def test_noise_is_of_the_recorded_kind(kind):
    """The reference's noise is uniform in ±1, normal, or normal clipped at 2."""
    recorded = goldens.arrays("data/maskpoints_seed1_epoch3")
    name = {"truncated_normal": "trunc_normal"}.get(kind, kind)
    theirs = torch.cat(
        [
            (recorded[f"{name}/{rates}/{i}/coordinates"] - recorded[f"in/{i}/coords"])[
                recorded[f"{name}/{rates}/{i}/atoms"] == 30
            ]
            for rates in ("lu0.05_rt0.05", "lu0.0_rt0.0", "lu0.1_rt0.1")
            for i in range(4)
        ]
    )
    torch.manual_seed(0)
    ours = coordinate_noise(torch.zeros(4000, 3), 1.0, kind)
    assert theirs.abs().max() <= ours.abs().max() + 1e-5
    error = ours.std() / math.sqrt(theirs.numel())
    assert abs(theirs.mean() - ours.mean()) < 4 * error
    assert abs(theirs.std() - ours.std()) < 4 * error


@pytest.mark.parametrize("rates", ["lu0.05_rt0.05", "lu0.1_rt0.0", "lu0.0_rt0.0"])
def test_recorded_counts(rates):
    """The reference also takes floor or ceil of 0.15 n, and counts kept atoms as masked."""
    recorded = goldens.arrays("data/maskpoints_seed1_epoch3")
    for i, n in enumerate([13, 14, 15, 40]):
        theirs = int((recorded[f"uniform/{rates}/{i}/targets"] != 0).sum())
        ours = {int(ClozeDrop()(molecule(n)).drop_mask.sum()) for _ in range(60)}
        assert theirs in ours
        assert ours <= {math.floor(0.15 * n), math.ceil(0.15 * n)}


def test_share_without_noise():
    torch.manual_seed(0)
    data = Batch.from_data_list([molecule(20)] * 1000)
    out = ClozeDrop(ratio=0.5, keep=0.05)(data)
    still = (out.pos_noisy == data.pos).all(1)[out.drop_mask]
    assert still.double().mean().item() == pytest.approx(0.05, abs=0.011)  # 5 standard errors


def test_seeded():
    def draw(seed):
        torch.manual_seed(seed)
        return ClozeDrop()(molecule(30))

    assert torch.equal(draw(3).pos_noisy, draw(3).pos_noisy)
    assert not torch.equal(draw(3).pos_noisy, draw(4).pos_noisy)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"ratio": 1.2}, "ratio must be between 0 and 1, not 1.2"),
        ({"noise": -1}, "noise must not be negative, not -1"),
        ({"kind": "none"}, "kind must be one of uniform, normal, truncated_normal, not 'none'"),
        ({"keep": -0.1}, "between 0 and 1, not -0.1"),
    ],
)
def test_wrong_settings(arguments, message):
    with pytest.raises(ValueError, match=message):
        ClozeDrop(**arguments)


# ---------------------------------------------------------------------------------- CoordinateNoise


def uranium(n: int) -> Data:
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
def test_fields_of_coordinate_noise(sizes, ratio, noise, keep, random, seed):
    torch.manual_seed(seed)
    data = Batch.from_data_list([uranium(n) for n in sizes])
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
    # uranium is not in the vocabulary, so that it marks atoms that kept their element
    kept = out.z_noisy == 92
    assert torch.equal(out.pos_noisy[kept], data.pos[kept])
    assert set(out.z_noisy[~kept].tolist()) <= VOCABULARY | {0}


def test_shares_of_masked_kept_and_random():
    torch.manual_seed(0)
    data = Batch.from_data_list([uranium(40)] * 1000)
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
    data = Batch.from_data_list([uranium(50)] * 1040)
    z = CoordinateNoise(ratio=1, keep=0, random=1)(data).z_noisy
    values, counts = z.unique(return_counts=True)
    assert set(values.tolist()) == VOCABULARY
    assert (counts - 2000).abs().max() < 5 * math.sqrt(2000)


def test_without_noise_only_elements_change():
    data = CoordinateNoise(noise=0, keep=0, random=0, ratio=1)(uranium(9))
    assert torch.equal(data.pos_noisy, data.pos)
    assert torch.all(data.z_noisy == 0)


@pytest.mark.parametrize("kind", ["uniform", "normal", "truncated_normal"])
def test_kind_and_size_of_the_noise(kind):
    torch.manual_seed(0)
    data = CoordinateNoise(3.0, kind, ratio=1, keep=0)(uranium(20_000))
    noise = (data.pos_noisy - data.pos).double()
    std = {"uniform": 3 / math.sqrt(3), "normal": 3, "truncated_normal": 3 * 0.959}[kind]
    assert noise.std().item() == pytest.approx(std, rel=0.015)


def test_noise_is_seeded():
    def draw(seed):
        torch.manual_seed(seed)
        return CoordinateNoise()(uranium(30))

    assert torch.equal(draw(3).pos_noisy, draw(3).pos_noisy)
    assert torch.equal(draw(3).z_noisy, draw(3).z_noisy)
    assert not torch.equal(draw(3).pos_noisy, draw(4).pos_noisy)


def test_wrong_settings_of_noise():
    with pytest.raises(ValueError, match="keep and random must together be between 0 and 1"):
        CoordinateNoise(keep=0.6, random=0.6)
    with pytest.raises(ValueError, match="kind must be one of"):
        CoordinateNoise(kind="cauchy")
