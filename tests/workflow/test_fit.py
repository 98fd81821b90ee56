"""Training on hand-sized tables: what is learned, written, resumed and refused."""

import csv
import os
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
import torch
from tiny import SMILES

from molae_pyg.chem import from_smiles
from molae_pyg.tables.formats import read_cells
from molae_pyg.tables.reading import read_table
from molae_pyg.workflow import FitSettings, FittedModel, fit


@pytest.fixture(scope="module")
def table(tmp_path_factory):
    """Thirty molecules, a number and a class with missing labels, a bad row, one without labels."""
    path = tmp_path_factory.mktemp("table") / "mixed.csv"
    rows = [["smiles", "weight", "amine", "batch"]]
    for number, smiles in enumerate(SMILES):
        weight = "" if number % 7 == 3 else str(len(smiles) + 0.25)
        amine = "" if number % 5 == 1 else ("yes" if "N" in smiles else "no")
        rows.append([smiles, weight, amine, "abc"[number % 3]])
    rows.insert(4, ["C1CC", "3.0", "no", "a"])
    rows.append(["CCCC", "", "", "b"])
    with open(path, "w", newline="") as file:
        csv.writer(file).writerows(rows)
    return path


def train(path, folder, weights, **settings):
    settings = {"folds": 3, "split": "random", "weights": weights} | settings
    table = read_table(path, target_columns=["weight", "amine"])
    return fit(table, folder, FitSettings(**settings), read_cells(path), "mixed.csv")


@pytest.fixture(scope="module")
def fitted(table, weights, tmp_path_factory):
    return train(table, tmp_path_factory.mktemp("fitted") / "model", weights)


def rows_of(path):
    with open(path, newline="") as file:
        return list(csv.DictReader(file))


def test_targets_have_types_and_the_classes_of_the_table(fitted):
    assert [tuple(target) for target in fitted.targets] == [
        ("weight", "regression", []),
        ("amine", "classification", ["no", "yes"]),
    ]


def test_every_row_has_an_out_of_fold_prediction(fitted, table):
    given, found = read_cells(table), rows_of(fitted.folder / "predictions.csv")
    assert [row["smiles"] for row in found] == [row[0] for row in given.rows]
    assert [row["weight"] for row in found] == [row[1] for row in given.rows]
    bad = found[3]
    assert bad["molae_status"] == "invalid"
    assert "ring" in bad["molae_reason"]
    assert bad["weight_predicted"] == bad["amine_probability"] == bad["molae_fold"] == ""
    for row in found[:3] + found[4:]:
        assert row["molae_status"] == "ok"
        assert row["molae_fold"] in "012"
        assert (
            float(row["weight_low"]) <= float(row["weight_predicted"]) <= float(row["weight_high"])
        )
        assert 0 <= float(row["amine_probability"]) <= 1
        assert row["amine_predicted"] in ("no", "yes")


def test_predictions_come_from_models_that_have_not_seen_the_row(fitted):
    """The held-out rows of a fold are predicted by the model of this fold."""
    predicted = fitted.fold_predict(fitted.smiles)  # [F, n, T]
    for fold in range(3):
        rows = fitted.fold == fold
        assert np.allclose(predicted[fold, rows], fitted.predictions["molae"][rows], atol=1e-3)


def test_metrics_have_baselines_and_a_verdict(fitted):
    rows = rows_of(fitted.folder / "metrics.csv")
    assert {row["model"] for row in rows} == {"molae", "mean", "ecfp-forest", "descriptors"}
    assert {row["fold"] for row in rows} == {"all", "0", "1", "2"}
    whole = {row["target"]: row for row in rows if row["verdict"]}
    assert set(whole) == {"weight", "amine"}
    assert 0.7 <= float(whole["weight"]["coverage_90"]) <= 1
    assert whole["amine"]["coverage_90"] == ""
    assert whole["weight"]["n"] == str(np.count_nonzero(~np.isnan(fitted.y[:, 0])))


