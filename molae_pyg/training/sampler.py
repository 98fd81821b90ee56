"""Batches of molecules of similar size, with equal cost or with a fixed number of molecules."""

from collections.abc import Iterator

import numpy as np
from torch.utils.data import Sampler

from molae_pyg.nn.dense import NUM_SPECIAL
from molae_pyg.seeds import ORDER

#: Number of molecules that are shuffled, sorted and cut together; a larger pool means less padding.
POOL = 65_536


def plan_batches(
    num_atoms: np.ndarray, pair_budget: int, rng: np.random.Generator | None = None
) -> list[np.ndarray]:
    r"""Divides molecules into batches of at most ``pair_budget`` pair cells.

    The cost of a batch of B molecules is the size of its pair tensor,

    .. math::
        B \, L^2 \le budget, \qquad L = 2 + \max_b n_b

    Molecules are shuffled, sorted by size within pools of 65,536 and divided greedily; then the
    batches are shuffled. A molecule whose own :math:`L^2` exceeds the budget is alone in its batch.

    Args:
        num_atoms: Number of atoms of each molecule ``[M]``.
        pair_budget: Largest number of pair cells of a batch, with CLS and SEP.
        rng: Source of the order; default: molecules and batches are ordered by size.

    Returns:
        Indices of the molecules of each batch; each molecule is in exactly one batch.
    """
    order = np.arange(len(num_atoms)) if rng is None else rng.permutation(len(num_atoms))
    batches = []
    for start in range(0, len(order), POOL):
        pool = order[start : start + POOL]
        pool = pool[np.argsort(num_atoms[pool], kind="stable")]  # ties stay shuffled
        length = num_atoms[pool].astype(np.int64) + NUM_SPECIAL  # L, ascending
        first = 0
        while first < len(pool):
            # count * L^2 grows with the count, so that bisection finds the largest that fits
            most = max(1, pair_budget // int(length[first]) ** 2)
            some = length[first : first + most]
            cost = np.arange(1, 1 + len(some)) * some**2
            count = max(1, int(np.searchsorted(cost, pair_budget, side="right")))
            batches.append(pool[first : first + count])
            first += count
    if rng is not None:
        batches = [batches[i] for i in rng.permutation(len(batches))]
    return batches


def padding_waste(num_atoms: np.ndarray, batches: list[np.ndarray]) -> float:
    """Returns the share of padding in the pair cells ``B L^2`` of all batches."""
    length = num_atoms.astype(np.int64) + NUM_SPECIAL
    cells = sum(len(batch) * int(length[batch].max()) ** 2 for batch in batches)
    return 1 - int((length**2).sum()) / cells


class PooledBatches(Sampler):
    """Random batches of a fixed number of molecules of similar size.

    Molecules are shuffled, sorted by size within pools of ``pool`` batches and divided; then the
    batches are shuffled. A pool of 1 batch sorts nothing across batches.

    Args:
        num_atoms: Number of atoms of each molecule ``[M]``.
        batch_size: Number of molecules of a batch; the last batch of the last pool may be smaller.
            A single molecule joins the batch before it, as batch norm needs more than one.
        pool: Number of batches of a pool.
        seed: Seed of the order, default: 0.
        epoch: Number of the epoch, on which the order depends, default: 0.

    Yields:
        Lists of indices; in an epoch each molecule is in exactly one list.
    """

    def __init__(
        self, num_atoms: np.ndarray, batch_size: int, pool: int, seed: int = 0, epoch: int = 0
    ):
        if batch_size < 1 or pool < 1:
            raise ValueError(f"batch_size and pool must be at least 1, got {batch_size} and {pool}")
        self.num_atoms, self.batch_size, self.pool = num_atoms, batch_size, pool
        self.seed, self.epoch = seed, epoch

    def __len__(self) -> int:
        full, rest = divmod(len(self.num_atoms), self.batch_size)
        return full + (rest > 1 or (rest == 1 and full == 0))

    def __iter__(self) -> Iterator[list[int]]:
        rng = np.random.default_rng([self.seed, self.epoch, ORDER])
        order = rng.permutation(len(self.num_atoms))
        batches = []
        for start in range(0, len(order), self.pool * self.batch_size):
            pool = order[start : start + self.pool * self.batch_size]
            pool = pool[np.argsort(self.num_atoms[pool], kind="stable")]  # ties stay shuffled
            batches += [
                pool[first : first + self.batch_size].tolist()
                for first in range(0, len(pool), self.batch_size)
            ]
        if len(batches) > len(self):
            batches[-2:] = [batches[-2] + batches[-1]]
        yield from (batches[i] for i in rng.permutation(len(batches)))


class CostSampler(Sampler):
    """An endless stream of numbered batches, in another order each epoch.

    A batch depends on the seed and its number alone. A run that resumes at update k starts the
    stream there, and of R processes the one of rank r takes the numbers r, r + R, ... All batches
    cost about the same, so that no process waits long for another. An epoch may end in the middle
    of an update.

    Args:
        num_atoms: Number of atoms of each molecule ``[M]``.
        pair_budget: Pair cells of a batch, see :func:`plan_batches`.
        seed: Seed of the order, default: 0.
        start: Number of the first batch, default: 0.
        rank: Rank of this process, default: 0.
        world_size: Number of processes, default: 1.

    Yields:
        ``(number, indices [B])``.
    """

    def __init__(
        self,
        num_atoms: np.ndarray,
        pair_budget: int,
        seed: int = 0,
        start: int = 0,
        rank: int = 0,
        world_size: int = 1,
    ):
        if len(num_atoms) == 0:
            raise ValueError("there is no molecule to draw batches from")
        self.num_atoms, self.pair_budget, self.seed = num_atoms, pair_budget, seed
        self.start, self.rank, self.world_size = start, rank, world_size

    def epoch(self, epoch: int) -> list[np.ndarray]:
        """Returns the batches of an epoch, the same in every process."""
        rng = np.random.default_rng([self.seed, epoch])
        return plan_batches(self.num_atoms, self.pair_budget, rng)

    def __iter__(self) -> Iterator[tuple[int, np.ndarray]]:
        epoch, first = 0, 0  # number of the epoch's first batch
        while True:
            batches = self.epoch(epoch)
            for number, batch in enumerate(batches, first):
                if number >= self.start and (number - self.start) % self.world_size == self.rank:
                    yield number, batch
            epoch, first = epoch + 1, first + len(batches)
