"""The simplest baselines: the training mean, and a random forest on ECFP4 fingerprints."""

from collections.abc import Iterator, Sequence

import numpy as np
from rdkit import Chem, rdBase
from rdkit.Chem import rdFingerprintGenerator, rdMolDescriptors
from sklearn.ensemble import RandomForestClassifier, RandomForestRegressor

from molae_pyg.baselines.job import Fitted, Job, as_fitted, held_out_rows
from molae_pyg.chem.descriptors import descriptors_of
from molae_pyg.chem.smiles import plain_mol
from molae_pyg.kinds import TaskType, TaskTypes, one_type_a_task, outputs_of

Forest = RandomForestRegressor | RandomForestClassifier


def mean(job: Job) -> Fitted:
    """Predicts the training mean; for classes, the share of class 1."""
    return _fit_smiles(MeanBaseline(), job)


def ecfp_forest(job: Job) -> Fitted:
    """Fits random forests on ECFP4."""
    return _fit_smiles(ForestBaseline(job.dataset.task_types, seed=job.seed, **job.settings), job)


def forest_both(job: Job) -> Fitted:
    """Fits random forests on ECFP4 and RDKit's descriptors together."""
    dataset, split, y = job.dataset, job.split, job.dataset.y.numpy()
    x = np.hstack([ecfp4(dataset.smiles), descriptors_of(dataset).astype(np.float32)])
    forest = ForestBaseline(dataset.task_types, seed=job.seed, **job.settings)
    forest.fit_features(x[split.train], y[split.train])
    return as_fitted(forest.predict_features(x[held_out_rows(split)]), split)


def _fit_smiles(model: "MeanBaseline | ForestBaseline", job: Job) -> Fitted:
    smiles, y, split = np.array(job.dataset.smiles, object), job.dataset.y.numpy(), job.split
    model.fit(smiles[split.train], y[split.train])
    return as_fitted(model.predict(smiles[held_out_rows(split)]), split)


class MeanBaseline:
    """Predicts the mean training label of each task."""

    def fit(self, smiles: Sequence[str], y: np.ndarray) -> "MeanBaseline":
        """Computes the means.

        Raises:
            ValueError: If a task has no label, or the lengths differ.
        """
        self.mean = np.nanmean(_checked_targets(smiles, y), axis=0)  # [T]
        return self

    def predict(self, smiles: Sequence[str]) -> np.ndarray:
        """Returns the means ``[n, T]``."""
        return np.tile(self.mean, (len(smiles), 1))


class ForestBaseline:
    r"""Predicts values or probabilities of classes by one random forest per task on :func:`ecfp4`.

    Each forest is fitted on the molecules that have a label. A split considers
    :math:`\sqrt{2048}` bits for classes and a third of the bits for values, as Breiman advises
    (`"Random Forests" <https://doi.org/10.1023/A:1010933404324>`_ and his software manual).
    Everything else is scikit-learn's default.

    Args:
        task_type: ``"regression"``, ``"classification"`` or ``"multiclass"`` for all tasks, or a
            list with the type of each.
        num_trees: Number of trees per forest. (default: :obj:`500`)
        counts: Whether fingerprints count substructures instead of marking their presence.
            (default: :obj:`False`)
        with_maccs: Whether the 166 MACCS keys are added to ECFP4. (default: :obj:`False`)
        seed: Seed of the forests. (default: :obj:`0`)
        num_classes: Number of classes of all multiclass tasks, or one number for each task.
            (default: :obj:`None`, if there is no multiclass task)

    Raises:
        ValueError: If a task type is unknown.
    """

    def __init__(
        self,
        task_type: TaskTypes,
        num_trees: int = 500,
        counts: bool = False,
        with_maccs: bool = False,
        seed: int = 0,
        num_classes: int | Sequence[int] | None = None,
    ) -> None:
        one_type_a_task(task_type, 1 if isinstance(task_type, str) else len(task_type))
        self.task_type = task_type
        self.num_trees, self.counts, self.with_maccs = num_trees, counts, with_maccs
        self.seed, self.num_classes = seed, num_classes

    def fit(self, smiles: Sequence[str], y: np.ndarray) -> "ForestBaseline":
        """Fits the forests.

        Raises:
            ValueError: If a SMILES cannot be parsed, a task has no label, or the lengths differ.
        """
        y = _checked_targets(smiles, y)
        return self.fit_features(self._features(smiles), y)

    def predict(self, smiles: Sequence[str]) -> np.ndarray:
        """Returns values, or probabilities, ``[n, O]``; see :mod:`molae_pyg.kinds`."""
        return self.predict_features(self._features(smiles))

    def fit_features(self, x: np.ndarray, y: np.ndarray) -> "ForestBaseline":
        """Fits the forests on features ``[n, F]`` other than fingerprints."""
        y = _checked_targets(x, y)
        types = one_type_a_task(self.task_type, y.shape[1])
        self.num_outputs = outputs_of(types, self.num_classes)
        self.forests = []
        for labels, kind in zip(y.T, types, strict=True):
            present = ~np.isnan(labels)
            self.forests.append(self._forest(kind).fit(x[present], labels[present]))
        return self

    def predict_features(self, x: np.ndarray) -> np.ndarray:
        """Returns predictions ``[n, O]`` from the features of :meth:`fit_features`."""
        forests = zip(self.forests, self.num_outputs, strict=True)
        return np.concatenate([_predict(forest, x, number) for forest, number in forests], axis=1)

    def _features(self, smiles: Sequence[str]) -> np.ndarray:
        x = ecfp4(smiles, self.counts)
        return np.hstack([x, maccs(smiles)]) if self.with_maccs else x

    def _forest(self, kind: TaskType) -> Forest:
        settings = {"n_estimators": self.num_trees, "random_state": self.seed, "n_jobs": -1}
        if kind == "regression":
            return RandomForestRegressor(max_features=1 / 3, **settings)
        return RandomForestClassifier(max_features="sqrt", **settings)


