"""Integer features of atoms and bonds, for encoders with a graph channel."""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
import torch
from rdkit import Chem
from rdkit.Chem.rdchem import BondType, HybridizationType
from torch import Tensor
from torch_geometric.data import Data

from molae_pyg.chem.elements import MAX_Z
from molae_pyg.chem.parsing import canonical_rows
from molae_pyg.chem.smiles import sanitised
from molae_pyg.nn.graph_bias import Graph

#: Features of an atom, in the order of the columns, and the number of values of each. The value 0
#: means that the feature is not known, so that a model can be shown coordinates alone.
ATOM_FEATURES = {
    "charge": 8,  # 1 to 7: formal charge -3 to +3
    "hydrogens": 6,  # 1 to 5: 0 to 4 hydrogens
    "degree": 8,  # 1 to 7: 0 to 6 neighbours among the heavy atoms
    "aromatic": 3,  # 1: no, 2: yes
    "ring": 8,  # 1: in no ring, 2 to 7: the smallest ring has 3 to 8 atoms or more
    "chirality": 4,  # 1: none, 2: R, 3: S (CIP, which does not depend on the order of the atoms)
}
#: Values of a bond's type; 0: no bond.
BOND_TYPES = {"single": 1, "double": 2, "triple": 3, "aromatic": 4, "other": 5}

#: RDKit's names of the types that models distinguish, in their order.
BONDS = (BondType.SINGLE, BondType.DOUBLE, BondType.TRIPLE, BondType.AROMATIC)
#: RDKit's names of the hybridisations that models distinguish, in their order.
HYBRIDISATIONS = (
    HybridizationType.SP,
    HybridizationType.SP2,
    HybridizationType.SP3,
    HybridizationType.SP3D,
    HybridizationType.SP3D2,
)
_TYPE = {kind: number for number, kind in enumerate(BONDS, start=1)}
_CHIRALITY = {"R": 2, "S": 3}
_LARGEST_RING = 8


class MolGraph(NamedTuple):
    """The graph of a molecule of n atoms and m bonds."""

    atom: np.ndarray  #: uint8 ``[n, 6]``, columns as in :data:`ATOM_FEATURES`.
    bond_index: np.ndarray  #: int16 ``[2, m]``, each bond once.
    bond_type: np.ndarray  #: uint8 ``[m]``, as in :data:`BOND_TYPES`.


def mol_graph(mol: Chem.Mol) -> MolGraph:
    """Returns the features of a sanitised molecule, in the order of its atoms.

    Hydrogens that are atoms of ``mol`` are rows of their own and count as hydrogens of their
    neighbours too.

    Args:
        mol: A molecule with ring information and assigned stereochemistry, as RDKit's readers
            give it.
    """
    rings = mol.GetRingInfo()
    atom = np.array([_atom_row(a, rings) for a in mol.GetAtoms()], np.uint8)
    bonds = [
        (bond.GetBeginAtomIdx(), bond.GetEndAtomIdx(), _TYPE.get(bond.GetBondType(), 5))
        for bond in mol.GetBonds()
    ]
    table = np.array(bonds, np.int16).reshape(-1, 3)
    width = len(ATOM_FEATURES)
    return MolGraph(atom.reshape(-1, width), table[:, :2].T, table[:, 2].astype(np.uint8))


def _atom_row(atom: Chem.Atom, rings: Chem.RingInfo) -> tuple[int, ...]:
    ring = rings.MinAtomRingSize(atom.GetIdx())
    code = atom.GetProp("_CIPCode") if atom.HasProp("_CIPCode") else ""
    return (
        min(max(atom.GetFormalCharge(), -3), 3) + 4,
        min(atom.GetTotalNumHs(includeNeighbors=True), 4) + 1,
        min(sum(a.GetAtomicNum() > 1 for a in atom.GetNeighbors()), 6) + 1,
        1 + atom.GetIsAromatic(),
        min(ring, _LARGEST_RING) - 1 if ring else 1,
        _CHIRALITY.get(code, 1),
    )


#: Fields of a ``Data`` with a graph.
GRAPH_FIELDS = ("atom", "edge_index", "bond_type")


class ReadGraph(NamedTuple):
    """The graph of a SMILES, with atomic numbers ``[n]``; those of dummy atoms are ``MAX_Z``."""

    numbers: np.ndarray
    graph: MolGraph


def read_graph(smiles: str) -> ReadGraph:
    """Reads the graph of a SMILES.

    Raises:
        ValueError: It is no valid SMILES.
    """
    mol = sanitised(smiles)
    return ReadGraph(_numbers(mol), mol_graph(mol))


