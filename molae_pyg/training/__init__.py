"""Training: Lightning modules around the bare models, batches, schedule, runs."""

from molae_pyg.training.cloze import ClozeModule
from molae_pyg.training.data import ClozeBatches, ClozeData
from molae_pyg.training.finite import NonFiniteLossError
from molae_pyg.training.fit import Finetuning, finetune, predict
from molae_pyg.training.pretraining import Pretraining, pretrain
from molae_pyg.training.property import PropertyModule
from molae_pyg.training.sampler import CostSampler, PooledBatches, padding_waste, plan_batches
from molae_pyg.training.schedule import polynomial_decay

__all__ = [
    "ClozeBatches",
    "ClozeData",
    "ClozeModule",
    "CostSampler",
    "Finetuning",
    "NonFiniteLossError",
    "PooledBatches",
    "Pretraining",
    "PropertyModule",
    "finetune",
    "padding_waste",
    "plan_batches",
    "polynomial_decay",
    "predict",
    "pretrain",
]
