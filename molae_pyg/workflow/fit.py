"""``molae train``: one model a fold, baselines on the same folds, and a folder that resumes."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from molae_pyg import checkpoint
from molae_pyg.baselines.job import load_encoder
from molae_pyg.chem.options import InputError
from molae_pyg.datasets.table import MoleculeTable
from molae_pyg.durable import FolderLock, write_arrays
from molae_pyg.fingerprint import digest, of_weights
from molae_pyg.models import MolAEEncoder
from molae_pyg.tables.formats import Cells
from molae_pyg.tables.reading import Table
from molae_pyg.workflow.extra import usable
from molae_pyg.workflow.feature_cache import FeatureCache
from molae_pyg.workflow.features import CANDIDATES, DESCRIPTORS, ECFP, blocks_of, make_features
from molae_pyg.workflow.finetuned import FoldModel, fit_finetuned, fit_frozen, metric_of
from molae_pyg.workflow.folder import ModelFolder, check_names, targets_of
from molae_pyg.workflow.folds import for_each_fold, group_folds, make_folds
from molae_pyg.workflow.labels import Labels, check_labels, digest_of
from molae_pyg.workflow.model import FittedModel
from molae_pyg.workflow.molecules import Molecules
from molae_pyg.workflow.outcomes import featurized, without_smiles
from molae_pyg.workflow.output import cells_of, write_results
from molae_pyg.workflow.report.page import write_report
from molae_pyg.workflow.scores import BASELINES, MODEL, fit_baselines
from molae_pyg.workflow.settings import FitSettings
from molae_pyg.workflow.tuning import check_optuna, chosen_in

_INNER = 3  # folds of the cross-validation that chooses read-out and penalty


def fit(
    table: Table,
    folder: str | Path,
    settings: FitSettings | None = None,
    cells: Cells | None = None,
    name: str = "table",
    molecules: Molecules | None = None,
    cache: bool = False,
    report: bool = True,
) -> FittedModel:
    """Trains a model for a table, and baselines on the same folds, into a folder.

    A killed call resumes when it is made again with the same arguments, and gives the same files.
    A finished one returns at once.

    Args:
        table: Molecules and targets. Rows that give no molecule are left out and have no
            prediction.
        folder: Folder of the model; made if absent.
        settings: See :class:`FitSettings`.
        cells: All cells of the table, which ``predictions.csv`` repeats and which hold the column
            of a split. default: SMILES and labels.
        name: Name of the data, for the report.
        molecules: Molecules of the rows, of which some have coordinates. Without SMILES, the
            encoder alone is read and folds are random, and a warning says so. default: conformers
            are made from the SMILES of the table.
        cache: Whether conformers and features are kept in the user's cache for other fits, see
            :class:`~molae_pyg.workflow.feature_cache.FeatureCache`. default: false, they are kept
            in the folder.
        report: Whether ``report.html`` is written, which takes seconds. default: true.

    Raises:
        ValueError: The folder holds another model (the message says what differs) or something
            else, or nothing can be learned from the labels.
        BlockingIOError: Another process trains in the folder.
    """
    settings = settings or FitSettings()
    if settings.tune:
        check_optuna()
    folder = Path(folder)
    cells = cells or cells_of(table)
    extra, texts, table, lost = usable(settings, table, cells)
    if settings.coordinates == "file" and molecules is None:
        raise InputError("coordinates='file' needs the molecules of molecules_of_sdf")
    if cache and molecules is None:
        molecules = Molecules.of(table)
    if molecules is not None:
        molecules = extra.beside(molecules, cells)
        table = table._replace(smiles=molecules.smiles)  # those whose atoms have the coordinates
    if molecules is not None and not molecules.has_smiles:
        settings = without_smiles(settings)
    encoder = load_encoder(settings.weights).eval()
    identity = _identity(table, settings, cells, molecules, encoder)
    targets = targets_of(table, cells)
    check_names(targets)
    check_labels(table)
    if folder.is_file():
        raise InputError(f"{folder} is a file: a folder is needed")
    folder.mkdir(parents=True, exist_ok=True)
    with FolderLock(folder):
        place = ModelFolder(folder, identity)
        if place.is_done:
            return FittedModel.load(folder)
        if not (folder / "encoder").is_dir():
            checkpoint.save(encoder, folder / "encoder")
        memory = FeatureCache(settings.options) if cache else None
        data = featurized(table, folder, settings.options, name, molecules, memory)
        for row, reason in lost.items():
            data.report.reasons[row] = reason
        fold = split_into_folds(data, settings, cells)
        _check_folds(data, fold, settings)
        rows = data._data.row.tolist()
        place.start(targets, data, fold, name, extra.columns, [texts[row] for row in rows])
        keys, beside = molecules.keys(rows) if memory else [], extra.features(texts, rows)
        _fit_folds(data, fold, settings, encoder, folder, memory, keys, beside)
        if settings.tune:
            metric, places = metric_of(data, settings), range(fold.max() + 1)
            tuned = [chosen_in(folder / f"fold-{part}", metric) for part in places]
            place.add({"tuned": tuned})
        model = FittedModel(folder)
        write_results(model, cells)
        if report:
            write_report(model)
        place.finish()
    return model


def _identity(
    table: Table,
    settings: FitSettings,
    cells: Cells,
    molecules: Molecules | None,
    encoder: MolAEEncoder,
) -> dict[str, Any]:
    """Returns what makes a fit the same."""
    identity = {
        "settings": settings.to_dict(),
        "weights": of_weights(encoder),
        "smiles": digest(table.smiles),
        "labels": digest_of(table),
        "cells": digest(cells.columns, cells.rows),
    }
    if molecules is not None and any(molecules.given):
        identity["molecules"] = molecules.fingerprint()
    return identity


def split_into_folds(data: MoleculeTable, settings: FitSettings, cells: Cells) -> np.ndarray:
    """Returns the fold of each molecule ``[n]``."""
    if settings.folds == 1:
        return np.zeros(len(data), np.int64)
    kind, number = _split(data, settings, cells), settings.folds
    if kind not in ("scaffold", "random"):
        number = min(number, len(set(kind)))
        if number < 2:
            raise InputError(f"--split {settings.split}: all rows have the same value")
    return make_folds(data.smiles, kind, number, settings.seed)


def _check_folds(data: MoleculeTable, fold: np.ndarray, settings: FitSettings) -> None:
    """Checks that each target can be learned without a fold."""
    for name, labels in zip(data.task_names, Labels.of_data(data).exact.T, strict=True):
        for part in range(int(fold.max()) + 1) if settings.folds > 1 else ():
            known = labels[(fold != part) & ~np.isnan(labels)]
            if len(np.unique(known)) < 2:
                raise InputError(
                    f"without fold {part}, target {name!r} has no two different labels: use more "
                    "folds or another split (--folds, --split)"
                )


def _split(data: MoleculeTable, settings: FitSettings, cells: Cells) -> str | list[str]:
    """Returns the kind of folds, or the label of each molecule."""
    if not settings.split.startswith("column:"):
        return settings.split
    column = settings.split.removeprefix("column:").strip()
    if cells.columns.count(column) != 1:
        found = "occurs twice" if column in cells.columns else "is absent"
        raise InputError(f"column {column!r} of --split {found}. Columns: {cells.columns}")
    index = cells.columns.index(column)
    return [cells.rows[row][index].strip() for row in data._data.row.tolist()]


def _fit_folds(
    data: MoleculeTable,
    fold: np.ndarray,
    settings: FitSettings,
    encoder: MolAEEncoder,
    folder: Path,
    memory: FeatureCache | None,
    keys: Sequence[str | None],
    beside: dict[str, np.ndarray],
) -> None:
    """Fits the model of each fold and the baselines, those that are not there."""
    candidates = [(*blocks, *beside) for blocks in CANDIDATES[settings.features]]
    uses_readout = settings.frozen or settings.features != "none"
    names = blocks_of(CANDIDATES[settings.features]) if uses_readout else []
    if settings.folds > 1 and settings.baselines:
        names += [name for name in (DESCRIPTORS, ECFP) if name not in names]
    baselines = BASELINES if settings.baselines else ("mean",)
    place = folder / "features"
    features = make_features(names, data.smiles, data, encoder, place, memory, keys) | beside
    labels = Labels.of_data(data)

    def fit_fold(part: int) -> None:
        place = folder / f"fold-{part}"
        place.mkdir(exist_ok=True)
        if (place / "predicted.npz").is_file():
            return
        train = np.flatnonzero(fold != part) if settings.folds > 1 else np.arange(len(data))
        test = np.flatnonzero(fold == part) if settings.folds > 1 else np.zeros(0, int)
        inner = inner_folds(data, train, settings)
        if settings.frozen:
            fit_frozen(features, labels, train, inner, candidates, settings, place)
        else:
            fit_finetuned(data, train, settings, candidates, features, place)
        found = {"rows": test}
        if settings.folds > 1:
            held_out = {name: x[test] for name, x in features.items()}
            found[MODEL] = FoldModel(place).predict(held_out, data[test])
            found |= fit_baselines(features, labels, train, test, inner, settings.seed, baselines)
        write_arrays(place / "predicted.npz", found)

    for_each_fold(fit_fold, fold, side_by_side=settings.frozen)


def inner_folds(data: MoleculeTable, rows: np.ndarray, settings: FitSettings) -> np.ndarray:
    """Returns folds of training rows ``[m]``; without enough scaffolds they are random."""
    smiles = [data.smiles[row] for row in rows.tolist()]
    if settings.split == "scaffold":
        try:
            return make_folds(smiles, "scaffold", _INNER, settings.seed)
        except InputError:
            pass
    return group_folds(np.arange(len(rows)), min(_INNER, len(rows)), settings.seed, "rows")
