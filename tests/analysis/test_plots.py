import inspect
import subprocess
import sys

import numpy as np
import pytest
from matplotlib import image
from matplotlib.figure import Figure

from molae_pyg.analysis import parity_plot, roc_plot
from molae_pyg.analysis.plots import log_scale

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


def test_plots_leave_matplotlib_as_it_was(tmp_path):
    """The backend of a notebook, and the figures that are open in it."""
    code = (
        "import sys, matplotlib, numpy as np\n"
        "matplotlib.use('pdf')\n"
        "from matplotlib import pyplot\n"
        "figure = pyplot.figure()\n"
        "from molae_pyg.analysis import parity_plot, roc_plot\n"
        "y, p = np.array([0.0, 1, 1]), {'m': np.array([0.2, 0.4, 0.9])}\n"
        f"parity_plot(y, p, 'label', r'{tmp_path}/a.png'); roc_plot(y, p, r'{tmp_path}/b.png')\n"
        "assert matplotlib.get_backend() == 'pdf', matplotlib.get_backend()\n"
        "assert pyplot.get_fignums() == [figure.number]\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
    assert "pyplot" not in inspect.getsource(parity_plot) + inspect.getsource(roc_plot)
    for name in ("a.png", "b.png"):
        assert image.imread(tmp_path / name).size


def test_equal_values_have_axes_of_some_length(tmp_path):
    parity_plot(np.ones(3), {"m": np.ones(3)}, "constant", tmp_path / "a.png")
    assert image.imread(tmp_path / "a.png").size


@pytest.mark.parametrize(
    ("y_true", "predicted", "message"),
    [
        (np.full(3, np.nan), np.ones(3), "expected y_true .* 0 known"),
        (np.ones((3, 1)), np.ones((3, 1)), r"expected y_true \[n\]"),
        (np.array([0.0, 1]), np.ones(3), r"'m' have the shape \[3\], y_true \[2\]"),
        (np.array([0.0, 1]), np.ones((2, 1)), r"'m' have the shape \[2, 1\]"),
        (np.array([0.0, 1]), np.array([np.nan, 1]), "'m' are not finite"),
    ],
)
def test_what_cannot_be_drawn(tmp_path, y_true, predicted, message):
    for draw in (lambda *a: parity_plot(*a, "x", tmp_path / "a.png"),
                 lambda *a: roc_plot(*a, tmp_path / "a.png")):  # fmt: skip
        with pytest.raises(ValueError, match=message):
            draw(y_true, {"m": predicted})
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("labels", [[0, 0], [1, 1], [-1, 1], [0, 2]])
def test_a_roc_curve_needs_two_classes(tmp_path, labels):
    with pytest.raises(ValueError, match="needs labels 0 and 1"):
        roc_plot(np.array(labels, float), {"m": np.array([0.2, 0.3])}, tmp_path / "a.png")


@pytest.mark.parametrize(("low", "high"), [(0.55, 1.0), (0.099, 0.16), (0.004, 2.0), (1e-3, 1e-3)])
def test_a_logarithmic_axis_has_several_numbers(low, high):
    figure = Figure()
    axes = figure.subplots()
    axes.plot([0, 1], [low, high])
    log_scale(axes)
    figure.canvas.draw()
    shown = axes.get_ylim()
    numbers = [float(label.get_text()) for label in axes.get_yticklabels() if label.get_text()]
    inside = [number for number in numbers if shown[0] <= number <= shown[1]]
    assert len(inside) >= (3 if high > low else 1)
    assert axes.get_yscale() == "log"
