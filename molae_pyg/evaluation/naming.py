"""Which section of the settings a model has, what fits it, and what it is called in results."""

import copy
from pathlib import Path
from typing import Any

from molae_pyg.evaluation.config import NEEDED, merged, need_keys
from molae_pyg.evaluation.models import MODELS


def model_settings(config: dict[str, Any], model: str, dataset: str) -> dict[str, Any]:
    """The settings of a model, with what the data set changes of them.

    Raises:
        SystemExit: If the model is neither a name in the settings nor a path of weights.
    """
    sections = config["models"]
    if model in sections:
        section = copy.deepcopy(sections[model])
    elif Path(model).exists() and "molae" in sections:
        section = copy.deepcopy(sections["molae"]) | {"weights": model}
    else:
        raise SystemExit(f"no model {model!r}: give one of {list(sections)} or a path of weights")
    settings = merged(section, section.pop("datasets", {}).get(dataset, {}))
    need_keys(settings, NEEDED.get(fit_of(model), ()), f"the section of {model} in the settings")
    return settings


def fit_of(model: str) -> str:
    """The function of :data:`models.MODELS` that fits a model."""
    return model if model in MODELS else "molae"


def name_of(model: str) -> str:
    """What a model is called in results; weights by their whole path."""
    if model in MODELS:
        return model
    name = "-".join(Path(model).with_suffix("").parts).strip("/-.")
    return f"weights-{name}" if name in MODELS else name


def distinct_models(models: list[str]) -> list[str]:
    """The models, each once.

    Raises:
        SystemExit: If two of them have the same name in results.
    """
    found: dict[str, str] = {}
    for model in models:
        other = found.setdefault(name_of(model), model)
        if other != model:
            raise SystemExit(f"{model} and {other} are both called {name_of(model)} in results")
    return list(found.values())
