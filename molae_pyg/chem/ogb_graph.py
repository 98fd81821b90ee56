"""The integer features of the Open Graph Benchmark: what Transformer-M and MoleBLEND read."""

from collections.abc import Sequence
from functools import lru_cache

import torch
from rdkit import Chem
from rdkit.Chem.rdchem import BondStereo, ChiralType
from torch import Tensor
from torch_geometric.data import Data

from molae_pyg.chem.batch_graphs import GraphsOfSmiles
from molae_pyg.chem.elements import MAX_Z
from molae_pyg.chem.graph import BONDS, HYBRIDISATIONS, atom_rows, both_ways
from molae_pyg.chem.smiles import canonical_mol

_CHIRALITY = (
    ChiralType.CHI_UNSPECIFIED,
    ChiralType.CHI_TETRAHEDRAL_CW,
    ChiralType.CHI_TETRAHEDRAL_CCW,
    ChiralType.CHI_OTHER,
)
_STEREO = (
    BondStereo.STEREONONE,
    BondStereo.STEREOZ,
    BondStereo.STEREOE,
    BondStereo.STEREOCIS,
    BondStereo.STEREOTRANS,
    BondStereo.STEREOANY,
)


def _place(known: Sequence, value: object) -> int:
    """Place of a value; one behind the last for values that are not listed."""
    return known.index(value) if value in known else len(known)


def _atom(atom: Chem.Atom) -> tuple[int, ...]:
    return (
        _place(range(1, 119), atom.GetAtomicNum()),
        _place(_CHIRALITY, atom.GetChiralTag()),
        _place(range(11), atom.GetTotalDegree()),
        _place(range(-5, 6), atom.GetFormalCharge()),
        _place(range(9), atom.GetTotalNumHs()),
        _place(range(5), atom.GetNumRadicalElectrons()),
        _place(HYBRIDISATIONS, atom.GetHybridization()),
        int(atom.GetIsAromatic()),
        int(atom.IsInRing()),
    )


def _bond(bond: Chem.Bond) -> tuple[int, ...]:
    stereo = bond.GetStereo()
    return (
        _place(BONDS, bond.GetBondType()),
        _STEREO.index(stereo if stereo in _STEREO else BondStereo.STEREOANY),  # has no other number
        int(bond.GetIsConjugated()),
    )


def add_ogb_graph(data: Data, canonical: bool = True) -> Data:
    """Adds the graph of ``data.smiles`` to a molecule of :func:`~molae_pyg.from_smiles`, in place.

    Adds ``x [n, 9]``, ``edge_index [2, 2 m]`` and ``edge_attr [2 m, 3]``, int64, the features of
    the Open Graph Benchmark: of atoms the element, chirality, degree, charge, hydrogens, radical
    electrons, hybridisation, whether aromatic, whether in a ring; of bonds the type, stereo label
    and whether conjugated. A value that is not listed there has the last number.

    Args:
        data: A molecule with ``z``, ``smiles`` and ``atom_map``.
        canonical: Whether features are those of the canonical SMILES without hydrogens (default),
            on whose order the chirality depends; False: those of ``smiles`` as it is written, with
            its hydrogens, as the Open Graph Benchmark has it.

    Raises:
        ValueError: The atoms of ``smiles`` are not those of ``z``.
    """
    data.x, data.edge_index, data.edge_attr = _features(*atom_rows(data, canonical))
    return data


def _features(
    mol: Chem.Mol, place: Sequence[int], row: Sequence[int]
) -> tuple[Tensor, Tensor, Tensor]:
    """``x``, ``edge_index`` and ``edge_attr``, see :func:`~molae_pyg.chem.graph.atom_rows`."""
    x = torch.tensor([_atom(mol.GetAtomWithIdx(i)) for i in place]).view(-1, 9)
    return x, *both_ways(mol, row, _bond, 3)


class OgbGraphs(GraphsOfSmiles):
    """Replaces a batch of molecules by the batch of their graphs (:func:`add_ogb_graph`).

    See :class:`~molae_pyg.chem.batch_graphs.GraphsOfSmiles`.
    """

    def graph(self, smiles: str) -> Data:
        return Data(**{key: value.clone() for key, value in _canonical(smiles).items()})


@lru_cache(50_000)  # some kilobytes each
def _canonical(smiles: str) -> dict[str, Tensor]:
    """Fields of the graph of a SMILES without hydrogens, in canonical order."""
    mol = canonical_mol(smiles)
    z = torch.tensor([atom.GetAtomicNum() or MAX_Z for atom in mol.GetAtoms()])
    features = _features(mol, range(len(z)), range(len(z)))
    return dict(zip(("z", "x", "edge_index", "edge_attr"), (z, *features), strict=True))
