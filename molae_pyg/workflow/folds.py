"""Folds: every molecule is held out once."""

from collections.abc import Callable, Sequence
from typing import Literal

import numpy as np
from threadpoolctl import threadpool_limits
from tqdm.auto import tqdm
from tqdm.contrib.concurrent import thread_map

from molae_pyg.chem.featurizer import canonical_smiles
from molae_pyg.chem.options import InputError
from molae_pyg.cores import available_cores
from molae_pyg.splits import scaffold_groups


def make_folds(
    smiles: Sequence[str],
    kind: Literal["scaffold", "random"] | Sequence[str],
    num_folds: int = 5,
    seed: int = 0,
) -> np.ndarray:
    """Returns the fold of each molecule.

    Args:
        smiles: The molecules ``[n]``; empty: not known, and different from all others.
        kind: ``"random"``: equal molecules share a fold; ``"scaffold"``: molecules with the same
            Bemis-Murcko scaffold share a fold; or a label of each molecule: molecules with the same
            label share a fold.
        num_folds: Number of folds. default: 5.
        seed: Seed of the order.

    Returns:
        Folds ``[n]`` int64, from 0. Each has at least one molecule.

    Raises:
        ValueError: If there are fewer molecules, scaffolds or labels than folds.
    """
    if kind == "random":
        same = {}  # a molecule that occurs again must not be held out from itself
        keys = (canonical_smiles(s) if s else row for row, s in enumerate(smiles))
        groups = np.array([same.setdefault(key, len(same)) for key in keys])
    elif kind == "scaffold":
        groups = np.empty(len(smiles), np.int64)
        for number, members in enumerate(scaffold_groups(smiles)):
            groups[members] = number
    else:
        groups = np.unique(np.asarray(kind, dtype=str), return_inverse=True)[1]
    what = {"random": "different molecules", "scaffold": "scaffolds"}.get(
        str(kind), "different labels"
    )
    return group_folds(groups, num_folds, seed, what)


def group_folds(
    groups: np.ndarray, num_folds: int, seed: int = 0, what: str = "groups"
) -> np.ndarray:
    """Distributes groups over folds of similar size; see :func:`make_folds`.

    Groups come in random order, those larger than half a fold first, and each goes to the smallest
    fold so far.

    Args:
        groups: Group of each row ``[n]``.
        num_folds: Number of folds.
        seed: Seed of the order.
        what: Name of the groups in the message.

    Raises:
        ValueError: If there are fewer groups than folds.
    """
    _, members, sizes = np.unique(groups, return_inverse=True, return_counts=True)
    if len(sizes) < num_folds:
        raise InputError(
            f"{num_folds} folds need at least {num_folds} {what}, there are {len(sizes)}: use "
            "fewer folds or another split (--folds, --split)"
        )
    order = np.random.default_rng(seed).permutation(len(sizes))
    is_large = sizes > len(groups) / num_folds / 2
    order = order[np.argsort(-(sizes * is_large)[order], kind="stable")]
    load, fold_of = np.zeros(num_folds, np.int64), np.empty(len(sizes), np.int64)
    for group in order:
        fold_of[group] = fold = int(load.argmin())
        load[fold] += sizes[group]
    return fold_of[members]


def for_each_fold(function: Callable[[int], None], fold: np.ndarray, side_by_side: bool) -> None:
    """Calls a function for each fold, in threads side by side or one fold after another.

    Args:
        function: Fits the model of a fold.
        fold: Fold of each molecule ``[n]``.
        side_by_side: Whether the folds are fitted in threads, one a core.
    """
    parts, bar = np.unique(fold).tolist(), {"desc": "folds", "disable": None}
    with threadpool_limits(1, "blas"):  # its threads wait for each other if the cores are busy
        if side_by_side:
            thread_map(function, parts, max_workers=available_cores(), **bar)
        else:
            for part in tqdm(parts, **bar):
                function(part)
