import pandas as pd
import pytest

from molae_pyg.training.course import read_metrics

COLUMN = "train_total"


def test_reading_the_logs_of_all_starts(tmp_path):
    pd.DataFrame({"step": [9], COLUMN: [7]}).to_csv(tmp_path / "metrics.csv", index=False)
    assert read_metrics(tmp_path)[COLUMN].tolist() == [7]
    for number, value in {0: 1, 2: 2, 10: 3}.items():
        folder = tmp_path / "logs" / f"version_{number}"
        folder.mkdir(parents=True)
        pd.DataFrame({"step": [9], COLUMN: [value]}).to_csv(folder / "metrics.csv", index=False)
    (folder.parent / "version_11").mkdir()
    (folder.parent / "version_11" / "metrics.csv").touch()  # just started
    metrics = read_metrics(tmp_path)
    assert metrics[COLUMN].tolist() == [1, 2, 3]  # an older run left metrics.csv
    assert metrics["step"].dtype == int


def test_files_that_are_none(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"no metrics\.csv in .*folder of a run"):
        read_metrics(tmp_path)
    for nothing in ("", "step,train_total\n"):
        (tmp_path / "metrics.csv").write_text(nothing)
        with pytest.raises(ValueError, match="is empty"):
            read_metrics(tmp_path)
    (tmp_path / "metrics.csv").write_text("epoch,loss\n0,1\n")
    with pytest.raises(ValueError, match="no column 'step'; it has epoch, loss"):
        read_metrics(tmp_path)
