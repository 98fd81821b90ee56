"""Graphs of the Open Graph Benchmark in place of the molecules of a store."""

import pytest
import torch
from torch_geometric.data import Batch

from molae_pyg import from_smiles
from molae_pyg.chem.ogb_graph import OgbGraphs, add_ogb_graph
from molae_pyg.transforms import SampleConformer

SMILES = ["CC(=O)Oc1ccccc1C(=O)O", "C[C@H](N)C(=O)O"]  # canonical


def test_graphs_of_a_batch_keep_the_coordinates():
    items = [SampleConformer()(from_smiles(text)) for text in SMILES]
    batch = Batch.from_data_list(items)
    graphs = OgbGraphs()(batch)
    expected = Batch.from_data_list([add_ogb_graph(item.clone()) for item in items])
    for key in ("z", "pos", "batch", "x", "edge_index", "edge_attr"):
        assert torch.equal(graphs[key], expected[key]), key
    graphs.x[:] = 0
    assert OgbGraphs()(batch).x.sum() > 0  # what is cached is not what was returned
    assert repr(OgbGraphs()) == "OgbGraphs()"


def test_other_atoms_are_left_out_with_a_warning():
    batch = Batch.from_data_list([SampleConformer()(from_smiles(text)) for text in SMILES])
    batch.z[0] = 8
    transform = OgbGraphs()
    with pytest.warns(UserWarning, match="1 of 2 molecules have other atoms") as warned:
        assert [transform(batch).num_graphs for _ in range(3)] == [1, 1, 1]
    assert len(warned) == 1  # a run has thousands of batches
