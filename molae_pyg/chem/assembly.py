"""From coordinates to ``Data``: options, selection of atoms, and the fields."""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch_geometric.data import Data

from molae_pyg.chem.conformers import Embedding, Recipe
from molae_pyg.chem.elements import ELEMENTS, MAX_Z
from molae_pyg.chem.parsing import Molecule

_KNOWN = torch.tensor(sorted(ELEMENTS.values()))


@dataclass(frozen=True)
class Options:
    """What to make of a molecule; :func:`~molae_pyg.chem.from_smiles` explains each."""

    num_conformers: int | None = None
    add_2d: bool = False
    remove_hydrogens: bool = True
    max_atoms: int | None = None
    seed: int = 0
    time_limit: float = 30.0

    def __post_init__(self) -> None:
        if self.num_conformers is not None and self.num_conformers < 1:
            raise ValueError(
                f"num_conformers must be at least 1, got {self.num_conformers}; "
                "None gives a single `pos`"
            )
        if self.add_2d and self.num_conformers is None:
            raise ValueError("add_2d=True needs num_conformers, which gives `conformers` its axis")
        if self.max_atoms is not None and self.max_atoms < 1:
            raise ValueError(f"max_atoms must be at least 1, got {self.max_atoms}; None keeps all")
        if self.seed < 0:
            raise ValueError(f"seed must not be negative, got {self.seed}")
        if not 0 < self.time_limit < 1e6:
            raise ValueError(f"time_limit must be in (0, 1e6) seconds, got {self.time_limit}")

    @property
    def recipe(self) -> Recipe:
        """What the conformer ladder is to make."""
        return Recipe(self.num_conformers or 1, self.seed, self.time_limit, self.add_2d)


def invalid_message(smiles: object, error: ValueError) -> str:
    """Returns the message on a string that is no SMILES."""
    return (
        f"cannot read SMILES {smiles!r}: {error}. Correct the string, or leave the molecule out "
        "(featurize does so, and counts it, with on_error='skip')."
    )


def build_or_raise(molecule: Molecule, embedding: Embedding, options: Options) -> Data:
    """As :func:`build`, but an embedding without coordinates is an error."""
    if embedding.status == "failed":
        raise ValueError(
            f"no coordinates for {molecule.smiles!r}: {'; '.join(embedding.notes)}. Leave the "
            "molecule out, or pass one that has 3D coordinates to from_mol."
        )
    return build(molecule, embedding, options)


def build(molecule: Molecule, embedding: Embedding, options: Options) -> Data:
    """Puts together the ``Data`` of :func:`~molae_pyg.chem.from_smiles`."""
    numbers = torch.tensor([atom.GetAtomicNum() for atom in molecule.mol.GetAtoms()])
    numbers[numbers == 0] = MAX_Z  # 0 would be read as [MASK]
    kept, num_cropped, notes = _selection(numbers, options)
    notes = [*embedding.notes, *notes]
    made = embedding.conformers or [embedding.layout]
    data = Data(z=numbers[kept])
    if options.num_conformers is None:
        data.pos = torch.from_numpy(made[0])[kept]
    else:
        frames = [made[k % len(made)] for k in range(options.num_conformers)]
        if options.add_2d:
            frames.append(_layout_or_conformer(embedding))
        data.conformers = torch.from_numpy(np.stack(frames, axis=1))[kept]  # [n, K (+1), 3]
        data.num_nodes = kept.numel()  # PyG infers it from `pos` only
    data.smiles = molecule.smiles
    data.atom_map = torch.from_numpy(molecule.atom_map)[kept]
    data.status, data.reason = embedding.status, "; ".join(notes)
    data.num_distinct = min(len(made), options.recipe.count)
    data.num_unknown = int((~torch.isin(data.z, _KNOWN)).sum())
    data.num_cropped = num_cropped
    return data


def repeat(data: Data, molecule: Molecule, options: Options) -> Data:
    """Returns the ``Data`` of a molecule that differs from ``data`` in the input string only."""
    numbers = torch.tensor([atom.GetAtomicNum() for atom in molecule.mol.GetAtoms()])
    data = data.clone()
    data.smiles = molecule.smiles
    data.atom_map = torch.from_numpy(molecule.atom_map)[_selection(numbers, options)[0]]
    return data


def _layout_or_conformer(embedding: Embedding) -> np.ndarray:
    # A layout fails next to never; the axis keeps its length with a conformer in its place.
    return embedding.conformers[0] if embedding.layout is None else embedding.layout


def _selection(numbers: Tensor, options: Options) -> tuple[Tensor, int, list[str]]:
    """Returns the indices of the atoms to keep, the number cropped, and notes."""
    kept, notes = torch.arange(numbers.numel()), []
    if options.remove_hydrogens:
        kept = (numbers != 1).nonzero().flatten()
        if kept.numel() == 0:
            kept, notes = torch.arange(numbers.numel()), ["hydrogen only: hydrogens kept"]
    num_cropped = 0 if options.max_atoms is None else max(0, kept.numel() - options.max_atoms)
    if num_cropped:
        generator = np.random.default_rng(options.seed)
        chosen = generator.choice(kept.numel(), options.max_atoms, replace=False)
        kept = kept[torch.from_numpy(np.sort(chosen))]
    return kept, num_cropped, notes
