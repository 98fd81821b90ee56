"""What of an encoder's output is the vector of a molecule."""

from collections.abc import Callable
from typing import Literal, get_args

import torch
from torch import Tensor, nn
from torch_geometric.data import Batch
from torch_geometric.utils import scatter

from molae_pyg.models.encoding import graph_input

#: CLS ``[C]``, the mean over the atoms ``[C]``, or both joined ``[2 C]``.
EmbedReadout = Literal["cls", "mean", "cls, mean"]


def check_readout(readout: str) -> None:
    if readout not in get_args(EmbedReadout):
        raise ValueError(f"readout must be one of {get_args(EmbedReadout)}, not {readout!r}")


def vector_size(encoder: nn.Module, readout: EmbedReadout) -> int:
    """Number of entries of a vector."""
    return encoder.config["hidden_channels"] * (2 if readout == "cls, mean" else 1)


def vectors_of(
    encoder: nn.Module, readout: EmbedReadout | Literal["cls, sum", "atoms"]
) -> Callable[[Batch], Tensor]:
    """Returns a function of batches: their vectors, averaged over conformers.

    The vectors are those of molecules ``[B, C]`` or ``[B, 2 C]``, or of all atoms ``[N, C]``. A
    batch is a PyG ``Batch`` with ``z [N]`` and ``conformers [N, K, 3]``. An encoder with a graph
    channel receives the graph if the batch has one, see :func:`~molae_pyg.chem.graph.add_graph`.
    """

    def of_conformer(batch: Batch, pos: Tensor, graph: dict) -> Tensor:
        out = encoder(batch.z, pos, batch.batch, batch_size=batch.num_graphs, **graph)
        if readout == "atoms":
            return out.x
        if readout == "cls":
            return out.molecule
        reduce = readout.removeprefix("cls, ")
        pooled = scatter(out.x, batch.batch, dim_size=len(out.molecule), reduce=reduce)  # [B, C]
        return pooled if reduce == readout else torch.cat([out.molecule, pooled], dim=1)

    def vectors(batch: Batch) -> Tensor:
        graph = graph_input(encoder, batch)
        conformers = batch.conformers.unbind(1)  # K times [N, 3]
        return sum(of_conformer(batch, pos, graph) for pos in conformers) / len(conformers)

    return vectors
