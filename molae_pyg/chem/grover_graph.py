"""The graph of GROVER: 151 features of atoms, 14 of bonds, and the labels of its tasks."""

from collections import Counter
from collections.abc import Iterable
from functools import cache
from typing import NamedTuple

import torch
from rdkit import Chem
from rdkit.Chem import Fragments
from torch_geometric.data import Data
from torch_geometric.transforms import BaseTransform
from torch_geometric.utils import degree

from molae_pyg.chem.batch_graphs import GraphsOfSmiles
from molae_pyg.chem.elements import MAX_Z
from molae_pyg.chem.graph import BONDS, HYBRIDISATIONS
from molae_pyg.chem.smiles import canonical_mol, plain_mol
from molae_pyg.fingerprint import digest
from molae_pyg.transforms.cloze import choose_number, molecules_of

NUM_ATOM_FEATURES, NUM_BOND_FEATURES = 151, 14
#: Names of the 85 motifs: RDKit's functions that count fragments.
MOTIFS = tuple(sorted(name for name in vars(Fragments) if name.startswith("fr_")))
#: Classes of a vocabulary that are no entries: not chosen (ignored), and not in the vocabulary.
NOT_CHOSEN, OTHER = 0, 1

_CHARGES, _LARGEST_CHARGE = 6, 5
_PATTERNS = {  # in the order of the features
    "acceptor": "[$([O,S;H1;v2;!$(*-*=[O,N,P,S])]),$([O,S;H0;v2]),$([O,S;-]),"
    "$([N;v3;!$(N-*=[O,N,P,S])]),n&H0&+0,$([o,s;+0;!$([o,s]:n);!$([o,s]:c:n)])]",
    "donor": "[$([N;!H0;v3,v4&+1]),$([O,S;H1;+0]),n&H1&+0]",
    "acidic": "[$([C,S](=[O,S,P])-[O;H1,-1])]",
    "basic": "[#7;+,$([N;H2&+0][$([C,a]);!$([C,a](=O))]),"
    "$([N;H1&+0]([$([C,a]);!$([C,a](=O))])[$([C,a]);!$([C,a](=O))]),"
    "$([N;H0&+0]([C;!$(C(=O))])([C;!$(C(=O))])[C;!$(C(=O))])]",
}


@cache
def _queries() -> list[Chem.Mol]:
    return [Chem.MolFromSmarts(pattern) for pattern in _PATTERNS.values()]


def _one_hot(known: Iterable, value: object) -> list[int]:
    """Ones and zeros, with a last column for values that are not listed."""
    known = tuple(known)
    found = [0] * (len(known) + 1)
    found[known.index(value) if value in known else -1] = 1
    return found


def _charge(charge: int) -> list[int]:
    """Column of the charge; -1 is the last one, as published. Beyond ±5 it counts as ±5."""
    found = [0] * _CHARGES
    found[max(-_LARGEST_CHARGE, min(charge, _LARGEST_CHARGE))] = 1
    return found


def _atom(atom: Chem.Atom, matches: list[set[int]]) -> list[float]:
    return [
        *_one_hot(range(100), atom.GetAtomicNum() - 1),
        *_one_hot(range(6), atom.GetTotalDegree()),
        *_charge(atom.GetFormalCharge()),
        *_one_hot(range(4), int(atom.GetChiralTag())),
        *_one_hot(range(5), atom.GetTotalNumHs()),
        *_one_hot(HYBRIDISATIONS, atom.GetHybridization()),
        int(atom.GetIsAromatic()),
        0.01 * atom.GetMass(),
        *_one_hot(range(7), atom.GetValence(Chem.ValenceType.IMPLICIT)),
        *(int(atom.GetIdx() in match) for match in matches),
        *(int(atom.IsInRingSize(number)) for number in range(3, 9)),
    ]


