"""Keyword arguments of every data set of SMILES, and their defaults."""

from collections.abc import Callable
from typing import Any, Literal, TypedDict

from torch_geometric.data import Data


class TableSettings(TypedDict, total=False):
    """Keyword arguments of every data set of SMILES; :class:`MoleculeTable` explains them."""

    num_conformers: int
    add_2d: bool
    seed: int
    max_atoms: int | None
    recipe: str
    on_error: Literal["raise", "skip"]
    workers: int | None
    transform: Callable[[Data], Data] | None


_DEFAULTS: TableSettings = {
    "num_conformers": 10,
    "add_2d": True,
    "seed": 0,
    "max_atoms": None,
    "recipe": "published",
    "on_error": "skip",
    "workers": None,
    "transform": None,
}


def complete(settings: TableSettings) -> tuple[dict[str, Any], list[Any]]:
    """Returns the settings of the molecules, and ``on_error``, ``workers`` and ``transform``."""
    if unknown := sorted(settings.keys() - _DEFAULTS.keys()):
        raise TypeError(f"unknown settings {unknown}; there are {list(_DEFAULTS)}")
    whole = _DEFAULTS | settings
    others = [whole.pop(name) for name in ("on_error", "workers", "transform")]
    return whole, others
