import numpy as np
import pytest
import torch
from chains import molecules, predictor

from molae_pyg import MolAEPredictor
from molae_pyg.chem import featurize
from molae_pyg.chem.options import Options
from molae_pyg.inference import predict

SMILES = ["CCO", "c1ccccc1", "CC(=O)N"]
RECIPE = Options(2, True, max_atoms=5, seed=3).to_dict()


def with_recipe(**changes) -> MolAEPredictor:
    model = predictor(num_tasks=2)
    model.recipe = {**RECIPE, **changes}
    return model


def test_smiles_are_made_by_the_recipe_of_the_model(tmp_path):
    model = with_recipe()
    found = predict(model, SMILES, precision="32-true")
    made, _ = featurize(SMILES, 2, True, max_atoms=5, seed=3, workers=1)
    assert np.array_equal(found, predict(model, made, precision="32-true"))
    other, _ = featurize(SMILES, 2, False, seed=3, workers=1)
    assert not np.array_equal(found, predict(model, other, precision="32-true"))
    model.save_pretrained(tmp_path)
    loaded = MolAEPredictor.from_pretrained(tmp_path)
    assert np.array_equal(found, predict(loaded, np.array(SMILES, object), precision="32-true"))


def test_a_smiles_that_gives_no_molecule_is_a_row_of_nan_that_a_warning_names():
    rows = ["CCO", "C1CC", "c1ccccc1", "", "CC(=O)N"]
    with pytest.warns(UserWarning, match=r"2 of 5 SMILES .* rows 1 \('C1CC'\), 3 \(''\)"):
        found = predict(with_recipe(), rows, precision="32-true")
    assert np.isnan(found).all(axis=1).tolist() == [False, True, False, True, False]
    assert np.array_equal(found[[0, 2, 4]], predict(with_recipe(), SMILES, precision="32-true"))
    with pytest.warns(UserWarning, match="1 of 1 SMILES"):
        assert np.isnan(predict(with_recipe(), ["nonsense"])).all()


def test_smiles_without_a_recipe_are_an_error_that_says_how():
    with pytest.raises(ValueError, match=r"set model\.recipe to the recipe of its training set"):
        predict(predictor(), SMILES)
    with pytest.raises(ValueError, match="row 1 is no text, but row 0 is"):
        predict(with_recipe(), ["CCO", molecules(1)[0]])
    with pytest.raises(ValueError, match="got a str"):
        predict(with_recipe(), "CCO")


def test_another_version_or_source_of_coordinates_is_a_warning():
    with pytest.warns(UserWarning, match="by version 1 of the recipe, these .* version 2"):
        predict(with_recipe(recipe_version=1), SMILES)
    with pytest.warns(UserWarning, match="came from a record"):
        predict(with_recipe(source="record"), SMILES)


class Recorded(list):
    @property
    def recipe(self):
        return {**RECIPE, "seed": 4}


def test_molecules_made_in_another_way_are_a_warning_that_names_it():
    with pytest.warns(UserWarning, match=r"which shifts predictions: seed: 3 there, 4 now"):
        predict(with_recipe(), Recorded(molecules(3)))


@pytest.mark.filterwarnings("error::UserWarning")
def test_the_same_recipe_is_no_warning():
    predict(with_recipe(seed=4), Recorded(molecules(3)))
    predict(predictor(), Recorded(molecules(3)))


@pytest.mark.parametrize("arguments", [{"batch_size": 0}, {"conformers": 0}, {"precision": "fp8"}])
def test_arguments_are_checked(arguments):
    with pytest.raises(ValueError, match=f"{next(iter(arguments))} must be"):
        predict(predictor(), molecules(2), **arguments)


def test_nothing_is_predicted_in_training_mode():
    model = predictor().train()
    first, second = (predict(model.train(), molecules(3)) for _ in range(2))
    assert np.array_equal(first, second)
    assert not torch.isnan(torch.from_numpy(first)).any()
