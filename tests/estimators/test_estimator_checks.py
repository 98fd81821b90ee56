"""The checks of scikit-learn.

They give tables of numbers to estimators, where these take molecules. ``FromNumbers`` turns each
row into a molecule with coordinates, so that the checks run on the estimators as they are.
"""

import numpy as np
import pytest
import torch
from sklearn.exceptions import SkipTestWarning
from sklearn.utils.estimator_checks import check_estimator, parametrize_with_checks
from sklearn.utils.validation import validate_data
from torch_geometric.data import Data

from molae_pyg import MolAEClassifier, MolAEFeaturizer, MolAERegressor
from molae_pyg.chem.elements import ELEMENTS
from molae_pyg.models import MolAE
from molae_pyg.workflow.molecules import Molecules

pytestmark = pytest.mark.filterwarnings("ignore:some molecules have coordinates but no SMILES")


DISTINCT = sorted(z for z in ELEMENTS.values() if z not in (1, 6))


class FromNumbers:
    """Gives an estimator of molecules a table of numbers ``[n, F]``.

    A row becomes F atoms of different elements around a carbon atom; each number moves one of them
    away from it or towards it.
    """

    def _molecules(self, X, reset):
        X = validate_data(self, X, reset=reset, dtype=np.float64)
        number = X.shape[1]
        z = torch.tensor([DISTINCT[k % len(DISTINCT)] for k in range(number)] + [6])
        angle = np.arange(number)
        away = np.stack([np.cos(angle), np.sin(angle), np.cos(2 * angle)], axis=1)
        molecules = []
        for row in np.arcsinh(X):
            pos = np.concatenate([away * (5 + row[:, None]), np.zeros((1, 3))])
            molecules.append(Data(z=z, pos=torch.from_numpy(pos).float()))
        return Molecules.of(molecules)

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.input_tags.two_d_array, tags.input_tags.one_d_array = True, False
        tags.input_tags.string = tags.input_tags.allow_nan = False
        return tags


class Regressor(FromNumbers, MolAERegressor):
    pass


class Classifier(FromNumbers, MolAEClassifier):
    pass


class Featurizer(FromNumbers, MolAEFeaturizer):
    pass


@pytest.fixture(scope="module", autouse=True)
def _weights(tmp_path_factory):
    """Writes a tiny encoder into the current folder, where the estimators look for it."""
    folder = tmp_path_factory.mktemp("weights")
    torch.manual_seed(0)
    sizes = {"ffn_channels": 16, "heads": 4, "num_layers": 1, "num_gaussians": 8}
    model = MolAE(16, gaussian_init="intended", **sizes)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(10 if parameter.dim() > 1 else 1)  # so that coordinates matter
    model.save_pretrained(folder / "tiny")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        yield


SETTINGS = {"weights": "tiny", "cache": False}
FITTED = {**SETTINGS, "features": "none", "split": "random", "folds": 3}
ESTIMATORS = [Regressor(**FITTED), Classifier(**FITTED), Featurizer(**SETTINGS)]


def exceptions(estimator):
    """Returns the checks that fail, and why."""
    if isinstance(estimator, Featurizer):
        return {}
    return {
        "check_methods_subset_invariance": "the encoder computes in float32: the last digits of a "
        "vector depend on the molecules that share its batch, and predictions on them"
    }


@pytest.mark.slow
@parametrize_with_checks(ESTIMATORS, expected_failed_checks=exceptions)
def test_scikit_learn_checks(estimator, check):
    check(estimator)


@pytest.mark.parametrize("cls", [MolAERegressor, MolAEClassifier, MolAEFeaturizer])
def test_scikit_learn_checks_of_molecules(cls):
    with pytest.warns(SkipTestWarning, match="requires input"):  # most need tables of numbers
        check_estimator(cls())
