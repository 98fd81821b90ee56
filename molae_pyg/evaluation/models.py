"""The models that are compared: names, how each is fitted, and what its settings are."""

import copy
import json
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

import lightning as L
import numpy as np
from torch_geometric.data import Data
from torch_geometric.nn import AttentiveFP, SchNet

from molae_pyg.baselines import (
    chemprop,
    forest,
    gin_predictor,
    graph_heads,
    graphs,
    n_gram,
    probe,
    schnet,
)
from molae_pyg.baselines.grover import GroverEncoder
from molae_pyg.baselines.job import Fitted, Job, load_encoder, train
from molae_pyg.chem.ogb_graph import add_ogb_graph
from molae_pyg.datasets.table import MoleculeTable, TableSettings
from molae_pyg.evaluation.blending import blend
from molae_pyg.evaluation.config import Known, arguments, check, merged
from molae_pyg.inference.graphs import Graphs
from molae_pyg.models import MolAEEncoder, MolAEPredictor, PropertyModel, TransformerMEncoder
from molae_pyg.nn.gin import EdgeGIN
from molae_pyg.splits import Split
from molae_pyg.training import Finetuning

#: Settings of ``data`` and ``head``.
TABLE = [name for name in TableSettings.__annotations__ if name != "transform"]
HEAD = arguments(MolAEPredictor, "encoder", "num_tasks", "task_names", "task_type", "recipe")


class Model(NamedTuple):
    """A model that settings can name."""

    fit: Callable[[Job], Fitted]
    known: Known  # settings of its section
    needed: tuple[str, ...] = ()  # settings that its section must have
    predictor: type[PropertyModel] | None = None  # loads the fitted model, if it takes coordinates
    seeded: bool = True  # whether the seed changes the fit
    of_random: tuple[str, ...] = ()  # settings of a network without ``weights``


def molae(job: Job) -> Fitted:
    """Fine-tunes Mol-AE from the weights that the settings name."""
    settings = job.settings
    L.seed_everything(job.seed, verbose=False)
    pretrained = settings.get("pretrained", True)
    return fine_tune(load_encoder(settings["weights"], settings.get("encoder"), pretrained), job)


def transformer_m(job: Job) -> Fitted:
    """Fine-tunes Transformer-M, which sees conformers and graphs of the molecules."""
    settings = job.settings
    L.seed_everything(job.seed, verbose=False)
    encoder = load_encoder(settings["weights"], None, settings.get("pretrained", True))
    place = Graphs(True, job.dataset.recipe).atom_map_of
    molecules = list(job.dataset)
    for molecule in molecules:
        molecule.atom_map = place(molecule.smiles)
        add_ogb_graph(molecule)
    return fine_tune(encoder, job, molecules)


def fine_tune(encoder: MolAEEncoder, job: Job, molecules: Sequence[Data] | None = None) -> Fitted:
    """Trains an encoder with a new head, whose random weights follow the current seed.

    ``molecules`` are those of the data set with more fields; default: the data set.
    """
    dataset, head = job.dataset, job.settings["head"]
    tasks = {"task_names": dataset.task_names, "task_type": dataset.task_types}
    model = MolAEPredictor(encoder, dataset.num_tasks, **tasks, **head)
    return train(model, dataset if molecules is None else molecules, job)


