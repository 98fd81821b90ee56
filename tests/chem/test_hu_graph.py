"""The graph of Hu et al. against recordings, and its rules for what the tables do not list."""

import competitors
import pytest
import torch
from rdkit import Chem
from torch_geometric.data import Batch

from molae_pyg import from_smiles
from molae_pyg.chem.hu_graph import HuGraphs, hu_features, hu_graph
from molae_pyg.transforms import SampleConformer

SMILES = list(competitors.meta("hu_gin")["smiles"].values())


def test_recorded_graphs():
    recorded = competitors.arrays("hu_gin")
    batch = Batch.from_data_list([hu_graph(s, canonical=False) for s in SMILES])
    for key in ("x", "edge_index", "edge_attr", "batch"):
        assert torch.equal(batch[key], recorded[key]), key


def test_recorded_graphs_with_hydrogens():
    recorded = competitors.arrays("molclr")
    x, edge_index, edge_attr, start = [], [], [], 0
    for smiles in SMILES:
        graph = hu_features(Chem.AddHs(Chem.MolFromSmiles(smiles)))
        x.append(graph[0])
        edge_index.append(graph[1] + start)
        edge_attr.append(graph[2])
        start += len(graph[0])
    assert torch.equal(torch.cat(x), recorded["h_x"])
    assert torch.equal(torch.cat(edge_index, 1), recorded["h_edge_index"])
    assert torch.equal(torch.cat(edge_attr), recorded["h_edge_attr"])


def test_kinds_that_the_tables_do_not_list():
    graph = hu_graph("*C", canonical=False)
    assert graph.x.tolist() == [[119, 0], [5, 0]]
    assert graph.z.tolist() == [118, 6]
    dative = hu_graph("[NH3]->[Pt](Cl)Cl", canonical=False)
    assert dative.edge_attr[:2].tolist() == [[5, 0], [5, 0]]
    square = hu_graph("C[Pt@SP1](F)(Cl)Br", canonical=False)
    assert square.x[1].tolist() == [77, 0]
    lone = hu_graph("[Na+]")
    assert (lone.edge_index.shape, lone.edge_attr.shape) == ((2, 0), (0, 2))
    with pytest.raises(ValueError, match="syntax"):
        hu_graph("C(")


def test_one_graph_for_each_way_to_write_a_molecule():
    mol = Chem.MolFromSmiles(SMILES[3])
    texts = [Chem.MolToSmiles(mol, rootedAtAtom=i, canonical=False) for i in range(9)]
    assert len(set(texts)) > 3
    first = hu_graph(SMILES[3])
    for text in texts:
        graph = hu_graph(text)
        assert all(torch.equal(graph[k], first[k]) for k in ("x", "edge_index", "edge_attr", "z"))


def batch_of(smiles: list[str]) -> Batch:
    molecules = [SampleConformer()(from_smiles(s, num_conformers=1)) for s in smiles]
    return Batch.from_data_list(molecules)


def test_graphs_of_a_batch_keep_the_coordinates():
    batch = batch_of(SMILES[:2])
    before = batch.clone()
    graphs = HuGraphs()(batch)
    assert torch.equal(graphs.pos, before.pos)
    assert torch.equal(graphs.z, before.z)
    assert torch.equal(graphs.batch, before.batch)
    bonds = (graphs.pos[graphs.edge_index[0]] - graphs.pos[graphs.edge_index[1]]).norm(dim=1)
    assert bonds.max() < 1.7  # Å: bonds are those of these coordinates
    assert batch.keys() == before.keys()
    graphs.x[:] = 0
    assert HuGraphs()(batch).x.sum() > 0  # what is cached is not what was returned


def test_other_atoms_are_left_out_with_a_warning():
    batch = batch_of(["CCO", "c1ccccc1"])
    batch.z[1] = 8
    with pytest.warns(UserWarning, match=r"1 of 2 molecules have other atoms .* 'CCO'"):
        graphs = HuGraphs()(batch)
    assert graphs.smiles == ["c1ccccc1"]
    batch.z[5] = 8
    with pytest.raises(ValueError, match=r"2 of 2 .* hydrogens removed"):
        HuGraphs()(batch)
