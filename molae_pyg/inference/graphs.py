"""The graph of each molecule, for encoders with a graph channel."""

import warnings
from collections.abc import Mapping
from functools import lru_cache
from typing import Any

import numpy as np
import torch
from rdkit import Chem
from torch_geometric.data import Data

from molae_pyg.chem.elements import MAX_Z
from molae_pyg.chem.graph import GRAPH_FIELDS, put_graph, put_no_graph, read_graph
from molae_pyg.chem.options import Options, kept_atoms
from molae_pyg.chem.rows import parse

_RADIUS = np.array([0.0, *map(Chem.GetPeriodicTable().GetRcovalent, range(1, MAX_Z + 1))])
_KEPT = 50_000  # SMILES that are read once: some hundred bytes each


_STRETCH, _LONG = 1.3, 2.0  # a bond is not longer than this times the sum of the radii, or 2 Å


class Graphs:
    """Gives molecules the graph that a model sees, if it sees one.

    The graph is the one that a ``Data`` has (see :func:`~molae_pyg.chem.graph.add_graph`), or that
    of its ``smiles``. Molecules without either, such as ``Data(z, pos)``, get unknown features and
    no bonds: the encoder sees their coordinates alone, as without a graph channel. One warning says
    so and gives the reason for the first of them.

    Args:
        wanted: Whether the model sees the graph, see
            ``sees_graph``. If not, molecules stay as they are.
        recipe: How the molecules were made, from which follows which atoms of a SMILES the
            molecules of a table have; default: hydrogens removed, all others kept.
    """

    def __init__(self, wanted: bool, recipe: Mapping[str, Any] | None = None):
        self.wanted = wanted
        self.options = Options.of(recipe)
        self._has_warned = False
        self._read = lru_cache(_KEPT)(read_graph)
        self._atom_map = lru_cache(_KEPT)(self.atom_map_of)

    def __call__(self, data: Data) -> Data:
        """Adds the graph to a molecule, in place."""
        if not self.wanted or all(data.get(name) is not None for name in GRAPH_FIELDS):
            return data
        try:
            return self._from_smiles(data)
        except ValueError as error:
            if not self._has_warned:
                self._has_warned = True
                warnings.warn(
                    "the encoder sees the coordinates of some molecules, not their graph; the "
                    f"first: {error}. Give Data of from_smiles or of a table, or call "
                    "molae_pyg.chem.graph.add_graph",
                    stacklevel=2,
                )
            return put_no_graph(data)

    def _from_smiles(self, data: Data) -> Data:
        smiles, atom_map = data.get("smiles"), data.get("atom_map")
        if not isinstance(smiles, str) or not smiles:
            raise ValueError("it has neither smiles nor atom, edge_index and bond_type")
        if atom_map is not None:
            return put_graph(data, self._read(smiles), atom_map)
        put_graph(data, self._read(smiles), self._atom_map(smiles))  # a molecule of a table
        if data.get("status") != "2d" and not fits(data):
            raise ValueError(
                f"the atoms of {smiles!r} may have another order than its coordinates: some of its "
                "bonds would be longer than bonds are. atom_map tells the place of each atom"
            )
        return data

    def atom_map_of(self, smiles: str) -> torch.Tensor:
        """Returns the place in the SMILES of each atom that the recipe keeps ``[n]``."""
        molecule = parse(smiles, True, self.options.time_limit)
        kept, _, _ = kept_atoms(molecule.numbers, self.options)
        return torch.from_numpy(molecule.atom_map[kept])


def fits(data: Data) -> bool:
    """Returns whether the bonds have the lengths of bonds in the first conformer."""
    pos = data.conformers[:, 0] if "conformers" in data else data.pos  # [n, 3]
    radius = torch.from_numpy(_RADIUS)[data.z.long()]  # [n]
    first, second = data.edge_index
    longest = (_STRETCH * (radius[first] + radius[second])).clamp(min=_LONG)
    return bool(((pos[first] - pos[second]).norm(dim=1) <= longest).all())
