"""The model of a fold: a read-out of frozen features, a fine-tuned encoder, or their average."""

import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch_geometric.data import Data

from molae_pyg.baselines.job import DEVICE, load_encoder
from molae_pyg.checkpoint import saved_class
from molae_pyg.chem.options import InputError
from molae_pyg.datasets.table import MoleculeTable
from molae_pyg.durable import write_arrays
from molae_pyg.inference import predict
from molae_pyg.kinds import as_outputs
from molae_pyg.metrics import choosing_metric
from molae_pyg.models import AtomPredictor, MolAEPredictor
from molae_pyg.nn.readout import LINEAR_READOUTS
from molae_pyg.training import Finetuning, finetune
from molae_pyg.workflow.features import read_arrays
from molae_pyg.workflow.folds import group_folds, make_folds
from molae_pyg.workflow.labels import Labels
from molae_pyg.workflow.readout import Readout, fit_readout
from molae_pyg.workflow.tuning import space_of, tune

if TYPE_CHECKING:
    from molae_pyg.workflow.settings import FitSettings

#: Settings of the head, which ``--set`` takes beside those of the training.
HEAD = {"readout": "cls, mean", "pooler_dropout": 0.1}
#: Settings of the training that differ from those of :class:`~molae_pyg.training.Finetuning`.
TRAINING = {"epochs": 20, "lr": 5e-4, "patience": 10}

_VALID_PARTS = 10  # one of these parts of the training rows chooses epoch and share
_SHARES = np.linspace(0, 1, 5)  # of the fine-tuned model in the average
FINETUNED = "finetuned"  # folder of the run
_READOUT, _SHARE = "readout.npz", "share.npz"


class FoldModel:
    """The fitted model of one fold.

    Args:
        folder: Its folder.
    """

    def __init__(self, folder: Path):
        self._model_folder = folder / FINETUNED / "model"
        self.is_finetuned = self._model_folder.is_dir()
        self.readout = None
        if (folder / _READOUT).is_file():
            self.readout = Readout(read_arrays(folder / _READOUT))
        self._share = 1.0 if self.is_finetuned else 0.0
        if (folder / _SHARE).is_file():
            self._share = read_arrays(folder / _SHARE)["share"]  # [O]

    @property
    def blocks(self) -> list[str]:
        """Names of the blocks of features that the read-out needs."""
        return [] if self.readout is None else self.readout.blocks

    def predict(
        self,
        features: Mapping[str, np.ndarray],
        molecules: Sequence[Data],
        by: Callable[[MolAEPredictor, Sequence[Data]], np.ndarray] = predict,
    ) -> np.ndarray:
        """Returns values or probabilities ``[n, O]``, of atoms ``[N, T]``.

        Args:
            features: Blocks of the read-out ``[n, F_b]``.
            molecules: The same molecules for the fine-tuned encoder.
            by: Predicts the molecules with it.
        """
        if not self.is_finetuned:
            return self.readout.predict(features)
        of_atoms = saved_class(self._model_folder) == AtomPredictor.__name__
        cls = AtomPredictor if of_atoms else MolAEPredictor
        model = cls.from_pretrained(self._model_folder).to(DEVICE)
        found = by(model, molecules).astype(float)
        if self.readout is None:
            return found
        return self._share * found + (1 - self._share) * self.readout.predict(features)


def fit_frozen(
    features: Mapping[str, np.ndarray],
    labels: Labels,
    train: np.ndarray,
    inner: np.ndarray,
    candidates: Sequence[tuple[str, ...]],
    settings: "FitSettings",
    folder: Path,
) -> None:
    """Fits the read-out of a fold into its folder; see :func:`fit_readout`."""
    kept = {name: x[train] for name, x in features.items()}
    known = labels.take(train)
    readout = fit_readout(kept, known, inner, candidates, settings.seed, settings.class_weights)
    write_arrays(folder / _READOUT, readout.arrays())


