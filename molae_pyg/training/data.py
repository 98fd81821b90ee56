"""From a conformer store to cloze tests, the same ones on every machine."""

from __future__ import annotations

from typing import TYPE_CHECKING

import lightning as L
import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset
from torch_geometric.data import Batch
from torch_geometric.transforms import BaseTransform

from molae_pyg.training.sampler import CostSampler, plan_batches
from molae_pyg.training.seeds import DATA, HELD_OUT, number_seed, seeded
from molae_pyg.transforms import ClozeDrop

if TYPE_CHECKING:
    from molae_pyg.store import ConformerStore


class ClozeBatches(Dataset):
    """A store whose items are whole batches with their cloze tests.

    Conformers, dropped atoms and noise depend on the run's seed and the number of the batch
    alone, not on the process that makes it.

    Args:
        store: Molecules.
        transform: Makes the cloze test of a batch.
        seed: Of the run. purpose: See ``training.seeds.number_seed``.

    Shapes:
        ``(number, indices [B])`` -> ``Batch`` with ``z, pos, batch, ptr, drop_mask, pos_noisy``
        and ``number``.
    """

    def __init__(
        self, store: ConformerStore, transform: BaseTransform, seed: int = 0, purpose: int = DATA
    ):
        self.store = store
        self.transform = transform
        self.seed = seed
        self.purpose = purpose

    def __getitem__(self, item: tuple[int, np.ndarray]) -> Batch:
        number, indices = item
        with seeded(number_seed(self.seed, number, self.purpose)):
            batch = self.transform(self.store.gather(indices))
        batch.number = number
        return batch


class ClozeData(L.LightningDataModule):
    """The batches of a pre-training run.

    Training batches are an endless stream (:class:`~molae_pyg.training.CostSampler`) that starts
    at the update the trainer has come to; held-out batches are always the same.

    Args:
        train: Molecules to train on.
        valid: Held-out molecules.
        pair_budget: Pair cells of a batch, see :func:`~molae_pyg.training.plan_batches`.
        transform: Makes the cloze test, default :class:`~molae_pyg.ClozeDrop` as published.
        seed: Of order, conformers, dropped atoms and noise.
        workers: Processes that make batches ahead; 0 (default): the training process itself,
            which is enough on a CPU.
    """

    def __init__(
        self,
        train: ConformerStore,
        valid: ConformerStore,
        pair_budget: int,
        transform: BaseTransform | None = None,
        seed: int = 0,
        workers: int = 0,
    ):
        super().__init__()
        self.train = train
        self.valid = valid
        self.pair_budget = pair_budget
        self.transform = transform or ClozeDrop()
        self.seed = seed
        self.workers = workers

    def train_dataloader(self) -> DataLoader:
        trainer = self.trainer
        batches_per_update = trainer.accumulate_grad_batches * trainer.world_size
        sampler = CostSampler(
            self.train.num_atoms,
            self.pair_budget,
            self.seed,
            start=trainer.global_step * batches_per_update,
            rank=trainer.global_rank,
            world_size=trainer.world_size,
        )
        return self._loader(ClozeBatches(self.train, self.transform, self.seed), sampler)

    def val_dataloader(self) -> DataLoader:
        batches = list(enumerate(plan_batches(self.valid.num_atoms, self.pair_budget)))
        mine = batches[self.trainer.global_rank :: self.trainer.world_size]
        # Another set of tests than any training batch has, and the same for every run's seed.
        return self._loader(ClozeBatches(self.valid, self.transform, purpose=HELD_OUT), mine)

    def _loader(self, dataset: ClozeBatches, sampler) -> DataLoader:
        return DataLoader(
            dataset,
            sampler=sampler,
            batch_size=None,  # an item is a batch
            num_workers=self.workers,
            persistent_workers=self.workers > 0,
            pin_memory=torch.cuda.is_available(),
            generator=torch.Generator(),  # seeds of worker processes, of which nothing depends
        )
