"""The systems that are pre-trained: the model, the objective and the settings of each."""

import json
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any, Literal, NamedTuple, get_args, get_origin, get_type_hints

import lightning as L
import numpy as np
from lightning.pytorch.utilities import rank_zero_only
from torch import nn
from torch_geometric.transforms import BaseTransform, Compose
from tqdm.auto import tqdm

from molae_pyg.baselines.graph_mvp import GraphMVP, graph_mvp_objective
from molae_pyg.baselines.grover import Grover, grover_objective
from molae_pyg.baselines.mol_clr import MolCLR, mol_clr_objective
from molae_pyg.baselines.pretrain_gnn import (
    AttributeMasking,
    ContextPrediction,
    attribute_objective,
    context_objective,
)
from molae_pyg.chem.grover_graph import ChooseWords, GroverGraphs, Vocabulary
from molae_pyg.chem.hu_graph import HuGraphs
from molae_pyg.chem.ogb_graph import OgbGraphs
from molae_pyg.durable import write_durably
from molae_pyg.evaluation.config import arguments, check, config_path, merged, read_yaml
from molae_pyg.models import AblatedMolAE, ChemistryMolAE, MolAE, MoleBlend, TransformerM, UniMol
from molae_pyg.nn.arguments import size
from molae_pyg.store import ConformerStore, prepare
from molae_pyg.training import (
    ChemistryTargets,
    Pretraining,
    chemistry_objective,
    cloze_objective,
    mole_blend_objective,
    transformer_m_objective,
    uni_mol_objective,
)
from molae_pyg.training.data import parts_of
from molae_pyg.training.objectives import Objective
from molae_pyg.training.settings import check_choice, check_number
from molae_pyg.transforms import (
    BlendChannels,
    ClozeDrop,
    ConnectedPart,
    ContextRoot,
    CoordinateNoise,
    DenoiseAtoms,
    GraphViews,
    MaskAtoms,
)

#: Shipped settings of all objectives but ``cloze``, by objective; ``all``: what they share.
SETTINGS = "pretrain_objectives"
WORDS = "vocabulary.json"
_CHUNK = 1000  # molecules whose SMILES are read at once


class System(NamedTuple):
    """A model and how it is pre-trained."""

    model: type[nn.Module]
    objective: Objective
    transform: type[BaseTransform]
    settings: dict[str, Any]  #: Arguments of the model that the name of the system sets.
    before: tuple[Callable[[], BaseTransform], ...] = ()  #: Transforms before ``transform``.


#: Names of ``objective`` in the settings. With a section ``noise`` in place of ``cloze``, Mol-AE
#: receives masked and moved atoms, which an ablation with ``drop: false`` shows to its encoder.
SYSTEMS = {
    "cloze": System(AblatedMolAE, cloze_objective, ClozeDrop, {}),
    "chemistry": System(ChemistryMolAE, chemistry_objective, ChemistryTargets, {}),
    "uni-mol": System(UniMol, uni_mol_objective, CoordinateNoise, {"position": False}),
    "uni-mol-pe": System(UniMol, uni_mol_objective, CoordinateNoise, {"position": True}),
    "transformer-m": System(TransformerM, transformer_m_objective, DenoiseAtoms, {}, (OgbGraphs,)),
    "mole-blend": System(MoleBlend, mole_blend_objective, BlendChannels, {}, (OgbGraphs,)),
    "pretrain-gnn": System(ContextPrediction, context_objective, ContextRoot, {}, (HuGraphs,)),
    "pretrain-gnn-masking": System(
        AttributeMasking, attribute_objective, MaskAtoms, {}, (HuGraphs,)
    ),
    "mol-clr": System(MolCLR, mol_clr_objective, GraphViews, {}, (HuGraphs,)),
    "graph-mvp": System(GraphMVP, graph_mvp_objective, ConnectedPart, {"task": None}, (HuGraphs,)),
    "graph-mvp-g": System(
        GraphMVP,
        partial(graph_mvp_objective, temperature=0.05),
        ConnectedPart,
        {"task": "attribute"},
        (HuGraphs, MaskAtoms),
    ),
    "graph-mvp-c": System(
        GraphMVP,
        partial(graph_mvp_objective, task_weight=0.1),
        ConnectedPart,
        {"task": "context"},
        (HuGraphs, ContextRoot),
    ),
    # Its vocabulary, which the molecules give, sets both numbers: see with_vocabulary.
    "grover": System(Grover, grover_objective, ChooseWords, {"atom_classes": 2, "bond_classes": 2}),
}