def test_it_learns(fitted):
    rows = {
        (r["model"], r["target"]): r
        for r in rows_of(fitted.folder / "metrics.csv")
        if r["fold"] == "all"
    }
    assert float(rows["molae", "weight"]["rmse"]) < 0.5 * float(rows["mean", "weight"]["rmse"])
    assert float(rows["molae", "amine"]["roc_auc"]) > 0.9


def test_a_finished_model_is_returned_at_once(fitted, table, weights):
    before = (fitted.folder / "predictions.csv").stat().st_mtime_ns
    again = train(table, fitted.folder, weights)
    assert (again.folder / "predictions.csv").stat().st_mtime_ns == before
    assert np.array_equal(again.predictions["molae"], fitted.predictions["molae"])


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"seed": 1}, "settings.seed: 0 there, 1 now"),
        ({"folds": 4}, "settings.folds: 3 there, 4 now"),
        ({"features": "none"}, "settings.features: 'auto' there, 'none' now"),
        ({"recipe": "published"}, "settings.recipe: 'fast-1' there, 'published' now"),
    ],
)
def test_other_settings_are_refused(fitted, table, weights, settings, message):
    with pytest.raises(ValueError, match=message):
        train(table, fitted.folder, weights, **settings)


def test_a_model_predicts_by_the_recipe_of_its_training(fitted, table, weights, tmp_path):
    """A folder without the key is published: it was the default, and is not named."""
    folder = tmp_path / "model"
    before = train(table, folder, weights, recipe="published", features="none", folds=2)
    assert "recipe" not in {**before.info["recipe"], **before.info["identity"]["settings"]}
    assert fitted.info["identity"]["settings"]["recipe"] == "fast-1"  # the default
    for model, recipe in ((before, "published"), (fitted, "fast")):
        loaded = FittedModel.load(model.folder)
        molecules = loaded.molecules([SMILES[0]], True).molecules
        expected = from_smiles(SMILES[0], recipe=recipe).pos
        assert torch.allclose(molecules[0].conformers[:, 0], expected, atol=1e-3)
    loaded.recipe = "flat"
    with pytest.warns(
        UserWarning, match="by the recipe 'fast-1', those of these molecules by 'flat-1'"
    ):
        flat = loaded.molecules([SMILES[0]], True).molecules[0]
    assert not flat.conformers[..., 2].any()
    loaded.recipe = "quick"
    with pytest.raises(ValueError, match="unknown recipe 'quick'"):
        loaded.molecules([SMILES[0]], True)


def test_another_table_is_refused(fitted, table, weights, tmp_path):
    other = tmp_path / "other.csv"
    other.write_text(table.read_text().replace("C1CC,3.0", "C1CC,4.0"))
    with pytest.raises(ValueError, match=r"labels: \w+… there"):
        train(other, fitted.folder, weights)


def test_a_folder_of_something_else_is_refused(table, weights, tmp_path):
    (tmp_path / "thesis.tex").write_text("precious")
    with pytest.raises(ValueError, match=r"holds thesis\.tex"):
        train(table, tmp_path, weights)
    assert [path.name for path in tmp_path.iterdir() if path.name != "lock"] == ["thesis.tex"]


def test_folds_of_a_column(table, weights, tmp_path):
    found = train(table, tmp_path / "m", weights, split="column:batch", folds=5)
    assert found.num_folds == 3
    batch = np.array([row[3] for row in read_cells(table).rows])[found.rows]
    assert all(len(set(found.fold[batch == letter])) == 1 for letter in "abc")


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"split": "column:nothing"}, r"column 'nothing' of --split is absent"),
        ({"split": "stratified"}, "split must be scaffold, random or column:NAME"),
        ({"features": "mordred"}, "features must be one of none"),
        ({"folds": 0}, "folds must be an integer of at least 1"),
        ({"folds": 32}, "32 folds need at least 32 different molecules, there are 31"),
        ({"training": {"lr": 0.1}}, "only fine-tuning has such settings"),
        ({"training": {"speed": 1}, "frozen": False}, "Known settings: readout"),
        ({"training": {"lr": -1}, "frozen": False}, "lr must be above 0"),
    ],
)
def test_wrong_settings(table, weights, tmp_path, settings, message):
    with pytest.raises(ValueError, match=message):
        train(table, tmp_path / "m", weights, **settings)


