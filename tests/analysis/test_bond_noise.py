"""Lengths of bonds with noise."""

import numpy as np
import pytest
import torch
from torch_geometric.data import Data

from molae_pyg import from_smiles
from molae_pyg.analysis.bond_noise import bond_noise, bond_picture


@pytest.fixture(scope="module")
def lengths():
    return bond_noise([from_smiles(s) for s in ("CCO", "c1ccccc1O", "C")], [0.5, 1.0])


def test_bonds_have_the_lengths_of_bonds(lengths):
    assert len(lengths.clean) == 2 + 7  # each bond once
    assert (lengths.clean > 1.2).all()
    assert (lengths.clean < 1.7).all()


def test_noise_is_that_of_the_seed_and_grows(lengths):
    again = bond_noise([from_smiles(s) for s in ("CCO", "c1ccccc1O", "C")], [0.5, 1.0])
    other = bond_noise([from_smiles(s) for s in ("CCO", "c1ccccc1O", "C")], [0.5, 1.0], seed=1)
    assert np.array_equal(again.both_ends[1.0], lengths.both_ends[1.0])
    assert not np.array_equal(other.both_ends[1.0], lengths.both_ends[1.0])


def test_summary_of_many_bonds():
    """Atoms 1.5 Å apart, moved along one axis: the standard deviation is that of uniform noise."""
    pos = torch.tensor([[0.0, 0, 0], [1.5, 0, 0]])
    pairs = [Data(z=torch.tensor([6, 6]), pos=pos, smiles="CC") for _ in range(800)]
    found = bond_noise(pairs, [0.1, 1.0])
    summary = found.summary()
    assert summary["clean"]["inside"] == 1.0
    assert summary["clean"]["mean"] == pytest.approx(1.5)
    assert summary["0.1 Å, one end"]["sd"] == pytest.approx(0.1 / 3**0.5, rel=0.1)
    assert summary["0.1 Å, both ends"]["sd"] == pytest.approx(0.1 * (2 / 3) ** 0.5, rel=0.1)
    assert np.abs(found.one_end[1.0] - 1.5).max() <= 3**0.5


def test_picture(lengths):
    picture = bond_picture(lengths)
    assert list(picture.legend) == ["clean", "0.5 Å", "1 Å"]
    assert picture.png()[:4] == b"\x89PNG"


def test_molecules_without_bonds_are_an_error():
    with pytest.raises(ValueError, match="have no bonds"):
        bond_noise([from_smiles("C")], [1.0])
    drawing = Data(z=torch.tensor([6, 6]), pos=torch.zeros(2, 3), smiles="CC", status="2d")
    with pytest.raises(ValueError, match="no molecule has 3D coordinates"):
        bond_noise([drawing], [1.0])
