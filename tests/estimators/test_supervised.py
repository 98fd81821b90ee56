"""MolAERegressor and MolAEClassifier on hand-sized tables."""

import copy
import pickle

import joblib
import numpy as np
import pandas as pd
import pytest
from rdkit import Chem
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from torch_geometric.data import Data

from molae_pyg import MolAEClassifier, MolAERegressor, from_smiles
from molae_pyg.chem import featurize
from molae_pyg.chem.options import Options
from molae_pyg.cli import main
from molae_pyg.workflow import FittedModel


@pytest.fixture(scope="module")
def amine(smiles):
    return np.array(["yes" if "N" in text else "no" for text in smiles])


@pytest.fixture(scope="module")
def settings(weights):
    return {"weights": weights, "split": "random", "folds": 3}


@pytest.fixture(scope="module")
def regressor(smiles, weight, settings):
    return MolAERegressor(**settings).fit(smiles, weight)


@pytest.fixture(scope="module")
def classifier(smiles, amine, settings):
    return MolAEClassifier(**settings).fit(smiles, amine)


def test_it_learns_and_intervals_cover(regressor, smiles, weight):
    y, low, high = regressor.predict(smiles, return_interval=0.9)
    assert y.shape == low.shape == high.shape == (30,)
    assert np.corrcoef(y, weight)[0, 1] > 0.9
    assert regressor.score(smiles, weight) > 0.8
    assert ((low <= weight) & (weight <= high)).mean() >= 0.8
    _, lower, higher = regressor.predict(smiles, return_interval=0.5)
    assert (higher - lower < high - low).all()
    assert np.array_equal(regressor.predict(smiles), y)


@pytest.mark.parametrize("level", [0, 1, 90])
def test_impossible_levels(regressor, smiles, level):
    with pytest.raises(ValueError, match="level must be between 0 and 1"):
        regressor.predict(smiles, return_interval=level)


def test_inputs_of_all_kinds_are_the_same(regressor, smiles):
    some = smiles[:4]
    expected = regressor.predict(some)
    for X in (
        np.array(some),
        np.array(some, object)[:, None],
        pd.Series(some, index=[5, 6, 7, 8]),
        pd.DataFrame({"smiles": some}),
        [Chem.MolFromSmiles(text) for text in some],
    ):
        assert regressor.predict(X) == pytest.approx(expected, rel=1e-4)


def test_wrong_inputs(regressor, smiles):
    with pytest.raises(ValueError, match="X has 2 columns: give the one with the molecules"):
        regressor.predict(pd.DataFrame({"a": smiles, "b": smiles}))
    with pytest.raises(ValueError, match="not one str"):
        regressor.predict("CCO")
    with pytest.raises(ValueError, match="X has 0 molecules"):
        regressor.predict([])
    with pytest.raises(ValueError, match="X has 30 molecules, y has 3 rows"):
        clone(regressor).fit(smiles, [1, 2, 3])
    with pytest.raises(NotFittedError):
        clone(regressor).predict(smiles)
    with pytest.raises(ValueError, match="features must be one of"):
        clone(regressor).set_params(features="mordred").fit(smiles, range(30))


def test_coordinates_of_data_are_used(smiles, weight, settings):
    data = [from_smiles(text) for text in smiles]
    model = MolAERegressor(**settings | {"features": "none"}).fit(data, weight)
    expected = model.predict(data)
    stretched = [Data(z=d.z, pos=2 * d.pos, smiles=d.smiles, atom_map=d.atom_map) for d in data]
    assert not np.allclose(model.predict(stretched), expected, rtol=1e-5)
    with pytest.warns(UserWarning, match="training molecules are given, those of these molecules"):
        model.predict(smiles)


