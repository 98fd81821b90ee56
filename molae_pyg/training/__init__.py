"""Training: Lightning modules around the bare models, batches, schedule, runs."""

from molae_pyg.inference.predict import predict
from molae_pyg.training.cloze import ClozeModule
from molae_pyg.training.data import ClozeBatches, ClozeData
from molae_pyg.training.finite import NonFiniteLossError
from molae_pyg.training.fit import finetune
from molae_pyg.training.pretraining import pretrain
from molae_pyg.training.property import PropertyModule
from molae_pyg.training.sampler import CostSampler, PooledBatches, padding_waste, plan_batches
from molae_pyg.training.schedule import polynomial_decay
from molae_pyg.training.settings import Finetuning, Pretraining

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
