import io

import numpy as np
import pandas as pd
import pytest
from matplotlib import image

from molae_pyg.analysis.curves import Curve, draw_curve, read_metrics, series, smoothed

COLUMN = "train_total"


def table(steps: list[int], values: list[float]) -> pd.DataFrame:
    return pd.DataFrame({"step": steps, COLUMN: values})


def test_a_series_is_what_was_logged():
    values = series(table([9, 19, 29], [3.0, np.nan, 1.0]), COLUMN)
    assert values.to_dict() == {9: 3.0, 29: 1.0}
    assert series(table([9], [np.inf]), COLUMN).empty
    assert series(table([9], [1.0]), "val_total").empty
    assert series(table([9], [1.0]), None).empty


def test_what_was_done_twice_counts_once():
    """Steps 29 and 39 were done again; of the first attempt's 49 nothing is left."""
    metrics = table([9, 19, 29, 39, 49, 29, 39], [5, 4, -1, -1, -1, 3, 2])
    assert series(metrics, COLUMN).to_dict() == {9: 5, 19: 4, 29: 3, 39: 2}
    assert series(table([9, 9, 9], [1, 2, 3]), COLUMN).to_dict() == {9: 3}


def test_smoothing_is_a_moving_mean():
    short = pd.Series(np.arange(50.0))
    assert smoothed(short).equals(short)
    noisy = pd.Series(np.random.default_rng(0).normal(size=6000))
    assert smoothed(noisy).std() == pytest.approx(0.1, rel=0.2)  # of 100 points


def test_reading_the_logs_of_all_starts(tmp_path):
    table([9], [7]).to_csv(tmp_path / "metrics.csv", index=False)
    assert read_metrics(tmp_path)[COLUMN].tolist() == [7]
    for number, value in {0: 1, 2: 2, 10: 3}.items():
        folder = tmp_path / "logs" / f"version_{number}"
        folder.mkdir(parents=True)
        table([9], [value]).to_csv(folder / "metrics.csv", index=False)
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


@pytest.mark.parametrize("kind", ["linear", "from_zero", "log", "share"])
@pytest.mark.parametrize("values", [[0.5], [0.5, 0.0, 0.2], [0.9, 0.1, 0.01]])
def test_drawing(kind, values):
    metrics = table(list(range(len(values))), values).assign(val_total=values)
    picture = draw_curve(metrics, Curve("Loss", COLUMN, "val_total", kind))
    pixels = image.imread(io.BytesIO(picture))
    assert pixels[0, 0, 3] == 0  # no background
    assert pixels[..., 3].max() > 0.9


def test_nothing_to_draw():
    assert draw_curve(table([0], [np.nan]), Curve("Loss", COLUMN)) is None
