"""OGB's leaderboard from end to end on small files: runs, entries, submission, verification."""

import gzip
import json
import os
from pathlib import Path

import numpy as np
import pytest
from scripts import SMILES, printed_by, run

from molae_pyg import MolAE, MolAEPredictor
from molae_pyg.datasets import OGBMol
from molae_pyg.evaluation import entry
from molae_pyg.evaluation import submission as submission_module
from molae_pyg.inference import predict
from molae_pyg.splits import scaffold_split

CONFIG = """
data: {num_conformers: 2, add_2d: true}
models:
  ecfp-forest: {num_trees: 5, with_maccs: true}
  molae-small: {training: {epochs: 1}}
  schnet: {model: {num_interactions: 1}, training: {epochs: 1}}
"""
ENTRY = """
entry: {conformers: null, ensemble: 2, blend: ecfp-forest}
"""
PUBLISHED = Path(__file__).parents[2] / "benchmarks" / "results" / "ogb"
ROWS = [*SMILES, "C1CC"]  # the last one cannot be read; it is a test row


@pytest.fixture
def folder(tmp_path) -> Path:
    """A small ogbg-molesol in the layout of the official one, and settings."""
    place = tmp_path / "data" / "ogbg_molesol"
    (place / "mapping").mkdir(parents=True)
    (place / "split" / "scaffold").mkdir(parents=True)
    with gzip.open(place / "mapping" / "mol.csv.gz", "wt") as file:
        file.write("measured log solubility in mols per litre,smiles,mol_id\n")
        file.writelines(f"{-0.1 * len(s)},{s},{s}\n" for s in ROWS)
    parts = scaffold_split(SMILES)._asdict()
    parts["test"] = np.append(parts["test"], len(SMILES))
    for part, rows in parts.items():
        with gzip.open(place / "split" / "scaffold" / f"{part}.csv.gz", "wt") as file:
            file.writelines(f"{row}\n" for row in rows)
    (tmp_path / "tiny.yaml").write_text(CONFIG)
    (tmp_path / "entry.yaml").write_text(CONFIG + ENTRY)
    return tmp_path


def evaluate(folder: Path, *args: str) -> str:
    return printed_by(folder, "ogb_leaderboard.py", "--dataset", "molesol", "--seeds", "2", *args)


def submission(folder: Path, name: str) -> dict:
    path = folder / "runs" / "ogb" / "ogbg-molesol" / "submissions" / name / "submission.json"
    return json.loads(path.read_text())


@pytest.mark.slow
def test_submission_and_its_verification(folder):
    printed = evaluate(folder, "--model", "molae-small", "--config", "tiny.yaml")
    found = submission(folder, "molae-small")
    assert found["method"] == "Mol-AE (molae-small), pre-trained on ZINC250k"
    assert found["metric"] == "rmse"
    assert found["is_official_split"]
    assert "yang24al" in found["paper"]
    assert len(found["test"]["runs"]) == 2
    assert found["test"]["std"] == pytest.approx(np.std(found["test"]["runs"], ddof=1))
    whole = sum(p.numel() for p in MolAE.from_pretrained("molae-small").parameters())
    fine_tuned = found["parameters"]["molae-small, runs: 1"]
    assert found["parameters"]["sum"] == whole + fine_tuned
    assert "The leaderboard asks for 10 runs; these are 2." in printed
    assert "`python -m molae_pyg.evaluation.leaderboard --dataset molesol --seeds 2" in printed
    assert "to be filled in" in printed

    place = folder / "runs" / "ogb" / "ogbg-molesol"
    with np.load(place / "runs" / "molae-small" / "0" / "predictions.npz") as arrays:
        readable = [-0.1 * len(SMILES[row]) for row in scaffold_split(SMILES).train]
        assert arrays["test"].shape == (len(scaffold_split(SMILES).test) + 1, 1)
        assert arrays["test"][-1, 0] == pytest.approx(np.mean(readable), rel=1e-5)

    # Called again it makes no run anew, and the verification finds the same scores ...
    before = (place / "runs" / "molae-small" / "0" / "result.json").stat().st_mtime_ns
    evaluate(folder, "--model", "molae-small", "--config", "tiny.yaml")
    assert (place / "runs" / "molae-small" / "0" / "result.json").stat().st_mtime_ns == before
    verify = ("submission.py", "runs/ogb/ogbg-molesol/submissions/molae-small")
    assert printed_by(folder, *verify).count("the same") == 2

    # ... unless the predictions are others.
    file = place / "submissions" / "molae-small" / "predictions" / "1.npz"
    with np.load(file) as arrays:
        np.savez(file, valid=arrays["valid"], test=arrays["test"] + 0.1)
    done = run(folder, *verify)
    assert done.returncode == 1
    assert "NOT THE SAME" in done.stdout
    assert "the test scores are not those of the predictions" in done.stderr
    assert "predictions/1.npz was changed after it was finished" in done.stderr


