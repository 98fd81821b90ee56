from itertools import chain, islice, pairwise

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from molae_pyg.training import CostSampler, PooledBatches, padding_waste, plan_batches

ZINC_LIKE = np.random.default_rng(0).normal(23.2, 4.5, 20_000).clip(6, 38).astype(np.uint16)


def cost(num_atoms: np.ndarray, batch: np.ndarray) -> int:
    return len(batch) * (int(num_atoms[batch].max()) + 2) ** 2


@settings(deadline=None, max_examples=50)
@given(
    st.lists(st.integers(1, 300), min_size=1, max_size=200),
    st.integers(9, 100_000),
    st.booleans(),
)
def test_every_molecule_is_in_one_batch_within_the_budget(sizes, budget, shuffle):
    num_atoms = np.array(sizes, dtype=np.uint16)
    rng = np.random.default_rng(1) if shuffle else None
    batches = plan_batches(num_atoms, budget, rng)
    assert sorted(np.concatenate(batches).tolist()) == list(range(len(sizes)))
    for batch in batches:
        assert cost(num_atoms, batch) <= budget or len(batch) == 1


def test_batches_by_hand():
    # L = 3, 4, 4, 6, 12: 9, 3 * 16 = 48 fits 50, with the 6 it would be 4 * 36; 144 is alone.
    batches = plan_batches(np.array([10, 2, 4, 1, 2]), 50)
    assert [batch.tolist() for batch in batches] == [[3, 1, 4], [2], [0]]
    # Padding: (9 + 16 + 16 + 36 + 144) of (48 + 36 + 144) cells are real.
    assert padding_waste(np.array([10, 2, 4, 1, 2]), batches) == pytest.approx(1 - 221 / 228)


def test_zinc_sized_molecules_waste_less_than_five_percent():
    batches = plan_batches(ZINC_LIKE, 90_000, np.random.default_rng(0))
    assert padding_waste(ZINC_LIKE, batches) < 0.05
    shuffled = np.array_split(np.random.default_rng(0).permutation(len(ZINC_LIKE)), len(batches))
    assert padding_waste(ZINC_LIKE, shuffled) > 0.3  # what batches of any size would waste


def test_batches_cost_about_the_same():
    batches = plan_batches(ZINC_LIKE, 90_000, np.random.default_rng(0))
    costs = np.array([cost(ZINC_LIKE, batch) for batch in batches])
    assert np.quantile(costs, 0.05) > 0.95 * 90_000


def take(sampler: CostSampler, count: int) -> list[tuple[int, list[int]]]:
    return [(number, batch.tolist()) for number, batch in islice(sampler, count)]


def test_stream_is_deterministic_and_each_epoch_complete_and_new():
    num_atoms = ZINC_LIKE[:500]
    sampler = CostSampler(num_atoms, 20_000, seed=3)
    first, second = len(sampler.epoch(0)), len(sampler.epoch(1))
    stream = take(sampler, first + second)
    assert stream == take(CostSampler(num_atoms, 20_000, seed=3), first + second)
    assert [number for number, _ in stream] == list(range(first + second))
    for epoch in (stream[:first], stream[first:]):
        assert sorted(i for _, batch in epoch for i in batch) == list(range(500))
    assert stream[:first] != stream[first:]
    assert stream != take(CostSampler(num_atoms, 20_000, seed=4), first + second)


@pytest.mark.parametrize("start", [0, 7, 40])
@pytest.mark.parametrize("world_size", [1, 2, 3])
def test_processes_share_the_stream_from_any_start(start, world_size):
    num_atoms = ZINC_LIKE[:500]
    whole = take(CostSampler(num_atoms, 20_000), 70)
    shares = [
        take(CostSampler(num_atoms, 20_000, start=start, rank=rank, world_size=world_size), 10)
        for rank in range(world_size)
    ]
    merged = [item for update in zip(*shares, strict=True) for item in update]
    assert merged == whole[start : start + 10 * world_size]


def test_no_molecules():
    with pytest.raises(ValueError, match="no molecule"):
        CostSampler(np.array([], dtype=np.uint16), 1000)


@settings(deadline=None, max_examples=50)
@given(
    st.lists(st.integers(1, 300), min_size=1, max_size=200),
    st.integers(1, 20),
    st.integers(1, 10),
)
def test_pooled_batches_hold_every_molecule_once(sizes, batch_size, pool):
    batches = PooledBatches(np.array(sizes), batch_size, pool)
    found = list(batches)
    assert len(found) == len(batches)
    assert sorted(chain.from_iterable(found)) == list(range(len(sizes)))
    lengths = [len(batch) for batch in found]
    assert sum(length != batch_size for length in lengths) <= 1
    assert max(lengths) <= batch_size + 1
    assert min(lengths) > 1 or batch_size == 1 or len(sizes) == 1  # none is left alone


def test_pooled_batches_are_of_similar_size():
    sizes = np.random.default_rng(0).integers(5, 40, 1024)
    plain, pooled = (list(PooledBatches(sizes, 16, pool)) for pool in (1, 8))
    waste = [padding_waste(sizes, [np.array(b) for b in found]) for found in (plain, pooled)]
    assert waste[0] > 0.4
    assert waste[1] < 0.2
    torch.manual_seed(1)  # nothing depends on the generator of the process
    assert pooled == list(PooledBatches(sizes, 16, 8))
    assert pooled != list(PooledBatches(sizes, 16, 8, epoch=1))
    assert pooled != list(PooledBatches(sizes, 16, 8, seed=1))
    torch.manual_seed(0)
    assert list(PooledBatches(sizes, 16, 1)) == plain
    whole = list(PooledBatches(sizes, 16, 64))  # one pool: the sorted sizes, cut, out of order
    spans = sorted((int(sizes[b].min()), int(sizes[b].max())) for b in map(np.array, whole))
    assert all(last <= first for (_, last), (first, _) in pairwise(spans))
    with pytest.raises(ValueError, match="at least 1, got 16 and 0"):
        PooledBatches(sizes, 16, 0)
