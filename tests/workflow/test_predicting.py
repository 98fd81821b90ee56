"""Predictions of a file part by part."""

import tracemalloc

import pandas as pd
import pytest
import torch

from molae_pyg.chem.options import InputError
from molae_pyg.tables.formats import smiles_of
from molae_pyg.tables.reading import Table
from molae_pyg.workflow import FitSettings, FittedModel, fit, predicting

SMILES = ["C" * n + end for n in range(1, 7) for end in ("O", "N")]


@pytest.fixture(scope="module")
def fitted(weights, tmp_path_factory) -> FittedModel:
    folder = tmp_path_factory.mktemp("fitted")
    y = torch.tensor([[float(len(s)), float("N" in s)] for s in SMILES])
    table = Table(SMILES, y, ["size", "amine"], ["regression", "classification"])
    settings = FitSettings(folds=2, split="random", features="none", weights=weights)
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
    whole, report = run(fitted, data, "whole.csv")
    assert whole.molae_status.tolist() == ["ok"] * 12 + ["invalid"]
    assert report.rows == {"ok": 12, "invalid": 1}
    assert str(report) == "12 of 13 rows predicted, 1 invalid: see molae_reason"
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
    assert found.columns.tolist() == ["id", "smiles", *expected.columns]
    assert found.id.tolist() == [*map(str, range(12)), "x"]
    assert found.amine_predicted[:12].astype(int).astype(str).tolist() == (
        expected.amine_predicted[:12].tolist()
    )
    assert found.size_predicted[:12].tolist() == pytest.approx(expected.size_predicted[:12], 1e-4)


def test_only_predictions_of_labelled_targets_stay_in_memory(fitted, data):
    assert run(fitted, data, "out.csv")[1].labelled.empty
    data.write_text("smiles,size\nCCO,3\nCN,2\n")
    labelled = run(fitted, data, "out.csv")[1].labelled
    assert labelled.columns.tolist() == ["size_predicted", "size_low", "size_high"]
    assert len(labelled) == 2


def test_files_without_rows(fitted, data):
    data.write_text("smiles\n")
    with pytest.raises(InputError, match=r"new\.csv has no rows"):
        run(fitted, data, "out.csv")
    assert [file.name for file in data.parent.iterdir()] == ["new.csv"]


def test_a_damaged_row_is_found_before_the_work(fitted, data, monkeypatch):
    monkeypatch.setattr(predicting, "make_parts", None)
    data.write_text(data.read_text() + "a,CC,too many cells\n")
    with pytest.raises(InputError, match=r"row 13 .* has 3 cells, the header 2"):
        run(fitted, data, "out.csv")
    assert [file.name for file in data.parent.iterdir()] == ["new.csv"]


def test_parquet_has_the_cells_and_typed_predictions(fitted, data):
    pytest.importorskip("pyarrow", reason="pyarrow is not installed")
    found, _ = run(fitted, data, "out.csv")
    for name in ("out.parquet", "folder/"):
        out = f"{data.parent}/{name}"
        report = predicting.predict_file(fitted, data, out)
        assert report.rows == {"ok": 12, "invalid": 1}
        table = pd.read_parquet(out)
        assert table.columns.tolist() == found.columns.tolist()
        assert table.id.tolist() == found.id.tolist()
        assert table.molae_reason.tolist() == ["", *[""] * 11, found.molae_reason[12]]
        assert table.size_predicted.dtype == float
        assert table.size_predicted[:12].tolist() == pytest.approx(found.size_predicted[:12], 1e-5)
    names = [file.name for file in sorted((data.parent / "folder").iterdir())]
    assert names == [f"part-{number:07}.parquet" for number in range(5)]
    assert not data.with_name("folder.parts").exists()
    with pytest.raises(InputError, match="folder exists: remove it"):
        predicting.predict_file(fitted, data, f"{data.parent}/folder/")
    data.write_text("a,a,smiles\n1,2,CCO\n")
    with pytest.raises(InputError, match="column 'a' occurs twice"):
        predicting.predict_file(fitted, data, data.with_name("out.parquet"))


def test_memory_does_not_grow_with_the_number_of_rows(fitted, data, monkeypatch):
    monkeypatch.setattr(predicting, "_AT_ONCE", 100)
    row = fitted.predict(["CCO"])
    monkeypatch.setattr(
        FittedModel, "predict", lambda self, some, alpha: pd.concat([row] * len(some))
    )
    peaks = []
    for number in (400, 2400):  # 2.4 and 14 MB
        data.write_text("note,smiles\n" + f"{'n' * 6000},CCO\n" * number)
        tracemalloc.start()
        report = predicting.predict_file(fitted, data, data.with_name("out.csv"))
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
        assert report.rows == {"ok": number}
    assert peaks[1] < 1.2 * peaks[0]
