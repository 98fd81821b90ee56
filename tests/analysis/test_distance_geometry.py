import numpy as np
import pytest
import torch
from scipy.spatial.distance import cdist
from symmetry import assert_close, motions

from molae_pyg.analysis.distance_geometry import align, classical_scaling, place_dropped

RNG = np.random.default_rng(0)
POS = RNG.normal(size=(9, 3)) * 2
DROP = np.isin(np.arange(9), (1, 4, 5))
FLAT = POS * [1, 1, 0]


def noised(distance: np.ndarray, size: float = 0.3) -> np.ndarray:
    return distance + size * np.random.default_rng(1).normal(size=distance.shape)


def stress(x: np.ndarray, distance: np.ndarray) -> float:
    """The sum in the docstring, pair by pair."""
    pos = POS.copy()
    pos[DROP] = x
    return sum(
        (np.linalg.norm(pos[i] - pos[j]) - (distance[i, j] + distance[j, i]) / 2) ** 2
        for i in range(9)
        for j in range(i)
        if DROP[i] or DROP[j]
    )


def test_scaling_gives_the_distances_back():
    x = classical_scaling(cdist(POS, POS))
    np.testing.assert_allclose(cdist(x, x), cdist(POS, POS), atol=1e-9)


@pytest.mark.parametrize("n", [1, 2, 3])
def test_scaling_of_few_points(n):
    x = classical_scaling(cdist(POS[:n], POS[:n]))
    assert x.shape == (n, 3)
    np.testing.assert_allclose(cdist(x, x), cdist(POS[:n], POS[:n]), atol=1e-7)


@pytest.mark.parametrize("mirror", [1, -1])
def test_align_undoes_a_motion(mirror):
    q = np.linalg.qr(RNG.normal(size=(3, 3)))[0]
    q *= mirror * np.linalg.det(q)
    moved = POS @ q + [1.0, -2.0, 30.0]
    np.testing.assert_allclose(align(moved, POS, np.ones(9)), POS, atol=1e-9)


def test_align_of_points_on_a_line_is_quiet(recwarn):
    line = np.outer(np.arange(4.0), [1, 2, 2])
    moved = np.outer(np.arange(4.0), [0, 3, 0]) + 5
    np.testing.assert_allclose(align(moved, line, np.ones(4)), line, atol=1e-7)
    assert not recwarn.list


@pytest.mark.parametrize("mirror", [1, -1])
def test_true_distances_give_the_true_places(mirror):
    """Kept atoms that are not in a plane settle the hand, whatever the hint says."""
    pos = POS * [1, 1, mirror]
    hint = (POS * [1, 1, -mirror])[DROP]
    np.testing.assert_allclose(
        place_dropped(cdist(pos, pos), pos, DROP, hint), pos[DROP], atol=1e-7
    )


@pytest.mark.parametrize("side", [1, -1])
def test_where_kept_atoms_lie_in_a_plane_the_hint_decides_the_side(side):
    pos = np.where(DROP[:, None], POS, FLAT) * [1, 1, side]
    hint = pos[DROP] + RNG.uniform(-0.3, 0.3, (3, 3))
    np.testing.assert_allclose(
        place_dropped(cdist(pos, pos), pos, DROP, hint), pos[DROP], atol=1e-6
    )


def test_two_atoms():
    pos = np.array([[1.0, 0, 0], [1.0, 1.4, 0]])
    placed = place_dropped(1.1 * cdist(pos, pos), pos, np.array([False, True]), pos[1:] + 0.1)
    assert np.linalg.norm(placed[0] - pos[0]) == pytest.approx(1.54)


def test_distances_between_kept_atoms_and_their_order_do_not_matter():
    distance = noised(cdist(POS, POS))
    expected = place_dropped(distance, POS, DROP, POS[DROP])
    distance[np.ix_(~DROP, ~DROP)] = -7
    np.testing.assert_array_equal(place_dropped(distance, POS, DROP, POS[DROP]), expected)
    placed = place_dropped(distance.T, POS, DROP, POS[DROP])
    np.testing.assert_allclose(placed, expected, atol=1e-9)
    elsewhere = POS + DROP[:, None] * 50.0  # true places of dropped atoms are not looked at
    placed = place_dropped(distance, elsewhere, DROP, POS[DROP])
    np.testing.assert_array_equal(placed, expected)


def test_stress_is_least():
    distance = noised(cdist(POS, POS))
    placed = place_dropped(distance, POS, DROP, POS[DROP])
    assert stress(placed, distance) < stress(POS[DROP], distance)
    for size in (1e-3, 0.1, 1.0):
        for _ in range(20):
            moved = placed + size * RNG.normal(size=placed.shape)
            assert stress(placed, distance) < stress(moved, distance)


def test_negative_distances_count_as_zero():
    distance = noised(cdist(POS, POS))
    distance[1] = distance[:, 1] = -3
    expected = place_dropped(distance.clip(min=0), POS, DROP, POS[DROP])
    np.testing.assert_allclose(place_dropped(distance, POS, DROP, POS[DROP]), expected, atol=1e-9)


def test_equivariance():
    distance, pos, hint = noised(cdist(POS, POS)), torch.from_numpy(POS), POS[DROP] + 0.3
    placed = torch.from_numpy(place_dropped(distance, POS, DROP, hint))
    for name, motion in motions():
        moved = motion(pos).numpy(), DROP, motion(torch.from_numpy(hint)).numpy()
        again = torch.from_numpy(place_dropped(distance, *moved))
        assert_close(again, motion(placed), name, atol=1e-7)  # the search ends near 1e-8 Å
