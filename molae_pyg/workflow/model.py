"""A fitted model: predictions with intervals, from the models of all folds."""

import warnings
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from tqdm.auto import tqdm

from molae_pyg.baselines.forest import ecfp4
from molae_pyg.chem.options import InputError, Options
from molae_pyg.chem.rows import status_of
from molae_pyg.inference import Explanation
from molae_pyg.models import MolAEEncoder
from molae_pyg.workflow.estimates import max_tanimoto
from molae_pyg.workflow.extra import Columns, Extra, ExtraColumn
from molae_pyg.workflow.feature_cache import FeatureCache
from molae_pyg.workflow.features import DESCRIPTORS, ECFP, ENCODER, make_features, read_arrays
from molae_pyg.workflow.finetuned import FoldModel
from molae_pyg.workflow.folder import MODEL_FILE, TRAINING_FILE, Target, read_json
from molae_pyg.workflow.labels import Labels
from molae_pyg.workflow.molecules import SOURCES, AnyMolecules, Molecules
from molae_pyg.workflow.outcomes import Outcomes, outcomes_of
from molae_pyg.workflow.prediction_columns import TargetColumns
from molae_pyg.workflow.scores import BASELINES, MODEL


class FittedModel:
    """The model of a folder that ``molae train`` or :func:`~molae_pyg.workflow.fit` has made.

    Args:
        folder: The folder. :meth:`load` also checks that it is whole.

    Attributes:
        folder: The folder.
        info: Content of ``model.json``.
        targets: What is predicted.
        num_folds: Number of folds; 1: there is no estimate and there are no intervals.
        smiles: Training molecules ``[n]``.
        rows: Their rows in the table ``[n]``.
        fold: Their folds ``[n]``.
        extra: Columns that the read-out sees beside the molecules.
        beside: Their cells in these rows.
        labels: Their labels, bounds included.
        y: Their exact labels ``[n, T]``, NaN = missing or a bound; of classes the index.
        cache: Whether conformers and features of SMILES are kept in the user's cache and taken
            from there. default: false.
        workers: Number of processes that make conformers. default: one a core.
        recipe: Recipe of the conformers of new molecules, see :func:`~molae_pyg.chem.from_smiles`.
            default: that of the training; another one shifts predictions, and a warning says so.
        predictions: Predictions ``[n, O]`` of rows by models that have not seen them, of this model
            (``"molae"``) and of the baselines, by name; empty with one fold. O = T unless a target
            has several classes, see :meth:`columns_of`.
    """

    cache = False
    workers: int | None = None
    recipe: str | None = None

    def __init__(self, folder: str | Path):
        self.folder = Path(folder)
        self.info: dict[str, Any] = read_json(self.folder / MODEL_FILE)
        training = read_json(self.folder / TRAINING_FILE)
        self.targets = [Target(**target) for target in self.info["targets"]]
        self.smiles: list[str] = training["smiles"]
        self.rows, self.fold = np.array(training["row"]), np.array(training["fold"])
        shape = len(self.smiles), len(self.targets)
        y = np.array(training["y"], float).reshape(shape)
        bound = np.array(training.get("bound", np.zeros(shape)), np.int8)
        kinds, numbers = [t.kind for t in self.targets], [t.num_outputs for t in self.targets]
        self.labels = Labels.of(y, kinds, numbers, bound)
        self.y = self.labels.exact
        self.outcomes: list[str] = training["outcomes"]
        self.reasons: list[str] = training["reasons"]
        self.num_folds = int(self.fold.max()) + 1
        self.extra = Extra([ExtraColumn(*column) for column in training.get("extra", [])])
        self.beside: list[list[str]] = training.get("beside", [])
        self.predictions = self._out_of_fold() if self.num_folds > 1 else {}

    @classmethod
    def load(cls, folder: str | Path) -> "FittedModel":
        """Opens a folder.

        Raises:
            ValueError: If it holds no whole model.
        """
        file = Path(folder) / MODEL_FILE
        if not file.is_file():
            raise InputError(f"{folder} holds no model of molae train: there is no {MODEL_FILE}")
        if not read_json(file).get("done"):
            raise InputError(f"the training in {folder} has not ended: run the same command again")
        if any(target["kind"] == "atom" for target in read_json(file)["targets"]):
            from molae_pyg.workflow.atoms.model import AtomModel  # a subclass

            return AtomModel(folder)
        return cls(folder)

    def __getstate__(self) -> dict[str, Any]:
        """A copy in another process reads its weights from the folder."""
        lazy = ("models", "encoder", "columns", "folder")
        kept = {name: value for name, value in self.__dict__.items() if name not in lazy}
        return kept | {"folder": self.folder.absolute()}

    def __repr__(self) -> str:
        names = ", ".join(target.name for target in self.targets)
        return f"{type(self).__name__}({self.folder}, {names}, {self.num_folds} folds)"

    @property
    def coordinates(self) -> str:
        """``"generated"``, or ``"file"``: those of the records of an SD file."""
        return self.info["identity"]["settings"].get("coordinates", "generated")

    @property
    def status(self) -> list[str]:
        """Status of each row of the table: ``"ok"``, ``"invalid"`` or ``"failed"``."""
        return [status_of(outcome) for outcome in self.outcomes]

    @cached_property
    def models(self) -> list[FoldModel]:
        """The models of the folds."""
        return [FoldModel(self.folder / f"fold-{fold}") for fold in range(self.num_folds)]

    @cached_property
    def encoder(self) -> MolAEEncoder:
        """The frozen encoder."""
        return MolAEEncoder.from_pretrained(self.folder / "encoder")

    def predict(
        self, molecules: AnyMolecules, alpha: float = 0.1, extra: Columns | None = None
    ) -> pd.DataFrame:
        """Predicts molecules; a row that gives no molecule has no prediction and a reason.

        Args:
            molecules: SMILES ``[n]``, RDKit molecules or ``Data``, whose coordinates are used; or a
                table.
            alpha: Share of true values that may be outside the intervals and sets. default: 0.1.
            extra: Columns beside the molecules, such as a frame, if the model was trained with
                some (``FitSettings.extra``). A row that lacks a value has no prediction.

        Returns:
            One row for each molecule, with these columns for each target T: for numbers
            ``T_predicted``, ``T_low``, ``T_high``; for two classes ``T_probability`` (of class 1,
            calibrated), ``T_predicted`` and ``T_set``, the classes that are possible at this level;
            for several classes ``T_predicted``, ``T_probability`` (of that class),
            ``T_probability_<class>`` of each, and ``T_set``. Then
            ``molae_status`` (ok, invalid, failed), ``molae_reason`` and ``molae_similarity``, the
            Tanimoto similarity (ECFP4) to the nearest training molecule.
        """
        given = self.extra.beside(molecules, extra)
        smiles = given.smiles
        outcomes, predicted = self._predict(given)  # [F, m, O]
        columns: dict[str, np.ndarray] = {}
        for task, target in enumerate(self.targets):
            of_task = predicted[:, :, self.columns_of(task)]
            for name, values in self.columns[task].of_new(of_task, alpha).items():
                empty = np.nan if values.dtype.kind == "f" else ""
                full = np.full(len(smiles), empty, values.dtype if empty != "" else object)
                full[outcomes.kept] = values
                columns[f"{target.name}_{name}"] = full
        similarity = np.full(len(smiles), np.nan)
        known = [row for row in outcomes.kept if smiles[row]]
        similarity[known] = self.similarity([smiles[row] for row in known])
        columns |= {"molae_status": outcomes.status, "molae_reason": outcomes.reason}
        return pd.DataFrame(columns | {"molae_similarity": similarity})

    def fold_predict(self, molecules: AnyMolecules, extra: Columns | None = None) -> np.ndarray:
        """Returns values or probabilities of each fold's model ``[F, n, O]``.

        Rows that give no molecule are NaN. Probabilities are not calibrated.
        """
        given = self.extra.beside(molecules, extra)
        outcomes, predicted = self._predict(given)
        full = np.full((self.num_folds, len(given.smiles), sum(self.labels.num_outputs)), np.nan)
        full[:, outcomes.kept] = predicted
        return full

    def columns_of(self, task: int) -> slice:
        """Returns the columns of a target in predictions ``[n, O]``: one, or one for each class."""
        return self.labels.slices[task]

    def explain(self, molecules: AnyMolecules, extra: Columns | None = None) -> list[Explanation]:
        """Returns what each atom adds to predictions, as :func:`~molae_pyg.inference.explain`.

        Predictions are means over the folds; those of classes are log-odds of the calibrated
        probability. In descriptors and fingerprints the atom that is left out is a dummy, ``*``.
        """
        from molae_pyg.workflow.explaining import explain  # it takes this class

        return explain(self, self.extra.beside(molecules, extra))

    @property
    def oof(self) -> pd.DataFrame:
        """Out-of-fold predictions of the training rows, indexed by their row in the table.

        The columns are ``molae_fold`` and, for each target T, ``T_label`` (exact ones; of several
        classes the index), ``T_predicted`` and ``T_low``, ``T_high`` (90 % intervals from the other
        folds) or ``T_probability`` (calibrated by the other folds), as :meth:`predict` has them.

        Raises:
            ValueError: If there is one fold only.
        """
        if not self.predictions:
            raise InputError("a model of one fold has no out-of-fold predictions")
        columns = {"molae_fold": self.fold}
        for task, target in enumerate(self.targets):
            own = {"label": self.y[:, task]} | self.columns[task].of_training
            columns |= {f"{target.name}_{name}": values for name, values in own.items()}
        return pd.DataFrame(columns, index=self.rows)

    def similarity(self, smiles: Sequence[str]) -> np.ndarray:
        """Returns the Tanimoto similarity (ECFP4) to the nearest training molecule ``[m]``."""
        if not len(smiles) or not any(self.smiles):
            return np.full(len(smiles), np.nan)
        return max_tanimoto(ecfp4(smiles), self._fingerprints)

    @cached_property
    def _fingerprints(self) -> np.ndarray:
        return ecfp4([smiles for smiles in self.smiles if smiles])

    @cached_property
    def columns(self) -> list[TargetColumns]:
        """What makes the columns of each target in tables of predictions."""
        oof = self.predictions.get(MODEL)
        parts = [None if oof is None else oof[:, columns] for columns in self.labels.slices]
        each = zip(self.targets, self.y.T, parts, strict=True)
        return [TargetColumns(target, y, part, self.fold) for target, y, part in each]

    def _predict(self, given: Molecules) -> tuple[Outcomes, np.ndarray]:
        """Returns what became of each row, and the predictions ``[F, m, O]`` of those kept."""
        blocks = list(dict.fromkeys(name for model in self.models for name in model.blocks))
        finetuned = any(model.is_finetuned for model in self.models)
        needs_smiles = DESCRIPTORS in blocks or ECFP in blocks
        outcomes = self.molecules(given, ENCODER in blocks or finetuned, needs_smiles)
        kept = [given.smiles[row] for row in outcomes.kept]
        if not kept:
            return outcomes, np.zeros((self.num_folds, 0, sum(self.labels.num_outputs)))
        encoder = self.encoder if ENCODER in blocks else None
        cache, keys = self._cache, given.keys(outcomes.kept)
        beside = self.extra.features(given.extra, outcomes.kept)
        blocks = [name for name in blocks if name not in beside]
        features = make_features(blocks, kept, outcomes.molecules, encoder, None, cache, keys)
        features |= beside
        bar = tqdm(self.models, "predicting", leave=False, delay=2, disable=None)
        return outcomes, np.stack([m.predict(features, outcomes.molecules) for m in bar])

    @property
    def _options(self) -> Options:
        return Options.of(self.info["recipe"]).with_recipe(self.recipe)

    @property
    def _cache(self) -> FeatureCache | None:
        return FeatureCache(self._options) if self.cache else None

    def molecules(
        self, molecules: AnyMolecules, with_coordinates: bool, with_smiles: bool = False
    ) -> Outcomes:
        """Reads molecules by the recipe of the model.

        Args:
            molecules: The molecules.
            with_coordinates: Whether conformers are made.
            with_smiles: Whether each molecule needs a SMILES, too.
        """
        given = Molecules.of(molecules)
        if with_coordinates:
            self._compare_sources(given)
        return outcomes_of(
            given, self._options, self._cache, with_coordinates, with_smiles, self.workers
        )

    def _compare_sources(self, given: Molecules) -> None:
        there, now = self.info["recipe"].get("source", "smiles"), given.source
        if now and now != there:
            warnings.warn(
                f"coordinates of the training molecules are {SOURCES[there]}, those of these "
                f"molecules are {SOURCES[now]}: this shifts predictions",
                stacklevel=5,
            )
        recipes = Options.of(self.info["recipe"]).recipe, self._options.recipe
        if recipes[0] != recipes[1]:
            warnings.warn(
                f"conformers of the training are made by the recipe {recipes[0]!r}, those of these "
                f"molecules by {recipes[1]!r}: this shifts predictions",
                stacklevel=5,
            )

    def _out_of_fold(self) -> dict[str, np.ndarray]:
        folders = [self.folder / f"fold-{fold}" for fold in range(self.num_folds)]
        parts = [read_arrays(folder / "predicted.npz") for folder in folders]
        names = [name for name in (MODEL, *BASELINES) if name in parts[0]]
        shape = len(self.smiles), sum(self.labels.num_outputs)
        found = {name: np.full(shape, np.nan) for name in names}
        for arrays in parts:
            for name, predicted in found.items():
                predicted[arrays["rows"]] = arrays[name]
        return found
