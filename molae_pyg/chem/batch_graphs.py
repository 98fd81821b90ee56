"""Transforms that turn the molecules of a conformer store into graphs of their SMILES."""

import warnings

import torch
from torch_geometric.data import Batch, Data
from torch_geometric.transforms import BaseTransform


class GraphsOfSmiles(BaseTransform):
    """Replaces a batch of molecules by the batch of their graphs, with the same coordinates.

    The batch has ``smiles``, ``z``, ``pos`` and ``ptr``, as
    ``ConformerStore.gather(..., smiles=True)`` makes it. Molecules whose atoms are not those of
    their SMILES without hydrogens in canonical order are left out, and a warning, which is given
    once, names the first.

    Raises:
        ValueError: No molecule is left.
    """

    #: Whether :func:`~molae_pyg.training.pretrain` gives the transform the SMILES of a batch.
    reads_smiles = True
    warned = False  # a warning for every batch would flood a long run

    def graph(self, smiles: str) -> Data:
        """Returns the graph of a molecule, with ``z``, in canonical order."""
        raise NotImplementedError

    def forward(self, batch: Batch) -> Batch:
        graphs, left_out = [], []
        ends = batch.ptr.tolist()
        for smiles, start, end in zip(batch.smiles, ends[:-1], ends[1:], strict=True):
            graph = self.graph(smiles)
            if torch.equal(graph.z, batch.z[start:end]):
                graph.pos = batch.pos[start:end]
                graphs.append(graph)
            else:
                left_out.append(smiles)
        if left_out:
            text = (
                f"{len(left_out)} of {len(ends) - 1} molecules have other atoms than their SMILES "
                f"without hydrogens, the first is {left_out[0]!r}"
            )
            if not graphs:
                raise ValueError(f"{text}: prepare the store with hydrogens removed")
            if not self.warned:
                warnings.warn(f"{text}: such ones are left out of all batches", stacklevel=2)
            self.warned = True
        return Batch.from_data_list(graphs)
