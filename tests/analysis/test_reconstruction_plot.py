import numpy as np
import pytest
import torch
from matplotlib import image
from test_plots import ink_at_the_edge
from torch_geometric.data import Data

from molae_pyg import ClozeDrop
from molae_pyg.analysis import Reconstruction, reconstruction_plot
from molae_pyg.analysis.reconstruction_plot import find_bonds
from molae_pyg.chem.elements import NUM_TOKENS, UNK, token_table

#: Acetic acid without hydrogens, and what a C=O, a C-O and a C-C bond measure in Å.
ACID = Data(
    z=torch.tensor([6, 6, 8, 8]),
    pos=torch.tensor(
        [[0.0, 0, 0], [1.5, 0, 0], [2.1, 1.05, 0], [2.2, -1.1, 0.1]], dtype=torch.float64
    ),
    num_nodes=4,
)


def rebuilt(z: list[int], pos: torch.Tensor, drop: list[int], tokens: list[int]) -> Reconstruction:
    """A result with made-up answers."""
    pos = pos.double()
    mask = torch.zeros(len(z), dtype=torch.bool)
    mask[drop] = True
    return Reconstruction(
        z=torch.tensor(z),
        pos=pos,
        drop_mask=mask,
        pos_noisy=pos + 0.5 * mask[:, None],
        probability=torch.eye(NUM_TOKENS, dtype=torch.float64)[tokens],
        coordinate_pos=pos[mask] + 0.3,
        distance_pos=pos[mask] - 2.0,
        distance_mae=0.25,
    )


def texts(figure) -> list[str]:
    panels = [text.get_text() for axes in figure.axes for text in [axes.title, *axes.texts]]
    legend = [text.get_text() for text in figure.legends[0].get_texts()]
    return [figure.get_suptitle(), *panels, *legend]


def test_bonds():
    assert find_bonds(ACID.z, ACID.pos.numpy()) == [(0, 1), (1, 2), (1, 3)]
    methane = np.array([[0, 0, 0], [1, 1, 1], [1, -1, -1], [-1, 1, -1], [-1, -1, 1]]) * 0.63
    assert find_bonds(torch.tensor([6, 1, 1, 1, 1]), methane) == [(0, i) for i in range(1, 5)]


def test_picture(tmp_path):
    token = token_table()
    result = rebuilt([6, 6, 8, 8], ACID.pos, [1, 3], [int(token[6]), int(token[7])])
    figure = reconstruction_plot(result, tmp_path / "acid.png")
    words = texts(figure)
    assert words[0] == "elements right: 1 of 2 (O taken for N)"
    assert any(text.startswith("coordinate head: RMSD 0.52 Å") for text in words)
    assert any(text.startswith("distance head: RMSD 3.46 Å") for text in words)
    assert {"C", "N", "O", "rebuilt, wrong element"} <= set(words)
    picture = image.imread(tmp_path / "acid.png")
    assert picture.shape[1] == 1500
    assert not ink_at_the_edge(picture)


@pytest.mark.parametrize(
    ("z", "drop", "tokens"),
    [([6, 8], [1], [UNK]), ([78] * 12, [1, 2, 3, 4, 5, 6, 7], [4, 5, 6, 7, 8, 9, 10])],
    ids=["two atoms", "all wrong"],
)
def test_unusual_molecules(tmp_path, z, drop, tokens):
    generator = torch.Generator().manual_seed(0)
    result = rebuilt(z, 3 * torch.randn(len(z), 3, generator=generator), drop, tokens)
    words = texts(reconstruction_plot(result, tmp_path / "picture.png"))
    assert words[0].startswith("elements right: 0 of")
    assert words[0].count("taken for") == min(len(drop), 5)
    assert not ink_at_the_edge(image.imread(tmp_path / "picture.png"))


def test_without_a_file_and_without_state():
    from matplotlib import pyplot

    before = pyplot.get_fignums(), pyplot.get_backend()
    data = ClozeDrop(0.5, keep=0)(ACID.clone())
    drop = data.drop_mask.nonzero().flatten().tolist()
    reconstruction_plot(rebuilt(data.z.tolist(), data.pos, drop, [4] * len(drop)))
    assert (pyplot.get_fignums(), pyplot.get_backend()) == before
