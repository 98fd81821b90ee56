"""How a data set is split and how often, under a name."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

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


class Trial(NamedTuple):
    """One split and the seed of everything else."""

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
    """The split that came with the molecules, where one did, else by chiral scaffolds."""
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
    """How to split, and the number of seeds (of repeats, for folds) by default."""

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
    """Whether a split file is no JSON at all, and says so."""
    try:
        json.loads(file.read_bytes())
    except (ValueError, RecursionError):
        print(f"{file} is damaged; the split is made anew by the same rule", flush=True)
        return True
    return False


def make_trials(
    dataset: MoleculeTable, protocol: str, seeds: int | None, folder: Path
) -> list[tuple[Trial, str]]:
    """The trials of a protocol, each with the SHA-256 of its split file in the folder.

    A split that is there is read, and has to be one of these molecules. The half of a file, as a
    full disk leaves it, is written anew: the rule gives the same split.
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