def add_graph(data: Data) -> Data:
    """Adds the graph of ``data.smiles`` to a molecule of :func:`~molae_pyg.from_smiles`, in place.

    Adds ``atom [n, 6]`` uint8, ``edge_index [2, 2 m]`` (both directions, which PyTorch Geometric
    renumbers in batches) and ``bond_type [2 m]`` uint8; ``batch_graph`` takes them from a batch.

    Args:
        data: A molecule with ``z``, ``smiles`` and ``atom_map``.

    Raises:
        ValueError: The atoms of ``smiles`` are not those of ``z``.
    """
    return put_graph(data, read_graph(data.smiles), data.atom_map)


def put_graph(data: Data, read: ReadGraph, atom_map: Tensor) -> Data:
    """Adds the graph of a SMILES to a molecule, in place, see :func:`add_graph`.

    Args:
        data: The molecule, with ``z [n]`` and ``smiles``.
        read: What :func:`read_graph` returns.
        atom_map: Place of each atom in the SMILES ``[n]``.
    """
    graph, place = read.graph, atom_map.numpy()
    row = _rows(data, read.numbers, place)
    ends = row[graph.bond_index]  # [2, m], -1: an atom that was removed
    kept = (ends >= 0).all(0)
    ends, kinds = torch.from_numpy(ends[:, kept]), torch.from_numpy(graph.bond_type[kept])
    data.atom = torch.from_numpy(graph.atom[place])
    data.edge_index = torch.cat([ends, ends.flip(0)], dim=1)
    data.bond_type = torch.cat([kinds, kinds])
    return data


def put_no_graph(data: Data) -> Data:
    """Adds unknown features ``[n, 6]`` and no bonds to a molecule, in place."""
    data.atom = torch.zeros(data.z.numel(), len(ATOM_FEATURES), dtype=torch.uint8)
    data.edge_index = torch.zeros(2, 0, dtype=torch.long)
    data.bond_type = torch.zeros(0, dtype=torch.uint8)
    return data


def atom_rows(data: Data, canonical: bool = False) -> tuple[Chem.Mol, list[int], np.ndarray]:
    """The molecule of ``data.smiles``, and which of its atoms are the rows of ``data``.

    Args:
        data: A molecule with ``z``, ``smiles`` and ``atom_map``.
        canonical: Whether the molecule is that of the canonical SMILES, hydrogens removed, so that
            features do not depend on how ``smiles`` is written; default: it is as written.

    Returns:
        The molecule, the atom of each row, and the row of each atom (-1: it was removed).

    Raises:
        ValueError: The atoms of ``smiles`` are not those of ``z``.
    """
    mol, place = sanitised(data.smiles), data.atom_map.numpy()
    if canonical:
        mol, written = canonical_rows(mol)
        number = {atom: i for i, atom in enumerate(written)}
        place = np.array([number.get(atom, -1) for atom in place.tolist()], np.int64)
    return mol, place.tolist(), _rows(data, _numbers(mol), place)


def both_ways(
    mol: Chem.Mol, row: Sequence[int], features: Callable[[Chem.Bond], Sequence[int]], width: int
) -> tuple[Tensor, Tensor]:
    """Bonds in RDKit's order, each as the pair of columns (i, j), (j, i), and their features.

    Args:
        mol: The molecule.
        row: Row of each atom; -1: it was removed, and its bonds are too.
        features: Integer features of a bond.
        width: Number of features, F.

    Returns:
        ``edge_index [2, 2 m]`` and ``edge_attr [2 m, F]``, int64.
    """
    ends, values = [], []
    for bond in mol.GetBonds():
        first, second = row[bond.GetBeginAtomIdx()], row[bond.GetEndAtomIdx()]
        if min(first, second) >= 0:
            ends += [(first, second), (second, first)]
            values += [tuple(features(bond))] * 2
    edge_index = torch.tensor(ends, dtype=torch.long).view(-1, 2).T.contiguous()
    return edge_index, torch.tensor(values, dtype=torch.long).view(-1, width)


def _numbers(mol: Chem.Mol) -> np.ndarray:
    return np.array([atom.GetAtomicNum() or MAX_Z for atom in mol.GetAtoms()], np.int64)


def _rows(data: Data, numbers: np.ndarray, place: np.ndarray) -> np.ndarray:
    """Returns the row of each atom of the SMILES, see :func:`atom_rows`."""
    z = data.z.cpu().numpy()
    is_in = len(place) == len(z) > 0 and ((place >= 0) & (place < len(numbers))).all()
    if not (is_in and np.array_equal(numbers[place], z)):
        raise ValueError(
            f"the atoms of {data.smiles!r} are not those of z: the graph needs the molecule as "
            "from_smiles makes it, with hydrogens removed"
        )
    row = np.full(len(numbers), -1)
    row[place] = np.arange(len(place))
    return row


def batch_graph(batch: Data) -> Graph:
    """The graph of a ``Data`` or a ``Batch`` of :func:`add_graph`."""
    return Graph(batch.atom, batch.edge_index, batch.bond_type)