_TRAINED = {"training": Finetuning, "scale": None}
_GIN = ["hidden_channels", "num_layers", "dropout"]
_ATTENTIVE_FP = arguments(AttentiveFP, "in_channels", "out_channels", "edge_dim")
_SCHNET = {"model": arguments(SchNet, "interaction_graph"), **_TRAINED}
#: ``pretrained: false``: new random weights in the size of ``weights``, which is the same row
#: without its pre-training.
_OF_WEIGHTS = {"weights": None, "pretrained": None, **_TRAINED}
_ENCODER = {"encoder": arguments(MolAEEncoder), "head": HEAD, **_OF_WEIGHTS}
_MOLAE = Model(molae, _ENCODER, ("weights", "head", "training"), MolAEPredictor)
_TRANSFORMER_M = Model(transformer_m, {"head": HEAD, **_OF_WEIGHTS}, ("weights", "head"))
_FROZEN = Model(
    probe.frozen_ridge, ["weights", "readout", "descriptors"], ("weights",), seeded=False
)
_NEEDED = ("model", "training")
_EDGE_GIN = Model(
    gin_predictor.edge_gin,
    {"model": EdgeGIN, "dropout": None, "head": None, **_OF_WEIGHTS},
    ("weights", "training"),
    of_random=("model", "head"),
)
_GROVER = Model(
    graph_heads.grover,
    {"model": arguments(GroverEncoder), **_OF_WEIGHTS},
    ("weights", "training"),
    of_random=("model",),
)
_MOLE_BLEND = Model(
    graph_heads.mole_blend,
    {"model": arguments(TransformerMEncoder), **_OF_WEIGHTS},
    ("weights", "training"),
    of_random=("model",),
)
#: Rows of systems that ``molae pretrain`` trains. Each has another row, ``<name>-random``.
_SYSTEMS = {
    "mol-ae": _MOLAE,
    "uni-mol": _MOLAE,
    "uni-mol-pe": _MOLAE,
    "transformer-m": _TRANSFORMER_M,
    "pretrain-gnn": _EDGE_GIN,
    "pretrain-gnn-masking": _EDGE_GIN,
    "mol-clr": _EDGE_GIN,
    "graph-mvp": _EDGE_GIN,
    "graph-mvp-g": _EDGE_GIN,
    "graph-mvp-c": _EDGE_GIN,
    "grover-small": _GROVER,
    "mole-blend": _MOLE_BLEND,
}
_N_GRAM = arguments(n_gram.train_embedding, "graphs", "seed")

#: All models by name. Another name is that of weights, which ``molae`` fits.
MODELS: dict[str, Model] = {
    "mean": Model(forest.mean, [], seeded=False),
    "ecfp-forest": Model(forest.ecfp_forest, ["num_trees", "counts", "with_maccs"]),
    "attentivefp": Model(graphs.attentive_fp, {"model": _ATTENTIVE_FP, **_TRAINED}, _NEEDED),
    "gin": Model(graphs.gin, {"model": _GIN, **_TRAINED}, _NEEDED),
    "edge-gin": _EDGE_GIN,
    **_SYSTEMS,
    **{f"{name}-random": model for name, model in _SYSTEMS.items()},
    "dmpnn": Model(chemprop.dmpnn, "*"),  # chemprop checks its settings
    "schnet": Model(schnet.schnet, _SCHNET, _NEEDED, schnet.SchNetPredictor),
    "descriptors-linear": Model(probe.descriptors_linear, [], seeded=False),
    "forest-both": Model(forest.forest_both, ["num_trees"]),
    "n-gram-rf": Model(n_gram.n_gram_forest, ["num_trees", *_N_GRAM]),
    "frozen-ridge": _FROZEN,
    "frozen-small": _FROZEN,
    "frozen-graph": _FROZEN,
    "frozen-small-descriptors": _FROZEN,
    "frozen-graph-descriptors": _FROZEN,
    "frozen-forest": Model(probe.frozen_forest, ["weights", "num_trees"], ("weights",)),
    "molae-random": _MOLAE,
    "molae-small": _MOLAE,
    "molae-graph": _MOLAE,
    "molae-graph-forest": Model(blend, ["of"], ("of",)),
    "molae": _MOLAE,
}


def timed_fit(identity: Mapping[str, Any], job: Job) -> tuple[Fitted, float]:
    """Fits a model; also returns the seconds, with those of interrupted calls.

    If no seed changes the fit, the seeds of a split share one, and its seconds.

    Args:
        identity: ``fit``, a name of :data:`MODELS`, and ``weights_sha256``, the checksum of the
            weights, None without any or with random ones.
        job: Model, data set and split.
    """
    name, settings = identity["fit"], job.settings
    if MODELS[name].seeded or settings.get("weights") == "random":  # these follow the seed, too
        return _timed(MODELS[name], job)
    rows = (part.astype(np.int64).tobytes() for part in job.split)
    checksum = identity["weights_sha256"]
    return _fit_once(name, job.dataset, json.dumps(settings), checksum, *rows)


