"""Conformers: a ladder of methods under one time limit, with a reason for every departure.

A :class:`~molae_pyg.chem.recipes.Recipe` says how; the published one is ETKDGv3 and at most 200
steps of MMFF94, with hydrogens. If the embedding fails, it starts again from random coordinates; if
that fails too, the flat 2D layout is used. This module needs RDKit and NumPy only: worker processes
import it.
"""

import math
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
from rdkit import Chem
from rdkit.Chem import rdDepictor, rdDistGeom, rdForceFieldHelpers
from rdkit.ForceField import rdForceField

from molae_pyg.chem.recipes import PUBLISHED, Recipe

#: Above this number of atoms, hydrogens included, one call into RDKit can overrun any time limit.
LARGE = 300
LARGE_STEPS = 20  # steps between two looks at the clock, for large molecules
OUT_OF_TIME = "time limit reached"
NO_LAYOUT_IN_TIME = "no time for the 2D layout"
CUT_SHORT = "minimisation cut short by the time limit"
DIED = "the conformer process died"
#: Share of the time left that one call for several conformers may take, by the time of the first:
#: a process that is killed loses the conformers of that call.
TOGETHER = 0.1
LAYOUT_LIMIT = 60.0  # seconds for the 2D layout, and never longer than the conformers may take


class Request(NamedTuple):
    """Which conformers one molecule gets."""

    #: Number of conformers; conformer k is made with ``seed + k + 1``. 0: the 2D layout only.
    count: int = 1
    seed: int = 0
    #: Seconds for all conformers of the molecule together. The 2D layout may take as long again,
    #: up to :data:`LAYOUT_LIMIT`.
    time_limit: float = 30.0
    #: Whether the 2D layout is made although conformers succeed.
    layout: bool = False
    recipe: Recipe = PUBLISHED

    @property
    def layout_limit(self) -> float:
        """Seconds for the 2D layout."""
        return min(LAYOUT_LIMIT, self.time_limit)


class Message(NamedTuple):
    """What a worker sends: a conformer (``"3d"``), the layout (``"2d"``), a note, or another kind.

    :mod:`~molae_pyg.chem.rows` and :mod:`~molae_pyg.chem.worker` name the other kinds.
    """

    kind: str
    value: Any = ""


@dataclass
class Coordinates:
    """The coordinates of one molecule and how they were made."""

    #: 3D conformers in Å, each ``[n, 3]`` float32; empty if none could be made.
    conformers: list[np.ndarray] = field(default_factory=list)
    #: 2D layout with z = 0, ``[n, 3]`` float32, if it was asked for or needed.
    layout: np.ndarray | None = None
    #: What departed from the recipe, each remark once.
    notes: list[str] = field(default_factory=list)

    @property
    def status(self) -> str:
        """``"3d"``, ``"2d"`` (the layout replaces conformers) or ``"failed"`` (no coordinates)."""
        if self.conformers:
            return "3d"
        return "failed" if self.layout is None else "2d"

    @property
    def timed_out(self) -> bool:
        """Whether there are no coordinates because time ran out."""
        return self.status == "failed" and bool({OUT_OF_TIME, NO_LAYOUT_IN_TIME} & {*self.notes})

    @property
    def num_distinct(self) -> int:
        """Number of conformers with different coordinates; 1 if only the layout was made."""
        different: list[np.ndarray] = []
        for conformer in self.conformers:
            if not any(np.array_equal(conformer, other) for other in different):
                different.append(conformer)
        return len(different) or 1

    def lacks_layout(self, request: Request) -> bool:
        """Whether the 2D layout is still to be made: it is asked for, or there is nothing else."""
        return self.layout is None and (request.layout or not self.conformers)

    def cut_short(self, note: str, request: Request) -> None:
        """Notes that the process ended early, and how many conformers it had made."""
        self.add(Message("note", note))
        made = len(self.conformers)
        if 0 < made < request.count:
            self.add(Message("note", f"{made} of {request.count} conformers"))

    def add(self, message: Message) -> None:
        """Adds a conformer, the layout or a note."""
        if message.kind == "3d":
            self.conformers.append(message.value)
        elif message.kind == "2d":
            self.layout = message.value
        elif message.value not in self.notes:
            self.notes.append(message.value)


def generate(mol: Chem.Mol, request: Request) -> Iterator[Message]:
    """Makes the conformers of one molecule.

    Conformer k is made with the seed ``request.seed + k + 1`` and nothing else, so that it does not
    depend on how many others are asked for, or on how many are made in one call. RDKit treats the
    seeds 0 and 1 as the same seed.

    Args:
        mol: The molecule with explicit hydrogens; it is not changed.
        request: Number of conformers, recipe, seed and time limit.

    Yields:
        Conformers, the first as soon as it is made, and notes.
    """
    start = time.monotonic()
    deadline = start + request.time_limit
    made = k = 0
    # A call for several conformers of a large molecule would overrun any limit.
    together, seconds = mol.GetNumAtoms() <= LARGE, 0.0
    while k < request.count:
        now = time.monotonic()
        if k > 0 and now > deadline:
            yield Message("note", OUT_OF_TIME)
            break
        if k == 1:
            seconds = max(now - start, 1e-4)
        number = min(int(TOGETHER * (deadline - now) / seconds), request.count - k) if k else 1
        if together and number > 1:
            found = _generate_together(mol, request, k, number, deadline)
            yield from (Message("3d", coordinates) for coordinates in found)
            made, k, together = made + len(found), k + len(found), bool(found)
            continue
        coordinates, note = _generate_one(mol, request.recipe, request.seed + k + 1, deadline)
        k += 1
        if note:
            yield Message("note", note)
        if coordinates is not None:
            made += 1
            yield Message("3d", coordinates)
        elif made == 0:  # such a molecule (of impossible stereo, say) fails with all other seeds
            break
    if 0 < made < request.count:
        yield Message("note", f"{made} of {request.count} conformers")


