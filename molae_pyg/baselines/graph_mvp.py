"""GraphMVP (Liu et al. 2022): the graph and the conformer of a molecule find each other."""

import os
from collections.abc import Callable
from typing import Literal, NamedTuple, Self, get_args

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch_geometric.data import Batch
from torch_geometric.nn import SchNet, global_mean_pool
from torch_geometric.utils import subgraph

from molae_pyg.baselines.official_gnn import edge_gin, fill, refuse_unknown, shape_of
from molae_pyg.baselines.pretrain_gnn import (
    AttributeMasking,
    ContextPrediction,
    attribute_objective,
    context_objective,
    no_loss,
)
from molae_pyg.baselines.schnet import Neighbours
from molae_pyg.models import Pretrained
from molae_pyg.nn.arguments import ShowsArguments
from molae_pyg.nn.contrast import info_nce, noise_contrast, noise_contrast_loss
from molae_pyg.nn.gin import HU, EdgeGIN
from molae_pyg.official_file import OfficialFile, read_official

_ELEMENTS = 119
_TASKS = {"attribute": AttributeMasking, "context": ContextPrediction}
#: How two vectors are compared: with the vectors of the next molecule, or with those of all.
Contrast = Literal["ebm-nce", "info-nce"]
#: How a vector that is rebuilt is compared: mean square, mean absolute difference, or -cosine.
Difference = Literal["l2", "l1", "cosine"]


class GraphMVPOutput(NamedTuple):
    """Vectors of B molecules."""

    graph: Tensor  #: ``[B, C]``, of the graph.
    conformer: Tensor  #: ``[B, C]``, of the conformer.


class GraphMVP(ShowsArguments, Pretrained, nn.Module):
    r"""A network of the graph and one of the conformer, and what rebuilds each from the other.

    From `"Pre-training Molecular Graph Representation with 3D Geometry"
    <https://openreview.net/forum?id=xQUe1pOKPam>`_ (ICLR 2022). With X and Y the vectors of graph
    and conformer,

    .. math::
        \mathcal{L} = \frac{1}{2} (L(\hat X, \hat Y) + L(\hat Y, \hat X))
        + \frac{1}{2} (R(X \to Y) + R(Y \to X))

    where L compares normalised vectors and R is the loss of :class:`Rebuild`. Only ``encoder`` is
    used afterwards.

    Args:
        hidden_channels: Width C of both networks, default: 300.
        num_layers: Layers of the graph network, default: 5.
        num_filters: Filters of SchNet, default: 128.
        num_interactions: Interactions of SchNet, default: 6.
        variational: Whether the vector that is rebuilt is drawn (default, as published) or not.
        task: A task of the graph network besides: ``"attribute"`` (GraphMVP-G), ``"context"``
            (GraphMVP-C) or None (default), see
            :class:`~molae_pyg.baselines.pretrain_gnn.ContextPrediction`.
        dropout: Dropout of the graph network, default: 0.
    """

    def __init__(
        self,
        hidden_channels: int = 300,
        num_layers: int = 5,
        num_filters: int = 128,
        num_interactions: int = 6,
        variational: bool = True,
        task: Literal["attribute", "context"] | None = None,
        dropout: float = 0.0,
    ):
        super().__init__()
        C = hidden_channels
        if task not in (*_TASKS, None):
            raise ValueError(f"task must be 'attribute', 'context' or None, got {task!r}")
        self.graph = (
            _TASKS[task](C, num_layers, dropout=dropout)
            if task
            else nn.ModuleDict({"encoder": EdgeGIN(C, num_layers, dropout)})
        )
        self.conformer = _conformer_network(C, num_filters, num_interactions)
        self.to_conformer, self.to_graph = Rebuild(C, variational), Rebuild(C, variational)
        self.config = {
            "hidden_channels": C,
            "num_layers": num_layers,
            "num_filters": num_filters,
            "num_interactions": num_interactions,
            "variational": variational,
            "task": task,
            "dropout": dropout,
        }

    @property
    def encoder(self) -> EdgeGIN:
        """The graph network."""
        return self.graph.encoder

    def forward(self, batch: Batch) -> GraphMVPOutput:
        """Returns X and Y of the parts that remain.

        Args:
            batch: With ``x, edge_index, edge_attr, z, pos`` (Å), ``batch`` and, optionally,
                ``kept [N]`` of :class:`~molae_pyg.transforms.ConnectedPart`; default: all atoms.
        """
        kept = batch.get("kept")
        kept = torch.ones_like(batch.batch, dtype=torch.bool) if kept is None else kept
        edges = subgraph(
            kept, batch.edge_index, batch.edge_attr, relabel_nodes=True, num_nodes=len(kept)
        )
        molecule, size = batch.batch[kept], batch.num_graphs
        h = self.encoder(batch.x[kept], *edges)
        z = batch.z[kept].clamp(max=_ELEMENTS)
        y = self.conformer(z - 1, batch.pos[kept], molecule)
        return GraphMVPOutput(global_mean_pool(h, molecule, size), y)

    @classmethod
    def from_official(cls, path: str | os.PathLike) -> Self:
        """Reads an official pre-training file, ``*_complete.pth``, in evaluation mode.

        Raises:
            CheckpointError: The file cannot be read, or has other keys or shapes.
        """
        encoder, rest = edge_gin(read_official(path), HU)
        refuse_unknown(rest)
        schnet = read_official(path, "model_3D")
        rebuild = {
            name: read_official(path, f"AE_{part}_model")
            for name, part in {"to_conformer": "2D_3D", "to_graph": "3D_2D"}.items()
        }
        layers = {key.split(".")[1] for key in schnet.weights if key.startswith("interactions.")}
        sizes = encoder.config["hidden_channels"], encoder.config["num_layers"]
        filters = shape_of(schnet, "interactions.0.conv.lin1.weight", 2)[0]
        variational = "fc_mu.weight" in rebuild["to_conformer"].weights
        model = cls(*sizes, filters, len(layers), variational)
        model.encoder.load_state_dict(encoder.state_dict())
        refuse_unknown(_fill_conformer_network(model.conformer, schnet))
        for name, file in rebuild.items():
            left = fill(getattr(model, name), file, _rebuild_name(variational))
            refuse_unknown(file._replace(weights=left))
        return model.eval()


