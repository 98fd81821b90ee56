"""Figures of the Mol-AE paper: probing, training curves, and noise on bonds."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from functools import partial
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING, Any

import lightning as L
import numpy as np
from torch import nn

from molae_pyg.analysis.bond_noise import bond_noise, bond_picture
from molae_pyg.analysis.plots import COLOURS, INK, Panel, Picture, style
from molae_pyg.analysis.pretraining_curves import TERMS, curve_picture, do_nothing
from molae_pyg.analysis.probing import first_layers, num_layers, reconstruction_probe
from molae_pyg.baselines.job import DEVICE
from molae_pyg.baselines.probe import embed, probe, scaffold_folds
from molae_pyg.datasets.table import MoleculeTable
from molae_pyg.durable import write_durably
from molae_pyg.evaluation import runs
from molae_pyg.evaluation.config import keep_going
from molae_pyg.evaluation.paper_plan import SYSTEM_ROWS, Row, curve_rows, datasets_of
from molae_pyg.evaluation.pretraining import hold_out
from molae_pyg.evaluation.protocols import PROTOCOLS
from molae_pyg.evaluation.sources import headline, scale_of, scores_of
from molae_pyg.metrics import LOWER_IS_BETTER
from molae_pyg.splits import Split
from molae_pyg.training import Pretraining, pretrain
from molae_pyg.training.course import read_metrics

if TYPE_CHECKING:
    from molae_pyg.evaluation.paper import Paper

PROBES = "probes.jsonl"
NUM_BONDED = 2000  # molecules whose bonds are measured
#: What reconstruction probes show, and the names of the axes.
RECONSTRUCTED = {
    "val_token": "token loss, nat",
    "val_coordinate": "coordinate loss (smooth L1)",
    "val_distance": "distance loss (smooth L1)",
    "val_denoising": "1 - cosine of the noise",
}


def noise(paper: Paper, failed: list[str]) -> None:
    """Draws and measures bonds, clean and with noise."""
    number = min(NUM_BONDED, len(paper.store))
    molecules = [paper.store[i] for i in range(number)]
    lengths = bond_noise(molecules, [0.2, *paper.plan["noises"]])
    content = {"molecules": number, "bonds": len(lengths.clean), "lengths, Å": lengths.summary()}
    _write(paper.output, "fig-noise", content, bond_picture(lengths))


def curves(paper: Paper, failed: list[str]) -> None:
    """Pre-trains the systems at all noises, and draws their validation losses."""
    found: dict[str, dict[float, list[Any]]] = {}
    content: dict[str, Any] = {}
    columns = ["step", *(f"val_{term}" for term in TERMS)]
    for system, rows in curve_rows(paper.plan).items():
        for (size, row), seed in product(rows.items(), range(paper.plan["seeds"])):
            name = f"{system}, {size:g} Å"
            with keep_going(f"fig-curves, {name}, seed {seed}", failed):
                values = read_metrics(paper.pretrained(row, seed))[columns].dropna()
                found.setdefault(system, {}).setdefault(size, []).append(values)
                of_row = content.setdefault(name, {"do nothing": do_nothing(size)})
                of_row[f"seed {seed}"] = values.to_dict("list")
    if found:
        _write(paper.output, "fig-curves", content, curve_picture(found))


def probing(paper: Paper, failed: list[str]) -> None:
    """Probes each layer of the systems, by reconstruction and by the data sets."""
    for row in SYSTEM_ROWS:
        for seed in range(paper.plan["seeds"]):
            with keep_going(f"fig-probing, {row.name}, seed {seed}", failed):
                model = paper.model(row, seed)
                for layer in range(sum(num_layers(model)) + 1):
                    key = {"system": row.name, "seed": seed, "layer": layer}
                    work = partial(_reconstruct, paper, row, model, seed, layer)
                    _once(paper, {**key, "task": "reconstruction"}, work)
    for source in datasets_of(paper.plan, "fig-probing"):
        with keep_going(f"fig-probing, {source}", failed):
            _probe_dataset(paper, paper.dataset(source))
    results = runs.read_results(paper.output / PROBES)
    borders = {row.name: num_layers(paper.model(row, 0))[0] for row in SYSTEM_ROWS}
    panels = _reconstruction_panels(results, borders) + _downstream_panels(results, borders)
    legend = {row.name: COLOURS[i] for i, row in enumerate(SYSTEM_ROWS)}
    caption = "Probes of frozen layers; the dotted line is the last layer of Mol-AE's encoder"
    content = {"border": borders, "probes": results}
    _write(paper.output, "fig-probing", content, Picture(caption, panels, "medium", legend))


def _once(paper: Paper, key: dict[str, Any], work: Callable[[], dict[str, Any]]) -> None:
    """Adds the result of a probe, unless it is there."""
    path = paper.output / PROBES
    for found in runs.read_results(path):
        if all(found.get(name) == value for name, value in key.items()):
            return
    result = {**key, **work()}
    runs.add_result(path, result)
    print(json.dumps(result), flush=True)


def _reconstruct(
    paper: Paper, row: Row, model: nn.Module, seed: int, layer: int
) -> dict[str, float]:
    """Trains new heads on a layer and returns their losses on the held-out molecules."""
    store, plan = paper.store, paper.plan
    train, valid = hold_out(store, store.folder, plan["held_out"], None, seed)
    L.seed_everything(seed, verbose=False)
    new, objective, transform = reconstruction_probe(model, layer)
    folder = paper.output / "probes" / f"{row.variant}-{seed}" / str(layer)
    settings = Pretraining(**plan["probe"])
    return pretrain(new, objective, train, valid, folder, settings, transform, seed)


def _probe_dataset(paper: Paper, dataset: MoleculeTable) -> None:
    """Probes all layers of all systems on a data set."""
    for row in SYSTEM_ROWS:
        for seed in range(paper.plan["seeds"]):
            trial = PROTOCOLS[paper.plan["protocol"]].trials(dataset, seed + 1)[seed]
            model = paper.model(row, seed)
            for layer in range(sum(num_layers(model)) + 1):
                key = {"system": row.name, "seed": seed, "layer": layer, "task": dataset.name}
                work = partial(_linear, model, layer, dataset, trial.split)
                _once(paper, key, work)


def _linear(model: nn.Module, layer: int, dataset: MoleculeTable, split: Split) -> dict[str, Any]:
    """Fits linear models on CLS and on the mean over atoms of a layer; returns the test scores."""
    metric, y = headline(dataset), dataset.y.numpy()
    states = embed(first_layers(model, layer).to(DEVICE), dataset)
    folds = scaffold_folds(dataset.smiles, split.train)
    scale = scale_of(dataset, split.train)
    scores: dict[str, Any] = {"metric": metric}
    for readout in ("cls", "mean"):
        of_readout = {readout: states[readout]}
        found = probe(of_readout, y, folds, split.test, dataset.task_type, metric)
        test, _ = scores_of(dataset, split.test, found.predicted, scale)
        scores[readout] = test[metric]
    return scores


def _reconstruction_panels(
    results: Sequence[dict[str, Any]], borders: dict[str, int]
) -> list[Panel]:
    found = [result for result in results if result["task"] == "reconstruction"]
    return [
        Panel("Reconstruction", partial(_draw, found, {value: "-"}, name, borders))
        for value, name in RECONSTRUCTED.items()
    ]


def _downstream_panels(results: Sequence[dict[str, Any]], borders: dict[str, int]) -> list[Panel]:
    panels = []
    for task in dict.fromkeys(result["task"] for result in results):
        if task != "reconstruction":
            found = [result for result in results if result["task"] == task]
            metric = found[0]["metric"]
            better = "lower" if metric in LOWER_IS_BETTER else "higher"
            lines, name = {"cls": "-", "mean": "--"}, f"{metric}, {better} is better"
            title = f"{task}: CLS (solid), mean of atoms (dashed)"
            panels.append(Panel(title, partial(_draw, found, lines, name, borders)))
    return panels


def _draw(
    results: Sequence[dict[str, Any]],
    lines: dict[str, str],
    name: str,
    borders: dict[str, int],
    axes,
) -> None:
    """Draws the mean over seeds against the layer."""
    for number, system in enumerate(borders):
        for value, line in lines.items():
            of_layer: dict[int, list[float]] = {}
            for found in results:
                if found["system"] == system and value in found:
                    of_layer.setdefault(found["layer"], []).append(found[value])
            layers = sorted(of_layer)
            means = [np.mean(of_layer[layer]) for layer in layers]
            axes.plot(layers, means, line, color=COLOURS[number], marker=".", lw=1.2)
            if system == "Mol-AE" and layers:
                axes.axvline(borders[system], color=INK, ls=":", lw=1)
    axes.xaxis.get_major_locator().set_params(integer=True)
    style(axes, "layer", name)


def _write(output: Path, name: str, content: dict[str, Any], picture: Picture) -> None:
    text = json.dumps({**content, "environment": runs.environment()}, indent=2) + "\n"
    write_durably(output / f"{name}.json", text.encode())
    write_durably(output / f"{name}.png", picture.png(transparent=False))