def _generate_together(
    mol: Chem.Mol, request: Request, first: int, number: int, deadline: float
) -> list[np.ndarray]:
    """Returns the conformers from ``first`` on, bit for bit those of :func:`_generate_one`.

    RDKit shares the bounds, the torsions and the terms of the force field. The list is empty if any
    of the conformers needs the ladder or a note: they are then made one by one.
    """
    mol = Chem.Mol(mol)
    params = _parameters(request.recipe, (deadline - time.monotonic()) / (2 * number))
    params.randomSeed = request.seed + first  # RDKit adds 1 and the place of the conformer
    params.enableSequentialRandomSeeds = True
    try:
        if not rdForceFieldHelpers.MMFFHasAllMoleculeParams(mol):
            return []
        if len(rdDistGeom.EmbedMultipleConfs(mol, number, params)) < number:
            return []
        steps = request.recipe.steps
        rdForceFieldHelpers.MMFFOptimizeMoleculeConfs(mol, numThreads=1, maxIters=steps)
    except (RuntimeError, ValueError):
        return []
    made = [conformer.GetPositions().astype(np.float32) for conformer in mol.GetConformers()]
    return made if all(np.isfinite(coordinates).all() for coordinates in made) else []


def _parameters(recipe: Recipe, seconds: float) -> rdDistGeom.EmbedParameters:
    """Returns the settings of an embedding that gives up after about these seconds."""
    params = rdDistGeom.ETKDGv3() if recipe.method == "ETKDG" else rdDistGeom.DG()
    params.timeout = max(1, math.ceil(seconds))  # in whole seconds; 0 would mean "no limit"
    return params


def _generate_one(
    mol: Chem.Mol, recipe: Recipe, seed: int, deadline: float
) -> tuple[np.ndarray | None, str]:
    """Returns one minimised conformer ``[n, 3]`` in Å, or None, and a note."""
    mol = Chem.Mol(mol)
    problem = f"{recipe.method} found no 3D embedding"
    for random_start in (False, True):
        # Half of the remaining time, so that random coordinates get their turn.
        left = (deadline - time.monotonic()) / (1 if random_start else 2)
        params = _parameters(recipe, left)
        params.randomSeed = seed
        params.useRandomCoords = random_start
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
    note = _minimise(mol, recipe, deadline)
    coordinates = mol.GetConformer().GetPositions().astype(np.float32)
    if not np.isfinite(coordinates).all():
        return None, "RDKit made coordinates that are not finite"
    return coordinates, note


def _minimise(mol: Chem.Mol, recipe: Recipe, deadline: float) -> str:
    """Minimises the conformer of ``mol`` in place; returns a note if it was not by MMFF94."""
    before = Chem.Conformer(mol.GetConformer())
    # The minimiser forgets its curvature estimate between calls. Except for large molecules, all
    # steps are therefore one call, which is what RDKit's MMFFOptimizeMolecule does.
    at_once = LARGE_STEPS if mol.GetNumAtoms() > LARGE else recipe.steps
    try:
        force_field, note = _force_field(mol)
        if force_field is None:
            return f"{note}: {recipe.method} geometry as it is"
        force_field.Initialize()
        for done in range(0, recipe.steps, at_once):
            if force_field.Minimize(maxIts=min(at_once, recipe.steps - done)) == 0:
                break
            if at_once < recipe.steps and time.monotonic() > deadline:
                return CUT_SHORT
    except (RuntimeError, ValueError) as error:  # the line search can violate an invariant
        mol.RemoveAllConformers()
        mol.AddConformer(before)
        return f"minimisation failed, {recipe.method} geometry as it is ({first_line(error)})"
    return note


def _force_field(mol: Chem.Mol) -> tuple[rdForceField.ForceField | None, str]:
    """Returns MMFF94, or else UFF or None with a note."""
    properties = rdForceFieldHelpers.MMFFGetMoleculeProperties(mol)
    if properties is not None:
        return rdForceFieldHelpers.MMFFGetMoleculeForceField(mol, properties), ""
    if rdForceFieldHelpers.UFFHasAllMoleculeParams(mol):
        note = "no MMFF94 parameters: minimised with UFF"
        return rdForceFieldHelpers.UFFGetMoleculeForceField(mol), note
    return None, "no force field parameters"


def layout_of(mol: Chem.Mol) -> Message:
    """Makes the 2D layout, or a note that says why there is none."""
    try:
        return Message("2d", layout_2d(mol))
    except (RuntimeError, ValueError) as error:
        return Message("note", f"no 2D layout: {first_line(error)}")


def layout_2d(mol: Chem.Mol) -> np.ndarray:
    """Returns RDKit's 2D layout with z = 0, in Å, shape ``[n, 3]`` float32."""
    mol = Chem.Mol(mol)
    rdDepictor.Compute2DCoords(mol)
    return mol.GetConformer().GetPositions().astype(np.float32)


def first_line(error: Exception) -> str:
    """Returns the first line of an error message that is not blank."""
    return next((line.strip() for line in str(error).splitlines() if line.strip()), "no message")
