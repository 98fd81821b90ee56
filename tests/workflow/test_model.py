"""A fitted model: its columns, statuses, intervals and similarity."""

import json

import numpy as np
import pytest
import torch
from tiny import RINGS

from molae_pyg.tables.reading import Table
from molae_pyg.workflow import FitSettings, FittedModel, fit

SMILES = [f"{'C' * length}{end}{ring}" for ring in RINGS for length in range(1, 5) for end in "NO"]


@pytest.fixture(scope="module")
def model(weights, tmp_path_factory):
    y = torch.tensor([[len(s) + 0.1 * (i % 3), float("N" in s)] for i, s in enumerate(SMILES)])
    table = Table(SMILES, y, ["size", "amine"], ["regression", "classification"])
    settings = FitSettings(folds=4, split="random", weights=weights, features="both")
    return fit(table, tmp_path_factory.mktemp("model") / "m", settings)


BAD = {"": "empty", "C1CC": "ring", "no smiles": "blank", "C(C)(C)(C)(C)C": "valence"}


def test_rows_stay_in_place_and_bad_ones_have_a_reason(model):
    smiles = ["CCNc1ccccc1", *BAD, "CCOC1CCCCC1", "[H][H]", "*C", "[Na+].[Cl-]"]
    found = model.predict(smiles)
    assert list(found.columns) == [
        *("size_predicted", "size_low", "size_high"),
        *("amine_probability", "amine_predicted", "amine_set"),
        *("molae_status", "molae_reason", "molae_similarity"),
    ]
    assert found["molae_status"].tolist() == ["ok", *["invalid"] * 4, *["ok"] * 4]
    for row, reason in enumerate(BAD.values(), 1):
        assert reason in found.loc[row, "molae_reason"]
        assert found.loc[row, ["size_predicted", "size_low", "molae_similarity"]].isna().all()
        assert found.loc[row, "amine_predicted"] == found.loc[row, "amine_set"] == ""
    assert found.loc[found["molae_status"] == "ok", "size_predicted"].notna().all()


def test_a_row_does_not_depend_on_its_neighbours(model):
    one = model.predict(["CCNc1ccccc1"])
    many = model.predict(["C1CC", "CCOC1CCCCC1", "CCNc1ccccc1"])
    for name in ("size_predicted", "size_low", "amine_probability", "molae_similarity"):
        assert many.loc[2, name] == pytest.approx(one.loc[0, name], rel=1e-4)


def test_only_bad_rows_and_no_rows(model):
    assert model.predict(["C1CC", ""])["molae_status"].tolist() == ["invalid", "invalid"]
    assert len(model.predict([])) == 0


def test_wider_intervals_and_larger_sets_for_a_smaller_share_outside(model):
    some = SMILES[::3]
    narrow, wide = model.predict(some, alpha=0.4), model.predict(some, alpha=0.05)
    widths = [(found["size_high"] - found["size_low"]).to_numpy() for found in (narrow, wide)]
    assert (widths[0] < widths[1]).all()
    sizes = [found["amine_set"].str.count("[01]").sum() for found in (narrow, wide)]
    assert sizes[0] <= sizes[1]


def test_out_of_fold_intervals_cover(model):
    oof = model.oof
    inside = (oof["size_low"] <= oof["size_label"]) & (oof["size_label"] <= oof["size_high"])
    assert 0.75 <= inside.mean() <= 1


def test_similarity_to_the_nearest_training_molecule(model):
    found = model.similarity([SMILES[3], "BrCCBr"])
    assert found[0] == 1
    assert 0 <= found[1] < 0.5


def test_predictions_are_the_mean_of_the_folds(model):
    smiles = ["CCNc1ccccc1", "C1CC"]
    folds = model.fold_predict(smiles)
    assert folds.shape == (4, 2, 2)
    assert np.isnan(folds[:, 1]).all()
    assert folds[:, 0, 0].mean() == pytest.approx(model.predict(smiles).loc[0, "size_predicted"])


def test_loading(model, tmp_path):
    assert "size, amine, 4 folds" in repr(FittedModel.load(model.folder))
    with pytest.raises(ValueError, match="holds no model of molae train"):
        FittedModel.load(tmp_path)
    (tmp_path / "model.json").write_text("{")
    with pytest.raises(ValueError, match=r"model\.json is damaged"):
        FittedModel.load(tmp_path)
    (tmp_path / "model.json").write_text(json.dumps({"done": False}))
    with pytest.raises(ValueError, match="has not ended"):
        FittedModel.load(tmp_path)
