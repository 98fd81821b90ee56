"""``molae train`` of values of atoms: folds of molecules, a read-out of atom vectors, baselines."""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch_geometric.data import Data

from molae_pyg import checkpoint
from molae_pyg.baselines.job import load_encoder
from molae_pyg.chem.options import InputError
from molae_pyg.datasets import CSVDataset
from molae_pyg.durable import FolderLock, write_arrays
from molae_pyg.fingerprint import digest, of_weights
from molae_pyg.models import AtomPredictor, MolAEEncoder
from molae_pyg.tables.atom_lists import AtomTable
from molae_pyg.tables.formats import Cells
from molae_pyg.tables.reading import Table
from molae_pyg.training import Finetuning, finetune
from molae_pyg.workflow.atoms.features import ATOM_CANDIDATES, ENVIRONMENT, Atoms, atom_features
from molae_pyg.workflow.atoms.model import ATOMS_FILE, AtomModel
from molae_pyg.workflow.atoms.output import cells_of_atoms, write_atom_results
from molae_pyg.workflow.atoms.scores import fit_atom_baselines
from molae_pyg.workflow.features import blocks_of, with_atom_map
from molae_pyg.workflow.finetuned import FINETUNED, HEAD, TRAINING, FoldModel, fit_frozen
from molae_pyg.workflow.fit import inner_folds, split_into_folds
from molae_pyg.workflow.folder import ModelFolder, Target, check_names
from molae_pyg.workflow.folds import for_each_fold, group_folds
from molae_pyg.workflow.labels import Labels
from molae_pyg.workflow.outcomes import featurized
from molae_pyg.workflow.report.page import write_report
from molae_pyg.workflow.scores import MODEL
from molae_pyg.workflow.settings import FitSettings

#: Largest number of training atoms of a read-out and of a forest; of more, some are drawn.
MOST_ATOMS = 10_000
_VALID_PARTS = 10  # one of these parts of the training molecules chooses the epoch


class _Training(NamedTuple):
    """What is learned from."""

    data: CSVDataset
    molecules: list[Data]  # with atom_map
    atoms: Atoms
    y: np.ndarray  # [N, T]
    features: dict[str, np.ndarray]  # [N, F]
    settings: FitSettings

    def with_values(self, molecules: np.ndarray) -> np.ndarray:
        """Returns the atoms of these molecules that have a value, at most :data:`MOST_ATOMS`."""
        some = np.isin(self.atoms.molecule, molecules) & ~np.isnan(self.y).all(1)
        rows = np.flatnonzero(some)
        if len(rows) > MOST_ATOMS:
            rng = np.random.default_rng(self.settings.seed)
            rows = np.sort(rng.choice(rows, MOST_ATOMS, replace=False))
        return rows


def fit_atoms(
    table: AtomTable,
    folder: str | Path,
    settings: FitSettings | None = None,
    cells: Cells | None = None,
    name: str = "table",
) -> AtomModel:
    """Trains a model for values of atoms, and baselines on the same folds, into a folder.

    It resumes and refuses as :func:`~molae_pyg.workflow.fit` does. A molecule is never divided
    between folds.

    Args:
        table: Molecules and values of their atoms. Rows that give no molecule are left out.
        folder: Folder of the model; made if absent.
        settings: See :class:`~molae_pyg.workflow.FitSettings`. ``features`` is ``"none"`` (the
            vectors of the encoder), ``"ecfp"`` (and the environment of the atom) or ``"auto"``.
        cells: All cells of the table, which ``predictions.csv`` repeats and which hold the column
            of a split. default: SMILES and lists.
        name: Name of the data.

    Raises:
        ValueError: As :func:`~molae_pyg.workflow.fit`, or ``features``, ``tune``, ``extra`` or
            ``coordinates`` are for targets of molecules.
        BlockingIOError: Another process trains in the folder.
    """
    settings, folder = settings or FitSettings(), Path(folder)
    if settings.features not in ATOM_CANDIDATES:
        raise InputError(
            f"--features {settings.features}: descriptors are those of molecules; targets of atoms "
            f"take {', '.join(ATOM_CANDIDATES)}"
        )
    if settings.tune or settings.extra:
        raise InputError("--tune and --extra are for targets of molecules")
    if settings.coordinates == "file":
        raise InputError("--coordinates file is for targets of molecules")
    cells = cells or cells_of_atoms(table)
    targets = [Target(task, "atom", []) for task in table.task_names]
    check_names(targets)
    encoder = load_encoder(settings.weights).eval()
    identity = {
        "settings": settings.to_dict(),
        "weights": of_weights(encoder),
        "smiles": digest(table.records.smiles),
        "labels": digest(table.task_names, *table.values),
        "cells": digest(cells.columns, cells.rows),
    }
    _check_values(np.concatenate(table.values), table.task_names)
    folder.mkdir(parents=True, exist_ok=True)
    with FolderLock(folder):
        place = ModelFolder(folder, identity)
        if place.is_done:
            return AtomModel(folder)
        if not (folder / "encoder").is_dir():
            checkpoint.save(encoder, folder / "encoder")
        data = featurized(_means(table), folder, settings.options, name)
        fold = split_into_folds(data, settings, cells)
        training = _training(table, data, settings, encoder, folder)
        _check_folds(training, fold, table.task_names)
        write_arrays(folder / ATOMS_FILE, {"y": training.y, **training.atoms._asdict()})
        place.start(targets, data, fold, name)
        _fit_folds(training, fold, folder)
        model = AtomModel(folder)
        write_atom_results(model, cells, table.records)
        write_report(model)
        place.finish()
    return model


