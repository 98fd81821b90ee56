"""Conformer recipes by name and version; stores, caches and saved models keep which one was used.

A recipe never changes. Other steps are another version, which is added at the end of
:data:`RECIPES`; the earlier one stays, because models and stores of it remain in use.
"""

from typing import NamedTuple


class Recipe(NamedTuple):
    """How the coordinates of a conformer are made.

    If the embedding fails, it starts again from random coordinates; if that fails too, the 2D
    layout is used. A molecule without parameters of MMFF94 is minimised with UFF.
    """

    name: str
    version: int
    #: What embeds: ``"ETKDG"`` (ETKDGv3), ``"DG"`` (distance geometry without knowledge of
    #: torsions and planes), or ``""``: nothing, the 2D layout is all.
    method: str
    #: Largest number of steps of MMFF94.
    steps: int

    @property
    def is_flat(self) -> bool:
        """Whether the 2D layout is all."""
        return not self.method

    @property
    def key(self) -> str:
        """What is kept: ``"published"``, or name and version, such as ``"fast-1"``."""
        # Before there was a choice no name was kept: "published" is what a missing key means.
        return "published" if (self.name, self.version) == ("published", 1) else self._full

    @property
    def _full(self) -> str:
        return f"{self.name}-{self.version}"


#: All recipes, the versions of each in order. ``fast`` has the number of steps that
#: benchmarks/conformers.py chose.
RECIPES = (
    Recipe("published", 1, "ETKDG", 200),
    Recipe("fast", 1, "DG", 75),
    Recipe("flat", 1, "", 0),
)
PUBLISHED = RECIPES[0]
#: Recipe of ``embed``, ``molae train`` and the estimators if none is given. With the vectors of
#: ``molae-graph`` it changes no linear model by more than another seed of the conformers does. Data
#: sets, stores and ``from_smiles`` have the published recipe if none is given.
DEFAULT_RECIPE = "fast"


def recipe_named(name: str) -> Recipe:
    """Returns the recipe of a name (its last version), or of a name and version (``"fast-1"``).

    Raises:
        ValueError: If there is none; the message names the known ones.
    """
    found = [recipe for recipe in RECIPES if name in (recipe.name, recipe._full)]
    if not found:
        known = ", ".join(recipe.key for recipe in RECIPES)
        raise ValueError(f"unknown recipe {name!r}; there are {known} (a name alone: the last)")
    return found[-1]
