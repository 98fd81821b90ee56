"""Intervals, verdicts and baselines of atoms."""

import numpy as np
import pytest
from torch_geometric.data import Data

from molae_pyg import from_smiles
from molae_pyg.workflow.atoms.features import environments
from molae_pyg.workflow.atoms.scores import AtomIntervals, atom_verdicts, fit_atom_baselines


def drawn(rng, num_molecules):
    """Molecules of 1 to 20 atoms whose errors are alike in a molecule, larger for oxygen."""
    sizes = rng.integers(1, 21, num_molecules)
    molecule = np.repeat(np.arange(num_molecules), sizes)
    z = rng.choice([6, 8], len(molecule))
    scale = rng.exponential(size=num_molecules)[molecule]
    return np.abs(scale * rng.normal(size=len(z)) * np.where(z == 8, 5, 1)), z, molecule


def test_intervals_hold_for_an_atom_of_a_new_molecule():
    rng, inside = np.random.default_rng(0), {6: [], 8: []}
    for _ in range(200):
        intervals = AtomIntervals(*drawn(rng, 60))
        error, z, molecule = drawn(rng, 20)
        held = error <= intervals(z, 0.2)
        for element, found in inside.items():
            for number in np.unique(molecule[z == element]):
                found.append(held[(z == element) & (molecule == number)].mean())
    assert np.mean(inside[6]) == pytest.approx(0.8, abs=0.03)
    assert np.mean(inside[8]) == pytest.approx(0.8, abs=0.03)


def test_intervals_count_molecules_not_atoms():
    error = np.concatenate([np.full(1000, 9.0), np.ones(30)])  # one large molecule, 30 small ones
    molecule = np.concatenate([np.zeros(1000, int), np.arange(1, 31)])
    intervals = AtomIntervals(error, np.full(1030, 6), molecule)
    assert intervals(np.array([6]), 0.1) == [1.0]


def test_rare_elements_have_the_errors_of_all_atoms():
    z = np.array([6] * 40 + [16] * 3)
    intervals = AtomIntervals(np.arange(43.0), z, np.arange(43))
    everything = AtomIntervals(np.arange(43.0), np.full(43, 6), np.arange(43))
    assert intervals(np.array([16, 35]), 0.1).tolist() == everything(np.array([6, 6]), 0.1).tolist()
    assert intervals(np.array([6]), 0.1) < intervals(np.array([16]), 0.1)


def test_too_few_molecules_have_no_finite_interval():
    assert AtomIntervals(np.ones(50), np.full(50, 6), np.repeat(np.arange(5), 10))(
        np.array([6]), 0.1
    ) == [np.inf]


def test_a_verdict_depends_on_molecules():
    """The model is better on all atoms of one large molecule, and worse on all others."""
    y = np.zeros((120, 1))
    molecule = np.concatenate([np.zeros(100, int), np.arange(1, 21)])
    better = np.where(molecule == 0, 0.9, 1.1)[:, None]
    found = {"molae": better, "element-mean": y + 1, "environment-forest": y + 2}
    verdict = atom_verdicts(y, found, molecule, ["q"])["q"]
    assert verdict.baseline == "element-mean"
    assert 0.4 < verdict.share < 0.8  # the large molecule is in 64 % of the sets
    assert "not clearly better than the mean of the element" in verdict.sentence


def test_baselines():
    z = np.array([6, 6, 8, 8, 7])
    y = np.array([[1.0, 1], [3, np.nan], [8, np.nan], [8, np.nan], [0, 0]])
    bits = np.eye(5, dtype=np.uint8)
    found = fit_atom_baselines(bits, z, y, np.arange(4), np.arange(5), 0)
    np.testing.assert_allclose(found["element-mean"][:, 0], [2, 2, 8, 8, 5])
    np.testing.assert_allclose(found["element-mean"][:, 1], 1)  # only carbon has a value
    assert found["environment-forest"].shape == (5, 2)


def test_environments_follow_the_atoms():
    first, second = from_smiles("OCCc1ccccc1"), from_smiles("c1ccccc1CCO")
    assert first.smiles != second.smiles
    found = [environments([data]) for data in (first, second)]
    assert found[0].shape == (9, 1024)
    assert np.array_equal(*found)
    assert set(found[0].sum(1).tolist()) <= {3, 4}  # a bit for each radius, unless two share one
    oxygen = int((first.z == 8).nonzero())
    alone = environments([from_smiles("O")])[0].astype(bool)
    assert not (found[0][oxygen].astype(bool) & alone).all()  # water has other hydrogens
    data = Data(z=first.z.flip(0), atom_map=first.atom_map.flip(0), smiles=first.smiles)
    assert np.array_equal(environments([data]), found[0][::-1])
