"""Leaving out one atom."""

import numpy as np
import pytest
import torch
from rdkit import Chem
from torch import nn

from molae_pyg import MolAEEncoder, MolAEPredictor, from_smiles
from molae_pyg.chem.options import Options
from molae_pyg.inference import explain, predict
from molae_pyg.inference.explain import atoms_of
from molae_pyg.models import PropertyModel

ASPIRIN = "CC(=O)Oc1ccccc1C(=O)O"


def predictor(seed: int = 0, readout: str = "cls", **recipe) -> MolAEPredictor:
    """A model of a number and a class, whose weights are large enough for every atom to matter."""
    torch.manual_seed(seed)
    encoder = MolAEEncoder(16, 32, 4, 1, num_gaussians=8, gaussian_init="intended")
    for matrix in encoder.parameters():
        if matrix.dim() == 2 and matrix.size(0) > 1:
            torch.nn.init.normal_(matrix, std=0.4)
    types = ["regression", "classification"]
    names = ["logP", "active"]
    model = MolAEPredictor(encoder, 2, 0.0, readout, task_names=names, task_type=types)
    model.set_scaling(torch.tensor([[2.0, 0.0], [5.0, 1.0]]))
    model.recipe = Options(**{"num_conformers": 2, **recipe}).to_dict()
    return model.eval()


@torch.no_grad()
def test_a_contribution_is_the_prediction_minus_that_without_the_atom():
    model = predictor()
    (found,) = explain(model, ["OCCN"])
    data = from_smiles("OCCN", num_conformers=2)
    y, without = [], []
    for pos in data.conformers.unbind(1):
        origin = pos.mean(0, keepdim=True)  # the others stay where they are, and so does CLS
        y.append(model(data.z, pos)[0])
        rows = []
        for atom in range(4):
            keep = torch.arange(4) != atom
            molecule = model.encoder(data.z[keep], pos[keep], origin=origin).molecule
            rows.append(model.head._head(molecule)[0] * model.std + model.mean)
        without.append(torch.stack(rows))
    y = torch.stack(y).mean(0)
    expected = y - torch.stack(without).mean(0)  # [4, 2]
    place = np.argsort(data.atom_map.numpy())
    assert np.allclose(found.values, expected.numpy()[place], atol=1e-5)
    assert np.allclose(found.prediction, y.numpy(), atol=1e-5)
    assert np.abs(found.values).min() > 1e-4
    assert found.elements == ["O", "C", "C", "N"]
    assert (found.targets, found.task_types) == (["logP", "active"], model.task_types)
    predicted = predict(model, ["OCCN"], precision="32-true")
    assert found.prediction[0] == pytest.approx(predicted[0, 0], abs=1e-5)


def test_atoms_are_in_the_order_of_the_smiles_however_it_is_written():
    model, mol = predictor(readout="sum"), Chem.MolFromSmiles(ASPIRIN)
    orders = [np.random.default_rng(seed).permutation(mol.GetNumAtoms()) for seed in range(4)]
    written = [
        Chem.MolToSmiles(Chem.RenumberAtoms(mol, order.tolist()), canonical=False)
        for order in orders
    ]
    assert len({*written, ASPIRIN}) == 5
    first, *others = explain(model, [ASPIRIN, *written])
    assert len({round(float(value), 4) for value in first.values[:, 0]}) > 8  # atoms differ
    for found in others:
        match = Chem.MolFromSmiles(found.smiles).GetSubstructMatch(mol)  # of each atom of ASPIRIN
        assert np.allclose(found.values[list(match)], first.values, atol=1e-5)
        assert [found.elements[place] for place in match] == first.elements
        assert Chem.MolToSmiles(found.mol) == Chem.MolToSmiles(mol)


def test_hydrogens_that_are_written_out():
    model = predictor()
    plain, written, heavy = explain(model, ["OC", "[H]OC([H])([H])[H]", "[2H]OC"])
    assert np.allclose(written.values, plain.values, atol=1e-5)
    assert written.elements == ["O", "C"]
    assert heavy.elements == ["H", "O", "C"]
    assert np.isnan(heavy.values[0]).all()
    assert np.isfinite(heavy.values[1:]).all()


