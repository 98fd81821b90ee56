"""The weights of rows of comparisons: what trains them, and whether those at hand are of a row."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from molae_pyg.checkpoint import CONFIG, saved_class, saved_config
from molae_pyg.evaluation.systems import SYSTEMS, differing
from molae_pyg.model_files import as_repository, local_folder

#: Names of rows that are not those of their objectives.
_NAMES = {"cloze": "mol-ae", "grover": "grover-small"}
#: The objective of ``molae pretrain`` that trains a row; ``chemistry`` has none.
OBJECTIVES = {_NAMES.get(name, name): name for name in SYSTEMS if name != "chemistry"}
#: Other classes whose weights a row takes.
_ALSO = {
    "mol-ae": ("MolAE", "ReferenceMolAE", "MolAEEncoder"),
    "grover-small": ("GroverEncoder",),
    "transformer-m": ("TransformerMEncoder",),
}
#: Rows that read official files; those of the others are read by ``from_official``.
_OFFICIAL = {
    "mol-ae": ".pt", "uni-mol": ".pt", "pretrain-gnn": ".pth", "pretrain-gnn-masking": ".pth",
    "mol-clr": ".pth", "graph-mvp": ".pth", "graph-mvp-g": ".pth", "graph-mvp-c": ".pth",
}  # fmt: skip


def check_weights(model: str, settings: Mapping[str, Any]) -> None:
    """Checks the weights that the settings of a model name.

    Raises:
        ValueError: There are none, or a row would take those of another system.
    """
    weights = settings.get("weights", "random")
    row = model.removesuffix("-random")
    if row in OBJECTIVES and weights != "random":
        _check_row(row, weights)
    is_there = weights == "random" or Path(weights).exists() or local_folder(weights)
    if is_there or as_repository(weights):
        return
    message = f"{model}: there are no weights {weights!r}; name others in the settings"
    if row in OBJECTIVES:
        command = f"molae pretrain MOLECULES {Path(weights).parent}"
        message += f", or train them: {command} --objective {OBJECTIVES[row]}"
    raise ValueError(message)


def _check_row(row: str, weights: str) -> None:
    path = Path(weights)
    if path.is_file() and path.suffix != _OFFICIAL.get(row):
        raise ValueError(
            f"{row} reads no {path.suffix} file: read an official file by from_official and save "
            "it by save_pretrained"
        )
    if not (path / CONFIG).is_file():
        return
    system, name, config = SYSTEMS[OBJECTIVES[row]], saved_class(path), saved_config(path)
    known = (system.model.__name__, *_ALSO.get(row, ()))
    # The settings of GROVER are the sizes of a vocabulary.
    others = {} if row == "grover-small" else differing(system, config)
    if name not in known or others:
        shown = ", ".join(f"{key}={config[key]!r}" for key in system.settings if key in config)
        raise ValueError(
            f"{weights} holds a {name}({shown}), not what --objective {OBJECTIVES[row]} trains for "
            f"the row {row}"
        )
