"""Conformers and features on the disk."""

import numpy as np
import pytest

from molae_pyg.chem.options import Options
from molae_pyg.chem.rows import Row
from molae_pyg.workflow.feature_cache import FeatureCache
from molae_pyg.workflow.molecules import Molecules

OPTIONS = Options(2)


@pytest.fixture(autouse=True)
def _empty(tmp_path, monkeypatch):
    monkeypatch.setenv("MOLAE_CACHE", str(tmp_path))


def test_rows_are_kept_whole():
    smiles = ["CCO", "[H][H]", "C1CC"]
    made = Molecules.of(smiles).rows(OPTIONS, FeatureCache(OPTIONS))
    found = FeatureCache(OPTIONS).rows([*smiles, "CCN"])
    assert set(found) == set(smiles)
    for text, row in zip(smiles, made, strict=True):
        for one, other in zip(row, found[text], strict=True):
            assert np.array_equal(one, other)
            assert getattr(one, "dtype", None) == getattr(other, "dtype", None)


def test_other_options_have_other_rows():
    Molecules.of(["CCO"]).rows(OPTIONS, FeatureCache(OPTIONS))
    assert FeatureCache(Options(2, seed=1)).rows(["CCO"]) == {}


def test_rows_that_ended_early_are_made_again():
    cache = FeatureCache(OPTIONS)
    cache.keep_rows({"CCO": Row("failed", "time limit reached"), "CCN": Row("failed", "no bonds")})
    assert list(cache.rows(["CCO", "CCN"])) == ["CCN"]


def test_features_are_made_once_for_each_molecule():
    cache, made = FeatureCache(OPTIONS), []

    def make(rows):
        made.append(rows)
        return np.array([[row, 0.5] for row in rows])

    keys = ["CCO", None, "CCN", "CCO"]
    first = cache.block("block", keys, {"setting": 1}, make)
    assert first.tolist() == [[0, 0.5], [1, 0.5], [2, 0.5], [0, 0.5]]
    assert made == [[0, 1, 2]]
    again = cache.block("block", ["CCN", None], {"setting": 1}, make)
    assert again.tolist() == [[2, 0.5], [1, 0.5]]
    assert made[1:] == [[1]]
    cache.block("block", ["CCN"], {"setting": 2}, make)
    cache.block("other", ["CCN"], {"setting": 1}, make)
    assert made[2:] == [[0], [0]]
