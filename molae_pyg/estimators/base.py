"""What regression and classification of molecules share: the fit, the folder, the warnings."""

from dataclasses import asdict
from pathlib import Path
from typing import Any, Self

import numpy as np
import pandas as pd
import torch
from sklearn.base import BaseEstimator
from sklearn.utils import Tags
from sklearn.utils.validation import check_is_fitted

from molae_pyg.chem.options import InputError
from molae_pyg.chem.recipes import DEFAULT_RECIPE, recipe_named
from molae_pyg.estimators.featurizer import molecular
from molae_pyg.estimators.inputs import (
    Labels,
    class_values,
    molecules_of,
    seed_of,
    warn_of_lost,
)
from molae_pyg.estimators.kept_folder import KeptFolder
from molae_pyg.inference import Explanation
from molae_pyg.metrics import TaskType
from molae_pyg.model_files import DEFAULT_WEIGHTS
from molae_pyg.tables.formats import Cells
from molae_pyg.tables.reading import Table
from molae_pyg.workflow import FitSettings, FittedModel, fit, write_report
from molae_pyg.workflow.molecules import Molecules

#: Documentation of what both have.
ARGUMENTS = """

    X is a list, array or column of SMILES, RDKit molecules or PyG ``Data``, or a frame with one
    column. Coordinates of ``Data`` (``z`` and ``pos`` or ``conformers``) and of RDKit molecules
    with 3D conformers are used as they are; ``smiles`` of a ``Data`` is needed for descriptors and
    fingerprints. y is ``[n]`` or ``[n, T]``, NaN = missing. Rows that give no molecule are left out
    of the fit and predicted as NaN, and one warning names them.

    The fit is that of ``molae train``, see :func:`~molae_pyg.workflow.fit`: fold models, whose mean
    predicts and whose out-of-fold errors give intervals. Its files are in a temporary folder that
    lives as long as the estimator. A pickle or a copy holds their content and has a folder of its
    own. :meth:`save` writes the folder of a model that ``molae predict`` reads, and :meth:`load`
    reads it.

    Args:
        folds: Number of folds. 1: one model on all rows, without intervals, in a fifth of the time.
            default: 5.
        split: ``"scaffold"`` (default): molecules with the same scaffold share a fold; or
            ``"random"``.
        frozen: Whether the encoder stays as it is and a read-out is fitted on it. default: true.
            Else it is fine-tuned, which is slow.
        features: Features beside the encoder: ``"none"``, ``"descriptors"``, ``"ecfp"``,
            ``"both"``, or ``"auto"`` (default), which chooses in each fold.
        conformers: Number of conformers of a molecule. default: 1.
        weights: Name of shipped weights, folder, or official ``.pt`` file. default:
            ``"molae-graph"``.
        training: Settings of fine-tuning, see :class:`~molae_pyg.workflow.FitSettings`. default:
            None.
        baselines: Whether the forest and the descriptors are fitted on the same folds, for the
            scores and verdicts of the model's folder. default: false.
        cache: Whether conformers and features of SMILES are kept in ``$MOLAE_CACHE`` and taken from
            there, so that cross-validation computes those of a molecule once. default: true.
        folder: Folder of the fit, which stays and from which a killed fit resumes; not for
            cross-validation. default: None, a temporary one.
        random_state: Seed of folds, conformers and initial weights. default: 0.
        recipe: How conformers are made, ``"fast"`` (default), ``"published"`` or ``"flat"``, see
            :func:`~molae_pyg.chem.from_smiles`.

    Attributes:
        model_: The :class:`~molae_pyg.workflow.FittedModel`.
        outcomes_: Status (ok, invalid, failed) and reason of each row of the fit.
        n_features_in_, feature_names_in_: 1 and the name of the column, of a frame.
"""