def _bond(bond: Chem.Bond) -> list[int]:
    return [
        0,  # 1: no bond, which never occurs
        *(int(bond.GetBondType() == kind) for kind in BONDS),
        int(bond.GetIsConjugated()),
        int(bond.IsInRing()),
        *_one_hot(range(6), int(bond.GetStereo())),
    ]


def _counted(start: str, neighbours: Iterable[str]) -> str:
    parts = (f"{name}{number}" for name, number in sorted(Counter(neighbours).items()))
    return "_".join([start, *parts])


def atom_words(mol: Chem.Mol) -> list[str]:
    """Each atom with its neighbours, such as ``C_C-SINGLE1_O-DOUBLE1_O-SINGLE1``."""
    return [
        _counted(
            atom.GetSymbol(),
            (
                f"{bond.GetOtherAtom(atom).GetSymbol()}-{bond.GetBondType()}"
                for bond in atom.GetBonds()
            ),
        )
        for atom in mol.GetAtoms()
    ]


def bond_words(mol: Chem.Mol) -> list[str]:
    """Each bond with the bonds at its two atoms, in the order of :func:`ordered_bonds`."""

    def name(bond: Chem.Bond) -> str:
        return f"({bond.GetBondType()}-{bond.GetStereo()}-{bond.GetBondDir()})"

    return [
        _counted(
            name(bond),
            (
                f"{atom.GetSymbol()}-{name(other)}"
                for atom in (bond.GetBeginAtom(), bond.GetEndAtom())
                for other in atom.GetBonds()
                if other.GetIdx() != bond.GetIdx()
            ),
        )
        for bond in ordered_bonds(mol)
    ]


def ordered_bonds(mol: Chem.Mol) -> list[Chem.Bond]:
    """The bonds by their lower and their higher atom."""
    return sorted(mol.GetBonds(), key=lambda b: sorted((b.GetBeginAtomIdx(), b.GetEndAtomIdx())))


class Vocabulary(NamedTuple):
    """Classes of the words of atoms and of bonds, from 2 on."""

    atoms: dict[str, int]
    bonds: dict[str, int]

    @classmethod
    def of(cls, smiles: Iterable[str], least: int = 3) -> "Vocabulary":
        """Collects the words of molecules in canonical order, the frequent ones first.

        Args:
            smiles: The molecules.
            least: How often a word must occur, default: 3.
        """
        atoms: Counter[str] = Counter()
        bonds: Counter[str] = Counter()
        for text in smiles:
            mol = canonical_mol(text)
            atoms.update(atom_words(mol))
            bonds.update(bond_words(mol))
        return cls(*(_classes(counts, least) for counts in (atoms, bonds)))

    @property
    def sizes(self) -> tuple[int, int]:
        """Number of classes of atoms and of bonds, with the two that are no words."""
        return len(self.atoms) + 2, len(self.bonds) + 2


def _classes(counts: Counter[str], least: int) -> dict[str, int]:
    ranked = sorted(counts.items(), key=lambda item: (-item[1], item[0]))
    kept = [word for word, number in ranked if number >= least]
    return {word: i for i, word in enumerate(kept, OTHER + 1)}


