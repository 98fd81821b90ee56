"""What of an encoder's output is the vector of a molecule."""

import numpy as np
import pytest
import torch
from torch_geometric.data import Data

from molae_pyg import MolAE, from_smiles
from molae_pyg.chem.graph import add_graph, batch_graph

SMILES = ["CCO", "c1ccccc1O", "C[N+](C)(C)CC(=O)[O-]"]


def small(graph: bool) -> MolAE:
    torch.manual_seed(0)
    return MolAE(32, 48, 4, 2, 1, num_gaussians=8, gaussian_init="intended", graph=graph).eval()


def embed(model: MolAE, readout: str, **more) -> np.ndarray:
    return model.embed(SMILES, precision="32-true", readout=readout, **more)


def test_both_are_cls_and_the_mean_joined():
    model = small(False)
    both = embed(model, "cls, mean", cache=False)
    assert both.shape == (3, 64)
    np.testing.assert_array_equal(both[:, :32], embed(model, "cls", cache=False))
    np.testing.assert_array_equal(both[:, 32:], embed(model, "mean", cache=False))


def test_mean_is_that_over_the_atoms_of_a_molecule():
    model = small(False)
    data = from_smiles(SMILES[1], recipe="fast")
    with torch.no_grad():
        wanted = model.encoder(data.z, data.pos).x.mean(0)
    np.testing.assert_allclose(embed(model, "mean", cache=False)[1], wanted, atol=1e-5)


def test_readouts_are_cached_apart():
    model = small(False)
    embed(model, "cls")
    both = embed(model, "cls, mean")
    np.testing.assert_array_equal(both, embed(model, "cls, mean"))
    np.testing.assert_array_equal(both[:, :32], embed(model, "cls"))


def test_encoder_with_a_graph_channel_receives_the_graph():
    model = small(True)
    data = add_graph(from_smiles(SMILES[2], recipe="fast"))
    with torch.no_grad():
        wanted = model.encoder(data.z, data.pos, graph=batch_graph(data)).molecule[0]
        without = model.encoder(data.z, data.pos).molecule[0]
    found = embed(model, "cls", cache=False)[2]
    np.testing.assert_allclose(found, wanted, atol=1e-5)
    assert np.abs(found - without.numpy()).max() > 1e-4


def test_data_with_and_without_a_graph():
    model = small(True)
    read, told = from_smiles(SMILES[2]), add_graph(from_smiles(SMILES[2]))
    vectors = [embed_data(model, data) for data in (read, told)]
    np.testing.assert_array_equal(*vectors)
    with pytest.warns(UserWarning, match="not their graph"):
        blind = embed_data(model, Data(z=read.z, pos=read.pos))
    assert np.abs(vectors[0] - blind).max() > 1e-4


def embed_data(model: MolAE, data) -> np.ndarray:
    return model.embed([data], precision="32-true")


def test_dummy_atoms_have_a_graph():
    vectors = small(True).embed(["*CC"], cache=False)
    assert np.isfinite(vectors).all()


def test_unknown_readout():
    with pytest.raises(ValueError, match="readout must be one of"):
        small(False).embed(SMILES, readout="sum")
