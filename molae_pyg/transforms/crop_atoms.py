from collections.abc import Sequence

import torch
from torch_geometric.data import Data
from torch_geometric.transforms import BaseTransform

from molae_pyg.transforms.subset import check_fields, one_molecule, shown, take_atoms


class CropAtoms(BaseTransform):
    """Keeps at most ``max_atoms`` atoms, a random subset, in their order.

    The reference also shuffles what it keeps; atom order is the decoder's atomic identifier, so
    that here it stays. Sets ``num_cropped`` to the number of atoms left out.

    Args:
        max_atoms: Default 256, as published.
        atom_fields: Names of the fields with one entry per atom, besides ``z``, ``pos``,
            ``conformers``, ``x``, ``batch``, ``drop_mask``, ``pos_noisy`` and ``z_noisy``.
            Default: every field whose first dimension is the number of atoms, except ``y``,
            ``y_...``, ``label(s)``, ``target(s)``, ``smiles`` and ``name``, which belong to the
            molecule.
    """

    def __init__(self, max_atoms: int = 256, atom_fields: Sequence[str] | None = None):
        if isinstance(max_atoms, bool) or not isinstance(max_atoms, int) or max_atoms < 1:
            raise ValueError(f"max_atoms must be positive, not {max_atoms}; an integer is needed")
        self.max_atoms = max_atoms
        self.atom_fields = check_fields(atom_fields)

    def forward(self, data: Data) -> Data:
        z = one_molecule(data)
        num_atoms = z.numel()
        data.num_cropped = max(num_atoms - self.max_atoms, 0)
        if data.num_cropped == 0:
            return data
        keep = torch.zeros(num_atoms, dtype=torch.bool, device=z.device)
        keep[torch.randperm(num_atoms, device=keep.device)[: self.max_atoms]] = True
        return take_atoms(data, keep, self.atom_fields)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.max_atoms}{shown(self.atom_fields)})"
