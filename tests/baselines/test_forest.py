"""The mean and the forest on molecules small enough to check by hand."""

import numpy as np
import pytest

from molae_pyg.baselines.forest import ForestBaseline, MeanBaseline, ecfp4, maccs

NAN = float("nan")
ALCOHOLS, ALKANES = ["CO", "CCO", "CCCO", "CCCCO"], ["CC", "CCC", "CCCC", "CCCCC"]
SMILES = ALCOHOLS + ALKANES
IS_ALCOHOL = np.array([[1.0]] * 4 + [[0.0]] * 4)


def test_mean_of_the_present_labels():
    y = np.array([[0.0, 1.0], [4.0, NAN], [NAN, 0.0]])
    prediction = MeanBaseline().fit(["C", "CC", "CCC"], y).predict(["O", "N", "S", "F"])
    assert np.array_equal(prediction, [[2.0, 0.5]] * 4)


def test_ecfp4():
    x = ecfp4(["CCCC", "CCCC", "OCC"])
    assert x.shape == (3, 2048)
    assert np.array_equal(x[0], x[1])
    assert not np.array_equal(x[0], x[2])
    assert set(np.unique(x)) == {0, 1}
    # butane: CH3 and CH2 (radius 0), their neighbourhoods (radius 1) and (radius 2) the ends'
    assert ecfp4(["CCCC"], counts=True).max() == 2
    with pytest.raises(ValueError, match="row 1: RDKit cannot parse SMILES 'C1C'"):
        ecfp4(["C", "C1C"])


def test_maccs():
    methanol, benzene = maccs(["CO", "c1ccccc1"])
    assert methanol[139] == 1  # OH
    assert benzene[139] == 0
    assert benzene[162] == benzene[163] == 1  # aromatic; a ring of six
    x = ForestBaseline("regression", num_trees=1, with_maccs=True).fit(SMILES, IS_ALCOHOL)
    assert x.forests[0].n_features_in_ == 2048 + 167


@pytest.mark.parametrize("counts", [False, True])
def test_forest_learns_a_substructure(counts):
    forest = ForestBaseline("classification", num_trees=50, counts=counts).fit(SMILES, IS_ALCOHOL)
    inside, outside = forest.predict(["CCCCCO", "CCCCCC"])[:, 0]
    assert inside > 0.7
    assert outside < 0.3
    value = ForestBaseline("regression", num_trees=50).fit(SMILES, 10 * IS_ALCOHOL)
    assert value.predict(["CCCCCO", "CCCCCC"])[:, 0] == pytest.approx([10, 0], abs=3)


def test_forest_skips_missing_labels():
    y = np.concatenate([IS_ALCOHOL, IS_ALCOHOL], axis=1)
    y[1, 1] = y[5, 1] = NAN
    kept = [row for row in range(8) if row not in (1, 5)]
    both = ForestBaseline("regression", num_trees=10).fit(SMILES, y)
    alone = ForestBaseline("regression", num_trees=10).fit([SMILES[i] for i in kept], y[kept, 1:])
    query = ["CCCCCO", "CCCCCC", "OO"]
    assert both.predict(query).shape == (3, 2)
    assert np.array_equal(both.predict(query)[:, 1:], alone.predict(query))


def test_forest_is_seeded():
    first, again, other = (
        ForestBaseline("regression", num_trees=5, seed=seed).fit(SMILES, IS_ALCOHOL).predict(SMILES)
        for seed in (0, 0, 1)
    )
    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)


@pytest.mark.parametrize("label", [0.0, 1.0])
def test_forest_that_has_seen_one_class(label):
    forest = ForestBaseline("classification", num_trees=5).fit(SMILES, np.full((8, 1), label))
    assert np.array_equal(forest.predict(["CCO"]), [[label]])


@pytest.mark.parametrize("baseline", [MeanBaseline(), ForestBaseline("regression", 5)])
def test_errors(baseline):
    with pytest.raises(ValueError, match=r"no training label in task \[1\]"):
        baseline.fit(["C", "CC"], np.array([[1.0, NAN], [2.0, NAN]]))
    with pytest.raises(ValueError, match=r"targets \[n, T\] for 2 molecules, got \(1, 1\)"):
        baseline.fit(["C", "CC"], np.ones((1, 1)))
    with pytest.raises(ValueError, match=r"got \(2,\)"):
        baseline.fit(["C", "CC"], np.ones(2))


def test_unknown_task_type():
    with pytest.raises(ValueError, match=r"task_type must be one of .*, got 'ranking'"):
        ForestBaseline("ranking")
