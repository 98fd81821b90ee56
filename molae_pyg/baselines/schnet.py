"""SchNet of PyTorch Geometric, on the conformers that Mol-AE sees."""

from collections.abc import Sequence
from typing import Any

import lightning as L
import torch
from torch import Tensor, nn
from torch_geometric.nn import SchNet
from torch_geometric.utils import to_dense_batch

from molae_pyg.baselines.job import Fitted, Job, train
from molae_pyg.metrics import TaskTypes
from molae_pyg.models import PropertyModel


def schnet(job: Job) -> Fitted:
    """Trains SchNet (Schütt et al. 2018, https://arxiv.org/abs/1706.08566)."""
    dataset = job.dataset
    L.seed_everything(job.seed, verbose=False)
    tasks = (dataset.num_tasks, dataset.task_names, dataset.task_types)
    model = SchNetPredictor(job.settings["model"], *tasks)
    # Subnormal Gaussians of long distances make a CPU four times slower than zeros.
    torch.set_flush_denormal(True)
    try:
        return train(model, dataset, job)
    finally:
        torch.set_flush_denormal(False)


class SchNetPredictor(PropertyModel):
    """SchNet for T tasks; predictions are averaged over conformers, as those of Mol-AE.

    Args:
        settings: Arguments of :class:`torch_geometric.nn.models.SchNet`.
        num_tasks, task_names, task_type: See :class:`~molae_pyg.models.PropertyModel`.
    """

    def __init__(
        self,
        settings: dict[str, Any],
        num_tasks: int,
        task_names: Sequence[str] | None = None,
        task_type: TaskTypes = "regression",
    ):
        super().__init__(num_tasks, task_names, task_type)
        neighbours = Neighbours(settings.get("cutoff", 10.0))
        self.network = SchNet(**settings, interaction_graph=neighbours)
        self.network.lin2 = nn.Linear(self.network.lin2.in_features, num_tasks)
        for block in self.network.interactions:
            del block.mlp  # the same module as block.conv.nn, which safetensors would refuse
        self.config = {
            "settings": settings,
            "num_tasks": num_tasks,
            "task_names": self.task_names,
            "task_type": self.saved_task_type,
        }

    def forward(self, z: Tensor, pos: Tensor, batch: Tensor) -> Tensor:
        """Real units or logits ``[B, T]`` of ``z [N]``, ``pos [N, 3]`` in Å, ``batch [N]``."""
        known = z.clamp(max=99)  # SchNet has 100 embeddings; 118 is an unknown atom
        return self.network(known, pos, batch) * self.std + self.mean


class Neighbours(nn.Module):
    """Finds all ordered pairs of atoms of a molecule within a cutoff in Å, and their distances.

    PyTorch Geometric's ``radius_graph`` needs another package and limits the neighbours.
    """

    def __init__(self, cutoff: float):
        super().__init__()
        self.cutoff = cutoff

    def forward(self, pos: Tensor, batch: Tensor) -> tuple[Tensor, Tensor]:
        dense, mask = to_dense_batch(pos, batch)  # [B, L, 3], [B, L]
        distance = torch.cdist(dense, dense)  # [B, L, L]
        near = (distance <= self.cutoff) & mask[:, :, None] & mask[:, None, :]
        near &= ~torch.eye(mask.size(1), dtype=torch.bool, device=pos.device)
        molecule, target, source = near.nonzero(as_tuple=True)
        first = torch.cumsum(mask.sum(1), 0) - mask.sum(1)  # [B]
        edge_index = torch.stack([first[molecule] + source, first[molecule] + target])
        return edge_index, (pos[edge_index[0]] - pos[edge_index[1]]).norm(dim=-1)
