"""SMILES in, embeddings out."""

import io
from collections.abc import Iterable, Mapping, Sequence, Set
from contextlib import closing
from itertools import islice

import numpy as np
import torch
from rdkit import rdBase
from torch_geometric.data import Batch, Data
from tqdm.auto import tqdm

from molae_pyg.chem.featurizer import canonical_smiles, stream
from molae_pyg.chem.options import RECIPE_VERSION, Options
from molae_pyg.fingerprint import of_weights
from molae_pyg.inference.cache import EmbeddingCache, cache_folder
from molae_pyg.inference.precision import autocast
from molae_pyg.inference.precision import precision as hardware_precision
from molae_pyg.models.encoder import MolAEEncoder
from molae_pyg.nn.arguments import size

_CHUNK = 512  # molecules sorted by size together, and kept together: what a kill can cost


def embed_smiles(
    encoder: MolAEEncoder,
    smiles: Iterable[str],
    num_conformers: int = 1,
    batch_size: int = 32,
    cache: bool = True,
    precision: str = "auto",
) -> np.ndarray:
    """Mean CLS representation over conformers, see :meth:`molae_pyg.MolAE.embed`.

    Worker processes make conformers while this one encodes the molecules that are ready. Each
    distinct molecule is encoded once, so equal ones are equal to the bit.

    Returns:
        float32 ``[n, C]``, one row per SMILES in their order.

    Raises:
        ValueError: A SMILES is invalid or gave no coordinates; the message names its row.
        ValueError: ``batch_size`` or ``precision`` is not allowed.
        TypeError: ``smiles`` is a single string, a file, or something without an order of rows.
    """
    smiles = listed(smiles)
    batch_size = size("batch_size", batch_size)
    options = Options(num_conformers)
    computed_in = hardware_precision(precision)
    shelf = _shelf(encoder, options, computed_in) if cache else None
    molecules = _canonical(smiles, shelf)
    rows: dict[str, int] = {}  # where each molecule comes first
    for row, molecule in enumerate(molecules):
        rows.setdefault(molecule, row)
    vectors = shelf.vectors(list(rows)) if shelf else {}
    missing = [molecule for molecule in rows if molecule not in vectors]
    failed: dict[int, ValueError] = {}  # by row
    bar = tqdm(missing, "embedding", unit="mol", delay=1.0, disable=None)
    with closing(stream(missing, options)) as made:
        pairs = zip(bar, made, strict=True)
        while chunk := dict(islice(pairs, _CHUNK)):
            ready = {key: data for key, data in chunk.items() if isinstance(data, Data)}
            failed |= {rows[key]: error for key, error in chunk.items() if key not in ready}
            with autocast(next(encoder.parameters()).device, precision):
                found = _encode(encoder, ready, batch_size)
            vectors |= found
            if shelf:
                shelf.keep({}, found)
    if failed:
        row, error = next(iter(failed.items()))
        others = f" (and {len(failed) - 1} more molecules)" if len(failed) > 1 else ""
        raise ValueError(f"row {row}: {error}{others}")
    if not molecules:
        return np.zeros((0, encoder.config["hidden_channels"]), dtype=np.float32)
    return np.stack([vectors[molecule] for molecule in molecules])


def _shelf(encoder: MolAEEncoder, options: Options, precision: str) -> EmbeddingCache:
    reader = f"rdkit {rdBase.rdkitVersion}, recipe {RECIPE_VERSION}"
    settings = {
        "reader": reader,
        "weights": of_weights(encoder),
        "recipe": options.to_dict(),
        "precision": precision,
    }
    return EmbeddingCache(cache_folder(), reader, settings)


def listed(smiles: Iterable[str]) -> list[str]:
    """All rows of a list, array, column, generator or any other iterable with an order.

    Raises:
        TypeError: It is a single string, a file, a mapping, a set or a table: what its rows are
            would be a guess.
        ValueError: A row is no string.
    """
    if isinstance(smiles, str | bytes | bytearray):
        raise TypeError("embed takes a list of SMILES; for one molecule give [smiles]")
    if isinstance(smiles, io.IOBase):
        raise TypeError("embed takes SMILES, not a file: give [line.strip() for line in file]")
    unclear = isinstance(smiles, Mapping | Set) or getattr(smiles, "ndim", 1) != 1
    if unclear or not isinstance(smiles, Iterable):
        raise TypeError(
            f"embed takes a list of SMILES, got a {type(smiles).__name__}; give a list, or one "
            "column of a table"
        )
    rows = list(smiles)
    for number, row in enumerate(rows):
        if not isinstance(row, str):
            raise ValueError(f"row {number}: expected a SMILES string, got {row!r:.80}")
    return [str(row) for row in rows]


def _canonical(smiles: Sequence[str], shelf: EmbeddingCache | None) -> list[str]:
    """Canonical SMILES; all are read before the first conformer is made, so errors come early."""
    known = shelf.molecules([s for s in dict.fromkeys(smiles) if s.isascii()]) if shelf else {}
    new = {}
    for row, text in enumerate(
        tqdm(smiles, "reading", unit="mol", delay=1.0, leave=False, disable=None)
    ):
        if text not in known:
            try:
                known[text] = new[text] = canonical_smiles(text)
            except ValueError as error:
                raise ValueError(f"row {row}: {error}") from None
    if shelf:
        shelf.keep(new, {})
    return [known[text] for text in smiles]


@torch.inference_mode()
def _encode(
    encoder: MolAEEncoder, molecules: dict[str, Data], batch_size: int
) -> dict[str, np.ndarray]:
    """Vectors ``[C]`` float32 by name; molecules of like size share a batch: less padding."""
    names = sorted(molecules, key=lambda name: molecules[name].z.numel())
    device = next(encoder.parameters()).device
    was_training = encoder.training
    encoder.eval()
    found: dict[str, np.ndarray] = {}
    for start in range(0, len(names), batch_size):
        some = names[start : start + batch_size]
        batch = Batch.from_data_list([molecules[name] for name in some]).to(device)
        total = sum(
            encoder(batch.z, pos, batch.batch).molecule for pos in batch.conformers.unbind(1)
        )  # [B, C]
        vectors = (total / batch.conformers.size(1)).float().cpu().numpy()
        found |= dict(zip(some, vectors, strict=True))
    encoder.train(was_training)
    return found
