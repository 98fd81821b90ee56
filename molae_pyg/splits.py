"""Train, validation and test indices: by scaffold, at random or in folds, and their files.

The name "scaffold split" means two different splits. Both sort and fill the same way; they differ
in whether stereo marks are part of a scaffold. DeepChem, MolCLR and GROVER leave them out
(``chirality=False``); OGB, GEM and GraphMVP keep them (``chirality=True``). Scores on one split
cannot be compared with scores on the other.
"""

import hashlib
import json
import math
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch

from molae_pyg.durable import write_durably

Fractions = tuple[float, float, float]


class Split(NamedTuple):
    """Row indices of the three parts: int64 arrays, each sorted ascending.

    Shapes:
        - **train**, **valid**, **test:** :math:`(n_{part})`, together every row exactly once.
    """

    train: np.ndarray
    valid: np.ndarray
    test: np.ndarray


def scaffold_split(
    smiles: Iterable[str],
    fractions: Fractions = (0.8, 0.1, 0.1),
    chirality: bool = False,
    seed: int | None = None,
) -> Split:
    r"""Splits molecules so that no Bemis-Murcko scaffold occurs in two parts.

    Without a :obj:`seed` it is the deterministic split of DeepChem (`Wu et al., "MoleculeNet"
    <https://arxiv.org/abs/1703.00564>`_): molecules are grouped by scaffold, the groups are
    sorted by (size, first row), largest first, and each group goes into the first of train, valid
    and test in which there is room for it (test takes the rest). With ``chirality=True`` it
    reproduces the official splits of OGB's ``ogbg-mol*`` sets.

    That split puts the rarest scaffolds into the test part. With a :obj:`seed` the groups are in
    random order, after those larger than half of the smaller of valid and test, as in the balanced
    scaffold split of `Yang et al., "Analyzing Learned Molecular Representations"
    <https://arxiv.org/abs/1904.01561>`_; different seeds give different test parts.

    Args:
        smiles: The molecules, :math:`n` SMILES.
        fractions: Fractions of the molecules in train, valid and test; they sum to 1.
            (default: :obj:`(0.8, 0.1, 0.1)`)
        chirality: Whether scaffolds that differ only in stereo marks are different.
            (default: :obj:`False`)
        seed: Seed of the order of groups; :obj:`None` sorts them by size.
            (default: :obj:`None`)

    Raises:
        ValueError: If a SMILES cannot be read, one string is given instead of a sequence, the
            fractions cannot be used, or a part with a fraction above zero would be empty.
    """
    smiles = _listed(smiles)
    limit_train, limit_valid = _limits(len(smiles), fractions)
    groups = scaffold_groups(smiles, chirality)
    train, valid, test = [], [], []
    if seed is None:
        groups = sorted(groups, key=lambda rows: (len(rows), rows[0]), reverse=True)
    else:
        sizes = [limit_valid - limit_train, len(smiles) - limit_valid]
        groups = _shuffled(groups, min(filter(None, sizes), default=0), seed)
    for rows in groups:
        if len(train) + len(rows) <= limit_train:
            train += rows
        elif len(train) + len(valid) + len(rows) <= limit_valid:
            valid += rows
        else:
            test += rows
    largest = max(map(len, groups), default=0)
    found = f"{len(smiles)} molecules in {len(groups)} scaffolds, the largest with {largest}"
    return _checked(train, valid, test, fractions, found)


