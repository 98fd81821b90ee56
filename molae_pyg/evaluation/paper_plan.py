"""The tables of the Mol-AE paper as rows: how the model of each is pre-trained and used."""

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any, NamedTuple

import yaml

from molae_pyg.baselines import chemprop
from molae_pyg.datasets import MoleculeNet
from molae_pyg.evaluation.config import arguments, check, config_path, merged, read_yaml
from molae_pyg.evaluation.protocols import PROTOCOLS
from molae_pyg.evaluation.row_weights import OBJECTIVES
from molae_pyg.evaluation.score_tables import PUBLISHED
from molae_pyg.evaluation.systems import SYSTEMS
from molae_pyg.models import Ablation, MolAE, TransformerM
from molae_pyg.store import prepare
from molae_pyg.training import Pretraining

SIZES = ("smoke", "small", "full")
#: Rows of tables 1 and 2 that are not pre-trained here, and the names of their models.
BASELINES = {"d-mpnn": "dmpnn", "attentive-fp": "attentivefp", "n-gram-rf": "n-gram-rf"}
#: Rows that are, and are fine-tuned by a model of their own, and its name.
COMPETITORS = {
    "pretrain-gnn": "pretrain-gnn",
    "grover": "grover-small",
    "graphmvp": "graph-mvp",
    "molclr": "mol-clr",
    "moleblend": "mole-blend",
}
#: Table -> section of the published figures.
SECTIONS = {
    "table1": "scores",
    "table2": "scores",
    "table3": "decoder_layers",
    "table4": "positional_encoding",
    "table5": "disruption",
    "table9": "downstream_part",
    "table10": "pe_layer",
    "fig-pe": "",  # of this one, figures are not known
}
#: Settings of a size, the keys of ``paper_<size>.yaml``.
KEYS = (
    *("seeds", "held_out", "protocol", "data", "comparison", "finetuning", "datasets"),
    *("store", "model", "transformer_m", "training", "depths", "layers", "noises", "probe"),
)


#: Transformer-M with its graph channel, which masked atoms train in place of labels.
_BOTH_CHANNELS = {
    "objective": "transformer-m",
    "model": {"tokens": True},
    "noise": {"modes": [0.2, 0.2, 0.6], "mask": 0.15},
}


class Row(NamedTuple):
    """A row of a table."""

    name: str  # as in published.yaml
    variant: str  # name of the pre-training, or of a model that is not pre-trained
    changes: dict[str, Any] = {}  # noqa: RUF012  (of the settings of Mol-AE's pre-training)
    full: bool = False  # whether the decoder is fine-tuned too
    model: str = "molae"  # whose settings fine-tuning has
    random: bool = False  # whether the model is fine-tuned from new random weights instead

    @property
    def fitted(self) -> str:
        """Name of what is fine-tuned."""
        return self.variant + "-full" * self.full + "-random" * self.random

    @property
    def is_pretrained(self) -> bool:
        """Whether there is a pre-training, whose size at least is used."""
        return self.model not in BASELINES.values()


def read_plan(size: str) -> dict[str, Any]:
    """Reads and checks the settings of a size, the file ``paper_<size>.yaml``.

    Raises:
        ValueError: If a key is unknown or missing, or a value cannot be used.
    """
    path = config_path(f"paper_{size}")
    plan = read_yaml(path)
    known = dict.fromkeys(KEYS) | {
        "protocol": None,
        "datasets": dict.fromkeys(("classification", "regression", "ablations")),
        "store": arguments(prepare, "source", "store"),
        "model": arguments(MolAE),
        "transformer_m": arguments(TransformerM),
        "training": Pretraining,
        "probe": Pretraining,
    }
    check(plan, known, path, needed=KEYS)
    systems = read_yaml("paper_systems")
    plan["names"], plan["systems"] = systems["names"], systems[size]
    for name, found in plan["systems"].items():
        system = SYSTEMS[name]
        known = {"model": arguments(system.model, *system.settings), "training": None}
        check(found, known, f"{config_path('paper_systems')}: {size}.{name}", ("model",))
        Pretraining(**merged(plan["training"], found.get("training", {})))
    known = [name for name in PROTOCOLS if name != "cv5x5"]  # a split for each seed
    if plan["protocol"] not in known:
        raise ValueError(f"{path}: protocol must be one of {', '.join(known)}")
    return plan