def grover_graph(smiles: str, vocabulary: Vocabulary | None = None, canonical: bool = True) -> Data:
    """Makes the graph of a SMILES without hydrogens.

    Args:
        smiles: The molecule.
        vocabulary: Classes of the labels of pre-training; default: no labels.
        canonical: Whether atoms are in the order of the canonical SMILES (default), on which chiral
            tags and words of bonds depend; False: the order of ``smiles``.

    Returns:
        ``x [n, 151]``, ``z [n]``, ``edge_index [2, 2 m]`` and ``edge_attr [2 m, 14]``; the columns
        2 b and 2 b + 1 are the two directions of bond b. With a vocabulary also ``atom_class [n]``,
        ``bond_class [m]`` and ``motifs [1, 85]``, 1 where RDKit counts a fragment.

    Raises:
        ValueError: It is no valid SMILES.
    """
    mol = (canonical_mol if canonical else plain_mol)(smiles)
    matches = [{i for match in mol.GetSubstructMatches(q) for i in match} for q in _queries()]
    x = torch.tensor([_atom(atom, matches) for atom in mol.GetAtoms()])
    bonds = ordered_bonds(mol)
    ends = [sorted((b.GetBeginAtomIdx(), b.GetEndAtomIdx())) for b in bonds]
    one_way = torch.tensor(ends, dtype=torch.long).view(-1, 2).T
    edge_attr = torch.tensor([_bond(b) for b in bonds]).float().view(-1, NUM_BOND_FEATURES)
    data = Data(
        x=x,
        edge_index=torch.stack([one_way, one_way.flip(0)], -1).flatten(1),
        edge_attr=edge_attr.repeat_interleave(2, 0),
        z=torch.tensor([atom.GetAtomicNum() or MAX_Z for atom in mol.GetAtoms()]),
        smiles=smiles,
    )
    if vocabulary is not None:
        words = ((vocabulary.atoms, atom_words(mol)), (vocabulary.bonds, bond_words(mol)))
        data.atom_class, data.bond_class = (
            torch.tensor([classes.get(word, OTHER) for word in found], dtype=torch.long)
            for classes, found in words
        )
        data.motifs = torch.tensor([[float(getattr(Fragments, n)(mol) > 0) for n in MOTIFS]])
    return data


class GroverGraphs(GraphsOfSmiles):
    """Replaces a batch of molecules by the batch of their graphs with labels.

    See :class:`~molae_pyg.chem.batch_graphs.GraphsOfSmiles`.

    Args:
        vocabulary: Classes of the words, see :class:`Vocabulary`.
    """

    def __init__(self, vocabulary: Vocabulary):
        self.vocabulary = vocabulary

    def graph(self, smiles: str) -> Data:
        return grover_graph(smiles, self.vocabulary)

    def __repr__(self) -> str:
        """A part of what makes a run the same: it says which vocabulary this is."""
        return f"{type(self).__name__}({digest(*self.vocabulary)[:16]})"


class ChooseWords(BaseTransform):
    """Chooses atoms and bonds whose words are predicted, and hides their features.

    It adds ``atom_target [N]`` and ``bond_target [M]``, 0 where not chosen, to a molecule of
    :func:`grover_graph` or to a batch. Random numbers come from torch.

    Args:
        ratio: Share of the atoms and of the bonds of each molecule, rounded up; default: 0.15.
        mask: Whether the features of chosen atoms, of their bonds and of chosen bonds are 0 in new
            tensors (default). The official code hides nothing: it asks for what the model sees.
    """

    def __init__(self, ratio: float = 0.15, mask: bool = True):
        if not 0 < ratio <= 1:
            raise ValueError(f"ratio must be in (0, 1], got {ratio!r}")
        self.ratio, self.mask = ratio, mask

    def forward(self, data: Data) -> Data:
        batch, num_graphs = molecules_of(data, data.x)
        atom = self._chosen(batch, num_graphs)  # [N]
        bond = self._chosen(batch[data.edge_index[0, ::2]], num_graphs)  # [M]
        data.atom_target = torch.where(atom, data.atom_class, NOT_CHOSEN)
        data.bond_target = torch.where(bond, data.bond_class, NOT_CHOSEN)
        if self.mask:
            hidden = bond.repeat_interleave(2) | atom[data.edge_index].any(0)  # [2 m]
            data.x = data.x.masked_fill(atom[:, None], 0)
            data.edge_attr = data.edge_attr.masked_fill(hidden[:, None], 0)
        return data

    def _chosen(self, molecule: torch.Tensor, num_graphs: int) -> torch.Tensor:
        """Chooses atoms or bonds, of which ``molecule`` has the sorted molecules."""
        count = degree(molecule, num_graphs, dtype=torch.long)  # [B]
        return choose_number(molecule, count, (count.double() * self.ratio).ceil().long())

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.ratio}, mask={self.mask})"
