"""The models that are compared, each a function from a job to predictions."""

import time
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

import lightning as L
import numpy as np
import torch
from torch import nn

from molae_pyg.baselines import chemprop as dmpnn
from molae_pyg.baselines import graphs as graph_models
from molae_pyg.baselines.forest import ForestBaseline, MeanBaseline
from molae_pyg.baselines.probe import embed, probe, scaffold_folds
from molae_pyg.baselines.schnet import SchNetPredictor
from molae_pyg.datasets.table import MoleculeTable
from molae_pyg.fingerprint import of_weights
from molae_pyg.metrics import choosing_metric
from molae_pyg.models import MolAE, MolAEEncoder, MolAEPredictor, PropertyModel
from molae_pyg.splits import Split
from molae_pyg.training import Finetuning, finetune, predict

DEVICE = torch.device("cuda" if torch.cuda.is_available() else "cpu")


class Job(NamedTuple):
    """One model on one split."""

    dataset: MoleculeTable
    split: Split
    settings: dict[str, Any]  # the section of the YAML file, with the line of the data set
    seed: int
    folder: Path  # for the course of the training and the fitted model


class Fitted(NamedTuple):
    """Predictions ``[n, T]`` of the validation and test rows, and facts about the fit."""

    valid: np.ndarray
    test: np.ndarray
    facts: dict[str, Any]
    earlier: float = 0.0  # seconds of starts that were killed


def mean(job: Job) -> Fitted:
    """The training mean; for classes, that is the share of class 1."""
    return _of_smiles(job, MeanBaseline())


def ecfp_forest(job: Job) -> Fitted:
    """A random forest on ECFP4."""
    forest = ForestBaseline(job.dataset.task_types, seed=job.seed, **job.settings)
    return _of_smiles(job, forest)


def frozen_ridge(job: Job) -> Fitted:
    """A ridge or logistic regression on the frozen encoder, its penalty by cross-validation.

    Of targets of both types, the values and the classes have a readout and a penalty each.
    """
    dataset, split = job.dataset, job.split
    states = frozen_states(job.settings["weights"], dataset)
    folds = scaffold_folds(dataset.smiles, split.train)
    rows = np.concatenate([split.valid, split.test])
    types = np.array(dataset.task_types)
    predicted, facts = np.empty((len(rows), dataset.num_tasks)), {}
    for kind in dict.fromkeys(dataset.task_types):
        tasks = types == kind
        metric = choosing_metric(kind, int(tasks.sum()), _metric_for(dataset, kind))
        found = probe(states, dataset.y.numpy()[:, tasks], folds, rows, kind, metric)
        predicted[:, tasks] = found.predicted
        chosen = {"readout": found.readout, "penalty": found.penalty}
        facts |= chosen if dataset.task_type != "mixed" else {kind: chosen}
    return _halves(predicted, split, facts)


def _metric_for(dataset: MoleculeTable, kind: str) -> str | None:
    """The metric of the data set, None (the default of the type) if it is one of both types."""
    return dataset.metric if dataset.task_type == kind else None


def frozen_forest(job: Job) -> Fitted:
    """A random forest on the frozen encoder: CLS and the mean over atoms."""
    settings = dict(job.settings)
    x = frozen_states(settings.pop("weights"), job.dataset)["cls, mean"]  # [n, 2 C]
    split = job.split
    forest = ForestBaseline(job.dataset.task_types, seed=job.seed, **settings)
    forest.fit_features(x[split.train], job.dataset.y.numpy()[split.train])
    predicted = forest.predict_features(x[np.concatenate([split.valid, split.test])])
    return _halves(predicted, split, {})


def attentivefp(job: Job) -> Fitted:
    """PyTorch Geometric's AttentiveFP on the molecular graph."""
    return _graph_network(job, graph_models.attentive_fp)


def gin(job: Job) -> Fitted:
    """PyTorch Geometric's GIN on the molecular graph."""
    return _graph_network(job, graph_models.gin)


def schnet(job: Job) -> Fitted:
    """PyTorch Geometric's SchNet on the same conformers."""
    dataset = job.dataset
    L.seed_everything(job.seed, verbose=False)
    model = SchNetPredictor(
        job.settings["model"], dataset.num_tasks, dataset.task_names, dataset.task_types
    )
    # Gaussians of a distance that almost underflow make a CPU four times slower than zeros do.
    torch.set_flush_denormal(True)
    try:
        return train(model, dataset, job)
    finally:
        torch.set_flush_denormal(False)


def chemprop(job: Job) -> Fitted:
    """chemprop's D-MPNN, in an environment of its own."""
    predicted, parameters = dmpnn.fit_predict(
        job.dataset, job.split, job.settings, job.seed, job.folder
    )
    return _halves(predicted, job.split, {"parameters": parameters})