def test_conformers_of_data_and_of_mols_are_used(smiles, weight, settings):
    data, _ = featurize(smiles, num_conformers=2)
    settings = settings | {"features": "none", "conformers": 2}
    model = MolAERegressor(**settings).fit(data, weight)
    expected = model.predict(data)
    mols = []
    for item in data:
        mol = Chem.MolFromSmiles(item.smiles)
        for pos in item.conformers.unbind(1):
            conformer = Chem.Conformer(mol.GetNumAtoms())
            place = item.atom_map.tolist()
            for atom, xyz in zip(place, pos.double().tolist(), strict=True):
                conformer.SetAtomPosition(atom, xyz)
            conformer.Set3D(True)
            mol.AddConformer(conformer, assignId=True)
        mols.append(mol)
    assert model.predict(mols) == pytest.approx(expected, rel=1e-4)


def test_coordinates_without_smiles(smiles, weight, settings):
    data = [Data(z=d.z, pos=d.pos) for d in map(from_smiles, smiles)]
    with pytest.warns(UserWarning, match="no SMILES .* the encoder alone is read"):
        model = MolAERegressor(**settings).fit(data, weight)
    assert {block for fold in model.model_.models for block in fold.blocks} == {"encoder"}
    assert np.isfinite(model.predict(data)).all()
    assert set(model.model_.predictions) == {"molae", "mean"}
    assert model.explain(data[:1])[0].status == "invalid"
    with pytest.raises(ValueError, match="features='ecfp' needs a SMILES"):
        clone(model).set_params(features="ecfp").fit(data, weight)


def test_molecules_without_smiles_have_no_descriptors(smiles, weight, settings):
    model = MolAERegressor(**settings | {"features": "both"}).fit(smiles, weight)
    data = from_smiles(smiles[0])
    del data.smiles
    with pytest.warns(UserWarning, match="row 0: it has no smiles"):
        assert np.isnan(model.predict([data])).all()


def test_bad_rows_are_nan_and_one_warning_names_them(smiles, weight, settings, regressor):
    X, y = [*smiles, "C1CC", None], [*weight, 1.0, 2.0]
    with pytest.warns(UserWarning, match="2 of 32 molecules are left out of the fit") as caught:
        model = MolAERegressor(**settings).fit(X, y)
    assert len(caught) == 1
    assert model.outcomes_["status"].tolist() == ["ok"] * 30 + ["invalid"] * 2
    assert "ring" in model.outcomes_["reason"][30]
    assert model.predict(smiles) == pytest.approx(regressor.predict(smiles), rel=1e-4)
    with pytest.warns(UserWarning, match="1 of 2 molecules have no prediction") as caught:
        found = model.predict(["C1CC", "CCN"])
    assert len(caught) == 1
    assert np.isnan(found).tolist() == [True, False]
    with pytest.warns(UserWarning, match="2 of 32"):
        assert model.score(X, y) == pytest.approx(model.score(smiles, weight), abs=1e-3)


def test_several_targets_with_missing_labels(smiles, weight, settings):
    y = pd.DataFrame({"weight": weight, "half": weight / 2})
    y.loc[3:6, "half"] = np.nan
    model = MolAERegressor(**settings).fit(smiles, y)
    assert [target.name for target in model.model_.targets] == ["weight", "half"]
    found, low, high = model.predict(smiles, return_interval=0.8)
    assert found.shape == low.shape == high.shape == (30, 2)
    assert found[:, 0] == pytest.approx(2 * found[:, 1], rel=0.1)
    assert model.score(smiles, y) > 0.8


def test_the_recipe_of_conformers_is_kept(smiles, weight, settings, tmp_path):
    quick = settings | {"features": "none", "folds": 2}
    for recipe in ("fast", "published"):
        estimator = clone(MolAERegressor(**quick, recipe=recipe)).fit(smiles, weight)
        assert Options.of(estimator.model_.info["recipe"]).recipe.startswith(recipe)
        estimator.save(tmp_path / recipe)
        again = MolAERegressor.load(tmp_path / recipe)
        assert again.recipe == recipe
        (made,) = again.model_.molecules(smiles[:1], True).molecules
        expected = from_smiles(smiles[0], recipe=recipe).pos
        assert made.conformers[:, 0].numpy() == pytest.approx(expected.numpy(), abs=1e-3)