class Assembled(NamedTuple):
    """What :func:`~molae_pyg.training.pretrain` takes, besides molecules and settings."""

    model: nn.Module
    objective: Objective
    transform: BaseTransform


def read_settings(config: str | Path | None, objective: str | None = None) -> dict[str, Any]:
    """Reads and checks the settings of a pre-training.

    Args:
        config: Name of shipped settings, or path of a YAML file; default: the shipped ones of the
            objective (of ``cloze``: the published ones, ``pretrain.yaml``).
        objective: A name of :data:`SYSTEMS`; default: the key ``objective`` of the file, or
            ``cloze``.

    Raises:
        ValueError: The file has another objective, a key is unknown or missing, or a value cannot
            be used.
    """
    if config is None and objective not in (None, "cloze"):
        path = config_path(SETTINGS)
        sections = read_yaml(path)
        found = merged(sections["all"], sections[objective])
    else:
        path = config_path(config or "pretrain")
        found = read_yaml(path)
    name = found.setdefault("objective", objective or "cloze")
    if objective not in (None, name):
        raise ValueError(f"{path} has the objective {name!r}, but {objective!r} is asked for")
    if name not in SYSTEMS:
        raise ValueError(f"{path}: objective must be one of {', '.join(SYSTEMS)}, not {name!r}")
    system = SYSTEMS[name]
    own = {"cloze": ClozeDrop, "noise": CoordinateNoise}
    known = {
        "objective": None,
        "data": arguments(prepare, "source", "store"),
        "model": arguments(system.model, *system.settings),
        "training": Pretraining,
        "loss": arguments(system.objective, "model", "batch"),
        **(own if name == "cloze" else {"noise": system.transform}),
    }
    if {"cloze", "noise"} <= found.keys():
        raise ValueError(f"{path} has both cloze and noise: atoms are dropped, or moved")
    check(found, known, path, needed=("data", "model", "training"))
    drops = (found["model"].get("ablation") or {}).get("drop", True)
    if name == "cloze" and "noise" in found and drops:
        raise ValueError(f"{path}: noise needs model: {{ablation: {{drop: false}}}}")
    _check_loss(system.objective, found.get("loss", {}), f"{path}: loss")
    try:  # now, not after the conformers
        build_model(found["model"], None, system)
    except (ValueError, TypeError) as error:
        raise ValueError(f"{path}: model: {error}") from None
    return found


def _check_loss(objective: Objective, settings: dict[str, Any], where: str) -> None:
    """Raises ValueError if a setting of an objective has not the type of its argument."""
    types = get_type_hints(getattr(objective, "func", objective))
    for argument, value in settings.items():
        name = f"{where}.{argument}"
        if get_origin(types[argument]) is Literal:
            check_choice(name, value, get_args(types[argument]))
        elif types[argument] is int:
            size(name, value)
        elif argument == "temperature":  # a divisor
            check_number(name, value, above=0)
        else:
            check_number(name, value, at_least=0)


