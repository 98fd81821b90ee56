"""Contributions of atoms to the predictions of fitted models."""

import numpy as np
import pytest
import torch
from rdkit import Chem

from molae_pyg.chem.smiles import plain_mol
from molae_pyg.tables.reading import Table
from molae_pyg.workflow import FitSettings, FittedModel, fit
from molae_pyg.workflow.explaining import with_dummy

SMILES = ["C" * n + end for n in range(1, 7) for end in ("O", "N", "C", "Cl")]
SMILES += ["c1ccccc1" + end for end in ("O", "N", "C", "Cl", "CO", "CN")]
KINDS = {
    "frozen": {"features": "none"},
    "features": {"features": "both"},
    "finetuned": {
        "features": "none",
        "frozen": False,
        "training": {"epochs": 1},
        "weights": "molae-small",
    },
}


@pytest.fixture(scope="module")
def table() -> Table:
    """A number and a class that depend on atoms: carbons, and whether there is an oxygen."""
    y = torch.tensor([[s.upper().count("C"), "O" in s] for s in SMILES]).float()
    return Table(SMILES, y, ["carbons", "alcohol"], ["regression", "classification"])


@pytest.fixture(scope="module")
def models(table, tmp_path_factory) -> dict[str, FittedModel]:
    folder = tmp_path_factory.mktemp("models")
    common = {"folds": 2, "split": "random"}
    return {
        name: fit(table, folder / name, FitSettings(**common, **settings))
        for name, settings in KINDS.items()
    }


@pytest.mark.parametrize("kind", KINDS)
def test_the_prediction_is_that_of_the_model_and_every_atom_counts(models, kind):
    model = models[kind]
    smiles = ["OCCC", "C1CC", "CCCO", "[2H]OC"]
    found = model.explain(smiles)
    assert [e.status for e in found] == ["ok", "invalid", "ok", "ok"]
    assert found[1].reason == "unclosed ring"
    assert found[1].values.shape == (0, 2)
    predicted = model.predict(smiles)
    for e, (_, row) in zip(found, predicted.iterrows(), strict=True):
        if e.status == "ok":
            assert e.prediction[0] == pytest.approx(row["carbons_predicted"], abs=0.05)
            probability = 1 / (1 + np.exp(-e.prediction[1]))
            assert probability == pytest.approx(row["alcohol_probability"], abs=0.02)
    first, _, other, heavy = found
    assert first.elements == ["O", "C", "C", "C"]
    assert np.isfinite(first.values).all()
    assert np.allclose(first.values, other.values[::-1], atol=1e-4)  # the same molecule
    assert len(np.unique(first.values[:, 0].round(5))) == 4
    assert np.isnan(heavy.values[0]).all()
    assert np.isfinite(heavy.values[1:]).all()


def test_descriptors_and_fingerprints_see_the_element(models):
    (found,) = models["features"].explain(["CCCO"])
    carbons, oxygen = found.values[:3], found.values[3]
    assert carbons[:, 0].min() > oxygen[0]  # of the number of carbons
    assert oxygen[1] > carbons[:, 1].max()  # of the class of alcohols


def test_no_molecule(models):
    assert models["frozen"].explain([]) == []
    (found,) = models["features"].explain([""])
    assert found.status == "invalid"


@pytest.mark.parametrize(
    "smiles", ["CCO", "c1cc[nH]c1", "C[C@H](N)C(=O)[O-]", "c1ccc2c(c1)c3cccc4c3c2cc5ccccc54"]
)
def test_a_dummy_takes_the_place_of_an_atom(smiles):
    mol = Chem.MolFromSmiles(smiles)
    for atom in mol.GetAtoms():
        found = plain_mol(with_dummy(mol, atom.GetIdx()))
        assert found.GetNumAtoms() == mol.GetNumAtoms()
        assert found.GetNumBonds() == mol.GetNumBonds()
        numbers = sorted(a.GetAtomicNum() for a in found.GetAtoms())
        expected = [a.GetAtomicNum() for a in mol.GetAtoms()]
        expected.remove(atom.GetAtomicNum())
        assert numbers == sorted([*expected, 0])
    assert Chem.MolToSmiles(mol) == Chem.CanonSmiles(smiles)  # not changed
