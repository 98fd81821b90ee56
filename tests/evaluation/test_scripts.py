"""Pre-training and comparison from end to end, as a user starts them, with a tiny model."""

import json
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest
from rdkit import Chem
from rdkit.Chem import AllChem
from scripts import EXPERIMENTS, SMILES, call, printed_by

from molae_pyg import MolAE, MolAEPredictor
from molae_pyg.store import ConformerStore, prepare

FINETUNE = """
data: {num_conformers: 2, add_2d: true}
models:
  molae:
    head: {pooler_dropout: 0.1}
    training: {epochs: 2, batch_size: 16}
"""
PRETRAIN = """
data: {num_conformers: 2, add_2d: true}
model: {hidden_channels: 32, ffn_channels: 64, heads: 4, num_layers: 1, num_decoder_layers: 1}
training: {steps: 4, pair_budget: 800, warmup_steps: 1, validate_every: 2}
"""


@pytest.mark.slow
def test_a_script_starts_by_itself(tmp_path):
    command = [sys.executable, EXPERIMENTS / "moleculenet.py", "--help"]
    printed = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True)
    assert "--protocol" in printed.stdout


@pytest.mark.slow
def test_pretrain_script_and_fine_tuning_from_its_weights(tmp_path):
    (tmp_path / "pretrain.yaml").write_text(PRETRAIN)
    (tmp_path / "some.smi").write_text("\n".join([*SMILES[:20], "not-a-smiles"]) + "\n")
    printed = printed_by(tmp_path, "pretrain.py", "some.smi", "--config", "pretrain.yaml")
    assert "19 molecules, 1 held out" in printed
    output = tmp_path / "runs" / "pretrain"
    metrics = json.loads((output / "metrics.json").read_text())
    assert metrics.keys() >= {"val_total", "val_token", "val_distance_mae", "val_coordinate_rmsd"}
    assert MolAE.from_pretrained(output / "model").config["heads"] == 4
    assert json.loads((output / "environment.json").read_text()).keys() >= {"device", "torch"}
    assert "held out" in (output / "report.html").read_text()
    assert (output / "reconstruction0.png").stat().st_size > 1000
    assert len(ConformerStore(output / "store")) == 20

    # The store serves the next run, which starts from these weights.
    again = ["--config", "pretrain.yaml", "--output", "more", "--weights", "runs/pretrain/model"]
    again += ["--held-out", "0.3", "--held-out-of", "10"]
    printed = printed_by(tmp_path, "pretrain.py", "runs/pretrain/store", *again)
    assert "17 molecules, 3 held out" in printed

    table = pd.DataFrame({"smiles": SMILES, "y": [float(len(s)) for s in SMILES]})
    table.to_csv(tmp_path / "my.csv", index=False)
    (tmp_path / "tiny.yaml").write_text(FINETUNE)
    weights = ["--model", "runs/pretrain/model", "--seeds", "1"]
    printed_by(tmp_path, "moleculenet.py", "--dataset", "my.csv", "--config", "tiny.yaml", *weights)
    (file,) = (tmp_path / "runs" / "moleculenet").rglob("result.json")
    result = json.loads(file.read_text())
    assert result["settings"]["weights"] == "runs/pretrain/model"
    assert len(result["weights_sha256"]) == 64
    assert MolAEPredictor.from_pretrained(file.parent / "model").task_type == "regression"


@pytest.mark.slow
def test_pretrain_script_on_an_sdf_file(tmp_path):
    writer = Chem.SDWriter(str(tmp_path / "some.sdf"))
    for smiles in SMILES[:10]:
        mol = Chem.AddHs(Chem.MolFromSmiles(smiles))
        AllChem.EmbedMolecule(mol, randomSeed=1)
        writer.write(mol)
    writer.close()
    (tmp_path / "pretrain.yaml").write_text(PRETRAIN)
    printed = printed_by(tmp_path, "pretrain.py", "some.sdf", "--config", "pretrain.yaml")
    assert "9 molecules, 1 held out" in printed


def test_too_few_molecules(tmp_path):
    (tmp_path / "one.smi").write_text("CCO\n")
    (tmp_path / "pretrain.yaml").write_text(PRETRAIN)
    with pytest.raises(AssertionError, match="1 molecules, pre-training needs two"):
        printed_by(tmp_path, "pretrain.py", "one.smi", "--config", "pretrain.yaml")


CASES = Path(__file__).parents[1] / "data" / "cases"


@pytest.mark.slow
def test_pretrain_script_on_small_molecules(tmp_path):
    """Held-out molecules of which the cloze test drops no atom are skipped for the picture."""
    args = [str(CASES / "f20_solvents.smi"), "--config", str(CASES / "f20_pretrain.yaml")]
    printed = printed_by(tmp_path, "pretrain.py", *args, "--held-out", "0.2", "--output", "out")
    assert "16 molecules, 4 held out" in printed
    assert (tmp_path / "out" / "report.html").is_file()
    assert len(list((tmp_path / "out").glob("reconstruction*.png"))) == 2


def test_pretrain_script_says_what_is_wrong(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "some.smi").write_text("\n".join(SMILES[:6]) + "\n")
    ablated = PRETRAIN.replace("heads: 4", "heads: 4, ablation: {decoder_position: none}")
    (tmp_path / "ablated.yaml").write_text(ablated)
    status, printed = call(monkeypatch, capsys, "pretrain", "some.smi", "--config", "ablated.yaml")
    assert status == 1
    assert "decoder_position must be true or false, got 'none'" in printed
    assert not (tmp_path / "runs").exists()  # before any conformer
    (tmp_path / "plain.yaml").write_text(PRETRAIN)
    store = "runs/pretrain/store"
    prepare("some.smi", store, num_conformers=0, workers=1)
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "metrics.json").write_text("precious")
    words = ("--config", "plain.yaml", "--output", "mine")
    status, printed = call(monkeypatch, capsys, "pretrain", store, *words)
    assert status == 1
    assert "mine holds metrics.json, but no run of this script" in printed
    words = ("--config", "plain.yaml", "--output", "new", "--held-out", "1")
    status, printed = call(monkeypatch, capsys, "pretrain", store, *words)
    assert "data.num_conformers: 2 is not used: the store was made with 0" in printed
