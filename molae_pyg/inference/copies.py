"""Copies of molecules that each lack one atom."""

from collections.abc import Callable
from itertools import pairwise

import numpy as np
import torch
from torch import Tensor, nn
from torch_geometric.data import Batch, Data

from molae_pyg.chem.graph import GRAPH_FIELDS
from molae_pyg.inference.batches import in_batches
from molae_pyg.inference.graphs import Graphs
from molae_pyg.inference.molecules import Checker, HeldOutItems, Molecules, checked_sizes


class Copies(torch.utils.data.Dataset):
    """Copies of molecules: each whole first, then without its first atom, its second, ...

    The items are ``Data`` with ``drop_mask``, which is False throughout in whole molecules.

    Args:
        molecules: ``Data`` with ``conformers`` or ``pos``.
        dtype: Type of the coordinates.
        graphs: Adds the graph if a model sees it; default: no graph is added.

    Raises:
        ValueError: A molecule cannot be used.
    """

    def __init__(
        self,
        molecules: Molecules,
        dtype: torch.dtype = torch.float32,
        graphs: Graphs | None = None,
    ):
        self.num_atoms = checked_sizes(molecules, Checker("molecules"))  # [n]
        self.items = HeldOutItems(molecules, dtype, graphs=graphs)
        self.first = np.concatenate([[0], np.cumsum(self.num_atoms + 1)])  # copy of each molecule

    def __len__(self) -> int:
        return int(self.first[-1])

    def __getitem__(self, index: int) -> Data:
        row, left_out = self.place(index)
        item = self.items[row]
        drop_mask = torch.arange(item.z.numel()) == left_out
        kept = {name: item[name] for name in ("z", "conformers", *GRAPH_FIELDS) if name in item}
        return Data(drop_mask=drop_mask, num_nodes=len(drop_mask), **kept)

    def place(self, index: int) -> tuple[int, int]:
        """Returns the molecule of a copy, and the atom that it lacks; -1 if it is whole."""
        row = int(np.searchsorted(self.first, index, side="right")) - 1
        return row, index - int(self.first[row]) - 1

    def apply(
        self,
        model: nn.Module,
        function: Callable[[Batch, Tensor], Tensor],
        batch_size: int,
        precision: str,
    ) -> np.ndarray:
        """Returns a function's mean over conformers for each copy, float32 ``[copies, ...]``.

        Args:
            model: The model that the function uses.
            function: A function of a batch of copies and one conformer ``[N, 3]``.
            batch_size: Number of copies of a forward pass.
            precision: See :func:`~molae_pyg.inference.precision`.
        """

        def mean(batch: Batch) -> Tensor:
            conformers = batch.conformers.unbind(1)  # K times [N, 3]
            return sum(function(batch, pos) for pos in conformers) / len(conformers)

        sizes = np.repeat(self.num_atoms, self.num_atoms + 1)
        return in_batches(model, mean, self, sizes, batch_size, precision, "explaining")

    def by_molecule(self, values: np.ndarray) -> list[np.ndarray]:
        """Splits values of copies ``[copies, ...]`` into those of molecules ``[n_i + 1, ...]``."""
        return [values[first:last] for first, last in pairwise(self.first)]
