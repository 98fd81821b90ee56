"""Predictions for PyG Data, and for SMILES by the recipe of the model."""

import warnings
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

import numpy as np
from torch_geometric.data import Data

from molae_pyg.chem import FeaturizeReport, featurize
from molae_pyg.chem.options import RECIPE_VERSION, Options
from molae_pyg.fingerprint import differences
from molae_pyg.inference.batches import in_batches
from molae_pyg.inference.graphs import Graphs
from molae_pyg.inference.molecules import (
    Checker,
    HeldOutItems,
    Molecules,
    check_list,
    checked_sizes,
    takes_coordinates,
)
from molae_pyg.models import PropertyModel
from molae_pyg.models.encoding import sees_graph
from molae_pyg.nn.arguments import size


def predict(
    model: PropertyModel,
    molecules: Molecules | Sequence[str],
    batch_size: int = 64,
    precision: str = "auto",
    conformers: int | None = None,
) -> np.ndarray:
    """Returns predictions in real units, or probabilities of classes, averaged over conformers.

    Args:
        model: The predictor.
        molecules: ``Data`` with ``conformers [n, K, 3]`` or ``pos [n, 3]``, or SMILES, whose
            conformers are made by ``model.recipe``. A SMILES that gives no molecule has a row of
            NaN, and a warning names it. A model with a graph channel receives the graph of
            molecules with ``smiles``; another warning says if some have none.
        batch_size: Number of molecules of a forward pass, default: 64.
        precision: ``"auto"`` (default): bf16 where the hardware is faster in it, fp32 otherwise;
            or ``"32-true"``, ``"bf16-mixed"``.
        conformers: Largest number of conformers of each molecule; default: all.

    Returns:
        ``[n, O]`` float32, rows in the order of the molecules; O = T, but C columns (probabilities)
        of a task with C classes. Of a model of atoms ``[N, T]``: the atoms of the first molecule,
        of the second, and so on.

    Raises:
        ValueError: A molecule or an argument cannot be used, or SMILES are given to a model
            without a recipe or to a model of atoms.
    """
    size("batch_size", batch_size)
    if conformers is not None:
        size("conformers", conformers)
    check_list(molecules, "molecules", may_be_empty=True)
    if len(molecules) == 0:
        return np.zeros((0, sum(model.num_outputs)), np.float32)
    if isinstance(molecules[0], str) and model.level == "atom":
        raise ValueError(
            "a model of atoms takes Data, whose atoms have an order: give those of "
            "molae_pyg.featurize, whose atom_map is the place of each atom in its SMILES"
        )
    if isinstance(molecules[0], str):
        return _predict_smiles(model, molecules, batch_size, precision, conformers)
    _compare_recipes(model, getattr(molecules, "recipe", None))
    needs = takes_coordinates(model)
    num_atoms = checked_sizes(molecules, Checker("molecules", needs, conformers=conformers))
    graphs = Graphs(sees_graph(model), getattr(molecules, "recipe", None) or model.recipe)
    items = HeldOutItems(molecules, model.mean.dtype, None, conformers, needs, graphs)
    return in_batches(
        model, model.predict_batch, items, num_atoms, batch_size, precision, "predicting",
        model.level,
    )  # fmt: skip


def _predict_smiles(model: PropertyModel, smiles: Sequence[str], *settings: Any) -> np.ndarray:
    """Does what :func:`predict` does, for SMILES."""
    items, report = by_recipe(model, smiles)
    kept = list(report.kept)
    predicted = np.full((len(smiles), sum(model.num_outputs)), np.nan, np.float32)
    if kept:
        predicted[kept] = predict(model, items, *settings)
    return predicted


def by_recipe(model: PropertyModel, smiles: Sequence[str]) -> tuple[list[Data], FeaturizeReport]:
    """Makes molecules as those of the model's training were made.

    A warning names the SMILES that give none.

    Raises:
        ValueError: A row is no text, or the model has no recipe.
    """
    if other := [row for row, text in enumerate(smiles) if not isinstance(text, str)]:
        raise ValueError(f"row {other[0]} is no text, but row 0 is: give SMILES or Data, not both")
    if model.recipe is None:
        raise ValueError(
            "the model does not know how its molecules were made: set model.recipe to the recipe "
            "of its training set (dataset.recipe), or give Data of molae_pyg.chem.featurize"
        )
    if model.recipe.get("recipe_version") != RECIPE_VERSION:
        warnings.warn(
            f"the model's molecules were made by version {model.recipe.get('recipe_version')} of "
            f"the recipe, these are made by version {RECIPE_VERSION}",
            stacklevel=4,
        )
    if model.recipe.get("source", "smiles") != "smiles":
        warnings.warn(
            f"the coordinates of the model's molecules came from a {model.recipe['source']}; those "
            "of these SMILES are generated",
            stacklevel=4,
        )
    options = asdict(Options.of(model.recipe))
    items, report = featurize(list(smiles), **options, on_error="skip")
    if lost := sorted(set(range(len(smiles))) - set(report.kept)):
        shown = ", ".join(f"{row} ({smiles[row]!r})" for row in lost[:10])
        warnings.warn(
            f"{len(lost)} of {len(smiles)} SMILES gave no molecule and have NaN: rows {shown}"
            f"{', ...' if len(lost) > 10 else ''}",
            stacklevel=4,
        )
    return items, report


def _compare_recipes(model: PropertyModel, recipe: dict[str, Any] | None) -> None:
    if recipe is None or model.recipe is None:
        return
    if differing := differences(model.recipe, recipe):
        warnings.warn(
            "the molecules were made in another way than those of the model's training (there: "
            f"training, now: these), which shifts predictions: {'; '.join(differing)}",
            stacklevel=3,
        )
