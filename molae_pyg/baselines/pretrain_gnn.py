"""PretrainGNN (Hu et al. 2020): context prediction, attribute masking, and two other tasks."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch_geometric.data import Batch
from torch_geometric.utils import scatter, subgraph

from molae_pyg.models import Pretrained
from molae_pyg.nn.arguments import ShowsArguments, size
from molae_pyg.nn.contrast import mean_or_zero, noise_contrast, noise_contrast_loss
from molae_pyg.nn.gin import MASKED_ATOM, MASKED_BOND, EdgeGIN

_ELEMENTS, _BOND_TYPES = 119, 4
_SIZES = ("hidden_channels", "num_layers", "dropout")


class ContextPrediction(ShowsArguments, Pretrained, nn.Module):
    r"""Tells which surroundings belong to a part of a molecule.

    From `"Strategies for Pre-training Graph Neural Networks"
    <https://openreview.net/forum?id=HJlWWJSFDH>`_ (ICLR 2020). The part has the atoms within K
    bonds of a root, K the number of layers; its surroundings are the atoms at K to K + R - 1
    bonds, with R the number of layers of the second network. Both networks see induced subgraphs.
    With s the state of the root, and c the mean state of the atoms at K bonds, which are in both,

    .. math::
        \mathcal{L} = \mathrm{mean}\, \mathrm{BCE}(s \cdot c, 1)
        + k\, \mathrm{mean}\, \mathrm{BCE}(s \cdot c', 0)

    where c' belongs to another molecule. Only ``encoder`` is used afterwards.

    Args:
        hidden_channels: Width C, default: 300.
        num_layers: Layers of the encoder K, default: 5.
        num_context_layers: Layers of the second network R, default: 3.
        dropout: Dropout, default: 0.
    """

    def __init__(
        self,
        hidden_channels: int = 300,
        num_layers: int = 5,
        num_context_layers: int = 3,
        dropout: float = 0.0,
    ):
        super().__init__()
        self.encoder = EdgeGIN(hidden_channels, num_layers, dropout)
        self.context = EdgeGIN(hidden_channels, num_context_layers, dropout)
        self.config = {
            "hidden_channels": hidden_channels,
            "num_layers": num_layers,
            "num_context_layers": num_context_layers,
            "dropout": dropout,
        }

    @property
    def farthest(self) -> int:
        """Largest number of bonds from the root to an atom of the surroundings, K + R - 1."""
        return self.config["num_layers"] + self.config["num_context_layers"] - 1

    def forward(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """Returns s and c ``[M, C]`` of the M molecules that have surroundings.

        Args:
            batch: With ``x, edge_index, edge_attr, batch`` and ``hops`` of
                :class:`~molae_pyg.transforms.ContextRoot` (farthest at least :attr:`farthest`).
        """
        radius = self.config["num_layers"]
        hops, molecule = batch.hops, batch.batch
        anchor = hops == radius  # [N]
        with_context = scatter(anchor.long(), molecule, dim_size=batch.num_graphs) > 0  # [B]
        used = with_context[molecule]  # [N]
        part = used & (hops <= radius)
        around = used & (hops >= radius) & (hops <= self.farthest)
        s = _states(self.encoder, batch, part)[hops[part] == 0]  # [M, C]
        at_anchors = _states(self.context, batch, around)[anchor[around]]
        number = with_context.cumsum(0) - 1  # [B], place among the M
        return s, scatter(at_anchors, number[molecule[anchor]], dim_size=len(s), reduce="mean")


def _states(network: EdgeGIN, batch: Batch, chosen: Tensor) -> Tensor:
    """States of the chosen atoms, in the subgraph that they induce."""
    edges = subgraph(
        chosen, batch.edge_index, batch.edge_attr, relabel_nodes=True, num_nodes=len(chosen)
    )
    return network(batch.x[chosen], *edges)


def context_objective(
    model: ContextPrediction, batch: Batch, num_negatives: int = 1
) -> dict[str, Tensor]:
    """The loss of context prediction.

    Args:
        model: The two networks.
        batch: See :meth:`ContextPrediction.forward`. Molecules without surroundings are left out;
            the loss of fewer than ``num_negatives`` + 1 molecules is 0.
        num_negatives: Number of other molecules k that each part is compared with, default: 1.

    Returns:
        ``loss``, its terms ``positive`` and ``negative`` (one without the factor k),
        ``accuracy``, the mean of the shares of pairs and other pairs that are recognised, and
        ``molecules``, how many have surroundings.
    """
    size("num_negatives", num_negatives)
    has_context = scatter((batch.hops == model.config["num_layers"]).long(), batch.batch) > 0
    if has_context.sum() <= num_negatives:
        return no_loss(model)
    s, c = model(batch)
    scores = noise_contrast(s.double(), c.double(), num_negatives=num_negatives)
    positive, negative = noise_contrast_loss(*scores)
    with torch.no_grad():
        accuracy = ((scores[0] > 0).double().mean() + (scores[1] < 0).double().mean()) / 2
    loss = positive + num_negatives * negative
    terms = {"loss": loss, "positive": positive, "negative": negative, "accuracy": accuracy}
    return {**terms, "molecules": has_context.sum()}


def no_loss(model: nn.Module) -> dict[str, Tensor]:
    """The terms of a batch without a target: no molecule counts, and every gradient is 0."""
    loss = 0 * sum(p.sum() for p in model.parameters())
    return {"loss": loss, "molecules": torch.zeros((), dtype=torch.long)}


class AttributeMasking(ShowsArguments, Pretrained, nn.Module):
    """Predicts the elements of masked atoms, and optionally the types of their bonds.

    From the same paper as :class:`ContextPrediction`. A masked atom shows neither its element nor
    its chirality. With ``bonds=True``, all bonds of masked atoms are masked too, and the type of
    each is predicted from the sum of the states of its two atoms.

    Args:
        hidden_channels: Width C, default: 300.
        num_layers: Number of layers, default: 5.
        dropout: Dropout, default: 0.
        bonds: Whether bonds are masked, default: False, as in the official code.
    """

    def __init__(
        self,
        hidden_channels: int = 300,
        num_layers: int = 5,
        dropout: float = 0.0,
        bonds: bool = False,
    ):
        super().__init__()
        self.encoder = EdgeGIN(hidden_channels, num_layers, dropout)
        self.atom_head = nn.Linear(hidden_channels, _ELEMENTS)
        self.bond_head = nn.Linear(hidden_channels, _BOND_TYPES) if bonds else None
        self.config = {name: self.encoder.config[name] for name in _SIZES} | {"bonds": bonds}

    def forward(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """Returns the states of all atoms ``[N, C]``, and which bonds are masked ``[E]`` bool.

        Args:
            batch: With ``x, edge_index, edge_attr`` and ``masked [N]`` of
                :class:`~molae_pyg.transforms.MaskAtoms`.
        """
        x = mask_atoms(batch.x, batch.masked)
        hidden = batch.masked[batch.edge_index].any(0)  # [E]
        if self.bond_head is None:
            hidden = torch.zeros_like(hidden)
        masked_bond = batch.edge_attr.new_tensor([MASKED_BOND, 0])
        edge_attr = torch.where(hidden[:, None], masked_bond, batch.edge_attr)
        return self.encoder(x, batch.edge_index, edge_attr), hidden


def mask_atoms(x: Tensor, masked: Tensor, row: int = MASKED_ATOM) -> Tensor:
    """Returns ``x [N, 2]`` with the row of masked atoms where ``masked [N]``, and no chirality."""
    return torch.where(masked[:, None], x.new_tensor([row, 0]), x)


def attribute_objective(model: AttributeMasking, batch: Batch) -> dict[str, Tensor]:
    """The loss of attribute masking: mean cross-entropies of elements and, if masked, of bonds.

    Atoms and bonds of unknown kinds are no targets.

    Args:
        model: The network and its heads.
        batch: See :meth:`AttributeMasking.forward`.

    Returns:
        ``loss``, the sum of ``atom`` and, if bonds are masked, ``bond``, each 0 without any; and,
        if there is a target, ``atom_accuracy``.
    """
    h, hidden = model(batch)
    asked = batch.masked & (batch.x[:, 0] != MASKED_ATOM)
    logits, element = model.atom_head(h[asked]), batch.x[asked, 0]
    terms = {"atom": mean_or_zero(F.cross_entropy(logits, element, reduction="none"))}
    if model.bond_head is not None:
        once = torch.arange(len(hidden), device=h.device) % 2 == 0  # (i, j), not (j, i)
        asked = once & hidden & (batch.edge_attr[:, 0] < _BOND_TYPES)
        i, j = batch.edge_index[:, asked]
        logits_of_bonds, kind = model.bond_head(h[i] + h[j]), batch.edge_attr[asked, 0]
        terms["bond"] = mean_or_zero(F.cross_entropy(logits_of_bonds, kind, reduction="none"))
    terms["loss"] = sum(terms.values())
    if len(element):
        terms["atom_accuracy"] = (logits.argmax(1) == element).float().mean()
    return terms


class EdgePrediction(ShowsArguments, Pretrained, nn.Module):
    """Tells bonded atoms from others by the dot product of their states.

    Args:
        hidden_channels: Width C, default: 300.
        num_layers: Number of layers, default: 5.
        dropout: Dropout, default: 0.
    """

    def __init__(self, hidden_channels: int = 300, num_layers: int = 5, dropout: float = 0.0):
        super().__init__()
        self.encoder = EdgeGIN(hidden_channels, num_layers, dropout)
        self.config = {name: self.encoder.config[name] for name in _SIZES}

    def forward(self, batch: Batch) -> Tensor:
        """Returns the states of the atoms ``[N, C]`` of graphs."""
        return self.encoder(batch.x, batch.edge_index, batch.edge_attr)


def edge_objective(model: EdgePrediction, batch: Batch) -> dict[str, Tensor]:
    """The loss of edge prediction.

    Args:
        model: The network.
        batch: Graphs with ``nonbond_index [2, K]`` of :class:`~molae_pyg.transforms.NonBonds`.

    Returns:
        ``loss``, the sum of the mean cross-entropies of bonds and of other pairs.
    """
    h = model(batch)
    pairs = batch.edge_index[:, ::2], batch.nonbond_index  # each bond once
    bonded, other = ((h[i] * h[j]).sum(1) for i, j in pairs)
    positive, negative = noise_contrast_loss(bonded, other)
    return {"loss": positive + negative}


class GraphInfomax(EdgePrediction):
    r"""Tells which atoms belong to a molecule, by the mean of its states.

    The score of an atom and a molecule is :math:`h \cdot (W^T \sigma(\mathrm{mean}\, h))`.

    Args:
        hidden_channels: Width C, default: 300.
        num_layers: Number of layers, default: 5.
        dropout: Dropout, default: 0.
    """

    def __init__(self, hidden_channels: int = 300, num_layers: int = 5, dropout: float = 0.0):
        super().__init__(hidden_channels, num_layers, dropout)
        limit = hidden_channels**-0.5
        self.weight = nn.Parameter(torch.empty(hidden_channels, hidden_channels))
        nn.init.uniform_(self.weight, -limit, limit)


def infomax_objective(model: GraphInfomax, batch: Batch) -> dict[str, Tensor]:
    """The loss of infomax: atoms with their own molecule, and with the next one of the batch.

    Returns:
        ``loss``, the sum of the mean cross-entropies of both; 0 for a batch of one molecule.
    """
    if batch.num_graphs < 2:
        return no_loss(model)
    h = model(batch)
    mean = scatter(h, batch.batch, dim_size=batch.num_graphs, reduce="mean")  # [B, C]
    summary = mean.sigmoid() @ model.weight
    own, other = ((h * s[batch.batch]).sum(1) for s in (summary, summary.roll(-1, 0)))
    positive, negative = noise_contrast_loss(own, other)
    return {"loss": positive + negative}