@pytest.mark.slow
def test_an_entry_with_all_options(folder):
    evaluate(folder, "--model", "molae-small", "--config", "entry.yaml")
    name = "molae-small-allconformers-2runs-with-ecfp-forest"
    found = submission(folder, name)
    assert found["method"] == (
        "Mol-AE (molae-small), pre-trained on ZINC250k, mean over all conformers, mean of 2 runs, "
        "blended with ecfp-forest"
    )
    place = folder / "runs" / "ogb" / "ogbg-molesol"
    for model in ("molae-small", "ecfp-forest"):  # every run of the entry has seeds of its own
        seeds = sorted(path.name for path in (place / "runs" / model).iterdir() if path.is_dir())
        assert seeds == ["0", "1", "2", "3"]
    runs = {
        (model, seed): np.load(place / "runs" / model / str(seed) / file)
        for model, file in (
            ("molae-small", "predictions-all.npz"),
            ("ecfp-forest", "predictions.npz"),
        )
        for seed in range(4)
    }
    for number, share in enumerate(found["shares"]):
        first, second = (
            np.mean([runs[model, seed]["test"] for seed in (2 * number, 2 * number + 1)], axis=0)
            for model in ("molae-small", "ecfp-forest")
        )
        with np.load(place / "submissions" / name / "predictions" / f"{number}.npz") as arrays:
            assert arrays["test"] == pytest.approx((1 - share) * first + share * second, abs=1e-5)
    *stages, total = found["parameters"].values()
    assert total == sum(stages)
    assert list(found["parameters"])[:2] == ["pre-training, molae-small", "molae-small, runs: 2"]


def test_averages_over_conformers_need_no_other_fit(folder):
    (folder / "average.yaml").write_text(CONFIG + "entry: {conformers: null}\n")
    models = ("--model", "molae-small", "schnet")
    evaluate(folder, *models, "--config", "tiny.yaml")
    place = folder / "runs" / "ogb" / "ogbg-molesol"
    results = sorted(place.glob("runs/*/*/result.json"))
    before = [file.stat().st_mtime_ns for file in results]
    evaluate(folder, *models, "--config", "average.yaml")
    assert len(results) == 4
    assert [file.stat().st_mtime_ns for file in results] == before

    # What a user would get from the fitted model and all conformers of the readable test rows.
    dataset = OGBMol(folder / "data", "molesol", num_conformers=2, add_2d=True)
    molecules = [dataset[i] for i in dataset.get_idx_split()["test"].tolist()]
    fit = place / "runs" / "molae-small" / "1"
    expected = predict(MolAEPredictor.from_pretrained(fit / "model"), molecules)
    stated = np.load(place / "submissions" / "molae-small-allconformers" / "predictions" / "1.npz")
    assert stated["test"][:-1] == pytest.approx(expected, abs=1e-5)
    single = np.load(fit / "predictions.npz")["test"]
    assert np.abs(stated["test"][:-1] - single[:-1]).max() > 1e-4
    assert stated["test"][-1] == single[-1]  # without a molecule there is nothing to average
    assert (place / "submissions" / "schnet-allconformers").is_dir()


