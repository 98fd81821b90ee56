"""From distances back to coordinates."""

import warnings

import numpy as np

#: Weight of the noisy places in the alignment, where a kept atom has 1: too small to matter where
#: the kept atoms fix how the molecule lies.
HINT_WEIGHT = 1e-3
_TOO_CLOSE = 1e-9  # Å


def place_dropped(
    distance: np.ndarray, pos: np.ndarray, drop_mask: np.ndarray, hint: np.ndarray
) -> np.ndarray:
    r"""Puts the dropped atoms where they fit their predicted distances best.

    With K the kept atoms, which stay in their true places, and D the dropped ones:

    .. math::
        \hat{x}_D = \arg\min_{x_D}
            \sum_{i \in D,\, j \in K \cup D,\, \text{each pair once}} (|x_i - x_j| - d_{ij})^2

    The search starts twice and the better end counts: from classical multidimensional scaling of
    all distances (those between kept atoms are true), turned and, if it fits better, mirrored
    onto the kept atoms; and from ``hint``.

    Distances do not tell a molecule from its mirror image. Four kept atoms that are not in a
    plane settle it; where they leave a mirror image or a rotation open, ``hint`` decides.

    Args:
        distance: Å ``[N, N]``; only rows and columns of dropped atoms are read, and the mean of
            ``[i, j]`` and ``[j, i]`` counts.
        pos: Å ``[N, 3]``; only the rows of kept atoms are read.
        drop_mask: True = dropped ``[N]``, at least one of each kind.
        hint: Rough places of the dropped atoms in Å ``[M, 3]``.

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

    The three largest eigenvalues and their eigenvectors of :math:`-\frac{1}{2} J D^2 J`, with J
    the centring matrix; negative ones, which no coordinates have, count as zero.

    Args:
        distance: Symmetric ``[N, N]``.

    Returns:
        ``[N, 3]``, exact up to a motion or reflection where the distances are those of points.
    """
    n = len(distance)
    centre = np.eye(n) - 1 / n
    values, vectors = np.linalg.eigh(-0.5 * centre @ distance**2 @ centre)
    values, vectors = values[::-1][:3], vectors[:, ::-1][:, :3]  # [<= 3], [N, <= 3]
    x = vectors * np.sqrt(values.clip(min=0))
    return np.pad(x, ((0, 0), (0, 3 - x.shape[1])))


def align(x: np.ndarray, target: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Moves points rigidly onto others (Kabsch), mirrored where that comes closer.

    Args:
        x: ``[N, 3]``.
        target: ``[N, 3]``.
        weights: Of the squared errors, positive ``[N]``.

    Returns:
        ``[N, 3]``, ``x`` moved.
    """
    from scipy.spatial.transform import Rotation

    centre = np.average(target, axis=0, weights=weights)
    x = x - np.average(x, axis=0, weights=weights)
    candidates = []
    for hand in (x, x * [1.0, 1.0, -1.0]):
        with warnings.catch_warnings():  # points on a line: any of the best rotations will do
            warnings.filterwarnings("ignore", "Optimal rotation is not uniquely")
            rotation, error = Rotation.align_vectors(target - centre, hand, weights)
        candidates.append((error, rotation.apply(hand) + centre))
    return min(candidates, key=lambda candidate: candidate[0])[1]


def _least_stress(
    start: np.ndarray, pos: np.ndarray, drop_mask: np.ndarray, distance: np.ndarray
) -> tuple[float, np.ndarray]:
    """Least squares over the dropped atoms ``[M, 3]``; the kept ones stay. Stress and places."""
    from scipy.optimize import least_squares

    rank = np.cumsum(drop_mask) - 1  # [N], number of a dropped atom
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

    # Not by the stress: near its minimum it is flat, and says little about the places.
    tight = {"ftol": None, "xtol": 1e-12, "gtol": 1e-11}
    end = least_squares(residual, start.ravel(), jacobian, **tight)
    return end.cost, end.x.reshape(-1, 3)