def _means(table: AtomTable) -> Table:
    """Returns the molecules with the mean of their atoms' values; the data set needs a label."""
    number = np.array([(~np.isnan(x)).sum(0) for x in table.values])  # [n, T]
    total = np.array([np.nansum(x, axis=0) for x in table.values])
    y = np.where(number > 0, total / np.maximum(number, 1), np.nan)
    labels = torch.from_numpy(y.astype(np.float32))  # [n, T]
    kinds = ["regression"] * len(table.task_names)
    return Table(table.records.smiles, labels, table.task_names, kinds)


def _training(
    table: AtomTable,
    data: CSVDataset,
    settings: FitSettings,
    encoder: MolAEEncoder,
    folder: Path,
) -> _Training:
    molecules = [with_atom_map(data[i]) for i in range(len(data))]
    rows = data._data.row.tolist()
    atoms = Atoms.of(molecules, table.records, rows)
    first = np.cumsum([0, *(len(x) for x in table.values)])
    place = first[np.array(rows)][atoms.molecule] + atoms.place
    y = np.concatenate(table.values)[np.where(atoms.place >= 0, place, 0)]  # [N, T]
    y[atoms.place < 0] = np.nan
    names = blocks_of(ATOM_CANDIDATES[settings.features]) if settings.frozen else []
    names += [ENVIRONMENT] if settings.folds > 1 and ENVIRONMENT not in names else []
    features = atom_features(names, molecules, encoder, folder / "features")
    return _Training(data, molecules, atoms, y, features, settings)


def _check_values(y: np.ndarray, names: Sequence[str]) -> None:
    for name, column in zip(names, y.T, strict=True):
        different = len(np.unique(column[~np.isnan(column)]))
        if different < 2:
            raise InputError(f"target {name!r} has {different} different values: two are needed")


def _check_folds(training: _Training, fold: np.ndarray, names: Sequence[str]) -> None:
    of_atom = fold[training.atoms.molecule]
    for part in np.unique(fold):
        for name, column in zip(names, training.y.T, strict=True):
            known = column[((of_atom != part) | (fold.max() == 0)) & ~np.isnan(column)]
            if len(np.unique(known)) < 2:
                raise InputError(
                    f"without fold {part}, target {name!r} has no two different values on atoms "
                    "that the model sees: use more folds or another split (--folds, --split)"
                )


def _fit_folds(training: _Training, fold: np.ndarray, folder: Path) -> None:
    """Fits the model of each fold and the baselines, those that are not there."""
    settings, atoms, features = training.settings, training.atoms, training.features

    def fit_fold(part: int) -> None:
        place = folder / f"fold-{part}"
        place.mkdir(exist_ok=True)
        if (place / "predicted.npz").is_file():
            return
        held_out = np.flatnonzero(fold == part) if settings.folds > 1 else np.zeros(0, int)
        train = np.setdiff1d(np.arange(len(fold)), held_out)
        if settings.frozen:
            _fit_readout(training, train, place)
        else:
            _finetune(training, train, place)
        test = np.flatnonzero(np.isin(atoms.molecule, held_out))
        found = {"rows": test}
        if settings.folds > 1:
            some = {name: x[test] for name, x in features.items()}
            found[MODEL] = FoldModel(place).predict(some, [training.molecules[i] for i in held_out])
            rows = training.with_values(train)
            found |= fit_atom_baselines(
                features[ENVIRONMENT], atoms.z, training.y, rows, test, settings.seed
            )
        write_arrays(place / "predicted.npz", found)

    for_each_fold(fit_fold, fold, side_by_side=settings.frozen)


def _fit_readout(training: _Training, train: np.ndarray, folder: Path) -> None:
    rows, settings = training.with_values(train), training.settings
    inner = inner_folds(training.data, train, settings)  # of molecules
    of_atom = inner[np.searchsorted(train, training.atoms.molecule[rows])]
    labels = Labels.of(training.y[rows], ["regression"] * training.y.shape[1])
    features = {name: x[rows].astype(float) for name, x in training.features.items()}
    every, candidates = np.arange(len(rows)), ATOM_CANDIDATES[settings.features]
    fit_frozen(features, labels, every, of_atom, candidates, settings, folder)


def _finetune(training: _Training, train: np.ndarray, folder: Path) -> None:
    """Fine-tunes the model of a fold; a tenth of its training molecules chooses the epoch."""
    settings, data = training.settings, training.data
    number = min(_VALID_PARTS, len(train))
    part = group_folds(np.arange(len(train)), number, settings.seed, "molecules")
    ends = np.bincount(training.atoms.molecule, minlength=len(data)).cumsum()[:-1]
    y = torch.from_numpy(training.y).float().tensor_split(torch.from_numpy(ends))

    def labelled(rows: np.ndarray) -> list[Data]:
        return [_with_labels(training.molecules[row], y[row]) for row in rows.tolist()]

    chosen = {**TRAINING, **settings.training}
    head = {name: chosen.pop(name, default) for name, default in HEAD.items()}
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(settings.seed)
        model = AtomPredictor(
            load_encoder(settings.weights),
            data.num_tasks,
            head["pooler_dropout"],
            data.task_names,
        )
    finetune(
        model,
        labelled(train[part != 0]),
        labelled(train[part == 0]),
        folder / FINETUNED,
        Finetuning(**chosen),
        settings.seed,
        recipe=data.recipe,
    )


def _with_labels(data: Data, y: Tensor) -> Data:
    data = data.clone()
    data.y = y
    return data