def test_labels_that_cannot_be_learned(weights, tmp_path):
    path = tmp_path / "a.csv"
    path.write_text(
        "smiles,weight,amine\n" + "".join(f"{s},1,{i % 2}\n" for i, s in enumerate(SMILES))
    )
    with pytest.raises(ValueError, match="target 'weight' has 1 different labels"):
        train(path, tmp_path / "m", weights)


def test_names_that_would_collide(weights, tmp_path):
    path = tmp_path / "a.csv"
    lines = [f"{s},{i % 2},{i}\n" for i, s in enumerate(SMILES)]
    path.write_text("smiles,a_predicted,a\n" + "".join(lines))
    table = read_table(path, target_columns=["a_predicted", "a"])
    table = table._replace(task_names=["a_predicted", "a"])
    fitted = fit(table, tmp_path / "m", FitSettings(folds=2, split="random", weights=weights))
    assert "a_predicted_predicted" in fitted.oof


def test_one_fold_has_no_estimate(table, weights, tmp_path):
    found = train(table, tmp_path / "m", weights, folds=1)
    assert found.num_folds == 1
    assert found.predictions == {}
    predicted = found.predict(["CCNc1ccccc1"])
    assert np.isnan(predicted.loc[0, "weight_low"])
    assert predicted.loc[0, "amine_set"] == ""
    assert predicted.loc[0, "weight_predicted"] == pytest.approx(11, abs=2)
    rows = rows_of(found.folder / "predictions.csv")
    assert "weight_predicted" not in rows[0]
    assert rows[3]["molae_status"] == "invalid"
    with pytest.raises(ValueError, match="one fold"):
        found.oof  # noqa: B018


@pytest.mark.slow
def test_fine_tuning_with_features(table, weights, tmp_path):
    training = {"epochs": 2, "batch_size": 8}
    settings = {"frozen": False, "features": "descriptors", "training": training}
    found = train(table, tmp_path / "m", weights, **settings)
    assert (found.folder / "fold-0" / "finetuned" / "model" / "model.safetensors").is_file()
    share = np.load(found.folder / "fold-0" / "share.npz")["share"]
    assert ((share >= 0) & (share <= 1)).all()
    predicted = found.fold_predict(found.smiles)
    rows = found.fold == 1
    assert np.allclose(predicted[1, rows], found.predictions["molae"][rows], atol=1e-3)


PROGRAM = """
import sys
from molae_pyg.cli import main
sys.exit(main(sys.argv[1:]))
"""


@pytest.mark.slow
def test_a_killed_run_resumes_and_gives_the_same_files(fitted, table, weights, tmp_path):
    words = ["train", str(table), str(tmp_path / "m"), "--targets", "weight,amine", "--folds", "3"]
    words += ["--split", "random", "--weights", weights]
    seen = tmp_path / "m" / "fold-0" / "readout.npz"
    process = subprocess.Popen([sys.executable, "-c", PROGRAM, *words], stdout=subprocess.DEVNULL)
    deadline = time.monotonic() + 120
    while not seen.is_file() and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.005)
    os.kill(process.pid, signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL
    assert not (tmp_path / "m" / "predictions.csv").exists()
    with pytest.raises(ValueError, match="has not ended: run the same command again"):
        FittedModel.load(tmp_path / "m")
    resumed = train(table, tmp_path / "m", weights)
    for name in ("predictions.csv", "metrics.csv"):
        assert (resumed.folder / name).read_bytes() == (fitted.folder / name).read_bytes()


def test_a_folder_whose_settings_were_refused_takes_others(table, tmp_path, weights):
    with pytest.raises(ValueError, match="use fewer folds"):
        train(table, tmp_path / "m", weights, folds=40)
    train(table, tmp_path / "m", weights, folds=3, seed=1)
    with pytest.raises(ValueError, match="folds: 3 there, 4 now"):
        train(table, tmp_path / "m", weights, folds=4, seed=1)