def assemble(
    config: dict[str, Any],
    train: ConformerStore,
    folder: str | Path,
    weights: str | None = None,
    seed: int = 0,
) -> Assembled:
    """Returns model, objective and transform of a pre-training.

    Args:
        config: The settings.
        train: Molecules to train on, whose words are the vocabulary of ``grover``.
        folder: Folder of the run, which gets that vocabulary, ``vocabulary.json``.
        weights: Folder of a model to train further; default: random weights.
        seed: Seed of the random weights.

    Raises:
        ValueError: The weights are those of another objective, or lack their vocabulary.
    """
    system = SYSTEMS[config.get("objective", "cloze")]
    if system.model is Grover:
        system = with_vocabulary(system, train, Path(folder), weights)
    L.seed_everything(seed, verbose=False)
    model = build_model(config["model"], weights, system)
    for name, found in differing(system, model.config).items():
        asked, needed = config.get("objective", "cloze"), system.settings[name]
        raise ValueError(f"{weights} has {name}={found!r}, but {asked} needs {needed!r}")
    objective = system.objective
    if config.get("loss"):
        objective = partial(objective, **config["loss"])
    transform = make_transform(config, system)
    for part in parts_of(transform):
        if isinstance(part, ContextRoot):
            part.farthest = max(part.farthest, context_of(model).farthest)
    return Assembled(model, objective, transform)


def differing(system: System, config: dict[str, Any]) -> dict[str, Any]:
    """Returns the arguments of a saved model that are not those which a system sets."""
    return {k: config.get(k) for k, value in system.settings.items() if config.get(k) != value}


def context_of(model: nn.Module) -> ContextPrediction:
    """Returns the context prediction of a model that has it, such as GraphMVP-C."""
    return model if isinstance(model, ContextPrediction) else model.graph


def build_model(
    settings: dict[str, Any], weights: str | None, system: System = SYSTEMS["cloze"]
) -> nn.Module:
    """Returns the model of the weights, or a new one of the settings.

    Settings that differ from those of the weights are named, as they are not used.
    """
    cls = MolAE if system.model is AblatedMolAE and "ablation" not in settings else system.model
    if not weights:
        return cls(**settings, **system.settings)
    model = cls.from_pretrained(weights)
    for name, value in settings.items():
        if (found := model.config.get(name)) != value and name != "ablation":
            print(f"model.{name}: {value!r} is not used: the weights have {found!r}")
    return model


def make_transform(config: dict[str, Any], system: System) -> BaseTransform:
    """Returns the transform of the section ``noise``, or that of ``cloze``."""
    if "noise" in config or system.transform is not ClozeDrop:
        cls = CoordinateNoise if system.transform is ClozeDrop else system.transform
        transform = cls(**config.get("noise", {}))
        before = [part() for part in system.before if getattr(transform, "shows_graphs", True)]
        return Compose([*before, transform]) if before else transform
    return ClozeDrop(**config.get("cloze", {}))


def with_vocabulary(
    system: System, train: ConformerStore, folder: Path, weights: str | None = None
) -> System:
    """Returns GROVER with the vocabulary of a run, which is made of its molecules if absent.

    A model that is trained further keeps the vocabulary of its own run, also in the new folder.

    Raises:
        ValueError: The run of the weights has no vocabulary.
    """
    path = (Path(weights).parent if weights else folder) / WORDS
    molecules = train.digest()
    found = json.loads(path.read_text()) if path.is_file() else {}
    if weights and not found:
        raise ValueError(f"{path} is missing: give the folder `model` of a pre-training of GROVER")
    if weights or found.get("molecules") == molecules:
        vocabulary = Vocabulary(found["atoms"], found["bonds"])
    else:
        vocabulary = Vocabulary.of(_smiles_of(train))
        if min(vocabulary.sizes) == 2:
            print("no word of an atom or a bond occurs three times: words are not learned")
        found = {"molecules": molecules, **vocabulary._asdict()}
    # A folder with another run, which an error will name, keeps its file.
    if not (folder / "run.json").is_file() and rank_zero_only.rank == 0:
        folder.mkdir(parents=True, exist_ok=True)
        write_durably(folder / WORDS, json.dumps(found).encode())
    classes = dict(zip(system.settings, vocabulary.sizes, strict=True))
    return system._replace(settings=classes, before=(partial(GroverGraphs, vocabulary),))


def _smiles_of(store: ConformerStore) -> Iterator[str]:
    with tqdm(total=len(store), desc="vocabulary", unit="mol", delay=1.0, disable=None) as bar:
        for start in range(0, len(store), _CHUNK):
            rows = np.arange(start, min(start + _CHUNK, len(store)))
            yield from store.gather(rows, smiles=True).smiles
            bar.update(len(rows))
