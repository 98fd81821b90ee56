"""Protocols by name: how a data set is split, and how often."""

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from rdkit import Chem, rdBase
from tqdm import tqdm

from molae_pyg.chem.smiles import plain_mol
from molae_pyg.datasets.table import MoleculeTable
from molae_pyg.durable import sha256_of
from molae_pyg.splits import (
    Split,
    load_split,
    random_split,
    repeated_folds,
    save_split,
    scaffold_split,
)
from molae_pyg.tables.reading import read_smiles


class Trial(NamedTuple):
    """One split, and the seed of the model."""

    seed: int
    fold: int
    split: Split


def _with_seeds(split: Split, seeds: int) -> list[Trial]:
    return [Trial(seed, 0, split) for seed in range(seeds)]


def _scaffold(dataset: MoleculeTable, seeds: int) -> list[Trial]:
    return _with_seeds(scaffold_split(dataset.smiles), seeds)


def _scaffold_chiral(dataset: MoleculeTable, seeds: int) -> list[Trial]:
    return _with_seeds(scaffold_split(dataset.smiles, chirality=True), seeds)


def _published(dataset: MoleculeTable, seeds: int) -> list[Trial]:
    """Returns the split that came with the molecules; without one, chiral scaffolds."""
    split = getattr(dataset, "split", None)
    if split is None:
        return _scaffold_chiral(dataset, seeds)
    return _with_seeds(split, seeds)


def _random(dataset: MoleculeTable, seeds: int) -> list[Trial]:
    return [Trial(seed, 0, random_split(len(dataset), seed=seed)) for seed in range(seeds)]


def _cv5x5(dataset: MoleculeTable, seeds: int) -> list[Trial]:
    splits = repeated_folds(len(dataset), num_folds=5, num_repeats=seeds)
    return [Trial(k // 5, k % 5, split) for k, split in enumerate(splits)]


class Protocol(NamedTuple):
    """A way to split, and the default number of seeds (for folds: of repeats)."""

    trials: Callable[[MoleculeTable, int], list[Trial]]
    seeds: int


PROTOCOLS = {
    "scaffold": Protocol(_scaffold, 3),
    "scaffold-chiral": Protocol(_scaffold_chiral, 3),
    "published": Protocol(_published, 3),
    "random": Protocol(_random, 3),
    "cv5x5": Protocol(_cv5x5, 5),
}


def _is_torn(file: Path) -> bool:
    """Whether a split file is no JSON, which is printed."""
    try:
        json.loads(file.read_bytes())
    except (ValueError, RecursionError):
        print(f"{file} is damaged; the split is made anew by the same rule", flush=True)
        return True
    return False


def make_trials(
    dataset: MoleculeTable, protocol: str, seeds: int | None, folder: Path
) -> list[tuple[Trial, str]]:
    """Returns the trials of a protocol, each with the SHA-256 of its split file in a folder.

    A file that exists is read, and must be a split of these molecules. An incomplete file, which a
    full disk leaves, is written again: the rule gives the same split.
    """
    how = PROTOCOLS[protocol]
    folder.mkdir(parents=True, exist_ok=True)
    found = []
    for trial in how.trials(dataset, how.seeds if seeds is None else seeds):
        file = folder / f"{trial.seed}-{trial.fold}.json"
        if not file.is_file() or _is_torn(file):
            save_split(trial.split, file, dataset.smiles)
        trial = trial._replace(split=load_split(file, dataset.smiles))
        found.append((trial, sha256_of(file)))
    return found


def without_stereo(smiles: str) -> str | None:
    """Returns canonical SMILES without stereochemistry and isotopes; None if it is invalid.

    It distinguishes the same compounds as :func:`molae_pyg.chem.parsing.compound_key` in less time.
    """
    with rdBase.BlockLogs():
        try:
            return Chem.MolToSmiles(plain_mol(smiles), isomericSmiles=False)
        except ValueError:
            return None


def read_seen(files: Sequence[str | Path]) -> set[str | None]:
    """Returns the molecules in files of SMILES, without stereochemistry."""
    smiles = [text for file in files for text in read_smiles(file)]
    bar = tqdm(smiles, "seen", unit="mol", delay=1.0, disable=None)
    return {without_stereo(text) for text in bar}


def make_split(dataset: MoleculeTable, seed: int, seen: set[str | None]) -> Split:
    """Returns the scaffold split of a seed, without seen test molecules, ordered by size."""
    train, valid, test = scaffold_split(dataset.smiles, seed=seed)
    is_new = [without_stereo(dataset.smiles[row]) not in seen for row in test]
    num_atoms = np.array([data.z.numel() for data in dataset])
    parts = (train, valid, test[is_new])
    return Split(*(part[np.argsort(num_atoms[part], kind="stable")] for part in parts))
