"""Random numbers that depend on a seed and a place in the run alone, never on what came before."""

import random
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch

#: Purposes: the last number of a seed. Each purpose has its own random numbers.
DATA, DROPOUT, HELD_OUT, ORDER, CONFORMER = range(5)


def number_seed(seed: int, *numbers: int) -> int:
    """Returns the seed of a place in a run.

    Args:
        seed: Seed of the run.
        numbers: The place, such as ``(batch, purpose)`` or ``(epoch, item, purpose)``.
    """
    sequence = np.random.SeedSequence([seed, *numbers])
    return int(sequence.generate_state(1, np.uint64)[0] >> 1)


@contextmanager
def seeded(seed: int) -> Iterator[None]:
    """Seeds torch (CPU), NumPy and Python inside the block, and restores their states after it.

    Transforms may draw from any of the three generators.
    """
    numpy = np.random.mtrand._rand  # the generator behind np.random.uniform and the like
    states = torch.get_rng_state(), numpy.get_state(), random.getstate()
    torch.default_generator.manual_seed(seed)
    numpy.seed(seed % 2**32)
    random.seed(seed)
    try:
        yield
    finally:
        torch.set_rng_state(states[0])
        numpy.set_state(states[1])
        random.setstate(states[2])
