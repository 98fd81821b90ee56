import torch
from torch_geometric.data import Data
from torch_geometric.transforms import BaseTransform

from molae_pyg.transforms.subset import take_atoms


class CropAtoms(BaseTransform):
    """Keeps at most ``max_atoms`` atoms, a random subset, in their order.

    The reference also shuffles what it keeps; atom order is the decoder's atomic identifier, so
    that here it stays. Sets ``num_cropped`` to the number of atoms left out.

    Args:
        max_atoms: Default 256, as published.
    """

    def __init__(self, max_atoms: int = 256):
        if max_atoms < 1:
            raise ValueError(f"max_atoms must be positive, not {max_atoms}")
        self.max_atoms = max_atoms

    def forward(self, data: Data) -> Data:
        num_atoms = data.z.numel()
        data.num_cropped = max(num_atoms - self.max_atoms, 0)
        if data.num_cropped == 0:
            return data
        keep = torch.zeros(num_atoms, dtype=torch.bool, device=data.z.device)
        keep[torch.randperm(num_atoms, device=keep.device)[: self.max_atoms]] = True
        return take_atoms(data, keep)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.max_atoms})"
