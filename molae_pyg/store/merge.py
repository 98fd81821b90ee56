"""Merges conformer stores into one, for training on all of them."""

import os
from collections.abc import Iterator, Sequence
from typing import Any

from rdkit import rdBase
from tqdm.auto import tqdm

from molae_pyg.chem.options import InputError
from molae_pyg.chem.parsing import compound_key
from molae_pyg.chem.smiles import plain_mol
from molae_pyg.durable import sha256_of
from molae_pyg.store.dataset import ConformerStore, StoredRow
from molae_pyg.store.format import STORED
from molae_pyg.store.writer import StoreWriter
from molae_pyg.tables.reading import read_smiles


def merge(
    stores: Sequence[str | os.PathLike],
    output: str | os.PathLike,
    exclude: str | os.PathLike | None = None,
    progress: bool = True,
) -> ConformerStore:
    """Writes the rows of several stores into one, store after store.

    Rows without a molecule keep their reasons. Called again after an interruption, it resumes.

    Args:
        stores: Folders of complete stores.
        output: Folder to write.
        exclude: File of SMILES, as :func:`~molae_pyg.tables.text_file.read_smiles` reads it, to
            leave out: molecules with the same canonical SMILES without stereochemistry, isotopes
            and atom labels. Their rows are ``"excluded"``. default: None.
        progress: Show a bar if stderr is a terminal. default: True.

    Raises:
        FileNotFoundError: If ``exclude`` is missing.
        InputError: A ValueError, if ``exclude`` cannot be read or no store is given.
        StoreError: If a store is missing, incomplete or damaged, or if ``output`` holds something
            else.
    """
    if not stores:
        raise InputError("no store to merge is given")
    parts = [ConformerStore(folder) for folder in stores]
    meta = {"merged": [{"content": part.digest(), **part.meta} for part in parts]}
    left_out: set[str] = set()
    if exclude is not None:
        meta["excluded"] = sha256_of(exclude)
        left_out = _read_keys(exclude, progress)
    disable, num_rows = None if progress else True, sum(part.num_rows for part in parts)
    with (
        StoreWriter(output, meta) as writer,
        tqdm(total=num_rows, unit="row", disable=disable) as bar,
        rdBase.BlockLogs(),
    ):
        for row, (part, outcome, index) in enumerate(_rows(parts)):
            if not writer.is_done(row):
                content = () if index is None else _molecule(part, index)
                if left_out and content and key_of(content[0]) in left_out:
                    writer.add(row, "excluded", f"in {exclude}", content[0])
                else:
                    writer.add(row, outcome.status, outcome.reason, *content)
            bar.update()
        writer.finish(num_rows)
    return ConformerStore(output)


def key_of(smiles: str) -> str:
    """Returns the compound key of a SMILES; empty if it cannot be read."""
    try:
        return compound_key(plain_mol(smiles))
    except ValueError:
        return ""


def _read_keys(path: str | os.PathLike, progress: bool) -> set[str]:
    try:
        smiles = read_smiles(path)
    except ValueError as error:
        raise InputError(str(error)) from None
    disable = None if progress else True
    with rdBase.BlockLogs():
        bar = tqdm(smiles, "exclusions", unit="mol", delay=1.0, disable=disable)
        return {key_of(text) for text in bar} - {""}


def _rows(
    parts: Sequence[ConformerStore],
) -> Iterator[tuple[ConformerStore, StoredRow, int | None]]:
    """Yields store, outcome and index of the molecule (None without one) of every row."""
    for part in parts:
        index = 0  # molecules are in the order of their rows
        for outcome in part.rows():
            has_molecule = outcome.status in STORED
            yield part, outcome, index if has_molecule else None
            index += has_molecule


def _molecule(part: ConformerStore, index: int) -> tuple[str, Any, Any]:
    data = part[index]
    return data.smiles, data.z, data.conformers
