from collections.abc import Sequence

import torch
from torch_geometric.data import Data
from torch_geometric.transforms import BaseTransform

from molae_pyg.transforms.subset import check_fields, one_molecule, shown, take_atoms


class RemoveHydrogens(BaseTransform):
    """Removes hydrogens (z = 1) and everything that belongs to them.

    Args:
        trailing_only: False (default) removes every hydrogen. True removes only those after the
            last heavy atom, which is all the reference's "only polar" setting does.
        atom_fields: Names of the fields with one entry per atom, as in
            :class:`~molae_pyg.transforms.CropAtoms`.
    """

    def __init__(self, trailing_only: bool = False, atom_fields: Sequence[str] | None = None):
        self.trailing_only = trailing_only
        self.atom_fields = check_fields(atom_fields)

    def forward(self, data: Data) -> Data:
        heavy = one_molecule(data) != 1
        if not heavy.any():  # a molecule of hydrogens only keeps them: nothing else is left
            return data
        if self.trailing_only:
            last = int(heavy.nonzero().max())
            heavy = torch.arange(heavy.numel(), device=heavy.device) <= last
        return take_atoms(data, heavy, self.atom_fields)

    def __repr__(self) -> str:
        fields = shown(self.atom_fields)
        return f"{type(self).__name__}(trailing_only={self.trailing_only}{fields})"
