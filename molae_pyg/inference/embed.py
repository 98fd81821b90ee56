"""Embeddings: vectors of SMILES, which are cached on the disk, and of PyG Data."""

import io
from collections.abc import Iterable, Iterator, Mapping, Sequence, Set
from contextlib import closing
from itertools import islice

import numpy as np
from rdkit import rdBase
from torch import nn
from torch_geometric.data import Data, Dataset
from tqdm.auto import tqdm

from molae_pyg.chem.featurizer import canonical_smiles, stream
from molae_pyg.chem.options import RECIPE_VERSION, Options
from molae_pyg.fingerprint import of_weights
from molae_pyg.inference.batches import in_batches, mean_over_conformers
from molae_pyg.inference.cache import EmbeddingCache, cache_folder
from molae_pyg.inference.molecules import (
    Checker,
    HeldOutItems,
    Molecules,
    check_list,
    checked_sizes,
)
from molae_pyg.inference.precision import precision as hardware_precision
from molae_pyg.nn.arguments import size

_CHUNK = 512  # molecules that are sorted by size and cached together: what a kill can cost


def embed(
    model: nn.Module,
    molecules: Iterable[str] | Molecules,
    num_conformers: int = 1,
    batch_size: int = 32,
    cache: bool = True,
    precision: str = "auto",
) -> np.ndarray:
    """Returns the vector of each molecule: its CLS representation, averaged over conformers.

    Each distinct SMILES is encoded once, so that equal molecules have equal vectors, bit by bit.

    Args:
        model: An encoder, or a model with an ``encoder``, such as :class:`~molae_pyg.MolAE`.
        molecules: n SMILES (a list, column or generator), or ``Data`` with ``conformers [n, K, 3]``
            or ``pos [n, 3]`` (a list or a data set).
        num_conformers: Number of conformers that are made for each SMILES, default: 1. ``Data``
            are averaged over all of theirs.
        batch_size: Number of molecules of a forward pass, default: 32.
        cache: Whether vectors of SMILES are kept on the disk and taken from there, default: true.
            The file is in ``$MOLAE_CACHE``, default: ``~/.cache/molae_pyg``.
        precision: ``"auto"`` (default): bf16 where the hardware computes in it, fp32 otherwise;
            or ``"32-true"``, ``"bf16-mixed"``.

    Returns:
        float32 ``[n, C]``, rows in the order of the molecules.

    Raises:
        ValueError: A molecule cannot be used or gave no coordinates (the message names its row), or
            ``batch_size`` or ``precision`` is not allowed.
        TypeError: ``molecules`` is a single string, a file, or something without an order of rows.
    """
    encoder = getattr(model, "encoder", model)
    batch_size = size("batch_size", batch_size)
    if _are_data(molecules):
        check_list(molecules, "molecules")
        num_atoms = checked_sizes(molecules, Checker("molecules"))
        items = HeldOutItems(molecules, next(encoder.parameters()).dtype)
        return _encode(encoder, items, num_atoms, batch_size, precision, "embedding")
    smiles = listed(molecules)
    options = Options(num_conformers)
    shelf = _shelf(encoder, options, hardware_precision(precision)) if cache else None
    names = _canonical(smiles, shelf)
    rows: dict[str, int] = {}  # first row of each molecule
    for row, name in enumerate(names):
        rows.setdefault(name, row)
    vectors = shelf.vectors(list(rows)) if shelf else {}
    missing = [name for name in rows if name not in vectors]
    failed = {}
    with closing(_in_chunks(encoder, missing, options, batch_size, precision)) as chunks:
        for found, errors in chunks:
            vectors |= found
            failed |= errors
            if shelf:
                shelf.keep({}, found)
    if failed:
        name, error = next(iter(failed.items()))
        others = f" (and {len(failed) - 1} more molecules)" if len(failed) > 1 else ""
        raise ValueError(f"row {rows[name]}: {error}{others}")
    if not names:
        return np.zeros((0, encoder.config["hidden_channels"]), dtype=np.float32)
    return np.stack([vectors[name] for name in names])


def _in_chunks(
    encoder: nn.Module, smiles: list[str], options: Options, batch_size: int, precision: str
) -> Iterator[tuple[dict[str, np.ndarray], dict[str, ValueError]]]:
    """Yields the vectors of the next molecules, and their errors, by SMILES.

    Worker processes make conformers while this process encodes the molecules that are ready.
    """
    bar = tqdm(smiles, "embedding", unit="mol", delay=1.0, disable=None)
    with closing(stream(smiles, options)) as made:
        pairs = zip(bar, made, strict=True)
        while chunk := dict(islice(pairs, _CHUNK)):
            ready = {name: data for name, data in chunk.items() if isinstance(data, Data)}
            errors = {name: error for name, error in chunk.items() if name not in ready}
            items = list(ready.values())
            num_atoms = [data.z.numel() for data in items]
            found = _encode(encoder, items, num_atoms, batch_size, precision) if ready else []
            yield dict(zip(ready, found, strict=True)), errors


def _encode(
    encoder: nn.Module,
    molecules: Sequence[Data] | HeldOutItems,
    num_atoms: Sequence[int],
    batch_size: int,
    precision: str,
    description: str | None = None,
) -> np.ndarray:
    """Returns CLS representations ``[n, C]`` float32, averaged over conformers."""
    vectors = mean_over_conformers(lambda z, pos, batch: encoder(z, pos, batch).molecule)
    return in_batches(encoder, vectors, molecules, num_atoms, batch_size, precision, description)


def _are_data(molecules: object) -> bool:
    if isinstance(molecules, Data | Dataset):
        return True
    some = isinstance(molecules, Sequence) and not isinstance(molecules, str) and len(molecules) > 0
    return some and isinstance(molecules[0], Data)


def _shelf(encoder: nn.Module, options: Options, precision: str) -> EmbeddingCache:
    reader = f"rdkit {rdBase.rdkitVersion}, recipe {RECIPE_VERSION}"
    settings = {
        "reader": reader,
        "weights": of_weights(encoder),
        "recipe": options.to_dict(),
        "precision": precision,
    }
    return EmbeddingCache(cache_folder(), reader, settings)


def listed(smiles: Iterable[str]) -> list[str]:
    """Returns all rows of a list, array, column, generator or other iterable with an order.

    Raises:
        TypeError: It is a single string, a file, a mapping, a set or a table, whose rows are not
            defined.
        ValueError: A row is not a string.
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
    """Returns canonical SMILES. All are read before any conformer is made: errors come early."""
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
