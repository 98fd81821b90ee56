"""The part of a model's report about one target of atoms: scores, pictures, errors by element."""

import numpy as np
import pandas as pd

from molae_pyg.analysis import held_out
from molae_pyg.analysis.page import Page
from molae_pyg.analysis.plots import Picture
from molae_pyg.inference.explain import element_of
from molae_pyg.workflow.atoms.scores import intervals_out_of_fold
from molae_pyg.workflow.estimates import LEVELS
from molae_pyg.workflow.report.estimate import Scores, percent_text, score_text, value_text
from molae_pyg.workflow.report.target import add_scores, anchor_of, unit_of

_ROWS = 10  # atoms with the largest errors that the page lists


class AtomScores(Scores):
    """The scores of a model of atom targets."""

    labels, simplest = "values of atoms", "element-mean"


def add_atom_target(page: Page, scores: AtomScores, task: int) -> None:
    """Adds the section of a target of atoms."""
    panels, model, unit = add_scores(page, scores, task), scores.model, unit_of(scores)
    y, predicted = model.values[:, task], scores.column(task, "predicted")
    error, known = np.abs(predicted - y), ~np.isnan(y)
    z, molecule = model.atoms.z, model.atoms.molecule
    panels.append(held_out.bounded_parity_panel(y, predicted, np.zeros(len(y)), unit))
    measured = []
    for level in LEVELS:
        half = intervals_out_of_fold(error, z, molecule, model.atom_fold, 1 - level)
        measured.append(float((error <= half)[known].mean()))
    number = len(np.unique(molecule[known]))  # atoms of a molecule are alike
    panels.append(held_out.coverage_panel(LEVELS, measured, number))
    page.picture(anchor_of(task), Picture("", panels))
    page.heading("Errors by element", 3)
    page.table(_by_element(scores, task, error))
    page.heading("The atoms with the largest errors", 3)
    page.text("Rows, and atoms in them, are counted from 0.")
    page.table(_worst(scores, task, error), kind="facts")


def _by_element(scores: AtomScores, task: int, error: np.ndarray) -> pd.DataFrame:
    z, known = scores.model.atoms.z, ~np.isnan(error)
    half = (scores.column(task, "high") - scores.column(task, "low")) / 2
    rows = {}
    for element in sorted(np.unique(z[known]).tolist(), key=lambda e: -(z[known] == e).sum()):
        some = known & (z == element)
        rows[element_of(element)] = [
            f"{some.sum():,}",
            score_text(np.sqrt(np.mean(error[some] ** 2))),
            score_text(error[some].mean()),
            f"± {score_text(np.median(half[some]))}",
            percent_text((error <= half)[some].mean()),
        ]
    names = ["atoms", "RMSE", "MAE", "90 % interval: prediction", "values inside"]
    return pd.DataFrame.from_dict(rows, orient="index", columns=names)


def _worst(scores: AtomScores, task: int, error: np.ndarray) -> pd.DataFrame:
    model, rows = scores.model, {}
    order = np.argsort(-np.nan_to_num(error, nan=-1.0), kind="stable")[:_ROWS]
    for atom in order[~np.isnan(error[order])].tolist():
        molecule, low, high = (
            int(model.atoms.molecule[atom]),
            *(value_text(scores.column(task, end)[atom]) for end in ("low", "high")),
        )
        name = f"row {model.rows[molecule]}, {element_of(int(model.atoms.z[atom]))}"
        rows[f"{name} {model.atoms.place[atom]}"] = [
            value_text(model.values[atom, task]),
            f"{value_text(scores.column(task, 'predicted')[atom])} ({low} to {high})",
            str(model.fold[molecule]),
            model.smiles[molecule],
        ]
    columns = ["value", "predicted", "fold", "SMILES"]
    return pd.DataFrame.from_dict(rows, orient="index", columns=columns)
