"""The models that are compared: names, how each is fitted, and what its settings are."""

import copy
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, NamedTuple

import lightning as L
from torch_geometric.nn import AttentiveFP, SchNet

from molae_pyg.baselines import chemprop, forest, graphs, probe, schnet
from molae_pyg.baselines.job import Fitted, Job, load_encoder, train
from molae_pyg.datasets.table import TableSettings
from molae_pyg.evaluation.config import (
    arguments,
    check_keys,
    check_sections,
    check_values,
    merged,
    need_keys,
)
from molae_pyg.models import MolAEEncoder, MolAEPredictor, PropertyModel
from molae_pyg.training import Finetuning

#: Keys of ``data``, ``head`` and ``training``.
TABLE = [name for name in TableSettings.__annotations__ if name != "transform"]
HEAD = arguments(MolAEPredictor, "encoder", "num_tasks", "task_names", "task_type", "recipe")
TRAINING = arguments(Finetuning)


class Model(NamedTuple):
    """A model that settings can name."""

    #: Fits the model and predicts.
    fit: Callable[[Job], Fitted]
    #: Known keys of its section, each with the keys inside, or None if it is a value. None: any
    #: key is passed on to a program that checks it.
    keys: dict[str, list[str] | None] | None
    #: Keys that its section must have.
    needed: tuple[str, ...] = ()
    #: Class that loads the fitted model, if it predicts from coordinates.
    predictor: type[PropertyModel] | None = None


def molae(job: Job) -> Fitted:
    """Fine-tunes Mol-AE from the weights that the settings name."""
    settings = job.settings
    L.seed_everything(job.seed, verbose=False)
    return fine_tune(load_encoder(settings["weights"], settings.get("encoder", {})), job)


def fine_tune(encoder: MolAEEncoder, job: Job) -> Fitted:
    """Trains an encoder with a new head, whose random weights follow the current seed."""
    dataset, head = job.dataset, job.settings["head"]
    tasks = {"task_names": dataset.task_names, "task_type": dataset.task_types}
    return train(MolAEPredictor(encoder, dataset.num_tasks, **tasks, **head), dataset, job)


_NETWORK = {"training": TRAINING, "scale": None}
_GIN = ["hidden_channels", "num_layers", "dropout"]
_ATTENTIVE_FP = arguments(AttentiveFP, "in_channels", "out_channels", "edge_dim")
_SCHNET = {"model": arguments(SchNet, "interaction_graph"), **_NETWORK}
_FOREST = dict.fromkeys(["num_trees", "counts", "with_maccs"])
_MOLAE = Model(
    molae,
    {"weights": None, "encoder": arguments(MolAEEncoder), "head": HEAD, **_NETWORK},
    ("weights", "head", "training"),
    MolAEPredictor,
)
_TRAINED = ("model", "training")

#: All models by name. Another name is that of weights, which ``molae`` fits.
MODELS: dict[str, Model] = {
    "mean": Model(forest.mean, {}),
    "ecfp-forest": Model(forest.ecfp_forest, _FOREST),
    "attentivefp": Model(graphs.attentive_fp, {"model": _ATTENTIVE_FP, **_NETWORK}, _TRAINED),
    "gin": Model(graphs.gin, {"model": _GIN, **_NETWORK}, _TRAINED),
    "dmpnn": Model(chemprop.dmpnn, None),
    "schnet": Model(schnet.schnet, _SCHNET, _TRAINED, schnet.SchNetPredictor),
    "frozen-ridge": Model(probe.frozen_ridge, {"weights": None}, ("weights",)),
    "frozen-forest": Model(probe.frozen_forest, {"weights": None, "num_trees": None}, ("weights",)),
    "molae-random": _MOLAE,
    "molae-small": _MOLAE,
    "molae": _MOLAE,
}


def timed_fit(name: str, job: Job) -> tuple[Fitted, float]:
    """Fits a model of :data:`MODELS`; also returns the seconds, with those of interrupted calls."""
    start = time.perf_counter()
    fitted = MODELS[name].fit(job)
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
    needed = MODELS[fit_of(model)].needed
    need_keys(settings, needed, f"the section of {model} in the settings")
    return settings


def check_model(model: str, section: dict[str, Any], where: str, extra: Iterable[str] = ()) -> None:
    """Checks the section of a model, without its ``datasets``.

    Raises:
        ValueError: If a key is unknown or a value of ``training`` cannot be used.
    """
    keys = MODELS[model].keys
    if keys is None:
        check_keys(section, None, where)
        return
    check_sections(section, where, keys | dict.fromkeys(extra), optional=(*keys, *extra))
    if section.get("scale") not in (None, "all"):
        raise ValueError(f"{where}.scale must be all or left out, got {section['scale']!r}")
    if "training" in section:
        check_training(section["training"], f"{where}.training")


def check_training(section: dict[str, Any], where: str) -> None:
    """Raises ValueError if fine-tuning cannot use the settings of a section."""
    check_keys(section, TRAINING, where)
    check_values(Finetuning, section, where)


def check_comparison(config: dict[str, Any], path: str | Path, extra: Iterable[str] = ()) -> None:
    """Checks ``default``, ``data`` and ``models`` of the settings of a comparison.

    Args:
        config: The settings.
        path: File of the settings, for messages.
        extra: More keys that the section of a model may have. (default: none)

    Raises:
        ValueError: If a key or model is unknown or missing, or a value cannot be used.
    """
    need_keys(config, ("data", "models"), str(path))
    check_keys(config["data"], TABLE, f"{path}: data")
    check_keys(config["models"], MODELS, f"{path}: models")
    unknown = [name for name in config.get("default", []) if name not in config["models"]]
    if unknown:
        raise ValueError(f"{path}: default names {', '.join(unknown)}, which models does not have")
    for model, section in config["models"].items():
        where = f"{path}: models.{model}"
        check_keys(section, None, where)
        lines = section.get("datasets", {})
        check_keys(lines, None, f"{where}.datasets")
        whole = {key: value for key, value in section.items() if key != "datasets"}
        check_model(model, whole, where, extra)
        for dataset, line in lines.items():
            place = f"{where}.datasets.{dataset}"
            check_keys(line, None, place)
            check_model(model, merged(whole, line), place, extra)


def check_finetuning(
    config: dict[str, Any], path: str | Path, sections: dict[str, Iterable[str] | None]
) -> None:
    """Checks settings with one ``head`` and one ``training``, and further sections.

    Raises:
        ValueError: If a key is unknown or missing, or a value of ``training`` cannot be used.
    """
    check_sections(config, path, {**sections, "head": HEAD, "training": TRAINING})
    check_training(config["training"], f"{path}: training")
