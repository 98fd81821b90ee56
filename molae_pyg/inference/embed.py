"""Embeddings: vectors of SMILES, which are cached on the disk, and of PyG Data."""

import io
import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence, Set
from contextlib import closing
from itertools import islice
from typing import Any, Literal, NamedTuple

import numpy as np
from rdkit import rdBase
from torch import nn
from torch.utils.data import Dataset, Subset
from torch_geometric.data import Data
from tqdm.auto import tqdm

from molae_pyg.chem.featurizer import canonical_smiles, stream
from molae_pyg.chem.graph import add_graph
from molae_pyg.chem.options import RECIPE_VERSION, Options
from molae_pyg.chem.recipes import DEFAULT_RECIPE
from molae_pyg.fingerprint import of_weights
from molae_pyg.inference.batches import in_batches
from molae_pyg.inference.cache import EmbeddingCache, cache_folder
from molae_pyg.inference.graphs import Graphs
from molae_pyg.inference.molecules import (
    Checker,
    HeldOutItems,
    Molecules,
    check_list,
    checked_sizes,
    num_atoms_of,
)
from molae_pyg.inference.precision import precision as hardware_precision
from molae_pyg.inference.readouts import EmbedReadout, check_readout, vector_size, vectors_of
from molae_pyg.models.encoding import sees_graph
from molae_pyg.nn.arguments import size

OnError = Literal["raise", "nan"]

_CHUNK = 512  # molecules that are sorted by size and cached together: what a kill can cost


def embed(
    model: nn.Module,
    molecules: Iterable[str] | Molecules,
    num_conformers: int = 1,
    batch_size: int = 32,
    cache: bool = True,
    precision: str = "auto",
    on_error: OnError = "raise",
    readout: EmbedReadout = "cls, mean",
    recipe: str = DEFAULT_RECIPE,
) -> np.ndarray:
    """Returns the vector of each molecule, averaged over conformers.

    Each distinct SMILES is encoded once, so that equal molecules have equal vectors, bit by bit.

    Args:
        model: An encoder, or a model with an ``encoder``, such as :class:`~molae_pyg.MolAE`.
        molecules: n SMILES (a list, column or generator), or ``Data`` with ``conformers [n, K, 3]``
            or ``pos [n, 3]`` (a list or a data set). An encoder with a graph channel receives the
            graph of molecules with ``smiles``; a warning says if some have none.
        num_conformers: Number of conformers that are made for each SMILES, default: 1. ``Data``
            are averaged over all of theirs.
        batch_size: Number of molecules of a forward pass, default: 32.
        cache: Whether vectors of SMILES are kept on the disk and taken from there, default: true.
            The file is in ``$MOLAE_CACHE``, default: ``~/.cache/molae_pyg``.
        precision: ``"auto"`` (default): bf16 where the hardware is faster in it, fp32 otherwise;
            or ``"32-true"``, ``"bf16-mixed"``.
        on_error: ``"raise"`` (default), or ``"nan"``: the row of a molecule that cannot be embedded
            is NaN, and one warning counts such rows and gives the reason of the first ones.
        readout: ``"cls"``, ``"mean"`` (over atoms), or ``"cls, mean"`` (default), both joined, with
            which linear models are better and conformers differ less than with ``"cls"``.
        recipe: How conformers of SMILES are made, ``"fast"`` (default), ``"published"`` or
            ``"flat"``, see :func:`~molae_pyg.chem.from_smiles`, whose default is another.

    Returns:
        float32 ``[n, 2 C]``, or ``[n, C]`` for one readout; rows in the order of the molecules.

    Raises:
        ValueError: A molecule cannot be used or gave no coordinates (the message names its row), or
            ``batch_size``, ``precision``, ``on_error`` or ``readout`` is not allowed.
        TypeError: ``molecules`` is a single string, a file, or something without an order of rows.
    """
    encoder = getattr(model, "encoder", model)
    check_readout(readout)
    how = _How(size("batch_size", batch_size), precision, readout)
    lost = _Lost(on_error)
    if _are_data(molecules):
        vectors = _of_data(encoder, molecules, how, lost)
    else:
        options = Options(num_conformers, recipe=recipe)
        vectors = _of_smiles(encoder, listed(molecules), options, cache, how, lost)
    if lost:
        lost.warn(len(vectors))
    return vectors


