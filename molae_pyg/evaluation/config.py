"""Settings in YAML files: read with clear errors, and checked key by key before any work."""

import copy
import inspect
import re
from collections.abc import Callable, Collection, Iterable
from dataclasses import fields
from pathlib import Path
from typing import Any

import yaml
from torch_geometric.nn import AttentiveFP, SchNet

from molae_pyg.datasets import MoleculeNet, PCQM4Mv2, prepare
from molae_pyg.models import AblatedMolAE, MolAEEncoder, MolAEPredictor
from molae_pyg.training import Finetuning, Pretraining
from molae_pyg.transforms import ClozeDrop

CONFIGS = Path(__file__).parent / "configs"


class _Loader(yaml.SafeLoader):
    """YAML as people write it: 1e-4 is a number, and a key that is given twice is an error."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict:
        seen = set()
        for key, _ in node.value:
            if key.value in seen and key.tag != "tag:yaml.org,2002:merge":
                raise yaml.constructor.ConstructorError(
                    None, None, f"the key {key.value!r} is given twice", key.start_mark
                )
            seen.add(key.value)
        return super().construct_mapping(node, deep)


_NUMBER = r"^[-+]?(?:[0-9][0-9_]*)(?:\.[0-9_]*)?[eE][-+]?[0-9]+$"  # YAML 1.1 asks for a point
_Loader.add_implicit_resolver("tag:yaml.org,2002:float", re.compile(_NUMBER), list("+-0123456789"))


def read_yaml(path: str | Path) -> dict[str, Any]:
    """Returns the settings of a YAML file.

    Raises:
        SystemExit: If it cannot be read or holds no settings; the message names file and line.
    """
    try:
        with open(path, encoding="utf-8") as file:
            found = yaml.load(file, _Loader)  # a SafeLoader
    except OSError as error:
        raise SystemExit(f"{path} cannot be read: {error.strerror}") from None
    except UnicodeDecodeError as error:
        raise SystemExit(f"{path} is not UTF-8 text ({error}): save it as UTF-8") from None
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        where = "" if mark is None else f", line {mark.line + 1}, column {mark.column + 1}"
        problem = getattr(error, "problem", None) or " ".join(str(error).split())
        raise SystemExit(f"{path}{where}: {problem}") from None
    if not isinstance(found, dict):
        raise SystemExit(f"{path} holds no settings: expected lines such as `data: ...`")
    return found


def merged(settings: dict[str, Any], changes: dict[str, Any]) -> dict[str, Any]:
    """Settings with those of the same names changed, section by section."""
    out = dict(settings)
    for key, value in changes.items():
        inner = out.get(key)
        if isinstance(value, dict) and isinstance(inner, dict):
            out[key] = merged(inner, value)
        else:
            out[key] = copy.deepcopy(value)
    return out


def arguments(function: Callable[..., Any], *left_out: str) -> list[str]:
    """The names of the arguments of a function or class, but for some."""
    return [name for name in inspect.signature(function).parameters if name not in left_out]


def names_of(settings: type) -> list[str]:
    """The names of the fields of a data class."""
    return [field.name for field in fields(settings)]


def check_keys(found: Any, known: Collection[str], where: str) -> None:
    """Compares the keys of a section with those that have a meaning.

    Raises:
        SystemExit: If the section is none, or has an unknown key; the message names the known ones.
    """
    if not isinstance(found, dict):
        raise SystemExit(f"{where} must hold settings by name, got {found!r}")
    if unknown := [str(key) for key in found if key not in known]:
        keys = "key" if len(unknown) == 1 else "keys"
        raise SystemExit(
            f"unknown {keys} {', '.join(unknown)} in {where}; known are: {', '.join(known)}"
        )


def need_keys(found: dict[str, Any], needed: Iterable[str], where: str) -> None:
    """Raises SystemExit if a section lacks a key."""
    if missing := [key for key in needed if key not in found]:
        raise SystemExit(f"{where} has no {' and no '.join(missing)}")


TABLE = arguments(MoleculeNet, "root", "name", "transform")  # of `data` where labels are
HEAD = arguments(MolAEPredictor, "encoder", "num_tasks", "task_names", "task_type", "recipe")
TRAINING = names_of(Finetuning)
FOREST = ["num_trees", "counts", "with_maccs"]
MOLAE = ("molae-random", "molae-small", "molae")
_MOLAE = {
    "weights": None,
    "encoder": arguments(MolAEEncoder),
    "head": HEAD,
    "training": TRAINING,
    "scale": None,
}
_ATTENTIVE = arguments(AttentiveFP, "in_channels", "out_channels", "edge_dim")

#: By model: its keys; each with the keys inside, or None if it holds a value.
SECTIONS: dict[str, dict[str, list[str] | None]] = {
    "mean": {},
    "ecfp-forest": dict.fromkeys(FOREST),
    "frozen-ridge": {"weights": None},
    "frozen-forest": {"weights": None, "num_trees": None},
    "attentivefp": {"model": _ATTENTIVE, "training": TRAINING, "scale": None},
    "gin": {
        "model": ["hidden_channels", "num_layers", "dropout"],
        "training": TRAINING,
        "scale": None,
    },
    "schnet": {
        "model": arguments(SchNet, "interaction_graph"),
        "training": TRAINING,
        "scale": None,
    },
    **dict.fromkeys(MOLAE, _MOLAE),
}
#: `dmpnn` passes its keys on to chemprop, which refuses those that it does not know.
FREE = ("dmpnn",)
NEEDED = {
    **{name: ["weights"] for name in ("frozen-ridge", "frozen-forest")},
    **{name: ["model", "training"] for name in ("attentivefp", "gin", "schnet")},
    **{name: ["weights", "head", "training"] for name in MOLAE},
}


def check_model(model: str, section: dict[str, Any], where: str, extra: Iterable[str] = ()) -> None:
    """Checks the section of a model, without its ``datasets``.

    Raises:
        SystemExit: If it has an unknown key, or a value in ``training`` is not usable.
    """
    if model in FREE:
        if not isinstance(section, dict):
            raise SystemExit(f"{where} must hold settings by name, got {section!r}")
        return
    known = SECTIONS[model]
    check_keys(section, [*known, *extra], where)
    for key, inner in known.items():
        if inner is not None and key in section:
            check_keys(section[key], inner, f"{where}.{key}")
    if section.get("scale") not in (None, "all"):
        raise SystemExit(f"{where}.scale must be all or left out, got {section['scale']!r}")
    if "training" in section:
        check_training(section["training"], f"{where}.training")


def check_training(section: dict[str, Any], where: str) -> None:
    """Raises SystemExit if fine-tuning does not take these settings."""
    check_keys(section, TRAINING, where)
    try:
        Finetuning(**section)
    except (ValueError, TypeError) as error:
        raise SystemExit(f"{where}: {error}") from None


def check_comparison(config: dict[str, Any], path: str | Path, extra: Iterable[str] = ()) -> None:
    """Checks all settings of a comparison: ``default``, ``data`` and ``models``.

    Args:
        config: As read.
        path: Of the file, for messages.
        extra: Further keys of a model's section.

    Raises:
        SystemExit: If something is unknown or missing.
    """
    need_keys(config, ("data", "models"), str(path))
    check_keys(config["data"], TABLE, f"{path}: data")
    check_keys(config["models"], [*SECTIONS, *FREE], f"{path}: models")
    unknown = [name for name in config.get("default", []) if name not in config["models"]]
    if unknown:
        raise SystemExit(f"{path}: default names {', '.join(unknown)}, which models does not have")
    for model, section in config["models"].items():
        where = f"{path}: models.{model}"
        if not isinstance(section, dict):
            raise SystemExit(f"{where} must hold settings by name ({{}}: none), got {section!r}")
        lines = section.get("datasets", {})
        check_keys(lines, list(lines or ()), f"{where}.datasets")
        whole = {key: value for key, value in section.items() if key != "datasets"}
        check_model(model, whole, where, extra)
        for dataset, line in lines.items():
            place = f"{where}.datasets.{dataset}"
            check_keys(line, list(line or ()), place)
            check_model(model, merged(whole, line), place, extra)


def check_pretraining(config: dict[str, Any], path: str | Path) -> None:
    """Checks all settings of a pre-training run, see :func:`check_comparison`."""
    check_keys(config, ("data", "model", "cloze", "training"), str(path))
    need_keys(config, ("data", "model", "training"), str(path))
    check_keys(config["data"], arguments(prepare, "source", "store"), f"{path}: data")
    check_keys(config["model"], arguments(AblatedMolAE), f"{path}: model")
    check_keys(config.get("cloze", {}), arguments(ClozeDrop), f"{path}: cloze")
    check_keys(config["training"], names_of(Pretraining), f"{path}: training")
    for section, build in (("training", Pretraining), ("cloze", ClozeDrop)):
        try:
            build(**config.get(section, {}))
        except (ValueError, TypeError) as error:
            raise SystemExit(f"{path}: {section}: {error}") from None


def check_transfer(config: dict[str, Any], path: str | Path) -> None:
    """Checks all settings of transfer.py, see :func:`check_comparison`."""
    check_keys(config, ("data", "head", "training", "datasets"), str(path))
    need_keys(config, ("data", "head", "training", "datasets"), str(path))
    check_keys(config["data"], TABLE, f"{path}: data")
    check_keys(config["head"], HEAD, f"{path}: head")
    check_keys(config["datasets"], list(MoleculeNet.sources), f"{path}: datasets")
    check_training(config["training"], f"{path}: training")
    for name, line in config["datasets"].items():
        check_training(merged(config["training"], line), f"{path}: datasets.{name}")


def check_pcqm4m(config: dict[str, Any], path: str | Path) -> None:
    """Checks all settings of pcqm4m.py, see :func:`check_comparison`."""
    check_keys(config, ("data", "weights", "head", "training"), str(path))
    need_keys(config, ("data", "weights", "head", "training"), str(path))
    known = arguments(PCQM4Mv2, "root", "part", "transform")
    check_keys(config["data"], known, f"{path}: data")
    check_keys(config["head"], HEAD, f"{path}: head")
    check_training(config["training"], f"{path}: training")
