"""``molae train`` on mixtures: numbers, bounds, two and several classes, a rare class."""

import csv
import warnings

import numpy as np
import pytest
import torch
from tiny import SMILES

from molae_pyg.inference.uncertainty import Calibration
from molae_pyg.tables.formats import read_cells
from molae_pyg.tables.reading import Table, read_table
from molae_pyg.workflow import FitSettings, FittedModel, fit, prediction_columns, scores
from molae_pyg.workflow.output import cells_of, coverage, scores_of, summary

SMILES = [*SMILES, *(f"{'C' * length}{end}C1CCNC1" for length in range(1, 4) for end in "NO")]
TARGETS = ["size", "amine", "chain", "act"]


def write(path, rows):
    with open(path, "w", newline="") as file:
        csv.writer(file).writerows([["smiles", *TARGETS], *rows])
    return path


def rows_of_table():
    """36 molecules; the chain "rare" occurs once, and activities above 11.5 are bounds."""
    rows = []
    for number, smiles in enumerate(SMILES):
        length = min(smiles.index(end) for end in "NO" if end in smiles)
        chain = "" if number % 9 == 4 else ["short", "middle", "long"][length - 1]
        size = len(smiles) + 0.1 * (number % 3)
        act = ">11.5" if size > 11.5 else f"{size:.1f}"
        rows.append([smiles, f"{size:.1f}", "yes" if "N" in smiles else "no", chain, act])
    rows[3][3] = "rare"
    return rows


@pytest.fixture(scope="module")
def table(tmp_path_factory):
    return write(tmp_path_factory.mktemp("table") / "mixed.csv", rows_of_table())


def train(path, folder, weights, targets=TARGETS, **settings):
    settings = {"folds": 3, "split": "random", "weights": weights} | settings
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*are taken as")
        table = read_table(path, target_columns=targets)
    return fit(table, folder, FitSettings(**settings), read_cells(path), "mixed.csv")


@pytest.fixture(scope="module")
def fitted(table, weights, tmp_path_factory):
    return train(table, tmp_path_factory.mktemp("fitted") / "model", weights)


def test_targets_and_columns_of_predictions(fitted):
    assert [tuple(target) for target in fitted.targets] == [
        ("size", "regression", []),
        ("amine", "classification", ["no", "yes"]),
        ("chain", "multiclass", ["long", "middle", "rare", "short"]),
        ("act", "regression", []),
    ]
    slices = [fitted.columns_of(task) for task in range(4)]
    assert slices == [slice(0, 1), slice(1, 2), slice(2, 6), slice(6, 7)]
    for predicted in fitted.predictions.values():
        assert predicted.shape == (36, 7)
        assert np.allclose(predicted[:, 2:6].sum(1), 1)
    assert fitted.fold_predict(SMILES[:3]).shape == (3, 3, 7)


def test_exact_labels_and_bounds(fitted):
    bound = fitted.labels.bound[:, 3] != 0
    assert bound.sum() == sum(row[4].startswith(">") for row in rows_of_table())
    assert np.isnan(fitted.y[bound, 3]).all()
    assert (fitted.labels.y[bound, 3] == 11.5).all()
    assert not np.isnan(fitted.y[~bound, 3]).any()


def test_it_learns_all_kinds(fitted):
    oof = fitted.oof
    assert np.std(oof["size_predicted"] - oof["size_label"]) < 0.5 * oof["size_label"].std()
    known = oof["chain_label"].notna()
    names = np.array(fitted.targets[2].classes)[oof.loc[known, "chain_label"].astype(int)]
    assert (names == oof.loc[known, "chain_predicted"]).mean() > 0.5  # 1/3 by chance
    bound = fitted.labels.bound[:, 3] != 0
    assert (oof["act_predicted"].to_numpy()[bound] > 11).mean() > 0.8
    assert 0.7 <= coverage(fitted)["act"] <= 1


def test_tables_of_predictions(fitted):
    new = ["CCNc1ccccc1", "C1CC", "CCCOC1CCOC1"]
    found = fitted.predict(new)
    of_chain = [name for name in found.columns if name.startswith("chain")]
    assert of_chain == [
        "chain_predicted",
        "chain_probability",
        *(f"chain_probability_{name}" for name in ("long", "middle", "rare", "short")),
        "chain_set",
    ]
    each = found[of_chain[2:6]].to_numpy()
    assert np.allclose(each[[0, 2]].sum(1), 1)
    assert np.allclose(found["chain_probability"], each.max(1), equal_nan=True)
    assert found.loc[2, "chain_predicted"] == "long"
    assert found.loc[1, "chain_predicted"] == found.loc[1, "chain_set"] == ""
    assert np.isnan(each[1]).all()
    # With one molecule of a class, no molecule can be shown not to belong to it.
    assert "rare" in found.loc[0, "chain_set"].split("|")
    with open(fitted.folder / "predictions.csv", newline="") as file:
        written = list(csv.DictReader(file))
    assert set(of_chain[:-1]) <= set(written[0])
    assert [row["chain"] for row in written] == [row[3] for row in rows_of_table()]


def test_summary_and_scores(fitted):
    text = summary(fitted)
    assert "chain: macro_roc_auc of 32 labels, out of 3 folds" in text
    assert "act: rmse of 30 labels without the 6 bounds, out of 3 folds" in text
    assert text.count("molae is ") == 4


