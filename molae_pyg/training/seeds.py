"""Random numbers that depend on seed and place alone, never on what the process did before."""

import random
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch

#: The last number of a seed: what it is for.
DATA, DROPOUT, HELD_OUT, ORDER, CONFORMER = range(5)


def number_seed(seed: int, *numbers: int) -> int:
    """A seed for a place in a run, such as ``(batch, purpose)`` or ``(epoch, item, purpose)``.

    Purposes are 0: data, 1: dropout, 2: held-out data, 3: order, 4: conformer.
    """
    sequence = np.random.SeedSequence([seed, *numbers])
    return int(sequence.generate_state(1, np.uint64)[0] >> 1)


@contextmanager
def seeded(seed: int) -> Iterator[None]:
    """Seeds the generators of torch (CPU), NumPy and Python within, and restores them after.

    Transforms draw from any of the three.
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