def test_a_model_without_coordinates_is_not_averaged_over_conformers(folder):
    (folder / "average.yaml").write_text(CONFIG + "entry: {conformers: null}\n")
    evaluate(folder, "--model", "ecfp-forest", "--config", "average.yaml")
    found = submission(folder, "ecfp-forest")
    assert found["method"] == "ecfp-forest"
    assert found["paper"] == "to be filled in"  # not that of Mol-AE
    assert found["entry"]["conformers"] == 1

    # Several entries are verified one by one and laid side by side.
    evaluate(folder, "--model", "mean", "--config", "average.yaml")
    place = Path("runs/ogb/ogbg-molesol/submissions")
    printed = printed_by(folder, "submission.py", str(place / "ecfp-forest"), str(place / "mean"))
    assert printed.count("the same") == 4
    score = found["test"]
    cell = f"{score['mean']:.4f} ± {score['std']:.4f}"
    assert f"| test | ogbg-molesol |\n| --- | --- |\n| ecfp-forest | {cell} |\n| mean |" in printed


def test_blend_of_classes_does_not_depend_on_scales():
    class Two:
        name, metric = "ogbg-molbace", "roc_auc"

        def labels_of(self, part):
            return np.array([[0.0], [0.0], [1.0], [1.0]])

    # Each model has another pair in the wrong order; together they have all in the right one.
    first = np.array([[0.10], [0.30], [0.29], [0.40]], np.float32)
    second = np.array([[0.30], [0.10], [0.31], [0.29]], np.float32)
    for scale in (1, 1e-3):
        scaled = second * np.float32(scale)
        mixed, share = entry.blend(
            Two(), {"valid": first, "test": first}, {"valid": scaled, "test": scaled}
        )
        assert 0 < share < 1
        assert entry.score("ogbg-molbace", Two().labels_of("test"), mixed["test"]) == 1
    halves, share = entry.blend(
        Two(), {"valid": first, "test": first}, {"valid": second, "test": second}, share=0.5
    )
    assert share == 0.5
    assert halves["test"][:, 0] == pytest.approx([0.375, 0.375, 0.625, 0.625])


@pytest.mark.skipif(
    "MOLAE_DATA" not in os.environ, reason="needs the official files in $MOLAE_DATA/ogb"
)
@pytest.mark.parametrize("place", sorted(PUBLISHED.iterdir()), ids=lambda place: place.name)
def test_published_scores_are_those_of_the_published_predictions(place, tmp_path):
    folders = sorted(place.iterdir())
    assert folders
    for folder in folders:
        assert submission_module.verify(folder, str(tmp_path)) == [], folder


def test_environments_of_all_fits_are_stated():
    first = {"environment": {"commit": "a", "torch": "2.13.0", "threads": 1}}
    second = {
        "environment": {"commit": "b", "torch": "2.13.0", "threads": 1, "precision": "32-true"}
    }
    assert entry.merged_environment([first, second, first]) == {
        "commit": "a, b",
        "torch": "2.13.0",
        "threads": "1",
        "precision": "not recorded, 32-true",
    }


@pytest.mark.parametrize(
    ("model", "why"),
    [("none", "no model 'none'"), ("molae-graph-forest", "entries have the settings `blend`")],
)
def test_a_wrong_model_is_an_error_before_the_work(folder, model, why):
    done = run(
        folder, "ogb_leaderboard.py", "--dataset", "molesol", "--model", model, "--root", "data"
    )
    assert done.returncode == 1
    assert why in done.stderr
    assert not (folder / "data" / "conformers").exists()


def test_other_data_sets_are_evaluated_after_an_unreadable_one(folder):
    (folder / "data" / "ogbg_molbace" / "mapping").mkdir(parents=True)
    (folder / "data" / "ogbg_molbace" / "mapping" / "mol.csv.gz").write_bytes(b"no table")
    flags = ("--config", "tiny.yaml", "--model", "mean", "--seeds", "1")
    done = run(folder, "ogb_leaderboard.py", "--dataset", "molbace", "molesol", *flags)
    assert done.returncode != 0
    assert "1 failed: molbace mean" in done.stderr
    assert submission(folder, "mean")["test"]["runs"]