def ecfp4(smiles: Sequence[str], counts: bool = False) -> np.ndarray:
    """Returns Morgan fingerprints of radius 2, folded to 2,048 entries, as ``[n, 2048]``.

    Source: Rogers and Hahn, `"Extended-Connectivity Fingerprints"
    <https://doi.org/10.1021/ci100050t>`_.

    Raises:
        ValueError: If a SMILES cannot be parsed.
    """
    generator = rdFingerprintGenerator.GetMorganGenerator(radius=2, fpSize=2048)
    encode = generator.GetCountFingerprintAsNumPy if counts else generator.GetFingerprintAsNumPy
    return np.stack([encode(mol) for mol in _molecules(smiles)]).astype(np.float32)


def maccs(smiles: Sequence[str]) -> np.ndarray:
    """Returns the public MACCS keys as RDKit defines them, ``[n, 167]``; the first is always 0.

    Raises:
        ValueError: If a SMILES cannot be parsed.
    """
    keys = [rdMolDescriptors.GetMACCSKeysFingerprint(mol) for mol in _molecules(smiles)]
    return np.array([key.ToList() for key in keys], dtype=np.float32)


def _molecules(smiles: Sequence[str]) -> Iterator[Chem.Mol]:
    with rdBase.BlockLogs():  # the error below names the row; RDKit's log does not
        for row, text in enumerate(smiles):
            try:
                mol = plain_mol(text)
            except ValueError as error:
                raise ValueError(
                    f"row {row}: RDKit cannot parse SMILES {text!r}: {error}"
                ) from None
            yield mol


def _predict(forest: Forest, x: np.ndarray, number: int) -> np.ndarray:
    """Returns values, or probabilities of class 1 or of each class, ``[n, number]``."""
    if isinstance(forest, RandomForestRegressor):
        return forest.predict(x)[:, None]
    found = np.zeros((len(x), max(2, number)))  # 0 for classes without a training molecule
    found[:, forest.classes_.astype(int)] = forest.predict_proba(x)
    return found if number > 1 else found[:, 1:]


def _checked_targets(molecules: Sequence[str] | np.ndarray, y: np.ndarray) -> np.ndarray:
    y = np.asarray(y, dtype=np.float64)
    if y.ndim != 2 or len(y) != len(molecules):
        raise ValueError(f"expected targets [n, T] for {len(molecules)} molecules, got {y.shape}")
    empty = np.flatnonzero(np.isnan(y).all(axis=0))
    if len(empty):
        raise ValueError(f"no training label in task {empty.tolist()}")
    return y
