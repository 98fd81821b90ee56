"""Conformers: a ladder of recipes under one time limit, with a reason for every departure.

The recipe is the published one: hydrogens added, ETKDGv3 embedding, at most 200 steps of MMFF94.
Where the embedding fails it starts again from random coordinates; where that fails too, the flat
2D layout stands in. This module needs RDKit and NumPy only: worker processes import it.
"""

import math
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
from rdkit import Chem
from rdkit.Chem import rdDepictor, rdDistGeom, rdForceFieldHelpers
from rdkit.ForceField import rdForceField

MAX_STEPS = 200  # of the force-field minimisation
#: Above this number of atoms, hydrogens included, one call into RDKit can overrun any time limit.
LARGE = 300
LARGE_STEPS = 20  # steps between two looks at the clock, for large molecules
OUT_OF_TIME = "time limit reached"
NO_LAYOUT_IN_TIME = "no time for the 2D layout"
CUT_SHORT = "minimisation cut short by the time limit"
DIED = "the conformer process died"
LAYOUT_LIMIT = 60.0  # seconds for the 2D layout, and never longer than the conformers may take


class Recipe(NamedTuple):
    """What to make of one molecule."""

    #: Conformers to make; number k is embedded with ``seed + k + 1``. 0 makes the 2D layout only.
    count: int = 1
    seed: int = 0
    #: Seconds for all conformers of the molecule together. The 2D layout may take as long again,
    #: up to :data:`LAYOUT_LIMIT`.
    time_limit: float = 30.0
    #: Also make the 2D layout where conformers succeed.
    layout: bool = False

    @property
    def layout_limit(self) -> float:
        """Seconds for the 2D layout."""
        return min(LAYOUT_LIMIT, self.time_limit)


class Step(NamedTuple):
    """One result of the ladder: a conformer (``"3d"``), the layout (``"2d"``) or a note."""

    kind: str
    value: np.ndarray | str


@dataclass
class Embedding:
    """The coordinates made for one molecule and how they came about."""

    #: 3D conformers in Å, each ``[n, 3]`` float32; empty where none could be made.
    conformers: list[np.ndarray] = field(default_factory=list)
    #: 2D layout with z = 0, ``[n, 3]`` float32, where asked for or needed.
    layout: np.ndarray | None = None
    #: What departed from the recipe, each remark once.
    notes: list[str] = field(default_factory=list)

    @property
    def status(self) -> str:
        """``"3d"``, ``"2d"`` (the layout stands in) or ``"failed"`` (no coordinates)."""
        if self.conformers:
            return "3d"
        return "failed" if self.layout is None else "2d"

    def lacks_layout(self, recipe: Recipe) -> bool:
        """Whether the 2D layout is still to be made: it is asked for, or there is nothing else."""
        return self.layout is None and (recipe.layout or not self.conformers)

    @property
    def timed_out(self) -> bool:
        """Whether there is nothing because time ran out."""
        return self.status == "failed" and bool({OUT_OF_TIME, NO_LAYOUT_IN_TIME} & {*self.notes})

    def cut_short(self, note: str, recipe: Recipe) -> None:
        """Enters that the process ended on the way, and how far it had come."""
        self.add(Step("note", note))
        made = len(self.conformers)
        if 0 < made < recipe.count:
            self.add(Step("note", f"{made} of {recipe.count} conformers"))

    def add(self, step: Step) -> None:
        """Takes in one step of the ladder."""
        if step.kind == "3d":
            self.conformers.append(step.value)
        elif step.kind == "2d":
            self.layout = step.value
        elif step.value not in self.notes:
            self.notes.append(step.value)


def make(mol: Chem.Mol, recipe: Recipe) -> Embedding:
    """Runs the whole ladder in this process: conformers, then the 2D layout where needed.

    Args:
        mol: The molecule with explicit hydrogens; left unchanged.
        recipe: How many conformers, which seed, how much time.
    """
    embedding = Embedding()
    for step in embed(mol, recipe):
        embedding.add(step)
    if embedding.lacks_layout(recipe):
        embedding.add(layout_step(mol))
    return embedding