def test_one_fold_has_no_intervals(smiles, weight, amine, settings):
    model = MolAERegressor(**settings | {"folds": 1}).fit(smiles, weight)
    assert model.score(smiles, weight) > 0.8
    with pytest.raises(ValueError, match="one fold has no intervals"):
        model.predict(smiles, return_interval=0.9)
    model = MolAEClassifier(**settings | {"folds": 1}).fit(smiles, amine)
    with pytest.raises(ValueError, match="one fold has no sets"):
        model.predict_set(smiles)


def test_classes_of_texts(classifier, smiles, amine):
    assert classifier.classes_.tolist() == ["no", "yes"]
    proba = classifier.predict_proba(smiles)
    assert proba.shape == (30, 2)
    assert proba.sum(1) == pytest.approx(1)
    assert (classifier.predict(smiles) == amine).mean() > 0.9
    assert classifier.score(smiles, amine) > 0.9
    sets = classifier.predict_set(smiles, level=0.9)
    assert sets.dtype == bool
    assert sets[np.arange(30), (amine == "yes").astype(int)].mean() > 0.8


@pytest.mark.parametrize(
    "y",
    [lambda a: a.astype(int), lambda a: a, lambda a: 2 * a - 1.0, lambda a: a + 5],
    ids=["integers", "booleans", "-1 and 1", "5 and 6"],
)
def test_classes_of_other_types(y, smiles, amine, settings):
    y = y(amine == "yes")
    model = MolAEClassifier(**settings).fit(smiles, y)
    assert model.classes_.dtype == y.dtype
    assert model.predict(smiles).dtype == y.dtype
    assert model.score(smiles, y) > 0.9


def test_missing_and_several_classes(smiles, amine, settings):
    y = np.stack([amine, amine[::-1]], axis=1).astype(object)
    y[:3, 0], y[5, 1] = None, np.nan
    model = MolAEClassifier(**settings).fit(smiles, y)
    assert [values.tolist() for values in model.classes_] == [["no", "yes"]] * 2
    assert model.predict(smiles).shape == (30, 2)
    assert [p.shape for p in model.predict_proba(smiles)] == [(30, 2)] * 2
    assert model.score(smiles, y) > 0.8


def test_several_classes(smiles, settings, tmp_path):
    y = np.array([len(text) % 3 + 5 for text in smiles])
    model = MolAEClassifier(**settings).fit(smiles, y)
    assert model.classes_.tolist() == [5, 6, 7]
    proba = model.predict_proba(smiles)
    assert proba.shape == (30, 3)
    assert proba.sum(1) == pytest.approx(1)
    assert np.array_equal(model.predict(smiles), model.classes_[proba.argmax(1)])
    assert model.predict_set(smiles).shape == (30, 3)
    both = np.stack([y, y % 2], axis=1)
    model = MolAEClassifier(**settings).fit(smiles, both)
    assert [values.tolist() for values in model.classes_] == [[5, 6, 7], [0, 1]]
    assert model.predict(smiles).shape == (30, 2)
    model.save(tmp_path / "m")
    loaded = MolAEClassifier.load(tmp_path / "m")
    assert np.array_equal(loaded.predict(smiles), model.predict(smiles))


def test_bad_rows_of_classes(classifier):
    with pytest.warns(UserWarning, match="1 of 2 molecules have no prediction"):
        found = classifier.predict(["C1CC", "CCN"])
    assert pd.isna(found).tolist() == [True, False]
    with pytest.warns(UserWarning, match="1 of 2"):
        assert not classifier.predict_set(["C1CC", "CCN"])[0].any()


