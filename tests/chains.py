"""Small molecules that several tests train on: chains of carbon and oxygen, in two conformers."""

from pathlib import Path

import numpy as np
import torch
from torch_geometric.data import Data

from molae_pyg import MolAE, MolAEPredictor
from molae_pyg.store import ConformerStore, StoreWriter
from molae_pyg.training.property import PropertyModule


def molecules(n: int, seed: int = 0, classes: bool = False) -> list[Data]:
    """Chains of carbon and oxygen in two conformers; the target is the share of oxygen."""
    generator = torch.Generator().manual_seed(seed)
    result = []
    for i in range(n):
        size = int(torch.randint(4, 9, (1,), generator=generator))
        z = torch.tensor([6, 8])[torch.randint(2, (size,), generator=generator)]
        chain = torch.arange(size)[:, None] * torch.tensor([1.5, 0.0, 0.0])
        conformers = torch.stack(
            [chain + 0.3 * torch.randn(size, 3, generator=generator) for _ in range(2)], dim=1
        )
        share = (z == 8).float().mean().view(1, 1)
        y = (share > 0.5).float() if classes else 10 * share + 100
        result.append(Data(z=z, conformers=conformers, y=y, smiles=f"m{i}", num_nodes=size))
    return result


def predictor(**settings) -> MolAEPredictor:
    torch.manual_seed(0)
    return MolAEPredictor(MolAE.tiny(gaussian_init="intended").encoder, **settings)


def chain_store(folder: Path) -> Path:
    """A store of 80 chains."""
    rng = np.random.default_rng(0)
    with StoreWriter(folder, {"source": "chains"}) as writer:
        for row in range(80):
            size = rng.integers(4, 13)
            chain = np.arange(size)[:, None, None] * np.array([1.5, 0, 0])
            conformers = chain + 0.3 * rng.normal(size=(size, 2, 3))
            z = rng.choice([6, 8], size)
            writer.add(row, "3d", smiles=f"m{row}", z=z, conformers=conformers)
        writer.finish(80)
    return folder


def split(folder: Path) -> tuple[ConformerStore, ConformerStore]:
    """64 chains to train on and 16 held-out ones."""
    store = ConformerStore(folder)
    return store[:64], store[64:]


class StopHere(RuntimeError):
    pass


def stopping_at(epoch: int):
    """A validation that dies in an epoch, and the epochs validated so far."""
    finished, epochs = PropertyModule.on_validation_epoch_end, []

    def watched(module):
        finished(module)
        epochs.append(module.current_epoch)
        if module.current_epoch == epoch:
            raise StopHere

    return watched, epochs
