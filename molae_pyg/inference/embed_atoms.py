"""Vectors of the atoms of PyG Data."""

import numpy as np
from torch import nn

from molae_pyg.inference.batches import in_batches
from molae_pyg.inference.graphs import Graphs
from molae_pyg.inference.molecules import (
    Checker,
    HeldOutItems,
    Molecules,
    check_list,
    checked_sizes,
)
from molae_pyg.inference.readouts import vectors_of
from molae_pyg.models.encoding import sees_graph
from molae_pyg.nn.arguments import size


def embed_atoms(
    model: nn.Module, molecules: Molecules, batch_size: int = 32, precision: str = "auto"
) -> np.ndarray:
    """Returns the vector of each atom, averaged over conformers.

    Args:
        model: An encoder, or a model with an ``encoder``.
        molecules: ``Data`` with ``conformers [n, K, 3]`` or ``pos [n, 3]`` (a list or a data set).
        batch_size: Number of molecules of a forward pass, default: 32.
        precision: As in :func:`~molae_pyg.inference.embed`.

    Returns:
        float32 ``[N, C]``, the atoms of the first molecule, of the second, and so on.

    Raises:
        ValueError: A molecule or an argument cannot be used.
    """
    encoder = getattr(model, "encoder", model)
    check_list(molecules, "molecules")
    sizes = checked_sizes(molecules, Checker("molecules"))
    graphs = Graphs(sees_graph(encoder), getattr(molecules, "recipe", None))
    items = HeldOutItems(molecules, next(encoder.parameters()).dtype, graphs=graphs)
    vectors = vectors_of(encoder, "atoms")
    batch_size = size("batch_size", batch_size)
    return in_batches(
        encoder, vectors, items, sizes, batch_size, precision, "embedding", level="atom"
    )
