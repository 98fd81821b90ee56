"""The comparison from end to end on small files: what is written and what is resumed."""

import json
import pickle
import re
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scripts import SMILES, run

from molae_pyg.baselines.grover import GroverEncoder
from molae_pyg.baselines.mol_clr import MolCLR

FLAGS = ("moleculenet.py", "--config", "tiny.yaml", "--output", "out")
CONFIG = """
default: [mean, ecfp-forest, molae]
data: {num_conformers: 2, add_2d: true}
models:
  mean: {}
  ecfp-forest: {num_trees: 10}
  frozen-ridge: {weights: molae-small}
  frozen-forest: {weights: molae-small, num_trees: 10}
  descriptors-linear: {}
  forest-both: {num_trees: 10}
  grover-small: &grover {weights: grover, training: {epochs: 1, batch_size: 16}}
  grover-small-random: {<<: *grover, pretrained: false}
  mole-blend-random:
    weights: random
    model: {hidden_channels: 16, ffn_channels: 16, heads: 2, num_layers: 1, num_gaussians: 4}
    training: {epochs: 1, batch_size: 16}
  mol-clr: &mol_clr {weights: mol-clr, training: {epochs: 1, batch_size: 16}}
  mol-clr-random: {<<: *mol_clr, pretrained: false}
  n-gram-rf: {num_trees: 10, channels: 8, epochs: 2}
  frozen-graph-descriptors: {weights: molae-graph, readout: "cls, mean", descriptors: true}
  attentivefp:
    model: {hidden_channels: 16, num_layers: 1, num_timesteps: 1, dropout: 0.1}
    training: &training {epochs: 2, batch_size: 16}
  gin:
    model: {hidden_channels: 16, num_layers: 2, dropout: 0.1}
    training: *training
  schnet:
    model: {hidden_channels: 16, num_filters: 16, num_interactions: 1, readout: mean}
    training: {epochs: 2, batch_size: 16, valid_conformers: 1}
  dmpnn: {epochs: 2}
  molae:
    weights: random
    encoder: {hidden_channels: 32, ffn_channels: 64, heads: 4, num_layers: 1, num_gaussians: 16}
    head: {pooler_dropout: 0.1}
    training: *training
    datasets: {my: {training: {epochs: 3}, head: {pooler_dropout: 0.2}}}
"""


@pytest.fixture
def folder(tmp_path) -> Path:
    (tmp_path / "tiny.yaml").write_text(CONFIG)
    write_table(tmp_path / "my.csv", [0.5 * len(s) for s in SMILES])
    return tmp_path


def write_table(path: Path, y: list[float]) -> None:
    pd.DataFrame({"smiles": [*SMILES, "C1CC"], "y": [*y, 0]}).to_csv(path, index=False)


def results(folder: Path) -> dict[str, dict]:
    found = (json.loads(file.read_text()) for file in folder.rglob("result.json"))
    return {f"{r['model']} {r['seed']}-{r['fold']}": r for r in found}


@pytest.mark.slow
@pytest.mark.parametrize("task_type", ["regression", "classification"])
def test_all_models_but_chemprop(folder, task_type):
    if task_type == "classification":
        write_table(folder / "my.csv", [len(s) % 2 for s in SMILES])
    models = ["mean", "ecfp-forest", "frozen-ridge", "frozen-forest", "attentivefp", "gin"]
    models += ["schnet", "molae", "descriptors-linear", "forest-both", "frozen-graph-descriptors"]
    models += ["n-gram-rf", "grover-small", "grover-small-random", "mole-blend-random"]
    models += ["mol-clr", "mol-clr-random"]
    GroverEncoder(16, 2, 3).save_pretrained(folder / "grover")
    MolCLR(16, 2).save_pretrained(folder / "mol-clr")
    done = run(folder, *FLAGS, "--dataset", "my.csv", "--seeds", "1", "--model", *models)
    assert done.returncode == 0, done.stdout + done.stderr
    place = folder / "out" / "scaffold" / "my"
    found = results(place)
    assert found.keys() == {f"{model} 0-0" for model in models}
    integrity = json.loads((place / "integrity.json").read_text())
    assert (integrity["rows"], integrity["invalid"], integrity["conformers_3d"]) == (49, 1, 48)
    for result in found.values():
        file = place / result["model"] / "0-0" / "predictions.csv"
        predictions = pd.read_csv(file)
        assert predictions["part"].value_counts().to_dict() == {
            "valid": result["sizes"]["valid"],
            "test": result["sizes"]["test"],
            "none": 1,
        }
        assert predictions.iloc[-1]["row"] == 48
        assert predictions.iloc[-1]["note"].startswith("invalid: ")
        test = predictions[predictions["part"] == "test"]
        assert (
            (folder / "my.csv")
            .read_text()
            .splitlines()[1 + int(test["row"].iloc[0])]
            .startswith(test["smiles"].iloc[0])
        )
        if task_type == "regression":
            error = test["y predicted"] - test["y true"]
            assert result["test"]["rmse"] == pytest.approx(np.sqrt((error**2).mean()), rel=1e-5)
        else:
            assert test["y predicted"].between(0, 1).all()
            assert result["test"].keys() == {"roc_auc", "average_precision"}
        assert result["split_sha256"] == found["mean 0-0"]["split_sha256"]
        assert result["environment"].keys() >= {"torch", "rdkit", "commit", "device"}
    assert found["molae 0-0"]["settings"]["head"] == {"pooler_dropout": 0.2}
    assert found["molae 0-0"]["parameters"] > 1000
    assert "molae, 1 run: " in done.stdout


