import numpy as np
from matplotlib import image

from molae_pyg.analysis import parity_plot, roc_plot

Y = np.array([0.0, 1.0, np.nan, 1.0, 0.0])
PREDICTIONS = {
    "one": np.array([0.1, 0.8, 0.5, 0.7, 0.3]),
    "two": np.array([0.5, 0.4, 9.0, 0.6, 0.2]),
}


def ink_at_the_edge(picture: np.ndarray) -> bool:
    """Whether something was cut off: a drawn pixel on the border."""
    grey = picture[..., :3].mean(axis=-1)
    border = np.concatenate([grey[0], grey[-1], grey[:, 0], grey[:, -1]])
    return bool((border < 0.9).any())


def test_parity_plot(tmp_path):
    parity_plot(Y, PREDICTIONS, "solubility", tmp_path / "parity.png")
    picture = image.imread(tmp_path / "parity.png")
    assert picture.shape[1] > 1.4 * picture.shape[0]  # two panels side by side
    assert not ink_at_the_edge(picture)


def test_roc_plot(tmp_path):
    roc_plot(Y, PREDICTIONS, tmp_path / "roc.png")
    picture = image.imread(tmp_path / "roc.png")
    assert 0.8 < picture.shape[1] / picture.shape[0] < 1.25
    assert not ink_at_the_edge(picture)
