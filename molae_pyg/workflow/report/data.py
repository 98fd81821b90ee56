"""The parts of a model's report about its data, its folds and its training."""

from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd

from molae_pyg.analysis.page import Page
from molae_pyg.analysis.plots import COLOURS, Panel, Picture, style
from molae_pyg.metrics import choosing_metric
from molae_pyg.workflow.atoms.model import AtomModel
from molae_pyg.workflow.model import FittedModel
from molae_pyg.workflow.report.estimate import value_text

_LOST = 10  # rows without a molecule that the page lists
_QUESTIONS = {
    "scaffold": "no ring system (scaffold) is in two folds, so the scores are for molecules with "
    "ring systems that are not in the table",
    "random": "the folds are drawn at random, so the scores are for further molecules of the same "
    "kind",
}


def how_estimated(model: FittedModel) -> str:
    """Returns what the scores are scores of."""
    split = model.info["identity"]["settings"]["split"]
    name = split.removeprefix("column:")
    question = _QUESTIONS.get(
        split, f"rows with the same {name} share a fold, so the scores are for other values of it"
    )
    return (
        f"Each row was predicted by a model that has not seen it, trained on the other folds of "
        f"{model.num_folds}: {question}. The verdict compares this model with the best baseline on "
        "1,000 test sets drawn with replacement; better needs 95 % of them."
    )


def add_learned(page: Page, model: FittedModel) -> None:
    """Adds what was learned from what."""
    settings = model.info["identity"]["settings"]
    page.heading("What was learned from what", anchor="learned")
    lost = len(model.outcomes) - len(model.smiles)
    rows = f"{len(model.outcomes):,} rows, {len(model.smiles):,} with a molecule"
    how = "read-out of the frozen encoder" if settings["frozen"] else "fine-tuned encoder"
    beside = f", features beside it: {settings['features']}"
    page.facts(
        [
            ("data", f"{model.info['name']}: {rows}, {lost:,} left out"),
            ("model", f"{how} {settings['weights']}{beside}"),
            ("conformers of a molecule", str(settings["conformers"])),
            ("folds", f"{model.num_folds}, split: {settings['split']}"),
        ]
    )
    page.table(_target_table(model), kind="facts")
    page.table(_fold_table(model), kind="facts")
    if lost:
        page.heading("Rows that are left out", 3)
        page.table(_lost_table(model), kind="facts")
        if lost > _LOST:
            page.text(f"These are {_LOST} of {lost:,} rows; predictions.csv has all.")


def _target_table(model: FittedModel) -> pd.DataFrame:
    of_atoms, rows = isinstance(model, AtomModel), {}
    for task, target in enumerate(model.targets):
        y = (model.values if of_atoms else model.labels.y)[:, task]
        known, bounds = y[~np.isnan(y)], 0 if of_atoms else model.labels.bound[:, task]
        if target.classes:
            counts = [int((known == c).sum()) for c in range(len(target.classes))]
            pairs = zip(counts, target.classes, strict=True)
            about = ", ".join(f"{name}: {count:,}" for count, name in pairs)
            kind = f"{len(target.classes)} classes"
        else:
            low, middle, high = (value_text(x) for x in np.quantile(known, [0, 0.5, 1]))
            about, kind = f"{low} to {high}, median {middle}", "numbers"
            kind += " of atoms" * of_atoms
        number = f"{len(known):,}"
        if np.any(bounds):
            number += f", {np.count_nonzero(bounds):,} of them bounds"
        rows[target.name] = [kind, number, f"{len(y) - len(known):,}", about]
    names = ["kind", "labels", "missing", "values"]
    return pd.DataFrame.from_dict(rows, orient="index", columns=names)


def _fold_table(model: FittedModel) -> pd.DataFrame:
    """Returns the rows and the choices of each fold."""
    rows = {}
    for fold, found in enumerate(model.models):
        held_out = int((model.fold == fold).sum()) if model.num_folds > 1 else 0
        reads = ["fine-tuned encoder"] * found.is_finetuned + found.blocks
        cells = [f"{len(model.smiles) - held_out:,}", f"{held_out:,}", ", ".join(reads)]
        rows[f"fold {fold}"] = cells
    names = ["training rows", "rows held out", "the model reads"]
    return pd.DataFrame.from_dict(rows, orient="index", columns=names)


def _lost_table(model: FittedModel) -> pd.DataFrame:
    pairs = list(zip(model.outcomes, model.reasons, strict=True))
    kept = set(model.rows.tolist())
    lost = [(row, *pair) for row, pair in enumerate(pairs) if row not in kept]
    rows = {f"row {row}": [status, reason] for row, status, reason in lost[:_LOST]}
    return pd.DataFrame.from_dict(rows, orient="index", columns=["status", "reason"])


def add_courses(page: Page, model: FittedModel) -> None:
    """Adds the training curves of the folds if the encoder was fine-tuned."""
    courses = {
        f"fold {fold}": pd.read_csv(file)
        for fold in range(model.num_folds)
        if (file := _course(model, fold)).is_file()
    }
    if not courses:
        return
    types = ["regression" if t.kind == "atom" else t.kind for t in model.targets]
    settings = model.info["identity"]["settings"]["training"]
    metric = choosing_metric(types, len(types), settings.get("metric"))
    columns = {
        "train_loss_epoch": "loss of the training rows",
        f"val_{metric}": f"validation {metric}",
    }
    page.heading("Training", anchor="training")
    page.text(
        "A tenth of the training rows of each fold validates the model after each epoch and "
        "chooses the best one. Rows that are held out have no part in it."
    )
    colours = dict(zip(courses, COLOURS, strict=False))
    panels = [
        Panel(name, partial(_draw_course, courses, colours, column, name))
        for column, name in columns.items()
    ]
    page.picture("courses", Picture("", panels, "medium", colours))


def _course(model: FittedModel, fold: int) -> Path:
    return model.folder / f"fold-{fold}" / "finetuned" / "metrics.csv"


def _draw_course(courses, colours, column, name, axes) -> None:
    for fold, course in courses.items():
        some = course.dropna(subset=[column])
        axes.plot(some["epoch"] + 1, some[column], marker=".", linewidth=1, color=colours[fold])
    axes.xaxis.get_major_locator().set_params(integer=True)
    style(axes, "epoch", name)
