import random

import numpy as np
import torch

from molae_pyg.seeds import DATA, DROPOUT, number_seed, seeded

LEGACY = np.random.mtrand._rand  # the generator behind np.random.uniform and the like


def draws() -> list[float]:
    return [float(torch.rand(())), random.random(), LEGACY.uniform()]


def test_draws_depend_on_the_seed_alone_and_the_generators_are_restored():
    torch.manual_seed(0)
    random.seed(0)
    LEGACY.seed(0)
    expected = draws()
    torch.manual_seed(0)
    random.seed(0)
    LEGACY.seed(0)
    with seeded(7):
        first = draws()
    with seeded(7):
        assert draws() == first
    with seeded(8):
        assert not set(draws()) & set(first)
    assert draws() == expected


def test_each_place_and_purpose_has_a_seed_of_its_own():
    places = [(0, 0, DATA), (0, 0, DROPOUT), (0, 1, DATA), (1, 0, DATA), (1, 1, DROPOUT)]
    seeds = [number_seed(*place) for place in places]
    assert len(set(seeds)) == len(places)
    assert seeds == [number_seed(*place) for place in places]
    assert all(0 <= seed < 2**63 for seed in seeds)
