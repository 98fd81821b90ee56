"""From coordinates to ``Data``: the fields."""

import numpy as np
import torch
from torch_geometric.data import Data

from molae_pyg.chem.conformers import Embedding
from molae_pyg.chem.elements import ELEMENTS
from molae_pyg.chem.options import Options, frames, kept_atoms
from molae_pyg.chem.parsing import Molecule, atomic_numbers

_KNOWN = torch.tensor(sorted(ELEMENTS.values()))


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
    numbers = atomic_numbers(molecule.mol)
    kept, num_cropped, notes = kept_atoms(numbers, options)
    notes = [*embedding.notes, *notes]
    coordinates = torch.from_numpy(frames(embedding, options)[kept])  # [n, K (+1), 3]
    data = Data(z=torch.from_numpy(numbers[kept]))
    if options.num_conformers is None:
        data.pos = coordinates[:, 0].contiguous()  # [n, 3]
    else:
        data.conformers = coordinates
        data.num_nodes = len(kept)  # PyG infers it from `pos` only
    data.smiles = molecule.smiles
    data.atom_map = torch.from_numpy(molecule.atom_map[kept])
    data.status, data.reason = embedding.status, "; ".join(notes)
    data.num_distinct = min(_num_distinct(embedding), options.recipe.count)
    data.num_unknown = int((~torch.isin(data.z, _KNOWN)).sum())
    data.num_cropped = num_cropped
    return data


def _num_distinct(embedding: Embedding) -> int:
    """Number of conformers at other coordinates; 1 where the layout stands in."""
    different: list[np.ndarray] = []
    for conformer in embedding.conformers:
        if not any(np.array_equal(conformer, other) for other in different):
            different.append(conformer)
    return len(different) or 1


def repeat(data: Data, molecule: Molecule, options: Options) -> Data:
    """Returns the ``Data`` of a molecule that differs from ``data`` in the input string only."""
    kept, _, _ = kept_atoms(atomic_numbers(molecule.mol), options)
    data = data.clone()
    data.smiles = molecule.smiles
    data.atom_map = torch.from_numpy(molecule.atom_map[kept])
    return data
