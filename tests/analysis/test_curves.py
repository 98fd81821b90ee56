import io

import numpy as np
import pandas as pd
import pytest
from matplotlib import image

from molae_pyg.analysis.curves import Curve, draw_curve, series, smoothed

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
