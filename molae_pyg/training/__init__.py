"""Training: fine-tuning and pre-training runs around bare models, their batches and schedule."""

from molae_pyg.inference import predict as predict  # its earlier home
from molae_pyg.training.chemistry import ChemistryTargets, chemistry_objective
from molae_pyg.training.data import PretrainingBatches, PretrainingData
from molae_pyg.training.finetuning import finetune
from molae_pyg.training.mole_blend import mole_blend_objective
from molae_pyg.training.objectives import (
    ClozeModule,
    PretrainingModule,
    cloze_objective,
    transformer_m_objective,
    uni_mol_objective,
)
from molae_pyg.training.pretraining import pretrain
from molae_pyg.training.property import PropertyModule
from molae_pyg.training.sampler import CostSampler, PooledBatches, padding_waste, plan_batches
from molae_pyg.training.schedule import polynomial_decay
from molae_pyg.training.settings import Finetuning, Pretraining
from molae_pyg.training.trainer import NonFiniteLossError

ClozeBatches, ClozeData = PretrainingBatches, PretrainingData  # their earlier names

__all__ = [
    "ChemistryTargets",
    "ClozeModule",
    "CostSampler",
    "Finetuning",
    "NonFiniteLossError",
    "PooledBatches",
    "Pretraining",
    "PretrainingBatches",
    "PretrainingData",
    "PretrainingModule",
    "PropertyModule",
    "chemistry_objective",
    "cloze_objective",
    "finetune",
    "mole_blend_objective",
    "padding_waste",
    "plan_batches",
    "polynomial_decay",
    "pretrain",
    "transformer_m_objective",
    "uni_mol_objective",
]
