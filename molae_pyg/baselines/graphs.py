"""Graph networks of PyTorch Geometric on atoms and bonds, without coordinates."""

from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Any

import lightning as L
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch_geometric.data import Batch, Data
from torch_geometric.nn import GIN, AttentiveFP, global_mean_pool
from torch_geometric.utils import from_smiles
from torch_geometric.utils.smiles import e_map, x_map
from tqdm.auto import tqdm

from molae_pyg.baselines.job import Fitted, Job, train
from molae_pyg.datasets.table import MoleculeTable
from molae_pyg.metrics import TaskTypes
from molae_pyg.models import PropertyModel

ATOM_SIZES = [len(values) for values in x_map.values()]
BOND_SIZES = [len(values) for values in e_map.values()]


def attentive_fp(job: Job) -> Fitted:
    """Trains AttentiveFP (Xiong et al. 2020, https://doi.org/10.1021/acs.jmedchem.9b00959)."""
    return _fit("attentive_fp", job)


def gin(job: Job) -> Fitted:
    """Trains GIN (Xu et al. 2019, https://arxiv.org/abs/1810.00826), mean over atoms, one layer."""
    return _fit("gin", job)


def _fit(architecture: str, job: Job) -> Fitted:
    L.seed_everything(job.seed, verbose=False)
    dataset = job.dataset
    tasks = (dataset.num_tasks, dataset.task_names, dataset.task_types)
    model = GraphPredictor(architecture, job.settings["model"], *tasks)
    return train(model, graphs(dataset), job)


@lru_cache(maxsize=1)  # all seeds need the same graphs
def graphs(dataset: MoleculeTable) -> list[Data]:
    """Returns the molecules of a data set as graphs with one-hot features, in its order.

    Features are those of :func:`torch_geometric.utils.from_smiles`: element, chirality, degree,
    charge, hydrogens, radical electrons, hybridisation, aromatic, in a ring; kind of bond, stereo,
    conjugated.

    Shapes:
        - **x** of an item: :math:`(n, 177)` bool
        - **edge_index**, **edge_attr**: :math:`(2, m)`, :math:`(m, 30)` bool
        - **z**, **y**: :math:`(n)` atomic numbers, :math:`(1, T)`
    """
    found = []
    rows = zip(dataset.smiles, dataset.y, strict=True)
    for smiles, y in tqdm(rows, "graphs", len(dataset), unit="mol", delay=2.0, disable=None):
        graph = from_smiles(smiles)
        found.append(
            Data(
                x=_one_hot(graph.x, ATOM_SIZES),
                edge_index=graph.edge_index,
                edge_attr=_one_hot(graph.edge_attr, BOND_SIZES),
                z=graph.x[:, 0],
                y=y[None],
                smiles=smiles,
            )
        )
    return found


def _one_hot(values: Tensor, sizes: Sequence[int]) -> Tensor:
    columns = zip(values.T, sizes, strict=True)
    return torch.cat([F.one_hot(column, size).bool() for column, size in columns], dim=1)


class GraphModel(PropertyModel):
    """A model whose ``forward`` takes the fields ``x, edge_index, edge_attr, batch`` of graphs."""

    def on_batch(self, batch: Batch) -> Tensor:
        return self(batch.x, batch.edge_index, batch.edge_attr, batch.batch)

    def predict_batch(self, batch: Batch) -> Tensor:
        return self.probabilities(self.on_batch(batch))


class GraphPredictor(GraphModel):
    """A graph network that predicts properties ``[B, T]``.

    Args:
        architecture: ``"attentive_fp"`` or ``"gin"``.
        settings: Arguments of the network.
        num_tasks, task_names, task_type: See :class:`~molae_pyg.models.PropertyModel`.

    Raises:
        ValueError: If the architecture is unknown.
    """

    def __init__(
        self,
        architecture: str,
        settings: dict[str, Any],
        num_tasks: int,
        task_names: Sequence[str] | None = None,
        task_type: TaskTypes = "regression",
    ):
        super().__init__(num_tasks, task_names, task_type)
        if architecture not in NETWORKS:
            raise ValueError(f"architecture must be one of {', '.join(NETWORKS)}: {architecture!r}")
        self.network = NETWORKS[architecture](num_tasks, settings)
        self.config = {
            "architecture": architecture,
            "settings": settings,
            "num_tasks": num_tasks,
            "task_names": self.task_names,
            "task_type": self.saved_task_type,
        }

    def forward(self, x: Tensor, edge_index: Tensor, edge_attr: Tensor, batch: Tensor) -> Tensor:
        out = self.network(x.float(), edge_index, edge_attr.float(), batch)
        return out * self.std + self.mean


class _PooledGIN(nn.Module):
    def __init__(self, num_tasks: int, hidden_channels: int, num_layers: int, dropout: float):
        super().__init__()
        self.gin = GIN(
            sum(ATOM_SIZES), hidden_channels, num_layers, dropout=dropout, norm="batch_norm"
        )
        self.out = nn.Linear(hidden_channels, num_tasks)

    def forward(self, x: Tensor, edge_index: Tensor, edge_attr: Tensor, batch: Tensor) -> Tensor:
        return self.out(global_mean_pool(self.gin(x, edge_index), batch))  # [B, T]


def _attentive_fp(num_tasks: int, settings: dict[str, Any]) -> AttentiveFP:
    sizes = {"in_channels": sum(ATOM_SIZES), "edge_dim": sum(BOND_SIZES)}
    return AttentiveFP(out_channels=num_tasks, **sizes, **settings)


#: Networks by name, each built from the number of tasks and its settings.
NETWORKS: dict[str, Callable[[int, dict[str, Any]], nn.Module]] = {
    "attentive_fp": _attentive_fp,
    "gin": lambda num_tasks, settings: _PooledGIN(num_tasks, **settings),
}
