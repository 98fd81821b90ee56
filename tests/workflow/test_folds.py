"""Folds: every row once, groups whole, sizes even, and errors that say what to do."""

import numpy as np
import pytest

from molae_pyg.workflow import make_folds

RINGS = ["c1ccccc1", "C1CCCCC1", "c1ccncc1", "C1CCOC1", "c1ccsc1", "c1cc[nH]c1"]
SMILES = [f"{'C' * length}{ring}" for ring in RINGS for length in range(4)]


def test_rows_with_one_scaffold_share_a_fold():
    fold = make_folds(SMILES, "scaffold", 3, seed=1)
    for start in range(0, len(SMILES), 4):
        assert len(set(fold[start : start + 4])) == 1
    assert np.bincount(fold).tolist() == [8, 8, 8]


def test_random_folds_have_even_sizes_and_follow_the_seed():
    fold = make_folds(SMILES, "random", 5, seed=0)
    assert sorted(np.bincount(fold)) == [4, 5, 5, 5, 5]
    assert np.array_equal(fold, make_folds(SMILES, "random", 5, seed=0))
    assert not np.array_equal(fold, make_folds(SMILES, "random", 5, seed=1))


def test_equal_molecules_share_a_random_fold():
    fold = make_folds(["OCC", "CCO", "C(O)C", *SMILES], "random", 5, seed=3)
    assert len(set(fold[:3])) == 1


def test_rows_with_one_label_share_a_fold():
    labels = list("aabbccaabbcc") * 2
    fold = make_folds(SMILES, labels, 3)
    for label in "abc":
        assert len({f for f, found in zip(fold, labels, strict=True) if found == label}) == 1
    assert set(fold) == {0, 1, 2}


def test_a_large_group_does_not_empty_a_fold():
    labels = ["large"] * 20 + ["a", "b", "c", "d"]
    assert set(make_folds(SMILES, labels, 5)) == {0, 1, 2, 3, 4}


@pytest.mark.parametrize(
    ("kind", "number", "message"),
    [
        ("scaffold", 7, "7 folds need at least 7 scaffolds, there are 6"),
        ("random", 25, "25 folds need at least 25 different molecules, there are 24"),
        (["a", "b"] * 12, 3, "3 folds need at least 3 different labels, there are 2"),
    ],
)
def test_too_few_groups(kind, number, message):
    with pytest.raises(ValueError, match=message):
        make_folds(SMILES, kind, number)
