import numpy as np
import pytest
from tiny import SMILES


@pytest.fixture(scope="session")
def smiles():
    """Thirty molecules, every second one an amine."""
    return list(SMILES)


@pytest.fixture(scope="session")
def weight(smiles):
    return np.array([len(text) + 0.25 for text in smiles])
