import numpy as np
import pytest
import torch

from molae_pyg import MolAE, from_smiles


@pytest.fixture(scope="module")
def model() -> MolAE:
    torch.manual_seed(0)
    return MolAE.tiny()


def test_rows_follow_the_input_and_equal_molecules_are_equal(model):
    smiles = ["c1ccccc1CCO", "OCC", "CCCCCCC", "CCO", "C(C)O"]
    embedding = model.embed(smiles, batch_size=2)
    assert embedding.shape == (5, 64)
    assert embedding.dtype == np.float32
    assert np.array_equal(embedding[1], embedding[3])
    assert np.array_equal(embedding[1], embedding[4])
    assert not np.allclose(embedding[1], embedding[2], atol=1e-3)
    for row, string in enumerate(smiles):
        assert np.allclose(embedding[row], model.embed([string])[0], atol=1e-5)


def test_mean_over_conformers(model):
    data = from_smiles("CCCCO", num_conformers=3)
    model.eval()
    with torch.no_grad():
        alone = [model.encode(data.z, pos).molecule[0] for pos in data.conformers.unbind(1)]
    expected = torch.stack(alone).mean(0).numpy()
    assert np.allclose(model.embed(["CCCCO"], num_conformers=3)[0], expected, atol=1e-5)


def test_training_mode_is_kept(model):
    model.train()
    model.embed(["CCO"])
    assert model.encoder.training


def test_no_molecule(model):
    assert model.embed([]).shape == (0, 64)


def test_an_invalid_row_is_named(model):
    with pytest.raises(ValueError, match="row 1: cannot read SMILES 'C1CC'"):
        model.embed(["CCO", "C1CC"])


def test_a_single_string_is_an_error(model):
    with pytest.raises(TypeError, match="for one molecule give"):
        model.embed("CCO")
