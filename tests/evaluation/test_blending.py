import json
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scripts import SMILES, run

from molae_pyg.evaluation.blending import members, mix, quantiles

CONFIG = """
data: {num_conformers: 1, add_2d: true}
models:
  mean: {}
  descriptors-linear: {}
  forest-both: {num_trees: 10}
  molae-graph-forest: {of: [descriptors-linear, forest-both]}
"""
FLAGS = ("moleculenet.py", "--config", "tiny.yaml", "--root", "data", "--output", "out")
BOTH = ["descriptors-linear", "forest-both"]


def test_quantiles_among_the_validation_predictions():
    valid = np.array([[0.9], [0.3], [0.1], [0.3]], np.float32)
    test = np.array([[0.3], [0.2], [5.0], [0.0]], np.float32)
    found = quantiles({"valid": valid, "test": test})
    assert found["valid"].tolist() == [[0.875], [0.5], [0.125], [0.5]]
    assert found["test"][:, 0] == pytest.approx([0.5, 0.3125, 0.875, 0.125], abs=1e-6)


def test_the_share_is_the_best_one_on_the_validation_rows():
    first = {"valid": np.array([[0.0], [0.0]]), "test": np.array([[8.0]])}
    second = {"valid": np.array([[4.0], [4.0]]), "test": np.array([[0.0]])}
    for target, share in ((1.0, 0.25), (-1.0, 0.0), (9.0, 1.0)):
        mixed, found = mix(first, second, lambda rows, y=target: -np.abs(rows - y).sum())
        assert found == share
        assert mixed["test"].item() == 8 * (1 - share)
    assert mix(first, second, lambda rows: 0.0)[1] == 0  # equal scores: the first model
    assert mix(first, second, lambda rows: 0.0, share=0.5)[1] == 0.5


@pytest.mark.parametrize("of", ["mean", ["mean"], ["mean", "mean"], ["mean", "gin", "dmpnn"]])
def test_a_blend_has_two_models(of):
    with pytest.raises(ValueError, match="two models"):
        members({"of": of}, Path("scaffold/esol/blend/0-0"))


def result_of(place: Path, model: str) -> tuple[dict, pd.DataFrame]:
    folder = place / model / "0-0"
    table = pd.read_csv(folder / "predictions.csv")
    return json.loads((folder / "result.json").read_text()), table[table["part"] == "test"]


@pytest.mark.slow
@pytest.mark.parametrize("task_type", ["regression", "classification"])
def test_a_blend_mixes_finished_runs(tmp_path, task_type):
    (tmp_path / "tiny.yaml").write_text(CONFIG)
    classes = task_type == "classification"
    y = [len(s) % 2 if classes else 0.5 * len(s) for s in SMILES]
    pd.DataFrame({"smiles": SMILES, "y": y}).to_csv(tmp_path / "my.csv", index=False)
    flags = (*FLAGS, "--dataset", "my.csv", "--seeds", "1", "--model")

    early = run(tmp_path, *flags, "molae-graph-forest")
    assert early.returncode != 0
    assert "no finished run of descriptors-linear: name it before the blend" in early.stderr

    done = run(tmp_path, *flags, *BOTH, "molae-graph-forest")
    assert done.returncode == 0, done.stdout + done.stderr
    place = tmp_path / "out" / "scaffold" / "my"
    (first, one), (second, two) = (result_of(place, name) for name in BOTH)
    blend, mixed = result_of(place, "molae-graph-forest")
    assert list(blend["members"].values()) == [first["sha256"], second["sha256"]]
    better = max if classes else min
    metric = blend["metric"]
    singles = [r["valid"][metric] for r in (first, second)]
    assert better(blend["valid"][metric], *singles) == pytest.approx(blend["valid"][metric])
    if classes:
        assert mixed["y predicted"].between(0, 1).all()
    else:
        expected = (1 - blend["share"]) * one["y predicted"] + blend["share"] * two["y predicted"]
        assert np.allclose(mixed["y predicted"], expected, atol=1e-5)

    again = run(tmp_path, "rerun.py", str(place / "molae-graph-forest" / "0-0"), "--root", "data")
    assert "is a blend: repeat its members, descriptors-linear and forest-both" in again.stderr

    shutil.rmtree(place / "forest-both")  # made anew with other settings: the blend is out of date
    (tmp_path / "tiny.yaml").write_text(CONFIG.replace("10", "11"))
    stale = run(tmp_path, *flags, "forest-both", "molae-graph-forest")
    assert stale.returncode != 0
    assert "members.forest-both" in stale.stderr