def test_labels_of_a_predicted_file(fitted, tmp_path):
    rows = rows_of_table()[:8]
    rows[0][3], rows[1][3], rows[2][4] = "huge", " LONG ", "<3"
    path = write(tmp_path / "new.csv", rows)
    found = fitted.predict([row[0] for row in rows])
    lines = dict(line.split(": ", 1) for line in scores_of(fitted, str(path), found))
    assert lines["chain"].startswith("macro_roc_auc ")
    assert "on 6 labels; sets contain " in lines["chain"]
    assert lines["chain"].endswith("; 1 labels of classes that the model does not know (huge)")
    assert lines["act"].endswith("; 3 bounds are not scored")
    for row in rows:
        row[3] = "huge"
    path = write(tmp_path / "other.csv", rows)
    lines = dict(line.split(": ", 1) for line in scores_of(fitted, str(path), found))
    assert lines["chain"] == "not scored: 8 labels of classes that the model does not know (huge)"


def test_explanations_are_log_odds_of_the_predicted_class(fitted):
    smiles = ["CCCNC1CCOC1"]
    found, predicted = fitted.explain(smiles)[0], fitted.predict(smiles)
    p = predicted.loc[0, "chain_probability"]
    odds = np.log(np.clip(p, 1e-6, 1 - 1e-6) / np.clip(1 - p, 1e-6, 1))
    assert found.prediction[2] == pytest.approx(odds, abs=0.05)
    assert found.values.shape == (9, 4)
    assert found.prediction[0] == pytest.approx(predicted.loc[0, "size_predicted"], abs=1e-2)


def test_each_calibration_is_fitted_once(fitted, monkeypatch):
    made = []

    class Counted(Calibration):
        def __init__(self, y_true, probability):
            made.append(len(y_true))
            super().__init__(y_true, probability)

    for module in (prediction_columns, scores):
        monkeypatch.setattr(module, "Calibration", Counted)
    model = FittedModel.load(fitted.folder)
    for _ in range(2):
        model.oof, model.predict(SMILES[:3]), model.explain(SMILES[:3])
    whole = len(model.smiles)
    assert made.count(whole) == 2  # one for each target with classes
    assert len(made) == 2 + 2 * model.num_folds  # and those of the other folds


def test_loading_and_other_labels(fitted, table, weights, tmp_path):
    again = FittedModel.load(fitted.folder)
    assert np.array_equal(again.labels.bound, fitted.labels.bound)
    for old, new in ((">11.5", "11.5"), (",short,", ",brief,")):
        other = tmp_path / "other.csv"
        other.write_text(table.read_text().replace(old, new))
        with pytest.raises(ValueError, match=r"labels: \w+… there"):
            train(other, fitted.folder, weights)


def test_tables_made_by_hand_repeat_classes_and_bounds():
    y = torch.tensor([[0.0, 2.5], [2.0, 3.0], [torch.nan, torch.nan]])
    bound = torch.tensor([[0, 1], [0, -1], [0, 1]], dtype=torch.int8)
    kinds = ["multiclass", "regression"]
    table = Table(["C", "CC", "CO"], y, ["grade", "act"], kinds, "", {"grade": "abc"}, bound)
    assert cells_of(table).rows == [["C", "a", ">=2.5"], ["CC", "c", "<=3"], ["CO", "", ""]]


def test_bounds_beside_too_few_numbers(weights, tmp_path):
    rows = [[*row[:4], ">11" if number else "12"] for number, row in enumerate(rows_of_table())]
    with pytest.raises(ValueError, match="'act' has 1 different exact labels: two are needed"):
        train(write(tmp_path / "a.csv", rows), tmp_path / "m", weights, ["act"])


def test_names_of_classes_that_would_collide(weights, tmp_path):
    rows = rows_of_table()
    path = tmp_path / "a.csv"
    with open(path, "w", newline="") as file:
        lines = [[row[0], row[3], row[1]] for row in rows]
        csv.writer(file).writerows([["smiles", "chain", "chain_probability_long"], *lines])
    table = read_table(path, target_columns=["chain", "chain_probability_long"])
    table = table._replace(task_names=["chain", "chain_probability"])
    names = table.classes["chain"]
    table = table._replace(classes={"chain": ["label", *names[1:]]})
    with pytest.raises(ValueError, match="would be called 'chain_probability_label'"):
        fit(table, tmp_path / "m", FitSettings(folds=2, split="random", weights=weights))


def test_one_fold(table, weights, tmp_path):
    found = train(table, tmp_path / "m", weights, folds=1).predict(SMILES[:2])
    assert found["chain_set"].tolist() == ["", ""]
    assert found["chain_probability"].between(0, 1).all()


def test_class_weights_are_a_setting(table, weights, tmp_path):
    plain = train(table, tmp_path / "a", weights, ["chain"])
    weighted = train(table, tmp_path / "b", weights, ["chain"], class_weights=True)
    assert not np.allclose(plain.predictions["molae"], weighted.predictions["molae"])
    assert np.allclose(weighted.predictions["molae"].sum(1), 1)


@pytest.mark.slow
def test_fine_tuning(table, weights, tmp_path):
    training = {"epochs": 2, "batch_size": 8}
    settings = {"frozen": False, "features": "descriptors", "training": training, "folds": 2}
    found = train(table, tmp_path / "m", weights, **settings)
    share = np.load(found.folder / "fold-0" / "share.npz")["share"]
    assert share.shape == (7,)
    assert len(set(share[2:6])) == 1
    predicted = found.predictions["molae"]
    assert np.allclose(predicted[:, 2:6].sum(1), 1)
    rows = found.fold == 1
    assert np.allclose(found.fold_predict(found.smiles)[1, rows], predicted[rows], atol=1e-3)