def test_labels_that_cannot_be_learned(smiles, settings):
    with pytest.raises(ValueError, match="y has 1 class"):
        MolAEClassifier(**settings).fit(smiles, ["yes"] * 30)
    with pytest.raises(ValueError, match="infinity"):
        MolAERegressor(**settings).fit(smiles, [np.inf] * 30)


def test_explanations(regressor, smiles):
    explanation = regressor.explain(smiles[:2])[1]
    assert explanation.smiles == smiles[1]
    assert np.isfinite(explanation.values).all()


def test_pickles_and_copies_have_folders_of_their_own(regressor, smiles, tmp_path):
    expected = regressor.predict(smiles)
    joblib.dump(regressor, tmp_path / "model.joblib")
    for make in (
        lambda: pickle.loads(pickle.dumps(regressor)),
        lambda: copy.deepcopy(regressor),
        lambda: joblib.load(tmp_path / "model.joblib"),
    ):
        other = make()
        assert other.model_.folder != regressor.model_.folder
        assert np.array_equal(other.predict(smiles), expected)
        folder = other.model_.folder
        del other
        assert not folder.exists()


def test_saved_models_are_those_of_the_command(regressor, classifier, smiles, tmp_path, settings):
    regressor.save(tmp_path / "numbers")
    table, found = tmp_path / "new.csv", tmp_path / "found.csv"
    table.write_text("smiles\n" + "\n".join(smiles[:3]))
    assert main(["predict", str(tmp_path / "numbers"), str(table), str(found)]) == 0
    loaded = MolAERegressor.load(tmp_path / "numbers")
    expected = regressor.predict(smiles[:3])
    assert pd.read_csv(found)["y_predicted"].to_numpy() == pytest.approx(expected, rel=1e-4)
    assert np.array_equal(loaded.predict(smiles[:3]), expected)
    assert loaded.get_params() == regressor.get_params()
    assert loaded.outcomes_.equals(regressor.outcomes_)
    with pytest.raises(ValueError, match="give a new or an empty folder"):
        regressor.save(tmp_path / "numbers")
    with pytest.raises(ValueError, match="'y' is of kind regression, which MolAEClassifier"):
        MolAEClassifier.load(tmp_path / "numbers")
    classifier.save(tmp_path / "classes")
    loaded = MolAEClassifier.load(tmp_path / "classes")
    assert loaded.classes_.tolist() == ["no", "yes"]
    assert loaded.predict(smiles).tolist() == classifier.predict(smiles).tolist()


def test_a_model_of_the_command_is_loaded(smiles, weight, amine, weights, tmp_path):
    table = tmp_path / "a.csv"
    frame = pd.DataFrame({"smiles": smiles, "weight": weight, "amine": (amine == "yes") * 1})
    frame.to_csv(table, index=False)
    words = ["--split", "random", "--folds", "2", "--weights", weights]
    assert main(["train", str(table), str(tmp_path / "m"), "--targets", "amine", *words]) == 0
    model = MolAEClassifier.load(tmp_path / "m")
    assert model.classes_.tolist() == [0, 1]
    assert model.predict(smiles[:4]).tolist() == [1, 0, 1, 0]


def test_a_folder_that_stays(smiles, weight, settings, tmp_path):
    model = MolAERegressor(**settings, folder=tmp_path / "m").fit(smiles, weight)
    expected = model.predict(smiles)
    again = clone(model).fit(smiles, weight)
    del model
    assert np.array_equal(again.predict(smiles), expected)
    assert FittedModel.load(tmp_path / "m").targets[0].name == "y"
    with pytest.raises(ValueError, match="holds a model of another run"):
        clone(again).fit(smiles, 2 * weight)


def test_baselines_are_optional(smiles, weight, settings, regressor):
    assert set(regressor.model_.predictions) == {"molae", "mean"}
    model = MolAERegressor(**settings, baselines=True).fit(smiles, weight)
    assert set(model.model_.predictions) == {"molae", "mean", "ecfp-forest", "descriptors"}