class Rebuild(nn.Module):
    r"""Predicts the vector of one kind from that of the other.

    .. math::
        R(X \to Y) = \mathrm{MSE}(f(x), y) + \beta\, \mathrm{mean}_B \sum_d
        -\tfrac{1}{2} (1 + \log \sigma^2 - \mu^2 - \sigma^2), \qquad
        x = \mu + \epsilon \sigma

    Without ``variational``, x is X itself and the second term is left out. No gradient goes to Y.

    Args:
        channels: Width C.
        variational: Whether x is drawn, default: True.
    """

    def __init__(self, channels: int, variational: bool = True):
        super().__init__()
        C = channels
        self.mean = nn.Linear(C, C) if variational else None
        self.log_variance = nn.Linear(C, C) if variational else None
        self.decoder = nn.Sequential(nn.Linear(C, C), nn.BatchNorm1d(C), nn.ReLU(), nn.Linear(C, C))

    def forward(
        self,
        x: Tensor,
        y: Tensor,
        beta: float = 2.0,
        noise: Tensor | None = None,
        difference: Difference = "l2",
    ) -> Tensor:
        """Returns the loss R of X and Y ``[B, C]``; the noise ``[B, C]`` is drawn if None."""
        if self.mean is None:
            return _difference(self.decoder(x), y.detach(), difference)
        mean, log_variance = self.mean(x), self.log_variance(x)
        noise = torch.randn_like(mean) if noise is None else noise
        rebuilt = self.decoder(mean + noise * (log_variance / 2).exp())
        divergence = -0.5 * (1 + log_variance - mean**2 - log_variance.exp()).sum(1).mean()
        return _difference(rebuilt, y.detach(), difference) + beta * divergence


def _difference(rebuilt: Tensor, y: Tensor, difference: Difference) -> Tensor:
    if difference == "cosine":
        return -F.cosine_similarity(rebuilt, y, dim=1).mean()
    return (F.l1_loss if difference == "l1" else F.mse_loss)(rebuilt, y)


def contrast_loss(
    a: Tensor, b: Tensor, contrast: Contrast, temperature: float, num_negatives: int = 1
) -> Tensor:
    """Returns L of vectors ``[B, C]``, the mean over both directions."""
    if contrast == "info-nce":
        return (info_nce(a, b, temperature) + info_nce(b, a, temperature)) / 2
    loss = 0
    for one, other in ((a, b), (b, a)):
        scores = noise_contrast(one, other, temperature, num_negatives)
        positive, negative = noise_contrast_loss(*scores)
        loss = loss + (positive + num_negatives * negative) / 2
    return loss


