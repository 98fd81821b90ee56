"""SMILES in, embeddings out."""

from collections.abc import Sequence

import numpy as np
import torch
from torch_geometric.loader import DataLoader
from tqdm.auto import tqdm

from molae_pyg.chem import featurize
from molae_pyg.models.encoder import MolAEEncoder


@torch.no_grad()
def embed_smiles(
    encoder: MolAEEncoder, smiles: Sequence[str], num_conformers: int = 1, batch_size: int = 32
) -> np.ndarray:
    """Mean CLS representation over conformers, see :meth:`molae_pyg.MolAE.embed`.

    Returns:
        float32 ``[n, C]``, one row per SMILES in their order.

    Raises:
        ValueError: A SMILES is invalid or gave no coordinates; the message names its row.
        TypeError: ``smiles`` is a single string.
    """
    if isinstance(smiles, str):
        raise TypeError("embed takes a list of SMILES; for one molecule give [smiles]")
    molecules, _ = featurize(smiles, num_conformers)
    # Equal molecules are encoded once: their rows are equal to the bit, whatever the batches.
    rows: dict[bytes, list[int]] = {}
    for row, data in enumerate(molecules):
        rows.setdefault(data.z.numpy().tobytes() + data.conformers.numpy().tobytes(), []).append(
            row
        )
    # Molecules of like size share a batch: less padding.
    groups = sorted(rows.values(), key=lambda group: molecules[group[0]].z.numel())
    result = np.zeros((len(molecules), encoder.config["hidden_channels"]), dtype=np.float32)
    device = next(encoder.parameters()).device
    was_training = encoder.training
    encoder.eval()
    loader = DataLoader([molecules[group[0]] for group in groups], batch_size)
    remaining = iter(groups)
    for batch in tqdm(loader, "embedding", leave=False, delay=2):
        batch = batch.to(device)
        total = sum(
            encoder(batch.z, pos, batch.batch).molecule for pos in batch.conformers.unbind(1)
        )  # [B, C]
        for vector in (total / batch.conformers.size(1)).float().cpu().numpy():
            result[next(remaining)] = vector
    encoder.train(was_training)
    return result
