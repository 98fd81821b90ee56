"""Features, words and motifs of GROVER against recordings, and the choice of words."""

import math

import competitors
import pytest
import torch
from torch_geometric.data import Batch

from molae_pyg.chem.grover_graph import (
    MOTIFS,
    NOT_CHOSEN,
    OTHER,
    ChooseWords,
    Vocabulary,
    atom_words,
    bond_words,
    grover_graph,
    ordered_bonds,
)
from molae_pyg.chem.smiles import plain_mol

SMILES = ["CCO", "CCN", "c1ccccc1O", "CC(=O)O"]


def recorded_smiles() -> list[str]:
    return list(competitors.meta("grover")["smiles"].values())


def test_recorded_features():
    theirs = competitors.arrays("grover")  # row 0 of atoms and bonds is padding
    vocabulary = Vocabulary({}, {})
    batch = Batch.from_data_list(
        [grover_graph(s, vocabulary, canonical=False) for s in recorded_smiles()]
    )
    assert torch.equal(batch.x, theirs["f_atoms"][1:])
    assert torch.equal(batch.edge_attr, theirs["f_bonds_last14"][1:])
    source, back = theirs["b2a"], theirs["b2revb"]
    assert torch.equal(batch.edge_index[0] + 1, source[1:])
    assert torch.equal(batch.edge_index[1] + 1, source[back][1:])
    assert torch.equal(back[1:] - 1, torch.arange(102) ^ 1)
    assert torch.equal(batch.motifs, theirs["functional_groups"].float())
    assert list(MOTIFS) == competitors.meta("grover")["fr_names"]


def test_recorded_words():
    meta = competitors.meta("grover")
    for smiles, atoms, bonds in zip(
        recorded_smiles(), meta["atom_vocab"], meta["bond_vocab"], strict=True
    ):
        mol = plain_mol(smiles)
        assert atom_words(mol) == atoms
        # recorded in RDKit's order
        assert bond_words(mol) == [bonds[bond.GetIdx()] for bond in ordered_bonds(mol)]


def test_charges_have_the_published_columns_and_large_ones_are_no_error():
    columns = slice(101 + 7, 101 + 7 + 6)
    for smiles, place in (("[Na+]", 1), ("[Cl-]", 5), ("C", 0), ("[Ca++]", 2), ("[W+6]", 5)):
        x = grover_graph(smiles).x
        assert x[0, columns].tolist() == [float(i == place) for i in range(6)], smiles
    lone = grover_graph("[Na+]")
    assert lone.edge_index.shape == (2, 0)
    assert lone.edge_attr.shape == (0, 14)


def test_vocabulary():
    vocabulary = Vocabulary.of(SMILES, least=2)
    assert vocabulary.sizes == (len(vocabulary.atoms) + 2, len(vocabulary.bonds) + 2)
    assert vocabulary.atoms["C_C-SINGLE1"] == 3  # 3 of them; the 5 of phenol are more frequent
    assert "N_C-SINGLE1" not in vocabulary.atoms
    data = grover_graph("CCN", vocabulary)
    assert data.atom_class.tolist()[2] == OTHER
    assert data.atom_class[0] == 3
    assert len(data.bond_class) == 2


@pytest.mark.parametrize("mask", [False, True])
def test_chosen_words_and_what_is_hidden(mask):
    torch.manual_seed(0)
    vocabulary = Vocabulary.of(recorded_smiles(), least=1)
    before = Batch.from_data_list(
        [grover_graph(s, vocabulary, canonical=False) for s in recorded_smiles()]
    )
    after = ChooseWords(mask=mask)(before.clone())
    atom, bond = after.atom_target != NOT_CHOSEN, after.bond_target != NOT_CHOSEN
    of_bond = after.batch[after.edge_index[0, ::2]]
    for chosen, molecule in ((atom, after.batch), (bond, of_bond)):  # 15 % of each, rounded up
        assert molecule[chosen].bincount().tolist() == [
            math.ceil(0.15 * n) for n in molecule.bincount().tolist()
        ]
    assert torch.equal(after.atom_target[atom], before.atom_class[atom])
    assert torch.equal(after.bond_target[bond], before.bond_class[bond])
    if not mask:
        assert torch.equal(after.x, before.x)
        assert torch.equal(after.edge_attr, before.edge_attr)
        return
    assert (after.x == 0).all(1).equal(atom)
    ends = before.edge_index.view(2, -1, 2)[:, :, 0]
    hidden = bond | atom[ends].any(0)
    assert (after.edge_attr == 0).all(1).equal(hidden.repeat_interleave(2))


def test_data_are_not_changed():
    vocabulary = Vocabulary.of(SMILES, least=1)
    data = grover_graph("c1ccccc1O", vocabulary)
    x, edge_attr = data.x.clone(), data.edge_attr.clone()
    stored_x, stored_edge_attr = data.x, data.edge_attr
    ChooseWords(1.0)(data)
    assert torch.equal(stored_x, x)
    assert torch.equal(stored_edge_attr, edge_attr)


def test_single_atoms_have_no_bonds_to_choose():
    data = ChooseWords()(grover_graph("O", Vocabulary({}, {})))
    assert data.atom_target.tolist() == [OTHER]
    assert data.bond_target.tolist() == []


def test_settings():
    assert repr(ChooseWords(0.3, mask=False)) == "ChooseWords(0.3, mask=False)"
    for ratio in (0, 1.5, -1):
        with pytest.raises(ValueError, match=r"ratio must be in \(0, 1\]"):
            ChooseWords(ratio)
