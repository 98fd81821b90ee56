"""PCQM4Mv2 from end to end on a small copy, and the file of test predictions."""

import gzip
import json

import numpy as np
import pytest
import torch
from scripts import SMILES, printed_by

from molae_pyg import MolAEPredictor
from molae_pyg.evaluation.pcqm4m import save_test

CONFIG = """
data: {num_conformers: 1, add_2d: false, seed: 0, time_limit: 5.0}
weights: molae-small
head: {readout: mean}
training: {epochs: 2, batch_size: 8, lr: 5.0e-4, loss: mae, metric: mae}
"""


@pytest.mark.slow
def test_script(tmp_path):
    folder = tmp_path / "data" / "pcqm4m-v2"
    (folder / "raw").mkdir(parents=True)
    with gzip.open(folder / "raw" / "data.csv.gz", "wt") as file:
        file.write("idx,smiles,homolumogap\n")
        gaps = [f"{5 + 0.1 * len(s)}" for s in SMILES[:38]] + [""] * 10
        file.writelines(f"{i},{s},{g}\n" for i, (s, g) in enumerate(zip(SMILES, gaps, strict=True)))
    rows = np.split(np.arange(len(SMILES)), [30, 38, 43])
    parts = dict(zip(("train", "valid", "test-dev", "test-challenge"), rows, strict=True))
    torch.save(parts, folder / "split_dict.pt")
    (tmp_path / "tiny.yaml").write_text(CONFIG)
    printed = printed_by(tmp_path, "pcqm4m.py", "--config", "tiny.yaml", "--timed", "3")
    assert "test-dev: 5 rows, OGB's has 147,037: runs/pcqm4m/test-dev.npz is no entry" in printed
    output = tmp_path / "runs" / "pcqm4m"
    result = json.loads((output / "result.json").read_text())
    assert result["valid mae"] < 1
    assert result["inference"]["molecules"] == 3
    rate = result["inference"]["molecules per second"]
    hours = 147_432 / rate / 3600
    assert result["inference"]["hours for a test part"] == pytest.approx(hours, rel=0.02)
    with np.load(output / "test-challenge.npz") as arrays:
        assert arrays["y_pred"].shape == (5,)
    assert MolAEPredictor.from_pretrained(output / "model").task_names == ["homolumogap"]


@pytest.mark.parametrize(("part", "number"), [("test-dev", 147037), ("test-challenge", 147432)])
def test_predictions_are_saved_as_ogb_does(part, number, tmp_path, monkeypatch):
    save_test(tmp_path, part, np.linspace(0, 1, number, dtype=np.float32))
    (file,) = tmp_path.iterdir()
    assert file.name == f"y_pred_pcqm4m-v2_{part}.npz"
    with np.load(file) as arrays:
        assert arrays["y_pred"].shape == (number,)
        assert arrays["y_pred"].dtype == np.float32