def graph_mvp_objective(
    model: GraphMVP,
    batch: Batch,
    contrast: Contrast = "ebm-nce",
    temperature: float = 0.2,
    beta: float = 2.0,
    task_weight: float = 1.0,
    difference: Difference = "l2",
) -> dict[str, Tensor]:
    """The loss of GraphMVP.

    Args:
        model: The networks.
        batch: See :meth:`GraphMVP.forward`. A ``task`` of the model needs ``masked`` or ``hops``
            too, and sees the whole molecules. The loss of a batch of one molecule is 0.
        contrast: ``"ebm-nce"`` (default, as published) or ``"info-nce"``.
        temperature: Temperature of the contrast, default: 0.2; GraphMVP-G: 0.05.
        beta: Weight of the divergence of :class:`Rebuild`, default: 2.
        task_weight: Weight of the task, default: 1; GraphMVP-C: 0.1.
        difference: How a rebuilt vector is compared: ``"l2"`` (default, as published), ``"l1"`` or
            ``"cosine"``.

    Returns:
        ``loss``, and its unweighted terms ``contrast``, ``rebuild`` and, if there is one, ``task``;
        ``accuracy``, the share of graphs whose conformer is nearest among those of the batch.
    """
    if contrast not in get_args(Contrast):
        raise ValueError(f"contrast must be 'ebm-nce' or 'info-nce', got {contrast!r}")
    if difference not in get_args(Difference):
        raise ValueError(f"difference must be 'l2', 'l1' or 'cosine', got {difference!r}")
    if batch.num_graphs < 2:
        return no_loss(model)
    x, y = model(batch)
    a, b = F.normalize(x, dim=1), F.normalize(y, dim=1)
    terms = {
        "contrast": contrast_loss(a, b, contrast, temperature),
        "rebuild": sum(
            part(one, other, beta, difference=difference) / 2
            for part, one, other in ((model.to_conformer, x, y), (model.to_graph, y, x))
        ),
    }
    terms["loss"] = terms["contrast"] + terms["rebuild"]
    task = {"attribute": attribute_objective, "context": context_objective}
    if model.config["task"] is not None:
        found = task[model.config["task"]](model.graph, batch)
        terms["loss"] = terms["loss"] + task_weight * found["loss"]
        if found.get("molecules", batch.num_graphs):  # else no molecule has the task
            terms["task"] = found["loss"]
    nearest = (a @ b.T).argmax(1)  # [B]
    terms["accuracy"] = (nearest == torch.arange(len(a), device=a.device)).float().mean()
    return terms


def _conformer_network(channels: int, num_filters: int, num_interactions: int) -> SchNet:
    """SchNet that returns a vector of a molecule, with rows of elements from 0, hydrogen."""
    network = SchNet(
        channels,
        num_filters,
        num_interactions,
        num_gaussians=51,
        cutoff=10.0,
        interaction_graph=Neighbours(10.0),
        readout="mean",
    )
    network.embedding = nn.Embedding(_ELEMENTS, channels)
    network.lin1, network.lin2 = nn.Linear(channels, channels), nn.Linear(channels, channels)
    for block in network.interactions:
        del block.mlp  # the same module as block.conv.nn, which safetensors would refuse
    return network


def _fill_conformer_network(network: SchNet, file: OfficialFile) -> OfficialFile:
    """Copies official tensors into SchNet, and returns the file without its keys."""
    own = {key: value for key, value in file.weights.items() if ".mlp." not in key}
    own.pop("atomic_mass", None)  # a constant
    offset = {"distance_expansion.offset": network.distance_expansion.offset}  # a constant
    own = file._replace(weights={**offset, **own})
    return own._replace(weights=fill(network, own, str))


def _rebuild_name(variational: bool) -> Callable[[str], str]:
    """Returns the function from a key of :class:`Rebuild` to the official one."""
    names = {"mean": "fc_mu", "log_variance": "fc_var", "decoder": "decoder"}
    names = names if variational else {"decoder": "fc_layers"}
    return lambda key: key.replace(key.split(".")[0], names[key.split(".")[0]], 1)
