"""The loop of all inference: molecules in batches of similar size, rows in the order given."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Literal

import numpy as np
import torch
from torch import Tensor, nn
from torch_geometric.data import Batch, Data
from torch_geometric.loader import DataLoader
from tqdm.auto import tqdm

from molae_pyg.inference.precision import autocast

#: What has a row of a result.
Level = Literal["molecule", "atom"]


@contextmanager
def evaluating(model: nn.Module) -> Iterator[None]:
    """Puts all layers into evaluation mode; afterwards each is in the mode that it had before."""
    modes = {layer: layer.training for layer in model.modules()}
    model.eval()
    try:
        yield
    finally:
        for layer, mode in modes.items():
            layer.training = mode


def in_batches(
    model: nn.Module,
    function: Callable[[Batch], Tensor],
    molecules: Sequence[Data] | torch.utils.data.Dataset,
    num_atoms: Sequence[int],
    batch_size: int,
    precision: str = "auto",
    description: str | None = None,
    level: Level = "molecule",
) -> np.ndarray:
    """Applies a function to all molecules and returns a row for each, or each atom, in order.

    Molecules of similar size share a batch, so that little of it is padding. Gradients are off, and
    all layers of the model are in evaluation mode until the function returns.

    Args:
        model: The model that ``function`` uses, on the device to compute on.
        function: Returns one row per molecule of a batch, ``[B, ...]``, or per atom ``[N, ...]``.
        molecules: ``Data``; at least one.
        num_atoms: Number of atoms of each molecule ``[n]``.
        batch_size: Number of molecules of a batch.
        precision: See :func:`~molae_pyg.inference.precision`.
        description: Text of the progress bar; default: no bar.
        level: What has a row: ``"molecule"`` (default) or ``"atom"``.

    Returns:
        float32 ``[n, ...]``, or ``[N, ...]`` with the atoms of all molecules one after another.
    """
    order = np.argsort(num_atoms, kind="stable")  # small to large
    loader = DataLoader(molecules, batch_size, sampler=order.tolist(), generator=torch.Generator())
    device = next(model.parameters()).device
    bar = tqdm(loader, description, leave=False, delay=2, disable=None if description else True)
    with evaluating(model), torch.no_grad(), autocast(device, precision):
        rows = [function(batch.to(device)).float().cpu().numpy() for batch in bar]
    found = np.concatenate(rows)
    if level == "atom":
        sizes = np.asarray(num_atoms)
        first = sizes.cumsum() - sizes
        order = np.concatenate([np.arange(first[i], first[i] + sizes[i]) for i in order])  # [N]
    result = np.empty_like(found)
    result[order] = found
    return result
