"""MolAEFeaturizer, and estimators of molecules inside those of scikit-learn."""

import pickle
from unittest.mock import patch

import numpy as np
import pandas as pd
import pytest
from rdkit import Chem
from sklearn.base import clone
from sklearn.compose import ColumnTransformer
from sklearn.ensemble import VotingRegressor
from sklearn.linear_model import Ridge
from sklearn.model_selection import GridSearchCV, cross_val_predict, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from torch_geometric.data import Data

from molae_pyg import MolAEClassifier, MolAEFeaturizer, MolAERegressor, from_smiles
from molae_pyg.inference import embed
from molae_pyg.models import MolAEEncoder
from molae_pyg.workflow import molecules


@pytest.fixture(scope="module")
def settings(weights):
    return {"weights": weights, "split": "random", "folds": 2, "features": "none"}


def test_vectors_are_those_of_embed(weights, smiles):
    found = MolAEFeaturizer(weights).fit_transform(smiles)
    assert found.dtype == np.float32
    encoder = MolAEEncoder.from_pretrained(weights)
    expected = embed(encoder, smiles, readout="cls, mean", precision="32-true", cache=False)
    assert found == pytest.approx(expected, abs=1e-3)  # coordinates are rounded to 0.001 Å


def test_blocks_have_names(weights, smiles):
    found = MolAEFeaturizer(weights, features="both").fit(smiles)
    names = found.get_feature_names_out()
    assert names[[0, 31, 32, 249]].tolist() == ["molae0", "molae31", "MaxAbsEStateIndex", "ecfp0"]
    assert found.transform(smiles).shape == (30, len(names)) == (30, 32 + 217 + 2048)


def test_frames_in_and_out(weights, smiles):
    X = pd.DataFrame({"drug": smiles[:3]}, index=list("abc"))
    featurizer = MolAEFeaturizer(weights).set_output(transform="pandas")
    found = featurizer.fit_transform(X)
    assert found.index.tolist() == ["a", "b", "c"]
    assert found.columns[0] == "molae0"
    assert featurizer.n_features_in_ == 1
    assert featurizer.feature_names_in_.tolist() == ["drug"]
    with pytest.raises(ValueError, match="feature names should match"):
        featurizer.transform(X.rename(columns={"drug": "other"}))


def test_bad_rows_are_nan_and_one_warning_names_them(weights, smiles):
    featurizer = MolAEFeaturizer(weights).fit(smiles)
    with pytest.warns(UserWarning, match="2 of 4 molecules have no features .* row 1: ") as caught:
        found = featurizer.transform([smiles[0], "C1CC", float("nan"), smiles[1]])
    assert len(caught) == 1
    assert np.isnan(found).all(1).tolist() == [False, True, True, False]
    with pytest.warns(UserWarning, match="1 of 1"):
        assert np.isnan(featurizer.transform(["C1CC"])).all()


def test_coordinates_are_used(weights):
    data = from_smiles("CCO", recipe="fast")
    featurizer = MolAEFeaturizer(weights).fit(["CCO"])
    expected = featurizer.transform(["CCO"])
    assert featurizer.transform([data]) == pytest.approx(expected, abs=1e-3)
    longer = Data(z=data.z, pos=3 * data.pos)
    found = featurizer.transform([longer, Chem.MolFromSmiles("CCO"), "CCO"])
    assert np.abs(found[0] - expected[0]).max() > 1e-5
    assert found[1] == pytest.approx(expected[0], abs=1e-6)
    assert found[2] == pytest.approx(expected[0], abs=1e-6)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"features": "auto"}, "features must be one of none, descriptors, ecfp, both"),
        ({"conformers": 0}, "num_conformers must be at least 1"),
        ({"recipe": "quick"}, "unknown recipe 'quick'; there are published, fast-1, flat-1"),
    ],
)
def test_wrong_arguments(weights, arguments, message):
    with pytest.raises(ValueError, match=message):
        MolAEFeaturizer(weights, **arguments).fit(["CCO"])


def test_a_pickle_needs_no_weights(weights, smiles):
    featurizer = MolAEFeaturizer(weights).fit(smiles)
    found = pickle.loads(pickle.dumps(featurizer)).transform(smiles)
    assert np.array_equal(found, featurizer.transform(smiles))


