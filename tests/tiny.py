"""A tiny encoder, so that vectors take no time, and molecules to train on."""

from molae_pyg.models import MolAE

RINGS = ["c1ccccc1", "C1CCCCC1", "c1ccncc1", "C1CCOC1", "c1ccsc1"]
#: Thirty molecules, every second one an amine.
SMILES = [f"{'C' * length}{end}{ring}" for ring in RINGS for length in range(1, 4) for end in "NO"]


def tiny_model(graph: bool = False) -> MolAE:
    return MolAE(16, ffn_channels=16, heads=4, num_layers=1, num_gaussians=8, graph=graph)
