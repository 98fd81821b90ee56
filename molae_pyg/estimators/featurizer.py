"""Molecules to features: vectors of an encoder, descriptors, fingerprints."""

from typing import Any, Self

import numpy as np
from sklearn.base import BaseEstimator, TransformerMixin
from sklearn.utils import Tags
from sklearn.utils.validation import check_is_fitted

from molae_pyg.baselines.job import load_encoder
from molae_pyg.chem.descriptors import NAMES
from molae_pyg.chem.options import InputError, Options
from molae_pyg.chem.recipes import DEFAULT_RECIPE
from molae_pyg.estimators.inputs import molecules_of, seed_of, warn_of_lost
from molae_pyg.model_files import DEFAULT_WEIGHTS
from molae_pyg.workflow.feature_cache import FeatureCache
from molae_pyg.workflow.features import CANDIDATES, DESCRIPTORS, ECFP, ENCODER, make_features
from molae_pyg.workflow.molecules import Molecules
from molae_pyg.workflow.outcomes import outcomes_of

_PREFIX = {ENCODER: "molae", ECFP: "ecfp"}


class MolAEFeaturizer(TransformerMixin, BaseEstimator):
    """Turns molecules into features for other estimators of scikit-learn.

    X is a list, array, column or frame with one column of SMILES, RDKit molecules or PyG ``Data``,
    as for :class:`MolAERegressor`. A row that gives no molecule is NaN, and one warning names it.

    Args:
        weights: Name of shipped weights, folder, or official ``.pt`` file. default:
            ``"molae-graph"``.
        features: Features beside the vector of the encoder (CLS and the mean over atoms):
            ``"none"`` (default), ``"descriptors"`` (RDKit's 217, on a logarithmic scale),
            ``"ecfp"`` (logarithm of counts), or ``"both"``.
        conformers: Number of conformers of a molecule. default: 1.
        cache: Whether conformers and features of SMILES are kept in ``$MOLAE_CACHE`` and taken from
            there. default: true.
        random_state: Seed of the conformers. default: 0.
        recipe: How conformers are made, as for :class:`MolAERegressor`. default: ``"fast"``.

    Attributes:
        encoder_: The encoder.
        n_features_in_, feature_names_in_: 1 and the name of the column, of a frame.
    """

    def __init__(
        self,
        weights: str = DEFAULT_WEIGHTS,
        features: str = "none",
        conformers: int = 1,
        cache: bool = True,
        random_state: Any = 0,
        recipe: str = DEFAULT_RECIPE,
    ) -> None:
        self.weights = weights
        self.features = features
        self.conformers = conformers
        self.cache = cache
        self.random_state = random_state
        self.recipe = recipe

    def fit(self, X: Any, y: Any = None) -> Self:
        """Loads the encoder; nothing is learned from the molecules.

        Raises:
            ValueError: An argument is out of range, or X has no row or several columns.
            CheckpointError: The weights cannot be read.
        """
        if self.features not in CANDIDATES or self.features == "auto":
            known = ", ".join(name for name in CANDIDATES if name != "auto")
            raise InputError(f"features must be one of {known}, got {self.features!r}")
        self._molecules(X, reset=True)
        seed = seed_of(self.random_state)
        self._options = Options(self.conformers, seed=seed, recipe=self.recipe)
        self.encoder_ = load_encoder(self.weights).eval()
        self._blocks = CANDIDATES[self.features][0]
        sizes = {ENCODER: 2 * self.encoder_.config["hidden_channels"], ECFP: 2048}
        self._names = []
        for block in self._blocks:
            if block == DESCRIPTORS:
                self._names += NAMES
            else:
                self._names += [f"{_PREFIX[block]}{number}" for number in range(sizes[block])]
        return self

    def transform(self, X: Any) -> np.ndarray:
        """Returns features ``[n, F]`` float32."""
        check_is_fitted(self)
        given = self._molecules(X, reset=False)
        cache = FeatureCache(self._options) if self.cache else None
        found = outcomes_of(given, self._options, cache, with_smiles=len(self._blocks) > 1)
        warn_of_lost(found.status, found.reason, "have no features and are NaN")
        features = np.full((len(found.status), len(self._names)), np.nan, np.float32)
        if len(found.kept):
            smiles, keys = [given.smiles[row] for row in found.kept], given.keys(found.kept)
            blocks = make_features(
                self._blocks, smiles, found.molecules, self.encoder_, None, cache, keys
            )
            self.encoder_.cpu()  # a pickle can be read without a GPU
            features[found.kept] = np.concatenate([blocks[name] for name in self._blocks], axis=1)
        return features

    def get_feature_names_out(self, input_features: Any = None) -> np.ndarray:
        """Returns the names of the features ``[F]``."""
        check_is_fitted(self)
        return np.array(self._names, object)

    def _molecules(self, X: Any, reset: bool) -> Molecules:
        return molecules_of(self, X, reset)

    def __sklearn_tags__(self) -> Tags:
        return molecular(super().__sklearn_tags__())


def molecular(tags: Tags) -> Tags:
    """Sets the tags of an estimator of molecules."""
    tags.input_tags.one_d_array = tags.input_tags.string = tags.input_tags.allow_nan = True
    tags.input_tags.two_d_array = False
    if tags.transformer_tags is not None:
        tags.transformer_tags.preserves_dtype = []
    return tags