class MoleculeModel(BaseEstimator):
    """What regression and classification share."""

    _kinds: tuple[TaskType, ...]

    def __init__(
        self,
        folds: int = 5,
        split: str = "scaffold",
        frozen: bool = True,
        features: str = "auto",
        conformers: int = 1,
        weights: str = DEFAULT_WEIGHTS,
        training: dict[str, Any] | None = None,
        baselines: bool = False,
        cache: bool = True,
        folder: str | Path | None = None,
        random_state: Any = 0,
        recipe: str = DEFAULT_RECIPE,
    ) -> None:
        self.folds = folds
        self.split = split
        self.frozen = frozen
        self.features = features
        self.conformers = conformers
        self.weights = weights
        self.training = training
        self.baselines = baselines
        self.cache = cache
        self.folder = folder
        self.random_state = random_state
        self.recipe = recipe

    def fit(self, X: Any, y: Any) -> Self:
        """Fits the models of all folds.

        Args:
            X: Molecules ``[n]``.
            y: Labels ``[n]`` or ``[n, T]``, NaN = missing.

        Raises:
            ValueError: X, y or a setting cannot be used, or nothing can be learned.
        """
        if y is None:
            name = type(self).__name__
            raise InputError(f"{name} requires y to be passed, but the target y is None")
        molecules, labels = self._molecules(X, reset=True), self._labels(y)
        if len(labels.y) != len(molecules.smiles):
            raise InputError(f"X has {len(molecules.smiles)} molecules, y has {len(labels.y)} rows")
        if len(labels.y) == 1:
            raise InputError("X has 1 sample, at least two are needed")
        settings = FitSettings(
            folds=self.folds,
            split=self.split,
            frozen=self.frozen,
            features=self.features,
            conformers=self.conformers,
            weights=self.weights,
            seed=seed_of(self.random_state),
            baselines=self.baselines,
            training=dict(self.training or {}),
            recipe=self.recipe,
        )
        folder = KeptFolder(self.folder, self.cache)
        table, cells = _table(molecules.smiles, labels)
        fit(table, folder.path, settings, cells, "X", molecules, self.cache, report=False)
        self._take(folder, labels.is_flat, labels.classes)
        status, reason = self.outcomes_["status"], self.outcomes_["reason"]
        warn_of_lost(status.tolist(), reason, "are left out of the fit")
        return self

    def _molecules(self, X: Any, reset: bool) -> Molecules:
        return molecules_of(self, X, reset)

    def _labels(self, y: Any) -> Labels:
        raise NotImplementedError

    def _take(self, folder: KeptFolder, is_flat: bool, classes: list[np.ndarray]) -> None:
        """Takes over a fitted model."""
        self._folder, self._is_flat = folder, is_flat
        found = {"status": self.model_.status, "reason": self.model_.reasons}
        self.outcomes_ = pd.DataFrame(found)

    def __sklearn_is_fitted__(self) -> bool:
        return hasattr(self, "_folder")

    def __sklearn_tags__(self) -> Tags:
        tags = molecular(super().__sklearn_tags__())
        tags.target_tags.one_d_labels = tags.target_tags.two_d_labels = True
        tags.target_tags.multi_output = True
        return tags

    @property
    def model_(self) -> FittedModel:
        """The fitted model."""
        check_is_fitted(self)
        return self._folder.model

    def _predict(self, X: Any, level: float = 0.9) -> pd.DataFrame:
        """Returns what the model predicts; one warning names the rows without a prediction."""
        check_is_fitted(self)
        if not 0 < level < 1:
            raise InputError(f"the level must be between 0 and 1, got {level!r}")
        found = self.model_.predict(self._molecules(X, reset=False), 1 - level)
        status, reason = found["molae_status"].tolist(), found["molae_reason"]
        warn_of_lost(status, reason, "have no prediction and are NaN")
        return found

    def _columns(self, found: pd.DataFrame, ending: str) -> np.ndarray:
        """Returns the columns of all targets ``[n]`` or ``[n, T]``."""
        names = [f"{target.name}_{ending}" for target in self.model_.targets]
        return found[names[0]].to_numpy() if self._is_flat else found[names].to_numpy()

    def explain(self, X: Any) -> list[Explanation]:
        """Returns what each atom adds to predictions, see :func:`~molae_pyg.inference.explain`."""
        return self.model_.explain(self._molecules(X, reset=False))

    def report(self, file: str | Path) -> None:
        """Writes the report of ``molae train``, one HTML page: scores, pictures, worst molecules.

        It has a verdict if the estimator has ``baselines=True``.
        """
        write_report(self.model_, file)

    def save(self, path: str | Path) -> None:
        """Writes the fitted model into a new folder, which ``molae predict`` reads, too.

        Raises:
            ValueError: If the folder holds something.
        """
        check_is_fitted(self)
        self._folder.copy_to(path)

    @classmethod
    def load(cls, path: str | Path) -> Self:
        """Reads a folder of :meth:`save` or ``molae train``; the estimator needs it to stay.

        Classes are numbers or truth values if all their names are, else texts.

        Raises:
            ValueError: If it holds no whole model, or one of other targets.
        """
        folder = KeptFolder(path, cls().cache)
        targets = folder.model.targets
        if others := [target for target in targets if target.kind not in cls._kinds]:
            raise InputError(
                f"{path}: target {others[0].name!r} is of kind {others[0].kind}, which "
                f"{cls.__name__} does not predict. FittedModel.load reads every model"
            )
        found = asdict(FitSettings.of(folder.model.info["identity"]["settings"]))
        settings = {name: found[name] for name in cls._get_param_names() if name in found}
        settings["training"] = settings.get("training") or None
        recipe = recipe_named(found["recipe"])  # without its version, if that is the last one
        settings["recipe"] = recipe.name if recipe_named(recipe.name) == recipe else recipe.key
        estimator = cls(**settings, random_state=found["seed"])
        classes = [class_values(target.classes) for target in targets]
        estimator._take(folder, len(targets) == 1, classes)
        return estimator


def _table(smiles: list[str], labels: Labels) -> tuple[Table, Cells]:
    """Returns the molecules and labels as a table, and as cells with the words of the classes."""
    columns = [smiles]
    for task, y in enumerate(labels.y.T):
        values = labels.classes[task] if labels.classes else None
        columns.append([_word(value, values) for value in y.tolist()])
    y, kinds = torch.tensor(labels.y, dtype=torch.float32), labels.kinds
    named = zip(labels.names, kinds, labels.classes or kinds, strict=True)
    classes = {name: list(map(str, c)) for name, kind, c in named if kind == "multiclass"}
    table = Table(smiles, y, labels.names, kinds, classes=classes)
    rows = [list(row) for row in zip(*columns, strict=True)]
    return table, Cells(["smiles", *labels.names], rows)


def _word(value: float, classes: np.ndarray | None) -> str:
    if np.isnan(value):
        return ""
    return f"{value:g}" if classes is None else str(classes[int(value)])
