"""Graphs and predictions are those of a molecule, however its SMILES is written."""

from collections.abc import Callable

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from rdkit import Chem
from torch_geometric.data import Batch, Data

from molae_pyg.baselines.gin_predictor import EdgeGINPredictor
from molae_pyg.baselines.graph_heads import GroverPredictor, MoleBlendPredictor
from molae_pyg.baselines.grover import GroverEncoder
from molae_pyg.baselines.n_gram import n_gram_graph
from molae_pyg.chem.grover_graph import Vocabulary, grover_graph
from molae_pyg.chem.hu_graph import hu_graph
from molae_pyg.chem.ogb_graph import OgbGraphs, add_ogb_graph
from molae_pyg.chem.smiles import canonical_mol, sanitised
from molae_pyg.models import MoleBlend
from molae_pyg.nn.gin import EdgeGIN

#: Chiral atoms, a double bond with a label, charges, a hydrogen that an atom needs, two fragments.
SMILES = (
    "C[C@H](N)C(=O)O", "C/C=C/[C@@H](Cl)O", "O=C([O-])[C@@H]1CCC[NH2+]1", "c1cc[nH]c1",
    "CN1C[C@@H]2C[C@H]1CO2", "[Na+].CC(=O)[O-]",
)  # fmt: skip


def with_conformer_rows(smiles: str, canonical: bool = True) -> Data:
    """What Transformer-M reads: heavy atoms in the order of the SMILES, and their graph."""
    mol = sanitised(smiles)
    heavy = [atom.GetIdx() for atom in mol.GetAtoms() if atom.GetAtomicNum() > 1]
    z = torch.tensor([mol.GetAtomWithIdx(i).GetAtomicNum() for i in heavy])
    return add_ogb_graph(Data(z=z, smiles=smiles, atom_map=torch.tensor(heavy)), canonical)


MAKERS: dict[str, Callable[[str], Data]] = {
    "hu": hu_graph,
    "ogb": OgbGraphs().graph,
    "transformer-m": with_conformer_rows,
    "grover": lambda s: grover_graph(s, Vocabulary.of(SMILES, least=1)),
    "n-gram": lambda s: n_gram_graph(canonical_mol(s)),
}
PREDICTORS = {
    "hu": lambda: EdgeGINPredictor(EdgeGIN(8, 3), 1),
    "grover": lambda: GroverPredictor(GroverEncoder(8, 2, 3), 1),
    "ogb": lambda: MoleBlendPredictor(MoleBlend.tiny().encoder, 1),
}


def written(smiles: str, seed: int, hydrogens: bool) -> str:
    mol = Chem.MolFromSmiles(smiles)
    mol = Chem.AddHs(mol) if hydrogens else mol
    return Chem.MolToRandomSmilesVect(mol, 1, randomSeed=seed)[0]


def rows(x: torch.Tensor) -> list:
    return sorted(map(tuple, x.reshape(len(x), -1).tolist()))


@pytest.mark.parametrize("name", MAKERS)
@given(st.sampled_from(SMILES), st.integers(1, 10_000), st.booleans())
def test_graphs(name, smiles, seed, hydrogens):
    one, other = (MAKERS[name](s) for s in (smiles, written(smiles, seed, hydrogens)))
    for key in ("z", "x", "edge_attr", "atom_class", "bond_class", "motifs"):
        if key in one:
            assert rows(one[key]) == rows(other[key]), key
    ends = (rows(d.x[d.edge_index].transpose(0, 1)) for d in (one, other))
    assert next(ends) == next(ends)


@pytest.mark.parametrize("name", PREDICTORS)
def test_predictions(name):
    torch.manual_seed(0)
    model = PREDICTORS[name]().double().eval()
    for i, smiles in enumerate(SMILES):
        texts = (smiles, written(smiles, i + 1, False), written(smiles, i + 1, True))
        graphs = [MAKERS[name](text) for text in texts]
        for graph in graphs:
            for key, value in graph:
                graph[key] = (
                    value.double()
                    if torch.is_tensor(value) and value.is_floating_point()
                    else value
                )
        found = torch.cat([model.on_batch(Batch.from_data_list([graph])) for graph in graphs])
        torch.testing.assert_close(found, found[:1].expand_as(found), atol=1e-10, rtol=0)


@pytest.mark.parametrize("name", MAKERS)
def test_a_graph_that_is_changed_is_made_anew(name):
    first = MAKERS[name](SMILES[0])
    before = {key: value.clone() for key, value in first if torch.is_tensor(value)}
    for value in first.to_dict().values():
        if torch.is_tensor(value):
            value.zero_()
    again = MAKERS[name](SMILES[0])
    for key, value in before.items():
        assert torch.equal(again[key], value), key


def test_a_stereo_label_without_a_number_of_its_own_is_any():
    axis = "Cc1cccc(Cl)c1-c1c(C)cccc1Br |wU:7.6|"
    assert with_conformer_rows(axis, canonical=False).edge_attr[:, 1].max() == 5