def embed(mol: Chem.Mol, recipe: Recipe) -> Iterator[Step]:
    """Makes the conformers of one molecule, one after the other.

    Conformer k is embedded with the seed ``recipe.seed + k + 1`` and nothing else, so that it does
    not depend on how many others are asked for. RDKit takes the seeds 0 and 1 for the same one.

    Args:
        mol: The molecule with explicit hydrogens; left unchanged.
        recipe: How many conformers, which seed, how much time.

    Yields:
        Each conformer as soon as it is made, and notes. If ``recipe.count`` is 0: the 2D layout.
    """
    if recipe.count == 0:
        yield layout_step(mol)
        return
    deadline = time.monotonic() + recipe.time_limit
    made = 0
    for k in range(recipe.count):
        if k > 0 and time.monotonic() > deadline:
            yield Step("note", OUT_OF_TIME)
            break
        coordinates, note = _embed_once(mol, recipe.seed + k + 1, deadline)
        if note:
            yield Step("note", note)
        if coordinates is not None:
            made += 1
            yield Step("3d", coordinates)
        elif made == 0:  # such a molecule (of impossible stereo, say) fails with all other seeds
            break
    if 0 < made < recipe.count:
        yield Step("note", f"{made} of {recipe.count} conformers")


def _embed_once(mol: Chem.Mol, seed: int, deadline: float) -> tuple[np.ndarray | None, str]:
    """Returns one minimised conformer ``[n, 3]`` in Å, or None, and a note."""
    mol = Chem.Mol(mol)
    problem = "ETKDG found no 3D embedding"
    for random_start in (False, True):
        params = rdDistGeom.ETKDGv3()
        params.randomSeed = seed
        params.useRandomCoords = random_start
        # Half of what is left, so that random coordinates get their turn. RDKit counts in whole
        # seconds and takes 0 for "no limit".
        left = (deadline - time.monotonic()) / (1 if random_start else 2)
        params.timeout = max(1, math.ceil(left))
        try:
            found = rdDistGeom.EmbedMolecule(mol, params) >= 0
        except (RuntimeError, ValueError) as error:  # RDKit's violated invariants and bad input
            found, problem = False, f"RDKit: {first_line(error)}"
        if found:
            break
        if time.monotonic() > deadline:
            return None, OUT_OF_TIME
    else:
        return None, problem
    note = _minimise(mol, deadline)
    coordinates = mol.GetConformer().GetPositions().astype(np.float32)
    if not np.isfinite(coordinates).all():
        return None, "RDKit made coordinates that are not finite"
    return coordinates, note


def _minimise(mol: Chem.Mol, deadline: float) -> str:
    """Minimises the conformer of ``mol`` in place; returns a note where it was not MMFF94."""
    embedded = Chem.Conformer(mol.GetConformer())
    # The minimiser forgets its curvature estimate between calls: for other than large molecules
    # all steps go into one call, which is what RDKit's MMFFOptimizeMolecule does.
    steps = LARGE_STEPS if mol.GetNumAtoms() > LARGE else MAX_STEPS
    try:
        force_field, note = _force_field(mol)
        if force_field is None:
            return note
        force_field.Initialize()
        for _ in range(0, MAX_STEPS, steps):
            if force_field.Minimize(maxIts=steps) == 0:
                break
            if steps < MAX_STEPS and time.monotonic() > deadline:
                return CUT_SHORT
    except (RuntimeError, ValueError) as error:  # the line search can violate an invariant
        mol.RemoveAllConformers()
        mol.AddConformer(embedded)
        return f"minimisation failed, ETKDG geometry as it is ({first_line(error)})"
    return note


def _force_field(mol: Chem.Mol) -> tuple[rdForceField.ForceField | None, str]:
    """Returns MMFF94, or else UFF or None with a note."""
    properties = rdForceFieldHelpers.MMFFGetMoleculeProperties(mol)
    if properties is not None:
        return rdForceFieldHelpers.MMFFGetMoleculeForceField(mol, properties), ""
    if rdForceFieldHelpers.UFFHasAllMoleculeParams(mol):
        note = "no MMFF94 parameters: minimised with UFF"
        return rdForceFieldHelpers.UFFGetMoleculeForceField(mol), note
    return None, "no force field parameters: ETKDG geometry as it is"


def layout_step(mol: Chem.Mol) -> Step:
    """Makes the 2D layout, or a note on why there is none."""
    try:
        return Step("2d", layout_2d(mol))
    except (RuntimeError, ValueError) as error:
        return Step("note", f"no 2D layout: {first_line(error)}")


def layout_2d(mol: Chem.Mol) -> np.ndarray:
    """Returns RDKit's 2D layout with z = 0, in Å, shape ``[n, 3]`` float32."""
    mol = Chem.Mol(mol)
    rdDepictor.Compute2DCoords(mol)
    return mol.GetConformer().GetPositions().astype(np.float32)


def first_line(error: Exception) -> str:
    """Returns the first line of an error's message that says something."""
    return next((line.strip() for line in str(error).splitlines() if line.strip()), "no message")