def molae(job: Job) -> Fitted:
    """Mol-AE, fine-tuned from the weights that the settings name."""
    settings = job.settings
    L.seed_everything(job.seed, verbose=False)
    return fine_tune(load_encoder(settings["weights"], settings.get("encoder", {})), job)


#: What fits a model of the YAML file; a path of weights is fitted by ``molae``.
MODELS: dict[str, Callable[[Job], Fitted]] = {
    "mean": mean,
    "ecfp-forest": ecfp_forest,
    "attentivefp": attentivefp,
    "gin": gin,
    "dmpnn": chemprop,
    "schnet": schnet,
    "frozen-ridge": frozen_ridge,
    "frozen-forest": frozen_forest,
    "molae-random": molae,
    "molae-small": molae,
    "molae": molae,
}


def timed_fit(name: str, job: Job) -> tuple[Fitted, float]:
    """Fits a model of :data:`MODELS`; also the seconds, those of killed starts included."""
    start = time.perf_counter()
    fitted = MODELS[name](job)
    return fitted, round(time.perf_counter() - start + fitted.earlier, 1)


def load_encoder(weights: str, settings: dict[str, Any]) -> MolAEEncoder:
    """A pre-trained encoder with these settings changed, or one of them with random weights."""
    if weights == "random":
        return MolAEEncoder(**settings)
    if weights.endswith(".pt"):
        encoder, report = MolAEEncoder.from_official(weights)
        print(f"{weights}: {len(report.missing)} missing, {len(report.unexpected)} unexpected keys")
    else:
        encoder = MolAE.from_pretrained(weights).encoder
    changed = MolAEEncoder(**{**encoder.config, **settings})
    changed.load_state_dict(encoder.state_dict())
    return changed


def digest_of(weights: str) -> str | None:
    """A checksum of pre-trained weights; random ones follow from the seed."""
    return None if weights == "random" else of_weights(load_encoder(weights, {}))


def frozen_states(weights: str, dataset: MoleculeTable) -> dict[str, np.ndarray]:
    """Readouts of the frozen encoder, see :func:`probe.embed`."""
    return _states(weights, digest_of(weights), dataset)


@lru_cache(maxsize=1)  # the same for all seeds and both of the models that take it
def _states(weights: str, checksum: str, dataset: MoleculeTable) -> dict[str, np.ndarray]:
    """Also the checksum is a key, as a file can change under its name."""
    return embed(load_encoder(weights, {}).to(DEVICE), dataset)


def fine_tune(encoder: MolAEEncoder, job: Job) -> Fitted:
    """Trains an encoder with the head of the settings, whose weights are drawn here."""
    dataset = job.dataset
    model = MolAEPredictor(
        encoder,
        dataset.num_tasks,
        task_names=dataset.task_names,
        task_type=dataset.task_types,
        **job.settings["head"],
    )
    return train(model, dataset, job)


def train(model: PropertyModel, molecules: MoleculeTable | list, job: Job) -> Fitted:
    """Trains on the training rows, keeps the epoch that is best on the validation rows."""
    dataset, split = job.dataset, job.split
    settings = Finetuning(**{"metric": dataset.metric, **job.settings["training"]})
    parts = [[molecules[i] for i in rows.tolist()] for rows in split]
    scale = dataset.y if job.settings.get("scale") == "all" else None
    start = time.perf_counter()
    best = finetune(
        model, parts[0], parts[1], job.folder, settings, job.seed, scale, recipe=dataset.recipe
    )
    earlier = max(0.0, best["seconds"] - (time.perf_counter() - start))
    model.to(DEVICE)  # Lightning hands it back on the CPU
    valid, test = (
        predict(
            model, part, precision=settings.precision, conformers=job.settings.get("conformers")
        )
        for part in parts[1:]
    )
    facts = {"epoch": best["epoch"], "parameters": num_parameters(model)}
    return Fitted(valid, test, facts, earlier)


def _graph_network(
    job: Job, build: Callable[[MoleculeTable, dict[str, Any]], PropertyModel]
) -> Fitted:
    L.seed_everything(job.seed, verbose=False)
    model = build(job.dataset, job.settings["model"])
    return train(model, graph_models.graphs(job.dataset), job)


def _of_smiles(job: Job, model: MeanBaseline | ForestBaseline) -> Fitted:
    smiles, y, split = np.array(job.dataset.smiles, object), job.dataset.y.numpy(), job.split
    model.fit(smiles[split.train], y[split.train])
    return Fitted(model.predict(smiles[split.valid]), model.predict(smiles[split.test]), {})


def _halves(predicted: np.ndarray, split: Split, facts: dict[str, Any]) -> Fitted:
    number = len(split.valid)
    return Fitted(predicted[:number], predicted[number:], facts)


def num_parameters(model: nn.Module) -> int:
    """All parameters of a model."""
    return sum(parameter.numel() for parameter in model.parameters())
