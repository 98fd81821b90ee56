"""Taking some atoms of a molecule."""

from torch import Tensor
from torch_geometric.data import Batch, Data


def take_atoms(data: Data, keep: Tensor) -> Data:
    """Keeps the atoms where ``keep [N]`` is True, with all per-atom tensors and their bonds.

    Raises:
        ValueError: ``data`` is a batch; such a transform belongs before batching.
    """
    if isinstance(data, Batch):
        raise ValueError("atoms are removed before batching: pass the transform to the data set")
    data.num_nodes = keep.numel()
    return data.subgraph(keep)
