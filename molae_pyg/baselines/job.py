"""The contract of a compared model: a job goes in, predictions come out."""

import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import nn
from torch_geometric.data import Data

from molae_pyg.datasets.table import MoleculeTable
from molae_pyg.fingerprint import digest, of_weights
from molae_pyg.inference import predict
from molae_pyg.models import MolAEEncoder, PropertyModel
from molae_pyg.models.full import build_encoder
from molae_pyg.splits import Split
from molae_pyg.training import Finetuning, finetune

DEVICE = torch.device("cuda" if torch.cuda.is_available() else "cpu")


class Job(NamedTuple):
    """One model on one split."""

    dataset: MoleculeTable
    split: Split
    settings: dict[str, Any]  # section of the YAML file, with the line of the data set merged in
    seed: int
    folder: Path  # gets the metrics of the training and the fitted model


class Fitted(NamedTuple):
    """Predictions ``[n, T]`` of the validation and test rows, and facts about the fit."""

    valid: np.ndarray
    test: np.ndarray
    facts: dict[str, Any]
    earlier: float = 0.0  # seconds that interrupted calls spent on the same fit


def held_out_rows(split: Split) -> np.ndarray:
    """Returns the validation rows followed by the test rows."""
    return np.concatenate([split.valid, split.test])


def as_fitted(predicted: np.ndarray, split: Split, facts: dict[str, Any] | None = None) -> Fitted:
    """Splits predictions of :func:`held_out_rows` into the two parts."""
    number = len(split.valid)
    return Fitted(predicted[:number], predicted[number:], facts or {})


def train(model: PropertyModel, molecules: MoleculeTable | Sequence[Data], job: Job) -> Fitted:
    """Trains a network on the training rows and keeps the epoch with the best validation score.

    Args:
        model: Network with random weights in its head.
        molecules: Items of the data set, as the network needs them.
        job: Its settings have ``training`` and may have ``scale`` (``"all"``: targets are
            standardised by all rows instead of the training rows) and ``conformers`` (number of
            conformers per prediction).
    """
    dataset, split = job.dataset, job.split
    settings = Finetuning(**{"metric": dataset.metric, **job.settings["training"]})
    parts = [[molecules[i] for i in rows.tolist()] for rows in split]
    scale = dataset.y if job.settings.get("scale") == "all" else None
    start = time.perf_counter()
    best = finetune(
        model, parts[0], parts[1], job.folder, settings, job.seed, scale, recipe=dataset.recipe
    )
    earlier = max(0.0, best["seconds"] - (time.perf_counter() - start))
    model.to(DEVICE)  # Lightning leaves the model on the CPU
    options = {"precision": settings.precision, "conformers": job.settings.get("conformers")}
    valid, test = (predict(model, part, **options) for part in parts[1:])
    facts = {"epoch": best["epoch"], "parameters": num_parameters(model)}
    return Fitted(valid, test, facts, earlier)


def num_parameters(model: nn.Module) -> int:
    """Returns the number of parameters of a model."""
    return sum(parameter.numel() for parameter in model.parameters())


def load_encoder(
    weights: str, settings: dict[str, Any] | None = None, pretrained: bool = True
) -> MolAEEncoder:
    """Returns an encoder with pre-trained or random weights.

    Args:
        weights: Name of shipped weights, folder (of a saved model, or of ``molae train``), official
            ``.pt`` file, or ``"random"``.
        settings: Arguments of :class:`~molae_pyg.MolAEEncoder` that replace those of the weights,
            such as ``dropout``. (default: :obj:`None`)
        pretrained: Whether the encoder gets the weights, or new random ones in the size of these.
            (default: :obj:`True`)
    """
    settings = settings or {}
    if weights == "random":
        return MolAEEncoder(**settings)
    if weights.endswith(".pt"):
        encoder, report = MolAEEncoder.from_official(weights)
        print(f"{weights}: {len(report.missing)} missing, {len(report.unexpected)} unexpected keys")
    else:
        encoder = MolAEEncoder.from_pretrained(weights)
    changed = build_encoder({**encoder.config, **settings})
    if pretrained:
        changed.load_state_dict(encoder.state_dict())
    return changed


def digest_of(settings: Mapping[str, Any]) -> str | None:
    """Returns a checksum of the weights that a model's settings name.

    It is that of the network's arguments if these are all that is used (``pretrained: false``), and
    None for ``weights: random`` or none.
    """
    from molae_pyg.baselines.gin_predictor import graph_network  # they train jobs
    from molae_pyg.baselines.graph_heads import pre_trained

    weights = settings.get("weights", "random")
    if weights == "random":
        return None
    model = graph_network(weights) or pre_trained(weights) or load_encoder(weights)
    if settings.get("pretrained", True):
        return of_weights(model)
    return digest(type(model).__name__, model.config)