class _How(NamedTuple):
    """How vectors are computed, see :func:`embed`."""

    batch_size: int
    precision: str
    readout: EmbedReadout


class _Lost(dict[int, str]):
    """Reasons of the rows that cannot be embedded; unless NaN is wanted, the first is raised."""

    def __init__(self, on_error: OnError):
        super().__init__()
        if on_error not in ("raise", "nan"):
            raise ValueError(f"on_error must be 'raise' or 'nan', not {on_error!r}")
        self.raises = on_error == "raise"

    def add(self, row: int, reason: object) -> None:
        if self.raises:
            raise ValueError(f"row {row}: {reason}") from None
        self[row] = str(reason)

    def warn(self, num_rows: int) -> None:
        shown = "; ".join(f"row {row}: {self[row]}" for row in sorted(self)[:5])
        warnings.warn(
            f"{len(self)} of {num_rows} molecules cannot be embedded and have NaN: {shown}"
            f"{'; ...' if len(self) > 5 else ''}",
            stacklevel=3,
        )


def _of_data(encoder: nn.Module, molecules: Molecules, how: _How, lost: _Lost) -> np.ndarray:
    """Does what :func:`embed` does, for PyG Data."""
    check_list(molecules, "molecules")
    check = Checker("molecules")
    graphs = Graphs(sees_graph(encoder), getattr(molecules, "recipe", None))
    items = HeldOutItems(molecules, next(encoder.parameters()).dtype, graphs=graphs)
    if lost.raises:
        num_atoms = checked_sizes(molecules, check)
        return _encode(encoder, items, num_atoms, how, "embedding")
    sizes = {}  # of the molecules that can be used, by row
    for row in range(len(molecules)):
        try:
            check(row, data := molecules[row])
            sizes[row] = num_atoms_of(data)
        except ValueError as error:
            lost.add(row, error)
    vectors = _without_vectors(encoder, len(molecules), how)
    if sizes:
        kept, num_atoms = list(sizes), list(sizes.values())
        some = Subset(items, kept)
        vectors[kept] = _encode(encoder, some, num_atoms, how, "embedding")
    return vectors


def _of_smiles(
    encoder: nn.Module, smiles: list[Any], options: Options, cache: bool, how: _How, lost: _Lost
) -> np.ndarray:
    """Does what :func:`embed` does, for SMILES."""
    shelf = _shelf(encoder, options, how) if cache else None
    names = _canonical(smiles, shelf, lost)
    rows: dict[str, int] = {}  # first row of each molecule
    for row, name in names.items():
        rows.setdefault(name, row)
    vectors = shelf.vectors(list(rows)) if shelf else {}
    missing = [name for name in rows if name not in vectors]
    failed = {}
    with closing(_in_chunks(encoder, missing, options, how)) as chunks:
        for found, errors in chunks:
            vectors |= found
            failed |= errors
            if shelf:
                shelf.keep({}, found)
    others = f" (and {len(failed) - 1} more molecules)" if lost.raises and len(failed) > 1 else ""
    result = _without_vectors(encoder, len(smiles), how)
    for name, error in failed.items():
        lost.add(rows[name], f"{error}{others}")
    for row, name in names.items():
        if name in vectors:
            result[row] = vectors[name]
        elif row not in lost:
            lost.add(row, lost[rows[name]])
    return result


def _without_vectors(encoder: nn.Module, num_rows: int, how: _How) -> np.ndarray:
    return np.full((num_rows, vector_size(encoder, how.readout)), np.nan, np.float32)


