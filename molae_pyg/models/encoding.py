"""Representations of whole molecules, from tensors or from a PyG batch."""

from typing import NamedTuple

from torch import Tensor, nn
from torch_geometric.data import Data

from molae_pyg.nn.graph_bias import Graph
from molae_pyg.nn.readout import flat_pairs


class Encoding(NamedTuple):
    """Representations of whole molecules, see :meth:`MolAE.encode`."""

    molecule: Tensor  #: Molecules ``[B, C]`` (the token CLS).
    atom: Tensor  #: Atoms ``[N, C]``.
    pair: Tensor  #: Pairs ``[P, H]``, one row per ordered pair of atoms of a molecule.
    pair_index: Tensor  #: The atoms of each pair ``[2, P]``, like an ``edge_index``.


def sees_graph(model: nn.Module) -> bool:
    """Returns whether an encoder, or that of a model, has a graph channel."""
    return getattr(getattr(model, "encoder", model), "graph_bias", None) is not None


def ogb_graph(batch: Data) -> Graph | None:
    """The graph of :func:`~molae_pyg.chem.ogb_graph.add_ogb_graph` in a batch; None: no graph."""
    if batch.get("x") is None or batch.get("edge_attr") is None:
        return None
    return Graph(batch.x, batch.edge_index, batch.edge_attr)


def graph_input(model: nn.Module, batch: Data) -> dict[str, Graph]:
    """Returns the argument ``graph`` of a model; none if it or the batch has no graph."""
    if hasattr(getattr(model, "encoder", model), "path_bias"):  # Transformer-M
        graph = ogb_graph(batch)
        return {} if graph is None else {"graph": graph}
    if not sees_graph(model) or batch.get("atom") is None:
        return {}
    return {"graph": Graph(batch.atom, batch.edge_index, batch.bond_type)}


class Encodes:
    """The method ``encode`` of encoders, and of models with an ``encoder``."""

    def encode(
        self,
        z: Tensor | Data,
        pos: Tensor | None = None,
        batch: Tensor | None = None,
        batch_size: int | None = None,
        graph: Graph | None = None,
    ) -> Encoding:
        """Molecule, atom and pair representations of complete molecules.

        The arguments are tensors, those of :meth:`MolAEEncoder.forward`, or one PyG ``Batch`` or
        ``Data`` with ``z`` and either ``conformers [N, K, 3]``, over which every representation is
        averaged, or ``pos [N, 3]``. An encoder with a graph channel receives the graph if the batch
        has one, see :func:`~molae_pyg.chem.graph.add_graph`. Gradients are kept; use
        ``model.eval()`` and ``torch.no_grad()`` for inference.

        Raises:
            ValueError: As :meth:`MolAEEncoder.forward`, or a field of the batch is missing.
        """
        encoder = getattr(self, "encoder", self)
        if isinstance(z, Data):
            if any(given is not None for given in (pos, batch, batch_size, graph)):
                raise ValueError("a Batch has coordinates and molecules of its own: give it alone")
            return _of_data(encoder, z)
        if pos is None:
            raise ValueError("pos [N, 3] is missing: give z and pos, or a Batch with both")
        return _of_tensors(encoder, z, pos, batch, batch_size, graph)


def _of_data(encoder: nn.Module, data: Data) -> Encoding:
    conformers, pos = data.get("conformers"), data.get("pos")
    if data.get("z") is None or (conformers is None and pos is None):
        raise ValueError("a Batch needs z [N] and either conformers [N, K, 3] or pos [N, 3]")
    if conformers is None:
        conformers = pos[:, None]  # [N, 1, 3]
    if conformers.dim() != 3 or conformers.size(1) == 0:
        raise ValueError(f"expected conformers [N, K, 3], got {list(conformers.shape)}")
    batch, batch_size = data.get("batch"), getattr(data, "num_graphs", None)
    graph = graph_input(encoder, data).get("graph")
    all_encodings = [
        _of_tensors(encoder, data.z, pos, batch, batch_size, graph) for pos in conformers.unbind(1)
    ]
    molecule, atom, pair, pair_index = zip(*all_encodings, strict=True)
    means = (sum(parts) / len(parts) for parts in (molecule, atom, pair))
    return Encoding(*means, pair_index[0])


def _of_tensors(
    encoder: nn.Module,
    z: Tensor,
    pos: Tensor,
    batch: Tensor | None,
    batch_size: int | None,
    graph: Graph | None,
) -> Encoding:
    out = encoder(z, pos, batch, batch_size=batch_size, graph=graph)
    pair_index, pair = flat_pairs(out.state.pair.permute(0, 2, 3, 1), out.state.mask)
    return Encoding(out.molecule, out.x, pair, pair_index)