@pytest.mark.parametrize("smiles", ["OCCC(N)=O", "[H]OCCC(N)=O", "C[C@H]([2H])C#N", "[H][H]"])
def test_hydrogens_that_the_recipe_keeps_follow_bound_to_their_atoms(smiles):
    data = from_smiles(smiles, remove_hydrogens=False)
    mol, places = atoms_of(smiles, data.atom_map.numpy(), hydrogens=True)
    assert sorted(places.tolist()) == list(range(mol.GetNumAtoms()))
    assert [
        mol.GetAtomWithIdx(place).GetAtomicNum() for place in places.tolist()
    ] == data.z.tolist()
    pos = data.pos[np.argsort(places)]
    for bond in mol.GetBonds():
        length = (pos[bond.GetBeginAtomIdx()] - pos[bond.GetEndAtomIdx()]).norm()
        assert length < 1.7, (bond.GetBeginAtomIdx(), bond.GetEndAtomIdx())
    (found,) = explain(predictor(remove_hydrogens=False), [smiles])
    assert len(found.elements) == data.num_nodes
    assert np.isfinite(found.values).all()


def test_cropped_atoms_have_no_contribution():
    (found,) = explain(predictor(max_atoms=5), [ASPIRIN])
    assert np.isfinite(found.values).all(axis=1).sum() == 5
    assert found.elements == [atom.GetSymbol() for atom in Chem.MolFromSmiles(ASPIRIN).GetAtoms()]


def test_the_only_atom():
    (found,) = explain(predictor(), ["C"])
    assert found.values.shape == (1, 2)
    assert np.isfinite(found.values).all()


def test_rows_do_not_depend_on_batches_and_neighbours():
    model = predictor()
    smiles = ["CCO", ASPIRIN, "C", "CCO"]
    found = explain(model, smiles, batch_size=3)
    for text, explanation in zip(smiles, found, strict=True):
        (alone,) = explain(model, [text])
        assert np.allclose(explanation.values, alone.values, atol=1e-5)
        assert np.allclose(explanation.prediction, alone.prediction, atol=1e-5)


def test_rows_are_never_lost():
    with pytest.warns(UserWarning, match=r"2 of 3 SMILES .* rows 0 \('C1CC'\), 2"):
        bad, good, empty = explain(predictor(), ["C1CC", "CCO", ""])
    assert (bad.status, good.status, empty.status) == ("invalid", "ok", "invalid")
    assert bad.reason == "unclosed ring"
    assert bad.values.shape == (0, 2)
    assert np.isnan(bad.prediction).all()
    assert bad.mol is None
    assert good.values.shape == (3, 2)
    with pytest.warns(UserWarning, match="1 of 1"):
        assert explain(predictor(), [""])[0].status == "invalid"
    assert explain(predictor(), []) == []


def test_data_keep_their_own_order_and_modes_are_kept():
    model = predictor().train()
    data = from_smiles("OCCN", num_conformers=2)
    (found,), (of_smiles,) = explain(model, [data]), explain(model, ["OCCN"])
    assert model.training
    assert np.allclose(found.values, of_smiles.values[data.atom_map], atol=1e-5)
    assert [found.elements[i] for i in data.atom_map.argsort()] == ["O", "C", "C", "N"]
    assert found.mol is None
    del data.smiles
    assert explain(model, [data])[0].smiles == ""
    dummy = from_smiles("*CC", num_conformers=1)
    assert sorted(explain(model, [dummy])[0].elements) == ["*", "C", "C"]


def test_several_models_are_explained_by_their_mean():
    one, two = predictor(0), predictor(1)
    found = explain([one, two], [ASPIRIN])[0]
    a, b = explain(one, [ASPIRIN])[0], explain(two, [ASPIRIN])[0]
    assert np.allclose(found.values, (a.values + b.values) / 2, atol=1e-5)
    assert np.allclose(found.prediction, (a.prediction + b.prediction) / 2, atol=1e-5)
    assert np.abs(a.values - b.values).max() > 1e-3


class Blind(PropertyModel):
    """A model that cannot leave atoms out."""

    def __init__(self):
        super().__init__(1, None)
        self.scale = nn.Parameter(torch.ones(()))

    def forward(self, z, pos, batch):
        return pos[:1, :1] * self.scale


def test_what_cannot_be_explained():
    model = predictor()
    with pytest.raises(ValueError, match="a Blind cannot leave atoms out"):
        explain(Blind(), ["CCO"])
    with pytest.raises(ValueError, match="there is no model"):
        explain([], ["CCO"])
    other = MolAEPredictor(model.encoder, task_names=["tox"])
    with pytest.raises(ValueError, match="different targets: logP, active; tox"):
        explain([model, other], ["CCO"])
    model.recipe = None
    with pytest.raises(ValueError, match="does not know how its molecules were made"):
        explain(model, ["CCO"])
    with pytest.raises(ValueError, match="must be a list"):
        explain(model, "CCO")
    with pytest.raises(ValueError, match="batch_size"):
        explain(model, ["CCO"], batch_size=0)
