"""Fine-tuning of the graph networks of PretrainGNN, MolCLR and GraphMVP."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, Self, get_args

import lightning as L
from torch import Tensor, nn
from torch_geometric.data import Data
from torch_geometric.nn import global_mean_pool

from molae_pyg.baselines.graph_mvp import GraphMVP
from molae_pyg.baselines.graphs import GraphModel
from molae_pyg.baselines.job import Fitted, Job, train
from molae_pyg.baselines.mol_clr import MolCLR
from molae_pyg.baselines.official_gnn import edge_gin_from_official
from molae_pyg.baselines.pretrain_gnn import (
    AttributeMasking,
    ContextPrediction,
    EdgePrediction,
    GraphInfomax,
)
from molae_pyg.checkpoint import CONFIG, CheckpointError, saved_class
from molae_pyg.chem.hu_graph import hu_graph
from molae_pyg.kinds import TaskTypes
from molae_pyg.nn.gin import EdgeGIN
from molae_pyg.official_file import read_official

#: ``"linear"``: one layer on the mean over atoms (Hu et al., GraphMVP). ``"mol-clr"``: the vector
#: of MolCLR, and two hidden layers of 256.
Head = Literal["linear", "mol-clr"]
_PRE_TRAINED = {
    cls.__name__: cls
    for cls in (
        AttributeMasking,
        ContextPrediction,
        EdgePrediction,
        GraphInfomax,
        GraphMVP,
        MolCLR,
    )
}
_HIDDEN = 256


class EdgeGINPredictor(GraphModel):
    """A pre-trained graph network that predicts properties ``[B, O]``.

    Args:
        encoder: The network, whose weights are kept, or its arguments.
        num_tasks, task_names, task_type, num_classes: See
            :class:`~molae_pyg.models.PropertyModel`.
        head: ``"linear"`` (default) or ``"mol-clr"``.
        feature_channels: Width of the vector of the head ``"mol-clr"``, default: 512.
    """

    def __init__(
        self,
        encoder: EdgeGIN | Mapping[str, Any],
        num_tasks: int,
        task_names: Sequence[str] | None = None,
        task_type: TaskTypes = "regression",
        num_classes: int | Sequence[int] | None = None,
        head: Head = "linear",
        feature_channels: int = 512,
    ):
        super().__init__(num_tasks, task_names, task_type, num_classes)
        if head not in get_args(Head):
            raise ValueError(f"head must be 'linear' or 'mol-clr', got {head!r}")
        self.encoder = encoder if isinstance(encoder, EdgeGIN) else EdgeGIN(**encoder)
        channels, num_outputs = self.encoder.config["hidden_channels"], sum(self.num_outputs)
        self.head = (
            nn.Linear(channels, num_outputs)
            if head == "linear"
            else nn.Sequential(
                nn.Linear(channels, feature_channels),
                nn.Linear(feature_channels, _HIDDEN),
                nn.Softplus(),
                nn.Linear(_HIDDEN, _HIDDEN),
                nn.Softplus(),
                nn.Linear(_HIDDEN, num_outputs),
            )
        )
        self.config = {
            "encoder": self.encoder.config,
            "num_tasks": num_tasks,
            "task_names": self.task_names,
            "task_type": self.saved_task_type,
            **self.saved_classes,
            "head": head,
            "feature_channels": feature_channels,
        }

    @classmethod
    def from_pretraining(
        cls,
        path: str | Path,
        num_tasks: int,
        task_names: Sequence[str] | None = None,
        task_type: TaskTypes = "regression",
        num_classes: int | Sequence[int] | None = None,
        dropout: float = 0.5,
        pretrained: bool = True,
    ) -> Self:
        """Builds a predictor on a pre-trained network, with a new head.

        Args:
            path: Folder of a saved model of PretrainGNN, MolCLR or GraphMVP, or an official
                ``.pth`` file. After MolCLR the head is ``"mol-clr"``, and its first layer is
                pre-trained too; an official file of a fine-tuned MolCLR gives its encoder alone.
            num_tasks, task_names, task_type, num_classes: As for the class.
            dropout: Dropout of the network, default: 0.5 (MolCLR: 0.3).
            pretrained: Whether the network keeps its weights (default), or has new random ones.

        Raises:
            CheckpointError: There is no such model, or it cannot be read.
        """
        model = graph_network(path)
        if model is None:
            names = ", ".join(_PRE_TRAINED)
            raise CheckpointError(f"{path} is no folder of a saved {names}, and no .pth file")
        source = model if isinstance(model, EdgeGIN) else model.encoder
        encoder = EdgeGIN(**{**source.config, "dropout": dropout})
        if pretrained:
            encoder.load_state_dict(source.state_dict())
        tasks = (num_tasks, task_names, task_type, num_classes)
        if not isinstance(model, MolCLR):
            return cls(encoder, *tasks)
        predictor = cls(encoder, *tasks, "mol-clr", model.config["feature_channels"])
        if pretrained:
            predictor.head[0].load_state_dict(model.feature.state_dict())
        return predictor

    def forward(self, x: Tensor, edge_index: Tensor, edge_attr: Tensor, batch: Tensor) -> Tensor:
        """Returns real units or logits ``[B, O]`` of the fields of graphs of ``hu_graph``."""
        h = self.encoder(x, edge_index, edge_attr)  # [N, C]
        return self.head(global_mean_pool(h, batch)) * self.std + self.mean


def graph_network(weights: str | Path) -> nn.Module | None:
    """Returns the pre-trained model of a folder or of an official ``.pth`` file.

    None: the weights are those of another model, or random.

    Raises:
        CheckpointError: The model cannot be read.
    """
    path = Path(weights)
    if path.suffix == ".pth":
        is_mol_clr = "out_lin.0.weight" in read_official(path).weights
        return MolCLR.from_official(path) if is_mol_clr else edge_gin_from_official(path)
    if not (path / CONFIG).is_file() or saved_class(path) not in _PRE_TRAINED:
        return None
    return _PRE_TRAINED[saved_class(path)].from_pretrained(path)


def labelled_graphs(
    smiles: Sequence[str], y: Tensor, graph_of: Callable[[str], Data] = hu_graph
) -> list[Data]:
    """Returns the graphs of n molecules with their labels, ``y [1, T]``.

    Args:
        smiles: The molecules.
        y: Their labels ``[n, T]``, NaN: missing.
        graph_of: Makes a graph of a SMILES, default: :func:`~molae_pyg.chem.hu_graph.hu_graph`.
    """
    found = []
    for text, labels in zip(smiles, y, strict=True):
        graph = graph_of(text)
        graph.y = labels[None]
        found.append(graph)
    return found


def edge_gin(job: Job) -> Fitted:
    """Fine-tunes the graph network of the weights that the settings name, or a random one."""
    L.seed_everything(job.seed, verbose=False)
    dataset, settings = job.dataset, job.settings
    tasks = (dataset.num_tasks, dataset.task_names, dataset.task_types)
    dropout = settings.get("dropout", 0.5)
    if settings["weights"] == "random":
        encoder = EdgeGIN(**{**settings.get("model", {}), "dropout": dropout})
        model = EdgeGINPredictor(encoder, *tasks, head=settings.get("head", "linear"))
    else:
        more = {"dropout": dropout, "pretrained": settings.get("pretrained", True)}
        model = EdgeGINPredictor.from_pretraining(settings["weights"], *tasks, **more)
    return train(model, labelled_graphs(dataset.smiles, dataset.y), job)