@pytest.mark.slow
def test_finished_runs_are_kept_and_missing_ones_are_made(folder):
    args = ["--dataset", "my.csv", "--protocol", "cv5x5", "--model", "mean", "molae"]
    assert run(folder, *FLAGS, *args, "--seeds", "1").returncode == 0
    place = folder / "out" / "cv5x5" / "my"
    assert len(results(place)) == 10
    tests = [
        pd.read_csv(place / "mean" / f"0-{fold}" / "predictions.csv").query("part == 'test'")
        for fold in range(5)
    ]
    assert sorted(pd.concat(tests)["row"]) == list(range(48))  # every row is tested once
    kept, lost = place / "molae" / "0-3" / "result.json", place / "molae" / "0-4" / "result.json"
    before, predictions = kept.stat().st_mtime_ns, lost.with_name("predictions.csv").read_bytes()
    lost.unlink()
    assert run(folder, *FLAGS, *args, "--seeds", "1").returncode == 0
    assert kept.stat().st_mtime_ns == before
    assert lost.with_name("predictions.csv").read_bytes() == predictions  # the same run again
    (folder / "tiny.yaml").write_text(CONFIG.replace("epochs: 3", "epochs: 2"))
    again = run(folder, *FLAGS, *args, "--seeds", "1")
    assert again.returncode == 1
    assert (
        "holds another run. What differs: settings.training.epochs: 3 there, 2 now" in again.stderr
    )


@pytest.mark.parametrize("number", [0, 1])  # 0: the flat one alone
def test_the_flag_for_the_number_of_conformers(folder, number):
    args = ["--dataset", "my.csv", "--seeds", "1", "--model", "mean"]
    done = run(folder, *FLAGS, *args, "--num-conformers", str(number))
    assert done.returncode == 0
    data = results(folder / "out")["mean 0-0"]["data"]
    assert data == {"num_conformers": number, "add_2d": True}
    assert re.search(r"conformers 3d +(\d+)", done.stdout)[1] == ("48" if number else "0")
    again = run(folder, *FLAGS, *args)
    assert "holds another run. What differs: data.num_conformers:" in again.stderr


def test_other_runs_are_made_after_a_failure(folder):
    (folder / "bad.csv").write_text("smiles,y\nC1CC,1\n")
    done = run(
        folder,
        *FLAGS, "--dataset", "bad.csv", "my.csv", "--seeds", "1", "--model", "dmpnn", "mean",
        CHEMPROP=str(folder / "nowhere"),
    )  # fmt: skip
    assert done.returncode == 1
    assert "2 failed: bad.csv, out/scaffold/my/dmpnn/0-0" in done.stderr
    assert "make chemprop" in (folder / "out/scaffold/my/dmpnn/0-0/error.txt").read_text()
    assert results(folder / "out").keys() == {"mean 0-0"}


CHEMPROP = """#!{python}
import sys
import pandas as pd
words = sys.argv[1:]
assert words[0] == "train" and words[words.index("--epochs") + 1] == "2"
train, valid, wanted = map(pd.read_csv, words[2:5])
assert wanted["task0"].notna().sum() == len(valid)  # no label of a test row
folder = words[words.index("-o") + 1] + "/model_0"
import os; os.makedirs(folder)
wanted["task0"] = train["task0"].mean()
wanted.to_csv(folder + "/test_predictions.csv", index=False)
"""


def test_dmpnn_is_called_as_a_program(folder):
    executable = folder / "chemprop"
    executable.write_text(CHEMPROP.format(python=sys.executable))
    executable.chmod(0o755)
    done = run(
        folder,
        *FLAGS, "--dataset", "my.csv", "--seeds", "1", "--model", "dmpnn", "mean",
        CHEMPROP=str(executable),
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    found = results(folder / "out")
    assert found["dmpnn 0-0"]["test"]["rmse"] == pytest.approx(found["mean 0-0"]["test"]["rmse"])
    executable.write_text(f"#!{sys.executable}\nraise SystemExit('no such option')")
    failed = run(
        folder,
        *FLAGS, "--dataset", "my.csv", "--seeds", "2", "--model", "dmpnn",
        CHEMPROP=str(executable),
    )  # fmt: skip
    assert "no such option" in failed.stderr


def test_official_folder_with_its_split(folder):
    lmdb = pytest.importorskip("lmdb", reason="lmdb is not installed")
    official = folder / "esol"
    official.mkdir()
    sizes = {"train": 6, "valid": 3, "test": 4}
    for part, size in sizes.items():
        environment = lmdb.open(str(official / f"{part}.lmdb"), subdir=False, map_size=2**22)
        with environment, environment.begin(write=True) as transaction:
            for number in range(size):
                content = {
                    "atoms": ["C", "C", "O"],
                    "coordinates": [np.arange(9.0).reshape(3, 3)],
                    "smi": "CCO",
                    "target": np.array([number + 0.5]),
                }
                transaction.put(str(number).encode(), pickle.dumps(content))
    done = run(
        folder,
        *FLAGS,
        "--dataset",
        "esol",
        "--protocol",
        "published",
        "--model",
        "mean",
        "--seeds",
        "1",
    )
    assert done.returncode == 0, done.stderr
    (result,) = results(folder / "out" / "published" / "esol").values()
    assert result["sizes"] == sizes
    # the training mean is 3, the test labels are 0.5, 1.5, 2.5 and 3.5
    assert result["test"]["rmse"] == pytest.approx(1.5)
