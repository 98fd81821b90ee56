"""``molae embed``."""

import numpy as np
import pandas as pd
import pytest
import torch

from molae_pyg import MolAE, MolAEPredictor
from molae_pyg.chem.options import Options
from molae_pyg.cli import main
from molae_pyg.inference import embed
from molae_pyg.inference.parts import Parts
from molae_pyg.tables.reading import Table
from molae_pyg.workflow import FitSettings, fit


@pytest.fixture
def table(tmp_path):
    file = tmp_path / "data.csv"
    file.write_text("smiles,y\nCCO,1\nC1CC,2\nOC,3\n")
    return file


def test_a_file_of_molecules_becomes_a_file_of_vectors(table, capsys):
    out = table.with_name("out.csv")
    assert main(["embed", str(table), str(out), "--workers", "1"]) == 0
    found = pd.read_csv(out)
    assert found.molae_status.tolist() == ["ok", "invalid", "ok"]
    expected = embed(MolAE.from_pretrained(), ["CCO", "CO"], cache=False)
    assert np.allclose(found.filter(regex="^x").iloc[[0, 2]], expected, atol=0.02)  # may be in bf16
    printed = capsys.readouterr().out
    assert printed == "2 of 3 rows embedded in 512 columns, 1 invalid: see molae_reason\n"


def test_weights_of_every_kind(table):
    torch.manual_seed(0)
    model = MolAE.tiny().eval()
    predictor = MolAEPredictor(model.encoder)
    predictor.recipe = Options(num_conformers=2, remove_hydrogens=False).to_dict()
    found = {}
    for name, saved in {"a": model, "b": predictor, "c": model.encoder}.items():
        folder, out = table.with_name(name), table.with_name(f"{name}.npz")
        saved.save_pretrained(folder)
        words = ["--weights", str(folder), "--level", "atom", "--workers", "1"]
        assert main(["embed", str(table), str(out), *words]) == 0
        found[name] = np.load(out)
    assert found["a"]["x"].shape == (3 + 1 + 2, 64)
    assert np.array_equal(found["a"]["x"], found["c"]["x"], equal_nan=True)
    assert found["b"]["x"].shape == (9 + 1 + 6, 64)  # the recipe keeps hydrogens


def test_a_folder_of_molae_train(table):
    smiles = ["C" * n + end for n in range(1, 6) for end in ("O", "N")]
    y = torch.tensor([[float(len(s))] for s in smiles])
    fitted = Table(smiles, y, ["size"], ["regression"])
    folder, out = str(table.with_name("fitted")), str(table.with_name("out.csv"))
    settings = FitSettings(folds=1, features="none", conformers=2, weights="molae-small")
    fit(fitted, folder, settings)
    assert main(["embed", str(table), out, "--weights", folder, "--workers", "1"]) == 0
    found = pd.read_csv(out).filter(regex="^x").to_numpy()[[0, 2]]
    model = MolAE.from_pretrained("molae-small")
    expected = embed(model, ["CCO", "OC"], 2, cache=False)
    assert np.allclose(found, expected, atol=0.02)  # may be in bf16


def test_the_readout(table, capsys):
    out = table.with_name("out.npz")
    words = ["embed", str(table), str(out), "--workers", "1", "--readout"]
    assert main([*words, "cls,mean"]) == 0
    assert np.load(out)["x"].shape == (3, 2 * 256)
    assert main([*words, "mean", "--level", "atom"]) == 1
    assert "atoms have vectors of their own" in capsys.readouterr().err


def test_ctrl_c_says_that_the_command_resumes(table, monkeypatch, capsys):
    def stop(*args, **arrays):
        raise KeyboardInterrupt

    monkeypatch.setattr(Parts, "add", stop)
    assert main(["embed", str(table), str(table.with_name("out.csv")), "--workers", "1"]) == 130
    assert capsys.readouterr().err.endswith("embed: stopped; the same command resumes\n")


def test_faults_of_the_user_are_one_line(table, capsys):
    for words in (["out.txt"], ["out.csv", "--weights", "absent"]):
        assert main(["embed", str(table), str(table.with_name(words[0])), *words[1:]]) == 1
        error = capsys.readouterr().err
        assert error.startswith("molae embed: ")
        assert error.count("\n") == 1
    assert main(["embed", str(table), str(table.with_name("out.csv")), "--conformers", "0"]) == 1
    assert "num_conformers must be at least 1" in capsys.readouterr().err
    assert [file.name for file in table.parent.iterdir()] == ["data.csv"]
