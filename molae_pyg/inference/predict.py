"""Predictions of molecules: PyG Data, or SMILES that are made as the model's molecules were."""

import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch_geometric.loader import DataLoader
from tqdm.auto import tqdm

from molae_pyg.chem import featurize
from molae_pyg.chem.options import RECIPE_VERSION
from molae_pyg.fingerprint import differences
from molae_pyg.inference.precision import autocast
from molae_pyg.models import PropertyModel
from molae_pyg.training.items import HeldOutItems
from molae_pyg.training.molecules import (
    Checker,
    Molecules,
    check_list,
    known_sizes,
    size,
)
from molae_pyg.training.settings import check_count

#: What of a recipe :func:`~molae_pyg.chem.featurize` takes.
_ARGUMENTS = ("num_conformers", "add_2d", "remove_hydrogens", "max_atoms", "seed", "time_limit")


@torch.no_grad()
def predict(
    model: PropertyModel,
    molecules: Molecules | Sequence[str],
    batch_size: int = 64,
    precision: str = "auto",
    conformers: int | None = None,
) -> np.ndarray:
    """Predictions averaged over conformers, ``[n, T]``: real units, or probabilities of classes.

    Molecules of like size share a batch, which spares padding; rows are in the order given.

    Args:
        model: The predictor.
        molecules: ``Data`` with ``conformers [n, K, 3]`` or ``pos [n, 3]``, or SMILES, whose
            conformers are made by ``model.recipe``. A SMILES that gives no molecule has a row of
            NaN, and a warning names it.
        batch_size: Molecules a forward pass, default 64.
        precision: As in :class:`Finetuning`.
        conformers: The first so many of each molecule; default: all.

    Raises:
        ValueError: A molecule or an argument that cannot be used, or SMILES for a model without
            a recipe.
    """
    check_count("batch_size", batch_size)
    if conformers is not None:
        check_count("conformers", conformers)
    check_list(molecules, "molecules", may_be_empty=True)
    if len(molecules) == 0:
        return np.zeros((0, len(model.task_names)), np.float32)
    if isinstance(molecules[0], str):
        return _predict_smiles(model, molecules, batch_size, precision, conformers)
    _compare_recipes(model, getattr(molecules, "recipe", None))
    device = model.mean.device
    model.eval()
    order = np.argsort(_num_atoms(molecules, model, conformers), kind="stable")  # small to large
    items = HeldOutItems(molecules, order, model, conformers=conformers)
    loader = DataLoader(items, batch_size, generator=torch.Generator())
    bar = tqdm(loader, "predicting", leave=False, delay=2, disable=None)
    with autocast(device, precision):
        predicted = np.concatenate(
            [model.predict_batch(batch.to(device)).float().cpu().numpy() for batch in bar]
        )
    return predicted[np.argsort(order)]


def _num_atoms(molecules: Molecules, model: PropertyModel, conformers: int | None) -> np.ndarray:
    """Atoms of each molecule, looked at one by one; a data set that knows them is not read."""
    sizes = known_sizes(molecules) if hasattr(molecules, "fingerprint") else None
    if sizes is not None:
        return sizes
    check = Checker(model, "molecules", conformers=conformers)
    sizes = []
    for index in range(len(molecules)):
        check(index, data := molecules[index])
        sizes.append(size(data))
    return np.array(sizes)


def _predict_smiles(model: PropertyModel, smiles: Sequence[str], *settings: Any) -> np.ndarray:
    """As :func:`predict`, of SMILES."""
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
            stacklevel=3,
        )
    if model.recipe.get("source", "smiles") != "smiles":
        warnings.warn(
            f"the coordinates of the model's molecules came from a {model.recipe['source']}; those "
            "of these SMILES are generated",
            stacklevel=3,
        )
    options = {name: model.recipe[name] for name in _ARGUMENTS if name in model.recipe}
    items, report = featurize(list(smiles), **options, on_error="skip")
    kept = list(report.kept)
    predicted = np.full((len(smiles), len(model.task_names)), np.nan, np.float32)
    if kept:
        predicted[kept] = predict(model, items, *settings)
    if lost := sorted(set(range(len(smiles))) - set(kept)):
        shown = ", ".join(f"{row} ({smiles[row]!r})" for row in lost[:10])
        warnings.warn(
            f"{len(lost)} of {len(smiles)} SMILES gave no molecule and have NaN: rows {shown}"
            f"{', ...' if len(lost) > 10 else ''}",
            stacklevel=3,
        )
    return predicted


def _compare_recipes(model: PropertyModel, recipe: dict[str, Any] | None) -> None:
    if recipe is None or model.recipe is None:
        return
    if differing := differences(model.recipe, recipe):
        warnings.warn(
            "the molecules were made in another way than those of the model's training (there: "
            f"training, now: these), which shifts predictions: {'; '.join(differing)}",
            stacklevel=3,
        )
