"""Predictions of a file part by part."""

import pandas as pd
import pytest
import torch

from molae_pyg.chem.options import InputError
from molae_pyg.models import MolAE
from molae_pyg.tables.formats import smiles_of
from molae_pyg.tables.reading import Table
from molae_pyg.workflow import FitSettings, FittedModel, fit, predicting

SMILES = ["C" * n + end for n in range(1, 7) for end in ("O", "N")]


@pytest.fixture(scope="module")
def fitted(tmp_path_factory) -> FittedModel:
    folder = tmp_path_factory.mktemp("fitted")
    MolAE(16, ffn_channels=16, heads=4, num_layers=1, num_gaussians=8).save_pretrained(folder / "w")
    y = torch.tensor([[float(len(s)), float("N" in s)] for s in SMILES])
    table = Table(SMILES, y, ["size", "amine"], ["regression", "classification"])
    settings = FitSettings(folds=2, split="random", features="none", weights=str(folder / "w"))
    return fit(table, folder / "m", settings)


@pytest.fixture
def data(tmp_path, monkeypatch):
    monkeypatch.setattr(predicting, "_AT_ONCE", 3)
    file = tmp_path / "new.csv"
    file.write_text("id,smiles\n" + "".join(f"{n},{s}\n" for n, s in enumerate(SMILES)) + "x,C1C\n")
    return file


def run(fitted, data, name: str, alpha: float = 0.1):
    out = data.with_name(name)
    report = predicting.predict_file(fitted, data, out, alpha)
    return pd.read_csv(out), report


def test_an_interrupted_run_resumes_and_writes_the_same_bytes(fitted, data, monkeypatch):
    whole, _ = run(fitted, data, "whole.csv")
    assert whole.molae_status.tolist() == ["ok"] * 12 + ["invalid"]
    predict, calls = FittedModel.predict, []

    def counted(self, molecules, alpha):
        calls.append(list(molecules))
        if len(calls) == 3:
            raise KeyboardInterrupt
        return predict(self, molecules, alpha)

    monkeypatch.setattr(FittedModel, "predict", counted)
    with pytest.raises(KeyboardInterrupt):
        run(fitted, data, "cut.csv")
    assert not data.with_name("cut.csv").exists()
    with pytest.raises(InputError, match=r"parts of another run: alpha: 0\.1 there, 0\.2 now"):
        run(fitted, data, "cut.csv", alpha=0.2)
    found, _ = run(fitted, data, "cut.csv")
    assert [len(molecules) for molecules in calls] == [3, 3, 3, 3, 3, 1]
    assert found.equals(whole)
    assert data.with_name("cut.csv").read_bytes() == data.with_name("whole.csv").read_bytes()
    names = {file.name for file in data.parent.iterdir()}
    assert names == {"new.csv", "cut.csv", "whole.csv"}


def test_parts_have_the_predictions_of_the_model(fitted, data):
    found, _ = run(fitted, data, "out.csv")
    expected = fitted.predict(smiles_of(data))
    assert found.columns.tolist() == expected.columns.tolist()
    assert found.amine_predicted.equals(expected.amine_predicted)
    assert found.size_predicted[:12].tolist() == pytest.approx(expected.size_predicted[:12], 1e-4)