def scaffold_groups(smiles: Iterable[str], chirality: bool = False) -> list[list[int]]:
    """Returns the rows that share a Bemis-Murcko scaffold, in order of first appearance.

    Molecules without a ring share the empty scaffold.

    Args:
        smiles: The molecules, :math:`n` SMILES.
        chirality: Whether scaffolds that differ only in stereo marks are different.
            (default: :obj:`False`)

    Returns:
        One list of row numbers for each scaffold, together every row exactly once.

    Raises:
        ValueError: If a SMILES cannot be read, or one string is given instead of a sequence.
    """
    from rdkit import rdBase
    from rdkit.Chem.Scaffolds import MurckoScaffold

    from molae_pyg.chem.smiles import plain_mol, rdkit_errors

    groups: dict[str, list[int]] = {}
    with rdBase.BlockLogs():  # the error below names the row, which RDKit's log does not
        for row, text in enumerate(_listed(smiles)):
            try:
                mol = plain_mol(text)
                with rdkit_errors():
                    key = MurckoScaffold.MurckoScaffoldSmiles(mol=mol, includeChirality=chirality)
            except ValueError as error:
                raise ValueError(
                    f"row {row}: RDKit reads no molecule from SMILES {text!r} ({error}); "
                    "drop such rows before splitting"
                ) from None
            groups.setdefault(key, []).append(row)
    return list(groups.values())


def random_split(n: int, fractions: Fractions = (0.8, 0.1, 0.1), seed: int = 0) -> Split:
    """Splits :obj:`n` rows at random; the same seed gives the same split everywhere.

    Args:
        n: Number of rows.
        fractions: Fractions of the rows in train, valid and test; they sum to 1.
            (default: :obj:`(0.8, 0.1, 0.1)`)
        seed: Seed of the permutation. (default: :obj:`0`)

    Raises:
        ValueError: If the fractions cannot be used, or a part with a fraction above zero would
            be empty.
    """
    first, second = _limits(n, fractions)
    order = torch.randperm(n, generator=torch.Generator().manual_seed(seed)).numpy()
    parts = order[:first], order[first:second], order[second:]
    return _checked(*parts, fractions, f"{n} rows")


def repeated_folds(
    n: int, num_folds: int = 5, num_repeats: int = 5, valid: float = 0.1, seed: int = 0
) -> list[Split]:
    r"""Makes the splits of a repeated cross-validation; each row is tested once per repeat.

    It is the 5 x 5 protocol of Ash et al., `"Practically Significant Method Comparison
    Protocols" <https://doi.org/10.1021/acs.jcim.5c01609>`_.

    Args:
        n: Number of rows.
        num_folds: Number of folds; each is the test part once. (default: :obj:`5`)
        num_repeats: Number of repeats, each with other folds. (default: :obj:`5`)
        valid: Fraction of the other rows that is the validation part. (default: :obj:`0.1`)
        seed: Seed of the permutations. (default: :obj:`0`)

    Returns:
        ``num_repeats * num_folds`` splits, all folds of the first repeat first.

    Raises:
        ValueError: If there are fewer than 2 folds or a part would be empty.
    """
    if num_folds < 2 or num_repeats < 1:
        raise ValueError(
            f"at least 2 folds and 1 repeat are needed, got {num_folds} folds and {num_repeats} "
            "repeats"
        )
    if not 0 < valid < 1:
        raise ValueError(f"valid must be between 0 and 1, got {valid}")
    generator = torch.Generator().manual_seed(seed)
    splits = []
    for _ in range(num_repeats):
        folds = np.array_split(torch.randperm(n, generator=generator).numpy(), num_folds)
        for held_out, test in enumerate(folds):
            rest = np.concatenate([fold for k, fold in enumerate(folds) if k != held_out])
            rest = rest[torch.randperm(len(rest), generator=generator).numpy()]
            first = math.floor(valid * len(rest))
            splits.append(_checked(rest[first:], rest[:first], test, (1, 1, 1), f"{n} rows"))
    return splits


def save_split(split: Split, path: str | Path, smiles: Iterable[str]) -> None:
    """Writes a split as JSON, with checksums of its molecules and of itself.

    The file is replaced as a whole: after a kill there is the old one, the new one, or none.

    Raises:
        OSError: If it cannot be written; the message has the path.
    """
    content = {"smiles_sha256": _checksum(_listed(smiles))}
    content |= {name: rows.tolist() for name, rows in split._asdict().items()}
    content["sha256"] = _checksum_of_split(content)
    write_durably(path, json.dumps(content).encode())


