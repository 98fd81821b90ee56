"""The settings of a molecule, and its atoms and frames by them. This module loads no torch."""

import operator
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, fields, replace
from typing import Any

import numpy as np

from molae_pyg.chem.conformers import Coordinates, Request
from molae_pyg.chem.recipes import PUBLISHED, recipe_named

#: Version of the way from a molecule to its atoms and coordinates, for all conformer recipes. It is
#: raised whenever the same input gives different ones. This number, not the version of the package,
#: invalidates stores, caches and finished runs. 2: conformer k is made with ``seed + k + 1``.
RECIPE_VERSION = 2

MAX_SEED = 2**31 - 1  # of RDKit; conformer k has seed + k + 1

DUMMY_Z = 118  # for an atom without a number (``*``), because 0 would be read as [MASK]


class InputError(ValueError):
    """An argument or the content of a file that cannot be used.

    The message alone says what to do; the ``molae`` command prints it without a traceback.
    """


@contextmanager
def as_input_errors() -> Iterator[None]:
    """Turns a ValueError in the block into an InputError: what is read there is the user's."""
    try:
        yield
    except InputError:
        raise
    except ValueError as error:
        raise InputError(str(error)) from None


_TYPES: dict[str, Callable[[Any], Any]] = {
    "num_conformers": operator.index,
    "add_2d": bool,
    "remove_hydrogens": bool,
    "max_atoms": operator.index,
    "seed": operator.index,
    "time_limit": float,
}


@dataclass(frozen=True)
class Options:
    """Settings of the featurizer; :func:`~molae_pyg.chem.from_smiles` explains each.

    Numbers of other types, such as NumPy's, become Python's, so that equal options are equal
    recipes.
    """

    num_conformers: int | None = None
    add_2d: bool = False
    remove_hydrogens: bool = True
    max_atoms: int | None = None
    seed: int = 0
    time_limit: float = 30.0
    recipe: str = PUBLISHED.key

    def __post_init__(self) -> None:
        for name, to_type in _TYPES.items():
            object.__setattr__(self, name, self._as(name, to_type))
        with as_input_errors():
            object.__setattr__(self, "recipe", recipe_named(self.recipe).key)
        self._check()

    def _as(self, name: str, to_type: Callable[[Any], Any]) -> Any:
        value = getattr(self, name)
        if value is None and name in ("num_conformers", "max_atoms"):
            return None
        try:
            return to_type(value)
        except (TypeError, ValueError):
            kind = "a number" if to_type is float else "a whole number"
            raise InputError(f"{name} must be {kind}, got {value!r}") from None

    def _check(self) -> None:
        fewest = 0 if self.add_2d else 1
        if self.num_conformers is not None and self.num_conformers < fewest:
            raise InputError(
                f"num_conformers must be at least {fewest}, got {self.num_conformers}; "
                "None gives a single `pos`, 0 with add_2d=True the 2D layout alone"
            )
        if self.add_2d and self.num_conformers is None:
            raise InputError("add_2d=True needs num_conformers, which gives `conformers` its axis")
        if self.max_atoms is not None and self.max_atoms < 1:
            raise InputError(f"max_atoms must be at least 1, got {self.max_atoms}; None keeps all")
        if self.seed < 0:
            raise InputError(f"seed must not be negative, got {self.seed}")
        if self.seed + self.count > MAX_SEED:
            raise InputError(
                f"seed + num_conformers must be at most {MAX_SEED}, got {self.seed} + {self.count}"
            )
        if recipe_named(self.recipe).is_flat and self.count > 1:
            raise InputError(
                f"recipe {self.recipe!r} makes one 2D layout: num_conformers must be at most 1, "
                f"got {self.count}"
            )
        if not 0 < self.time_limit < 1e6:
            raise InputError(f"time_limit must be in (0, 1e6) seconds, got {self.time_limit}")

    def to_dict(self) -> dict[str, Any]:
        """Returns what the atoms and coordinates of a molecule depend on, with the recipe version.

        A saved model, a store and a cache keep it. ``time_limit`` is part of it because it decides
        which molecules get the 2D layout instead of conformers. The published recipe is not
        named, so that what was kept before there were others stays the same.
        """
        return named_recipe(asdict(self)) | {"recipe_version": RECIPE_VERSION}

    @classmethod
    def of(cls, kept: Mapping[str, Any] | None) -> "Options":
        """Returns the options of what :meth:`to_dict` returned; None: the defaults."""
        kept = kept or {}
        return cls(**{field.name: kept[field.name] for field in fields(cls) if field.name in kept})

    def with_recipe(self, name: str | None) -> "Options":
        """Returns the same with another recipe (None: with this one); a layout is one conformer."""
        if name is None:
            return self
        with as_input_errors():
            flat = recipe_named(name).is_flat
        number = 1 if flat and self.count > 1 else self.num_conformers
        return replace(self, num_conformers=number, recipe=name)

    @property
    def count(self) -> int:
        """Number of conformers of a molecule, the appended layout not counted."""
        return 1 if self.num_conformers is None else self.num_conformers

    @property
    def request(self) -> Request:
        """What a worker makes."""
        recipe = recipe_named(self.recipe)
        count, layout = (0, True) if recipe.is_flat else (self.count, self.add_2d)
        return Request(count, self.seed, self.time_limit, layout, recipe)


def named_recipe(settings: dict[str, Any]) -> dict[str, Any]:
    """Returns settings to be kept: ``recipe`` is left out if it is the published one."""
    if settings["recipe"] != PUBLISHED.key:
        return settings
    return {name: value for name, value in settings.items() if name != "recipe"}


def frames(coordinates: Coordinates, options: Options) -> np.ndarray:
    """Returns the conformers asked for, repeated in turn if fewer were made, then the layout.

    Shapes:
        - **output:** :math:`(n, K, 3)` or, with the layout, :math:`(n, K + 1, 3)`, Å
    """
    made = coordinates.conformers or [coordinates.layout]
    chosen = [made[k % len(made)] for k in range(options.count)]
    if options.add_2d:
        # A layout hardly ever fails; a conformer then takes its place, and K + 1 stays.
        chosen.append(made[0] if coordinates.layout is None else coordinates.layout)
    return np.stack(chosen, axis=1)


def kept_atoms(numbers: np.ndarray, options: Options) -> tuple[np.ndarray, int, list[str]]:
    """Returns the indices of the atoms to keep, how many were cropped, and notes.

    Args:
        numbers: Atomic numbers, ``[n]``.
        options: Its settings of hydrogens, size and seed are used.
    """
    kept, notes = np.arange(len(numbers)), []
    if options.remove_hydrogens:
        kept = np.flatnonzero(numbers != 1)
        if not len(kept):
            kept, notes = np.arange(len(numbers)), ["hydrogen only: hydrogens kept"]
    num_cropped = 0 if options.max_atoms is None else max(0, len(kept) - options.max_atoms)
    if num_cropped:
        generator = np.random.default_rng(options.seed)
        kept = kept[np.sort(generator.choice(len(kept), options.max_atoms, replace=False))]
    return kept, num_cropped, notes
