"""The graph of Hu et al. (2020), with two integer features of atoms and two of bonds."""

from functools import lru_cache

import torch
from rdkit import Chem
from rdkit.Chem.rdchem import BondDir, ChiralType
from torch import Tensor
from torch_geometric.data import Data

from molae_pyg.chem.batch_graphs import GraphsOfSmiles
from molae_pyg.chem.graph import BONDS, both_ways
from molae_pyg.chem.smiles import canonical_mol, plain_mol
from molae_pyg.nn.gin import MASKED_ATOM, MASKED_BOND

_CHIRALITY = {ChiralType.CHI_TETRAHEDRAL_CW: 1, ChiralType.CHI_TETRAHEDRAL_CCW: 2}
_TYPE = {kind: number for number, kind in enumerate(BONDS)}
_DIRECTION = {BondDir.ENDUPRIGHT: 1, BondDir.ENDDOWNRIGHT: 2}
_KEPT = 50_000  # molecules that are read once: some kilobytes each


def hu_features(mol: Chem.Mol) -> tuple[Tensor, Tensor, Tensor]:
    """The graph of an RDKit molecule, in the order of its atoms and bonds.

    Returns:
        ``x [n, 2]``, ``edge_index [2, 2 m]`` and ``edge_attr [2 m, 2]``, int64. Atoms have their
        atomic number minus 1 (119, the row of masked atoms: a dummy atom) and the chiral tag (0
        none or another kind, 1 clockwise, 2 counterclockwise). Bond b is the columns 2 b, (i, j),
        and 2 b + 1, (j, i), with type (0 single, 1 double, 2 triple, 3 aromatic, 5, the row of
        masked bonds: another kind) and direction (0 none, 1 up, 2 down).
    """
    x = torch.tensor([_atom(atom) for atom in mol.GetAtoms()]).view(-1, 2)
    return x, *both_ways(mol, range(mol.GetNumAtoms()), _bond, 2)


def _atom(atom: Chem.Atom) -> tuple[int, int]:
    number = atom.GetAtomicNum()
    return number - 1 if number else MASKED_ATOM, _CHIRALITY.get(atom.GetChiralTag(), 0)


def _bond(bond: Chem.Bond) -> tuple[int, int]:
    return _TYPE.get(bond.GetBondType(), MASKED_BOND), _DIRECTION.get(bond.GetBondDir(), 0)


def hu_graph(smiles: str, canonical: bool = True) -> Data:
    """Makes the graph of a SMILES without hydrogens, ``Data(x, edge_index, edge_attr, z, smiles)``.

    Args:
        smiles: The molecule.
        canonical: Whether atoms are in the order of the canonical SMILES (default), on which the
            chiral tags and the directions of bonds depend; False: the order of ``smiles``.

    Raises:
        ValueError: It is no valid SMILES.
    """
    x, edge_index, edge_attr, z = (part.clone() for part in _read(smiles, canonical))
    return Data(x, edge_index, edge_attr, z=z, smiles=smiles, num_nodes=len(z))


@lru_cache(_KEPT)
def _read(smiles: str, canonical: bool) -> tuple[Tensor, ...]:
    mol = (canonical_mol if canonical else plain_mol)(smiles)
    x, edge_index, edge_attr = hu_features(mol)
    z = (x[:, 0] + 1).clamp(max=118)
    return x, edge_index, edge_attr, z


class HuGraphs(GraphsOfSmiles):
    """Replaces a batch of molecules by the batch of their graphs (:func:`hu_graph`).

    See :class:`~molae_pyg.chem.batch_graphs.GraphsOfSmiles`.
    """

    def graph(self, smiles: str) -> Data:
        return hu_graph(smiles)
