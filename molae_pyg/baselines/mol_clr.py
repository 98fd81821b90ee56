"""MolCLR (Wang et al. 2022): two views of a molecule find each other."""

import os
from typing import NamedTuple, Self

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch_geometric.data import Batch
from torch_geometric.nn import global_mean_pool

from molae_pyg.baselines.official_gnn import edge_gin, fill, refuse_unknown, shape_of
from molae_pyg.baselines.pretrain_gnn import mask_atoms
from molae_pyg.models import Pretrained
from molae_pyg.nn.arguments import ShowsArguments
from molae_pyg.nn.contrast import nt_xent
from molae_pyg.nn.gin import MOL_CLR, EdgeGIN
from molae_pyg.official_file import read_official

#: Our module -> official one, besides the encoder.
NAMES = {"feature": "feat_lin", "projection.0": "out_lin.0", "projection.2": "out_lin.2"}


class MolCLROutput(NamedTuple):
    """Vectors of B molecules."""

    feature: Tensor  #: ``[B, F]``, what is used afterwards.
    projection: Tensor  #: ``[B, F / 2]``, what the loss compares.


class MolCLR(ShowsArguments, Pretrained, nn.Module):
    """Turns a graph into a vector, and this into one that is compared with other views.

    From `"Molecular contrastive learning of representations via graph neural networks"
    <https://doi.org/10.1038/s42256-022-00447-x>`_ (2022).

    Args:
        hidden_channels: Width C of the encoder, default: 300.
        num_layers: Number of layers, default: 5.
        feature_channels: Width F of the vectors, even, default: 512.
        dropout: Dropout, default: 0.
    """

    def __init__(
        self,
        hidden_channels: int = 300,
        num_layers: int = 5,
        feature_channels: int = 512,
        dropout: float = 0.0,
    ):
        super().__init__()
        self.encoder = EdgeGIN(hidden_channels, num_layers, dropout, *MOL_CLR)
        self.feature = nn.Linear(hidden_channels, feature_channels)
        self.projection = nn.Sequential(
            nn.Linear(feature_channels, feature_channels),
            nn.ReLU(),
            nn.Linear(feature_channels, feature_channels // 2),
        )
        self.config = {
            "hidden_channels": hidden_channels,
            "num_layers": num_layers,
            "feature_channels": feature_channels,
            "dropout": dropout,
        }

    def forward(
        self,
        x: Tensor,
        edge_index: Tensor,
        edge_attr: Tensor,
        batch: Tensor | None = None,
        batch_size: int | None = None,
    ) -> MolCLROutput:
        """Returns the vectors of molecules.

        Args:
            x: Element and chiral tag ``[N, 2]``, see :func:`~molae_pyg.chem.hu_graph.hu_graph`.
            edge_index: Bonds in both directions ``[2, E]``.
            edge_attr: Type and direction ``[E, 2]``.
            batch: Molecule of each atom ``[N]``, default: one molecule.
            batch_size: Number of molecules B, default: the last entry of ``batch`` plus 1.
        """
        h = self.encoder(x, edge_index, edge_attr)  # [N, C]
        feature = self.feature(global_mean_pool(h, batch, batch_size))  # [B, F]
        return MolCLROutput(feature, self.projection(feature))

    @classmethod
    def from_official(cls, path: str | os.PathLike) -> Self:
        """Reads an official pre-training file, ``model.pth``, in evaluation mode.

        Raises:
            CheckpointError: The file cannot be read, or has other keys or shapes.
        """
        encoder, rest = edge_gin(read_official(path), MOL_CLR)
        features = shape_of(rest, "feat_lin.weight", 2)[0]
        config = encoder.config
        model = cls(config["hidden_channels"], config["num_layers"], features)
        model.encoder = encoder
        heads = nn.ModuleDict({"feature": model.feature, "projection": model.projection})
        refuse_unknown(rest._replace(weights=fill(heads, rest, _official_name)))
        return model.eval()


def _official_name(key: str) -> str:
    module, _, leaf = key.rpartition(".")
    return f"{NAMES[module]}.{leaf}"


def mol_clr_objective(model: MolCLR, batch: Batch, temperature: float = 0.1) -> dict[str, Tensor]:
    """The loss of MolCLR, :func:`~molae_pyg.nn.contrast.nt_xent` of two views.

    Args:
        model: The network.
        batch: Graphs with ``masked [N, 2]`` and ``deleted [E, 2]`` of
            :class:`~molae_pyg.transforms.GraphViews`.
        temperature: Temperature of the loss, default: 0.1.

    Returns:
        ``loss``, and ``accuracy``, the share of first views that are nearest to their second view
        among all second views.
    """
    one, other = (model(*view(batch, i), batch.batch, batch.num_graphs) for i in range(2))
    with torch.no_grad():
        cosine = F.normalize(one.projection, dim=1) @ F.normalize(other.projection, dim=1).T
        found = cosine.argmax(1) == torch.arange(len(cosine), device=cosine.device)  # [B]
    return {
        "loss": nt_xent(one.projection, other.projection, temperature),
        "accuracy": found.float().mean(),
    }


def view(batch: Batch, number: int) -> tuple[Tensor, Tensor, Tensor]:
    """Returns ``x, edge_index, edge_attr`` of a view, 0 or 1; the batch stays as it is."""
    stays = ~batch.deleted[:, number]
    x = mask_atoms(batch.x, batch.masked[:, number], MOL_CLR.atoms - 1)
    return x, batch.edge_index[:, stays], batch.edge_attr[stays]