def fit_finetuned(
    data: MoleculeTable,
    train: np.ndarray,
    settings: "FitSettings",
    candidates: Sequence[tuple[str, ...]],
    features: Mapping[str, np.ndarray],
    folder: Path,
) -> None:
    """Fine-tunes the model of a fold into its folder.

    A tenth of the training rows chooses the epoch. With features beside the encoder a read-out is
    fitted to the other training rows, and the prediction is a weighted average of both; the same
    tenth chooses the weight of each target, and with ``settings.tune`` the settings. Rows of the
    fold that is held out have no part in it.
    """
    labels = Labels.of_data(data)
    valid = _valid_rows(data, train, settings)
    rest = np.setdiff1d(train, valid)
    changes: dict[str, Any] = {}
    if settings.tune:
        changes = tune(
            settings.tune,
            space_of(settings.training),
            {**asdict(Finetuning()), **HEAD, **TRAINING},
            lambda changes, place: _finetuned(data, rest, valid, settings, changes, place)[1],
            metric_of(data, settings),
            folder,
            folder / FINETUNED,
            settings.seed,
        )
    # After tuning, the run of the best trial is there and is read.
    model, _ = _finetuned(data, rest, valid, settings, changes, folder / FINETUNED)
    if settings.features == "none":
        return
    inner = group_folds(np.arange(len(rest)), min(3, len(rest)), settings.seed, "rows")
    fit_frozen(features, labels, rest, inner, candidates, settings, folder)
    readout = Readout(read_arrays(folder / _READOUT))
    of_features = readout.predict({name: x[valid] for name, x in features.items()})
    finetuned = predict(model.to(DEVICE), data[valid]).astype(float)
    share = _best_share(labels.take(valid), finetuned, of_features)
    write_arrays(folder / _SHARE, {"share": share})


def metric_of(data: MoleculeTable, settings: "FitSettings") -> str:
    """Returns the score that chooses epoch and settings."""
    return choosing_metric(data.task_types, data.num_tasks, settings.training.get("metric"))


def _finetuned(
    data: MoleculeTable,
    train: np.ndarray,
    valid: np.ndarray,
    settings: "FitSettings",
    changes: dict[str, Any],
    folder: Path,
) -> tuple[MolAEPredictor, dict[str, float]]:
    """Fine-tunes a model with changed settings in a folder; returns it and its scores."""
    chosen = {**TRAINING, "class_weights": settings.class_weights}
    chosen |= {**settings.training, **changes}
    head = {name: chosen.pop(name, default) for name, default in HEAD.items()}
    chosen.setdefault("linear_start", head["readout"] in LINEAR_READOUTS)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(settings.seed)
        model = MolAEPredictor(
            load_encoder(settings.weights),
            data.num_tasks,
            task_names=data.task_names,
            task_type=data.task_types,
            num_classes=data.num_classes,
            **head,
        )
    try:
        scores = finetune(
            model, data[train], data[valid], folder, Finetuning(**chosen),
            settings.seed, recipe=data.recipe,
        )  # fmt: skip
    except ValueError as error:
        raise InputError(
            f"{error}. A read-out of the frozen encoder needs fewer (--frozen)"
        ) from None
    return model, scores


def _best_share(labels: Labels, first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Returns the share of ``first`` with the smallest squared error of each target ``[O]``."""
    mixed = [share * first + (1 - share) * second for share in _SHARES]
    y = as_outputs(labels.exact, labels.num_outputs)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of targets without a label in these rows
        errors = np.stack([np.nanmean((values - y) ** 2, axis=0) for values in mixed])  # [S, O]
    errors = np.where(np.isnan(errors), (np.arange(len(_SHARES)) != 2)[:, None], errors)
    errors = np.add.reduceat(errors, [place.start for place in labels.slices], axis=1)  # [S, T]
    return np.repeat(_SHARES[errors.argmin(0)], labels.num_outputs)


def _valid_rows(data: MoleculeTable, train: np.ndarray, settings: "FitSettings") -> np.ndarray:
    """Returns the training rows that choose the epoch: a part with labels that can choose."""
    smiles = [data.smiles[row] for row in train.tolist()]
    parts = min(_VALID_PARTS, len(train))
    try:
        kind = "scaffold" if settings.split == "scaffold" else "random"
        part = make_folds(smiles, kind, parts, settings.seed)
    except InputError:  # too few scaffolds
        part = make_folds(smiles, "random", parts, settings.seed)
    labels = Labels.of_data(data).take(train).exact

    def different(number: int) -> tuple[int, int]:
        found = [len(np.unique(y[~np.isnan(y)])) > 1 for y in labels[part == number].T]
        return sum(found), number  # the last parts have no large scaffold

    return train[part == max(range(parts), key=different)]