@lru_cache(maxsize=1)
def _fit_once(
    name: str, dataset: MoleculeTable, settings: str, checksum: str | None, *rows: bytes
) -> tuple[Fitted, float]:
    """The checksum is a key too, as the file of the weights can change."""
    split = Split(*(np.frombuffer(part, np.int64) for part in rows))
    return _timed(MODELS[name], Job(dataset, split, json.loads(settings), 0, Path()))


def _timed(model: Model, job: Job) -> tuple[Fitted, float]:
    start = time.perf_counter()
    fitted = model.fit(job)
    return fitted, round(time.perf_counter() - start + fitted.earlier, 1)


def fit_of(model: str) -> str:
    """Returns the name in :data:`MODELS` of what fits a model; ``molae`` fits given weights."""
    return model if model in MODELS else "molae"


def name_of(model: str) -> str:
    """Returns the name of a model in results; weights are named after their whole path."""
    if model in MODELS:
        return model
    name = "-".join(Path(model).with_suffix("").parts).strip("/-.")
    return f"weights-{name}" if name in MODELS else name


def distinct_models(models: Iterable[str]) -> list[str]:
    """Returns the models without repetitions.

    Raises:
        ValueError: If two models have the same name in results.
    """
    found: dict[str, str] = {}
    for model in models:
        other = found.setdefault(name_of(model), model)
        if other != model:
            raise ValueError(f"{model} and {other} are both called {name_of(model)} in results")
    return list(found.values())


def model_settings(config: dict[str, Any], model: str, dataset: str) -> dict[str, Any]:
    """Returns the settings of a model on a data set.

    Raises:
        ValueError: If the model is neither a name in the settings nor a path of weights.
    """
    sections = config["models"]
    if model in sections:
        section = copy.deepcopy(sections[model])
    elif Path(model).exists() and "molae" in sections:
        section = copy.deepcopy(sections["molae"]) | {"weights": model}
    else:
        raise ValueError(f"no model {model!r}: give one of {list(sections)} or a path of weights")
    settings = merged(section, section.pop("datasets", {}).get(dataset, {}))
    where = f"the section of {model} in the settings"
    check(settings, "*", where, needed=MODELS[fit_of(model)].needed)
    return settings


def check_model(model: str, section: dict[str, Any], where: str) -> None:
    """Raises ValueError if settings of a model, without its ``datasets``, are wrong."""
    check(section, MODELS[model].known, where)
    if section.get("scale") not in (None, "all"):
        raise ValueError(f"{where}.scale must be all or left out, got {section['scale']!r}")
    unused = [name for name in MODELS[model].of_random if name in section]
    if unused and section.get("weights", "random") != "random":
        raise ValueError(
            f"{where}.{unused[0]} is not used: the weights {section['weights']!r} have their own"
        )


def check_comparison(
    config: dict[str, Any], path: str | Path, sections: Iterable[str] = (), extra: str = ""
) -> None:
    """Checks ``default``, ``data`` and ``models`` of the settings of a comparison.

    Args:
        config: The settings.
        path: File of the settings, for messages.
        sections: More sections of the file, which are not checked. (default: none)
        extra: Another setting that a model may have. (default: none)

    Raises:
        ValueError: If a name is unknown or missing, or a value cannot be used.
    """
    known = {"default": None, "data": TABLE, "models": dict.fromkeys(MODELS, "*")}
    check(config, known | dict.fromkeys(sections), path, ("data", "models"))
    unknown = [name for name in config.get("default", []) if name not in config["models"]]
    if unknown:
        raise ValueError(f"{path}: default names {', '.join(unknown)}, which models does not have")
    for model, section in config["models"].items():
        where = f"{path}: models.{model}"
        lines = section.get("datasets", {})
        check(lines, dict.fromkeys(lines or (), "*"), f"{where}.datasets")
        whole = {key: value for key, value in section.items() if key not in ("datasets", extra)}
        check_model(model, whole, where)
        for dataset, line in lines.items():
            line = {key: value for key, value in line.items() if key != extra}
            check_model(model, merged(whole, line), f"{where}.datasets.{dataset}")
