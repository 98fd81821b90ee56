import torch
from torch_geometric.data import Data
from torch_geometric.transforms import BaseTransform

from molae_pyg.transforms.corrupt import molecules_of


class SampleConformer(BaseTransform):
    """Draws one conformer of each molecule, evenly: ``conformers [N, K, 3]`` -> ``pos [N, 3]``.

    Applied on access, it gives another conformer each epoch. Works on a ``Data`` and, vectorised
    (a draw per molecule), on a ``Batch``. Randomness is torch's. Data without ``conformers`` but
    with ``pos`` passes unchanged.
    """

    def forward(self, data: Data) -> Data:
        conformers = data.get("conformers")
        if conformers is None:
            if data.get("pos") is None:
                raise ValueError("the molecule has neither conformers nor pos")
            return data
        batch, batch_size = molecules_of(data)
        num_atoms, num_conformers, _ = conformers.shape
        choice = torch.randint(num_conformers, (batch_size,), device=conformers.device)  # [B]
        data.pos = conformers[torch.arange(num_atoms, device=batch.device), choice[batch]]
        return data