def test_pipelines(weights, smiles, weight):
    model = make_pipeline(MolAEFeaturizer(weights), StandardScaler(), Ridge())
    assert model.fit(smiles, weight).score(smiles, weight) > 0.5
    assert cross_val_score(model, np.array(smiles), weight, cv=3).shape == (3,)
    search = GridSearchCV(model, {"molaefeaturizer__features": ["none", "descriptors"]}, cv=2)
    assert search.fit(smiles, weight).best_params_["molaefeaturizer__features"] == "descriptors"


def test_column_transformers(weights, smiles, weight):
    frame = pd.DataFrame({"smiles": smiles, "size": weight})
    for column in ("smiles", ["smiles"]):
        molecule = ("molecule", MolAEFeaturizer(weights), column)
        columns = [molecule, ("rest", "passthrough", ["size"])]
        model = make_pipeline(ColumnTransformer(columns), StandardScaler(), Ridge(1e-3))
        assert model.fit(frame, weight).score(frame, weight) > 0.99
        names = model[0].get_feature_names_out()
        assert names[[0, -1]].tolist() == ["molecule__molae0", "rest__size"]


def test_cross_validation_of_estimators(settings, smiles, weight):
    model = MolAERegressor(**settings)
    X = pd.Series(smiles)
    scores = cross_val_score(model, X, weight, cv=2, scoring="neg_root_mean_squared_error")
    assert np.isfinite(scores).all()
    assert cross_val_predict(model, pd.DataFrame({"smiles": smiles}), weight, cv=2).shape == (30,)
    y = np.array(["N" in text for text in smiles])
    classifier = MolAEClassifier(**settings)
    proba = cross_val_predict(classifier, smiles, y, cv=2, method="predict_proba")
    assert proba.sum(1) == pytest.approx(1)
    classifier.set_params(features="descriptors")
    assert cross_val_score(classifier, smiles, y, cv=3, scoring="roc_auc").mean() > 0.8


def test_cross_validation_of_data(settings, smiles, weight):
    data = [from_smiles(text) for text in smiles]
    assert cross_val_predict(MolAERegressor(**settings), data, weight, cv=2).shape == (30,)


def test_search_and_voting(settings, smiles, weight):
    grid = {"features": ["none", "descriptors"], "conformers": [1]}
    search = GridSearchCV(MolAERegressor(**settings), grid, cv=2).fit(smiles, weight)
    assert search.best_params_["features"] == "descriptors"
    assert search.best_estimator_.predict(smiles[:3], return_interval=0.9)[0].shape == (3,)
    parts = [("molae", MolAERegressor(**settings))]
    parts += [("ridge", make_pipeline(MolAEFeaturizer(settings["weights"]), Ridge()))]
    voting = VotingRegressor(parts).fit(smiles, weight)
    separate = np.mean([part.predict(smiles) for part in voting.estimators_], axis=0)
    assert np.allclose(voting.predict(smiles), separate)


@pytest.mark.slow
def test_cross_validation_in_two_processes(settings, smiles, weight):
    model = MolAERegressor(**settings)
    expected = cross_val_score(model, smiles, weight, cv=2)
    assert np.allclose(cross_val_score(model, smiles, weight, cv=2, n_jobs=2), expected, atol=1e-3)


def test_cross_validation_makes_conformers_once(settings, smiles, weight, tmp_path, monkeypatch):
    monkeypatch.setenv("MOLAE_CACHE", str(tmp_path))
    made = []

    def rows_of(texts, *options):
        made.extend(texts)
        return original(texts, *options)

    original = molecules.rows_of
    with patch.object(molecules, "rows_of", rows_of):
        model = MolAERegressor(**settings)
        first = cross_val_score(model, smiles, weight, cv=3)
        assert sorted(made) == sorted(smiles)
        made.clear()
        assert np.allclose(cross_val_score(model, smiles, weight, cv=3), first)
        MolAEFeaturizer(settings["weights"]).fit_transform(smiles)
        assert made == []
        clone(model).set_params(cache=False).fit(smiles, weight)
        assert sorted(made) == sorted(smiles)