def load_split(path: str | Path, smiles: Iterable[str]) -> Split:
    """Reads a split written by :func:`save_split`.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If the file is damaged, does not hold every molecule once, or was written for
            other molecules or another order of them.
    """
    smiles = _listed(smiles)
    damaged = f"the split in {path} is damaged: {{}}. Remove the file, and make the split again."
    try:
        content = json.loads(Path(path).read_bytes())
    except (ValueError, RecursionError) as error:
        raise ValueError(damaged.format(error)) from None
    wanted = ("smiles_sha256", *Split._fields)
    if not isinstance(content, dict) or any(name not in content for name in wanted):
        raise ValueError(damaged.format(f"it lacks one of {', '.join(wanted)}"))
    if content.get("sha256", _checksum_of_split(content)) != _checksum_of_split(content):
        raise ValueError(
            damaged.format("its checksum does not match (write splits of your own with save_split)")
        )
    if content["smiles_sha256"] != _checksum(smiles):
        raise ValueError(
            f"the split in {path} was made for other molecules: the checksum of the "
            f"{len(smiles)} SMILES given (content and order) does not match. Remove the file, and "
            "make the split again, or read the molecules that it was made for."
        )
    rows = [content[name] for name in Split._fields]
    if not all(isinstance(part, list) and all(type(row) is int for row in part) for part in rows):
        raise ValueError(damaged.format("its parts are not lists of row numbers"))
    if sorted(row for part in rows for row in part) != list(range(len(smiles))):
        raise ValueError(damaged.format(f"its parts do not make up the {len(smiles)} molecules"))
    return Split(*(np.array(part, dtype=np.int64) for part in rows))


def _checksum_of_split(content: dict) -> str:
    rows = [content["smiles_sha256"], *(content[name] for name in Split._fields)]
    return hashlib.sha256(json.dumps(rows).encode()).hexdigest()


def _shuffled(groups: list[list[int]], smallest: int, seed: int) -> list[list[int]]:
    """Returns the groups in random order, those larger than half of ``smallest`` first."""
    order = torch.randperm(len(groups), generator=torch.Generator().manual_seed(seed)).tolist()
    return sorted((groups[i] for i in order), key=lambda rows: 2 * len(rows) <= smallest)


def _limits(n: int, fractions: Fractions) -> tuple[int, int]:
    """Returns the largest number of rows in train, and in train and valid together."""
    if len(fractions) != 3 or min(fractions) < 0 or not math.isclose(sum(fractions), 1):
        raise ValueError(
            "fractions must be three numbers >= 0 (train, valid, test) that sum to 1, "
            f"got {fractions}"
        )
    train, valid, _ = fractions
    # 0.7 + 0.1 is a little less than 0.8 in floating point, which would cost a row.
    return math.floor(train * n + 1e-9), math.floor((train + valid) * n + 1e-9)


def _checked(
    train: Sequence[int],
    valid: Sequence[int],
    test: Sequence[int],
    fractions: Fractions,
    found: str,
) -> Split:
    split = Split(*(np.sort(np.asarray(part, dtype=np.int64)) for part in (train, valid, test)))
    for name, rows, fraction in zip(Split._fields, split, fractions, strict=True):
        if fraction > 0 and len(rows) == 0:
            raise ValueError(
                f"the {name} part would be empty ({found}): "
                "use more molecules, other fractions or a random split"
            )
    return split


def _listed(smiles: Iterable[str]) -> list[str]:
    from molae_pyg.chem.smiles import listed  # loads RDKit

    return listed(smiles)


def _checksum(smiles: Sequence[str]) -> str:
    """Returns a checksum of the molecules and their order."""
    return hashlib.sha256("\n".join(smiles).encode()).hexdigest()