def _in_chunks(
    encoder: nn.Module, smiles: list[str], options: Options, how: _How
) -> Iterator[tuple[dict[str, np.ndarray], dict[str, ValueError]]]:
    """Yields the vectors of the next molecules, and their errors, by SMILES.

    Worker processes make conformers while this process encodes the molecules that are ready.
    """
    bar = tqdm(smiles, "embedding", unit="mol", delay=1.0, disable=None)
    with closing(stream(smiles, options)) as made:
        pairs = zip(bar, made, strict=True)
        while chunk := dict(islice(pairs, _CHUNK)):
            chunk = {name: _prepared(encoder, data) for name, data in chunk.items()}
            ready = {name: data for name, data in chunk.items() if isinstance(data, Data)}
            errors = {name: error for name, error in chunk.items() if name not in ready}
            items = list(ready.values())
            num_atoms = [data.z.numel() for data in items]
            found = _encode(encoder, items, num_atoms, how) if ready else []
            yield dict(zip(ready, found, strict=True)), errors


def _prepared(encoder: nn.Module, made: Data | ValueError) -> Data | ValueError:
    """Adds the graph to a molecule if the encoder has a graph channel."""
    if not (isinstance(made, Data) and sees_graph(encoder)):
        return made
    try:
        return add_graph(made)
    except ValueError as error:
        return error


def _encode(
    encoder: nn.Module,
    molecules: Sequence[Data] | HeldOutItems | Subset,
    num_atoms: Sequence[int],
    how: _How,
    description: str | None = None,
) -> np.ndarray:
    """Returns vectors ``[n, C]`` or ``[n, 2 C]`` float32, averaged over conformers."""
    vectors = vectors_of(encoder, how.readout)
    return in_batches(
        encoder, vectors, molecules, num_atoms, how.batch_size, how.precision, description
    )


def _are_data(molecules: object) -> bool:
    if isinstance(molecules, Data | Dataset):  # PyG's data sets are PyTorch's too
        return True
    some = isinstance(molecules, Sequence) and not isinstance(molecules, str) and len(molecules) > 0
    return some and isinstance(molecules[0], Data)


def _shelf(encoder: nn.Module, options: Options, how: _How) -> EmbeddingCache:
    reader = f"rdkit {rdBase.rdkitVersion}, recipe {RECIPE_VERSION}"
    settings = {
        "reader": reader,
        "weights": of_weights(encoder),
        "recipe": options.to_dict(),
        "precision": hardware_precision(how.precision),
    }
    if how.readout != "cls":  # vectors that were cached before there was a choice are CLS
        settings["readout"] = how.readout
    return EmbeddingCache(cache_folder(), reader, settings)


def listed(smiles: Iterable[str]) -> list[Any]:
    """Returns all rows of a list, array, column, generator or other iterable with an order.

    Raises:
        TypeError: It is a single string, a file, a mapping, a set or a table, whose rows are not
            defined.
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
    return list(smiles)


def _canonical(smiles: Sequence[Any], shelf: EmbeddingCache | None, lost: _Lost) -> dict[int, str]:
    """Returns canonical SMILES by row, without those of lost rows.

    All are read before any conformer is made: errors come early.
    """
    texts = {}
    for row, text in enumerate(smiles):
        if isinstance(text, str):
            texts[row] = str(text)
        else:
            lost.add(row, f"expected a SMILES string, got {text!r:.80}")
    distinct = dict.fromkeys(texts.values())
    known = shelf.molecules([s for s in distinct if s.isascii()]) if shelf else {}
    new, errors = {}, {}
    bar = tqdm(texts.items(), "reading", unit="mol", delay=1.0, leave=False, disable=None)
    for row, text in bar:
        if text not in known and text not in errors:
            try:
                known[text] = new[text] = canonical_smiles(text)
            except ValueError as error:
                errors[text] = str(error)
        if text in errors:
            lost.add(row, errors[text])
    if shelf:
        shelf.keep(new, {})
    return {row: known[text] for row, text in texts.items() if text in known}
