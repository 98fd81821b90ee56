"""Curves of runs, and the loss of doing nothing."""

import matplotlib.pyplot as plt
import pandas as pd
import pytest
import torch
import torch.nn.functional as F

from molae_pyg.analysis.pretraining_curves import curve_picture, do_nothing
from molae_pyg.transforms.cloze import coordinate_noise


@pytest.mark.parametrize(("noise", "loss"), [(0.5, 0.040), (1, 0.158), (3, 1.003), (5, 1.932)])
def test_do_nothing(noise, loss):
    assert do_nothing(noise) == pytest.approx(loss, abs=6e-4)
    torch.manual_seed(0)
    moved = coordinate_noise(torch.zeros(100_000, 3), noise, "uniform")
    found = 0.95 * F.smooth_l1_loss(moved, torch.zeros_like(moved))
    assert do_nothing(noise) == pytest.approx(float(found), rel=0.01)
    assert do_nothing(noise, keep=0.0) == pytest.approx(do_nothing(noise) / 0.95)


def test_picture():
    names = ("token", "coordinate", "distance")
    values = pd.DataFrame({"step": [0, 9, 19], **{f"val_{n}": [None, 2.0, 1.0] for n in names}})
    picture = curve_picture(
        {"Uni-Mol": {0.5: [values], 1.0: [values, values]}, "Mol-AE": {1.0: [values]}}
    )
    assert [p.title for p in picture.panels][:2] == ["Uni-Mol: token", "Uni-Mol: coordinate"]
    assert len(picture.panels) == 6
    assert list(picture.legend) == ["noise 0.5 Å", "noise 1 Å"]
    figure, axes = plt.subplots()
    picture.panels[1].draw(axes)
    plt.close(figure)
    assert len(axes.lines) == 3 + 2  # a line for each seed, a dashed one for each noise
    assert picture.png()[:4] == b"\x89PNG"
