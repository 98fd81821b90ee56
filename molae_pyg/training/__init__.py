"""Training: Lightning modules around the bare models, schedule, runs."""

from molae_pyg.training.cloze import ClozeModule
from molae_pyg.training.finite import NonFiniteLossError
from molae_pyg.training.fit import Finetuning, Pretraining, finetune, predict, pretrain
from molae_pyg.training.property import PropertyModule
from molae_pyg.training.schedule import polynomial_decay

__all__ = [
    "ClozeModule",
    "Finetuning",
    "NonFiniteLossError",
    "Pretraining",
    "PropertyModule",
    "finetune",
    "polynomial_decay",
    "predict",
    "pretrain",
]
