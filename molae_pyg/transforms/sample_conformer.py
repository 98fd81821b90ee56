import torch
from torch_geometric.data import Data
from torch_geometric.transforms import BaseTransform

from molae_pyg.transforms.corrupt import molecules_of


class SampleConformer(BaseTransform):
    """Draws one conformer of each molecule, evenly: ``conformers [N, K, 3]`` -> ``pos [N, 3]``.

    Applied on access, it gives another conformer each epoch. Works on a ``Data``, on a ``Data``
    with a ``batch`` vector and on a ``Batch`` (vectorised, a draw per molecule). Randomness is
    torch's. Data without ``conformers`` but with ``pos`` passes unchanged.
    """

    def forward(self, data: Data) -> Data:
        conformers = data.get("conformers")
        if conformers is None:
            if data.get("pos") is None:
                raise ValueError("the molecule has neither conformers nor pos")
            return data
        if conformers.dim() != 3 or conformers.size(1) == 0 or conformers.size(2) != 3:
            raise ValueError(
                f"expected conformers [N, K, 3] with K of at least 1, got {list(conformers.shape)}"
            )
        num_atoms, num_conformers, _ = conformers.shape
        batch, batch_size = molecules_of(data, conformers)
        choice = torch.randint(num_conformers, (batch_size,), device=conformers.device)  # [B]
        data.pos = conformers[torch.arange(num_atoms, device=batch.device), choice[batch]]
        return data
