"""The batches of a pre-training run: from a conformer store, the same ones on every machine."""

from __future__ import annotations

from typing import TYPE_CHECKING

import lightning as L
import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset
from torch_geometric.data import Batch
from torch_geometric.transforms import BaseTransform

from molae_pyg.seeds import DATA, HELD_OUT, number_seed, seeded
from molae_pyg.training.sampler import CostSampler, plan_batches
from molae_pyg.transforms import ClozeDrop

if TYPE_CHECKING:
    from molae_pyg.store import ConformerStore


class PretrainingBatches(Dataset):
    """A store whose items are whole batches.

    Conformers and all that the transform draws depend on the seed of the run and the number of the
    batch alone, not on the process that makes the batch.

    Args:
        store: The molecules.
        transform: Makes the input of the objective from a batch with ``z, pos, batch, ptr`` and,
            if it or a part of it has ``reads_smiles = True``, ``smiles``.
        seed: Seed of the run, default: 0.
        purpose: Purpose of the random numbers, see ``molae_pyg.seeds``; default: training.

    Shapes:
        ``(number, indices [B])`` -> ``Batch`` with ``z, pos, batch, ptr``, ``number`` and what the
        transform adds.
    """

    def __init__(
        self, store: ConformerStore, transform: BaseTransform, seed: int = 0, purpose: int = DATA
    ):
        self.store, self.transform, self.seed, self.purpose = store, transform, seed, purpose

    def __getitem__(self, item: tuple[int, np.ndarray]) -> Batch:
        number, indices = item
        with seeded(number_seed(self.seed, number, self.purpose)):
            smiles = any(getattr(part, "reads_smiles", False) for part in parts_of(self.transform))
            batch = self.transform(self.store.gather(indices, smiles=smiles))
        batch.number = number
        return batch


def parts_of(transform: BaseTransform) -> list[BaseTransform]:
    """Returns the transforms of a ``Compose``, or the transform."""
    return getattr(transform, "transforms", [transform])


class PretrainingData(L.LightningDataModule):
    """The batches of a pre-training run.

    Training batches are an endless stream (:class:`~molae_pyg.training.CostSampler`) that starts
    at the current update of the trainer. Held-out batches are always the same.

    Args:
        train: Molecules to train on.
        valid: Held-out molecules.
        pair_budget: Pair cells of a batch, see :func:`~molae_pyg.training.plan_batches`.
        transform: Makes the input of the objective, default: :class:`~molae_pyg.ClozeDrop` as
            published.
        seed: Seed of the order, of the conformers and of what the transform draws.
        workers: Processes that make batches ahead. 0 (default): the training process makes them,
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
        self.train, self.valid = train, valid
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
        return self._loader(PretrainingBatches(self.train, self.transform, self.seed), sampler)

    def val_dataloader(self) -> DataLoader:
        batches = list(enumerate(plan_batches(self.valid.num_atoms, self.pair_budget)))
        mine = batches[self.trainer.global_rank :: self.trainer.world_size]
        # The draws differ from those of every training batch and do not depend on the run's seed.
        dataset = PretrainingBatches(self.valid, self.transform, purpose=HELD_OUT)
        return self._loader(dataset, mine)

    def _loader(self, dataset: PretrainingBatches, sampler) -> DataLoader:
        return DataLoader(
            dataset,
            sampler=sampler,
            batch_size=None,  # an item is a batch
            num_workers=self.workers,
            persistent_workers=self.workers > 0,
            pin_memory=torch.cuda.is_available(),
            generator=torch.Generator(),  # seeds the workers; no batch depends on their seeds
        )
