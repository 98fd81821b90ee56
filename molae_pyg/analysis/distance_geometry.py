"""Coordinates from distances."""

import warnings

import numpy as np

#: Weight of a noisy coordinate in the alignment; a kept atom has 1. It is too small to matter if
#: the kept atoms determine the alignment.
HINT_WEIGHT = 1e-3
_TOO_CLOSE = 1e-9  # Å


def place_dropped(
    distance: np.ndarray, pos: np.ndarray, drop_mask: np.ndarray, hint: np.ndarray
) -> np.ndarray:
    r"""Returns the coordinates of the dropped atoms that fit their predicted distances best.

    With K the kept atoms, whose coordinates are true, and D the dropped ones:

    .. math::
        \hat{x}_D = \arg\min_{x_D}
            \sum_{i \in D,\, j \in K \cup D,\, \text{each pair once}} (|x_i - x_j| - d_{ij})^2

    The search starts from two sets of coordinates, and the better result is returned: ``hint``, and
    classical multidimensional scaling of all distances (those between kept atoms are true), aligned
    with the kept atoms and mirrored if that fits better.

    A molecule and its mirror image have the same distances. Four kept atoms that are not in a plane
    tell them apart; if a mirror image or a rotation is left open, ``hint`` decides.

    Args:
        distance: Distances in Å ``[N, N]``; only rows and columns of dropped atoms are read, and
            the mean of ``[i, j]`` and ``[j, i]`` is used.
        pos: Coordinates in Å ``[N, 3]``; only the rows of kept atoms are read.
        drop_mask: True = dropped ``[N]``, at least one of each kind.
        hint: Rough coordinates of the dropped atoms in Å ``[M, 3]``.

    Returns:
        float64 ``[M, 3]`` in Å, in the frame of ``pos``.
    """
    kept = ~drop_mask
    known = np.array(pos, dtype=np.float64)  # [N, 3], the hint where dropped
    known[drop_mask] = hint
    distance = (distance + distance.T).clip(min=0) / 2
    true = np.linalg.norm(known[:, None] - known[None, :], axis=-1)  # [N, N]
    given = (kept[:, None] & kept[None, :]) | np.eye(len(known), dtype=bool)
    scaled = classical_scaling(np.where(given, true, distance))
    scaled = align(scaled, known, np.where(kept, 1.0, HINT_WEIGHT))
    ends = [_least_stress(x[drop_mask], known, drop_mask, distance) for x in (scaled, known)]
    return min(ends, key=lambda end: end[0])[1]


def classical_scaling(distance: np.ndarray) -> np.ndarray:
    r"""Classical multidimensional scaling (Torgerson 1952) into three dimensions.

    The coordinates are the three largest eigenvalues, as square roots, and eigenvectors of
    :math:`-\frac{1}{2} J D^2 J`, with J the centring matrix. Negative eigenvalues, which distances
    of points do not have, are taken as zero.

    Args:
        distance: Symmetric ``[N, N]``.

    Returns:
        ``[N, 3]``, exact up to a motion or reflection if the distances are those of points.
    """
    n = len(distance)
    centre = np.eye(n) - 1 / n
    values, vectors = np.linalg.eigh(-0.5 * centre @ distance**2 @ centre)
    values, vectors = values[::-1][:3], vectors[:, ::-1][:, :3]  # [<= 3], [N, <= 3]
    x = vectors * np.sqrt(values.clip(min=0))
    return np.pad(x, ((0, 0), (0, 3 - x.shape[1])))


def align(x: np.ndarray, target: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Moves points rigidly onto others (Kabsch), and mirrors them if that comes closer.

    Args:
        x: Points to move ``[N, 3]``.
        target: Points to come close to ``[N, 3]``.
        weights: Weights of the squared errors, positive ``[N]``.

    Returns:
        The moved points ``[N, 3]``.
    """
    from scipy.spatial.transform import Rotation

    centre = np.average(target, axis=0, weights=weights)
    x = x - np.average(x, axis=0, weights=weights)
    candidates = []
    for hand in (x, x * [1.0, 1.0, -1.0]):
        with warnings.catch_warnings():  # points on a line have many best rotations
            warnings.filterwarnings("ignore", "Optimal rotation is not uniquely")
            rotation, error = Rotation.align_vectors(target - centre, hand, weights)
        candidates.append((error, rotation.apply(hand) + centre))
    return min(candidates, key=lambda candidate: candidate[0])[1]


def _least_stress(
    start: np.ndarray, pos: np.ndarray, drop_mask: np.ndarray, distance: np.ndarray
) -> tuple[float, np.ndarray]:
    """Returns the least stress and the dropped atoms there ``[M, 3]``; kept atoms are fixed."""
    from scipy.optimize import least_squares

    rank = np.cumsum(drop_mask) - 1  # [N], index of a dropped atom among them
    first, second = np.nonzero(np.triu(drop_mask[:, None] | drop_mask[None, :], k=1))  # [P]
    pairs = np.arange(len(first))

    def difference(x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        full = pos.copy()
        full[drop_mask] = x.reshape(-1, 3)
        vector = full[first] - full[second]  # [P, 3]
        return vector, np.linalg.norm(vector, axis=1)

    def residual(x: np.ndarray) -> np.ndarray:
        return difference(x)[1] - distance[first, second]

    def jacobian(x: np.ndarray) -> np.ndarray:
        vector, length = difference(x)
        unit = vector / length.clip(min=_TOO_CLOSE)[:, None]  # [P, 3]
        result = np.zeros((len(first), len(start), 3))
        for atom, sign in ((first, 1), (second, -1)):
            moves = drop_mask[atom]
            result[pairs[moves], rank[atom[moves]]] += sign * unit[moves]
        return result.reshape(len(first), -1)  # [P, 3 M]

    # The stress is flat near its minimum, therefore it does not end the search.
    tight = {"ftol": None, "xtol": 1e-12, "gtol": 1e-11}
    end = least_squares(residual, start.ravel(), jacobian, **tight)
    return end.cost, end.x.reshape(-1, 3)
