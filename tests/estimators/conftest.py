import pytest
import torch

from molae_pyg.models import MolAE

RINGS = ["c1ccccc1", "C1CCCCC1", "c1ccncc1", "C1CCOC1", "c1ccsc1"]


@pytest.fixture(scope="session")
def tiny(tmp_path_factory):
    """A tiny encoder, so that vectors take no time."""
    folder = tmp_path_factory.mktemp("tiny")
    torch.manual_seed(0)
    MolAE(16, ffn_channels=16, heads=4, num_layers=1, num_gaussians=8).save_pretrained(folder)
    return str(folder)


@pytest.fixture(scope="session")
def smiles():
    """Thirty molecules, every second one an amine."""
    return [f"{'C' * n}{end}{ring}" for ring in RINGS for n in range(1, 4) for end in "NO"]