def pretraining_settings(plan: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """Returns the settings of a pre-training, as those of ``molae pretrain``.

    Args:
        plan: The settings of a size.
        changes: ``objective``, ``model`` and ``noise`` of a row.
    """
    name = changes.get("objective", "cloze")
    model = dict(plan["transformer_m"] if name == "transformer-m" else plan["model"])
    if name.startswith("uni-mol"):
        known = arguments(SYSTEMS[name].model)
        model = {key: value for key, value in model.items() if key in known}
    settings = {"objective": name, "data": plan["store"], "model": model}
    settings["training"] = plan["training"]
    if name in plan["systems"]:
        settings = merged(settings | {"model": {}}, plan["systems"][name])
    if name == "transformer-m":
        settings["noise"] = {"modes": [0, 0, 1]}  # without labels only these have a loss
    return merged(settings, dict(changes))


def rows_of(plan: Mapping[str, Any], table: str) -> tuple[list[Row], str, list[str]]:
    """Returns the rows of a table, the name of the row to compare with, and the missing rows."""
    if table == "fig-pe":
        rows = [Row(n, n, {"objective": n}) for n in ("uni-mol", "uni-mol-pe")]
        return rows, "uni-mol", []
    encoder = plan["model"].get("num_layers", 15)
    decoder = plan["model"].get("num_decoder_layers", 5)
    if table in ("table1", "table2"):
        rows = [Row(name, model, model=model) for name, model in BASELINES.items()]
        pretrained = [
            Row(name, model, {"objective": OBJECTIVES[model]}, model=model)
            for name, model in COMPETITORS.items()
        ]
        pretrained += [
            Row("transformer-m", "transformer-m-graph", _BOTH_CHANNELS, model="transformer-m"),
            Row("uni-mol", "uni-mol", {"objective": "uni-mol"}),
            Row("mol-ae", "mol-ae"),
        ]
        rows += pretrained
        rows += [row._replace(name=f"{row.name}, random", random=True) for row in pretrained]
        missing: list[str] = []
        try:
            chemprop.find_executable()
        except FileNotFoundError:
            missing.append("d-mpnn (chemprop is not installed: make chemprop)")
            rows = [row for row in rows if row.name != "d-mpnn"]
        return rows, "mol-ae", missing
    if table == "table3":
        rows = [
            Row(str(depth), "mol-ae")
            if depth == decoder
            else Row(str(depth), f"depth-{depth}", {"model": {"num_decoder_layers": depth}})
            for depth in plan["depths"]
        ]
        return rows, str(decoder), []
    if table == "table4":
        of_order = {
            "smiles-encoder+decoder": Ablation(position_layer=0),
            "smiles-decoder": Ablation(),
            "random-encoder+decoder": Ablation(position_layer=0, order="random"),
            "random-decoder": Ablation(order="random"),
            "none": Ablation(decoder_position=False),
        }
        rows = [_with(name, f"order-{name}", ablation) for name, ablation in of_order.items()]
        return rows, "smiles-decoder", []
    if table == "table5":
        noisy = Ablation(drop=False)
        rows = [_with(f"noise-{s:g}", f"noise-{s:g}", noisy, noise=s) for s in plan["noises"]]
        return [*rows, Row("drop", "mol-ae")], "drop", []
    if table == "table9":
        return [Row("encoder", "mol-ae"), Row("full", "mol-ae", full=True)], "encoder", []
    of_layer = {
        layer: Ablation() if layer == encoder else Ablation.at_layer(layer, encoder)
        for layer in plan["layers"]
    }
    return [_with(str(k), f"layer-{k}", a) for k, a in of_layer.items()], str(encoder), []


def _with(name: str, variant: str, ablation: Ablation, noise: float | None = None) -> Row:
    """A row of an ablation; that of no ablation is Mol-AE itself."""
    if ablation == Ablation():
        return Row(name, "mol-ae")
    if ablation == Ablation(position_layer=0):
        variant = "layer-0"  # tables 4 and 10 have this row
    changes = {"model": {"ablation": asdict(ablation)}}
    return Row(name, variant, changes | ({} if noise is None else {"noise": {"noise": noise}}))


#: The systems that are probed.
SYSTEM_ROWS = (
    Row("Uni-Mol", "uni-mol", {"objective": "uni-mol"}),
    Row("Transformer-M", "transformer-m", {"objective": "transformer-m"}),
    Row("Mol-AE", "mol-ae"),
)


def curve_rows(plan: Mapping[str, Any]) -> dict[str, dict[float, Row]]:
    """System -> noise in Å -> row, of the figure of training curves."""
    found: dict[str, dict[float, Row]] = {"Uni-Mol": {}, "Uni-Mol-PE": {}}
    for noise in plan["noises"]:
        for name, of_noise in found.items():
            objective = name.lower()
            variant = objective if noise == 1 else f"{objective}-{noise:g}"
            changes = {"objective": objective}
            if noise != 1:
                changes["noise"] = {"noise": noise}
            of_noise[noise] = Row(name, variant, changes)
    return found | {"Mol-AE": {1.0: Row("Mol-AE", "mol-ae")}}


def pretrained_rows(plan: Mapping[str, Any], name: str) -> list[tuple[Row, int]]:
    """Returns the rows that a table or figure pre-trains, each once, with their seeds."""
    seeds = range(plan["seeds"])
    if name in SECTIONS:
        rows = [row for row in rows_of(plan, name)[0] if row.is_pretrained]
    elif name == "fig-curves":
        rows = [row for of in curve_rows(plan).values() for row in of.values()]
    else:
        rows = list(SYSTEM_ROWS) if name == "fig-probing" else []
    once = {row.variant: row._replace(random=False) for row in rows}
    return [(row, seed) for seed in seeds for row in once.values()]


def read_published() -> dict[str, Any]:
    """Returns the published figures: ``scores``, ``ablations`` and ``notes``."""
    return yaml.safe_load(PUBLISHED.read_text())


def published_rows(table: str) -> tuple[dict[str, dict[str, float]], list[str]]:
    """Returns the published figures of a table by row and data set, and notes on them."""
    content, section = read_published(), SECTIONS[table]
    if not section:
        return {}, []
    rows = content["scores"] if section == "scores" else content["ablations"][section]
    found = {str(name): row for name, row in rows.items()}
    if section == "scores":
        wanted = "classification" if table == "table1" else "regression"
        sources = MoleculeNet.sources
        found = {
            name: {d: v for d, v in row.items() if _kind(d, sources) == wanted}
            for name, row in found.items()
        }
    return {name: row for name, row in found.items() if row}, content["notes"][table]


def _kind(dataset: str, sources: Mapping[str, Any]) -> str:
    return "regression" if sources[dataset].task_type == "regression" else "classification"


def datasets_of(plan: Mapping[str, Any], table: str) -> list[str]:
    """Returns the data sets of a table."""
    groups = {"table1": "classification", "table2": "regression"}
    return plan["datasets"][groups.get(table, "ablations")]
