"""What became of each row of molecules, and the data set of a fit."""

import warnings
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import torch
from rdkit import rdBase
from torch_geometric.data import Data
from tqdm.auto import tqdm

from molae_pyg.chem.molecules import to_data
from molae_pyg.chem.options import InputError, Options
from molae_pyg.chem.rows import Row, parse, status_of
from molae_pyg.datasets import CSVDataset
from molae_pyg.datasets.table import MoleculeTable
from molae_pyg.datasets.table_storage import Molecules as Stored
from molae_pyg.datasets.table_storage import joined
from molae_pyg.tables.reading import Table
from molae_pyg.workflow.feature_cache import FeatureCache
from molae_pyg.workflow.molecules import NO_SMILES, Molecules

if TYPE_CHECKING:
    from molae_pyg.workflow.settings import FitSettings


class Outcomes(NamedTuple):
    """What became of each row: status (ok, invalid, failed), reason, and the usable molecules."""

    status: list[str]
    reason: list[str]
    kept: np.ndarray  # rows that are ok
    molecules: list[Data] | None  # of these rows; None if coordinates are not needed


def outcomes_of(
    given: Molecules,
    options: Options,
    cache: FeatureCache | None = None,
    with_coordinates: bool = True,
    with_smiles: bool = False,
    workers: int | None = None,
) -> Outcomes:
    """Makes molecules.

    Args:
        given: The molecules.
        options: How they are made.
        cache: Cache of their conformers. default: none.
        with_coordinates: Whether conformers are made. default: true.
        with_smiles: Whether each molecule needs a SMILES, too. default: false.
        workers: Number of processes that make conformers. default: one a core.
    """
    rows = (
        given.rows(options, cache, workers)
        if with_coordinates
        else _read(given, options.time_limit)
    )
    status = [status_of(row.status) for row in rows]
    reason = [row.reason for row in rows]
    for number, text in enumerate(given.smiles):
        if with_smiles and not text and status[number] == "ok":
            status[number], reason[number] = "invalid", NO_SMILES
    kept = np.flatnonzero(np.array(status, object) == "ok")
    if not with_coordinates:
        return Outcomes(status, reason, kept, None)
    made = [to_data(rows[row], options) for row in kept.tolist()]
    return Outcomes(status, reason, kept, made)


def _read(given: Molecules, limit: float) -> list[Row]:
    """Reads molecules whose coordinates are not needed; ``limit`` are seconds for a SMILES."""
    rows = []
    bar = tqdm(given.smiles, "reading", delay=2, disable=None)
    with rdBase.BlockLogs():
        for text, row in zip(bar, given.given, strict=True):
            try:
                if row is None:
                    parse(text, True, limit)
                rows.append(row or Row("3d"))
            except ValueError as error:
                rows.append(Row("invalid", str(error)))
    return rows


def without_smiles(settings: "FitSettings") -> "FitSettings":
    """Returns what can be fitted to coordinates alone."""
    if settings.features not in ("auto", "none"):
        raise InputError(
            f"features={settings.features!r} needs a SMILES of each molecule, as data.smiles: use "
            "features='none'"
        )
    warnings.warn(
        "some molecules have coordinates but no SMILES (data.smiles): the encoder alone is read, "
        "without descriptors and ECFP, the mean is the only baseline, and folds are random",
        stacklevel=3,
    )
    return replace(settings, features="none", split="random", baselines=False)


def featurized(
    table: Table,
    folder: Path,
    options: Options,
    name: str,
    molecules: Molecules | None = None,
    memory: FeatureCache | None = None,
) -> MoleculeTable:
    """Returns the molecules of a table with conformers, which are kept in the folder.

    Args:
        table: Molecules and targets.
        folder: The folder; conformers of ``molecules`` are not kept there.
        options: How molecules are made.
        name: Name of the table in messages.
        molecules: Molecules of the rows. default: those of the SMILES of the table.
        memory: Cache of the conformers of ``molecules``. default: none.
    """
    with warnings.catch_warnings():  # of rows without a molecule, which have a status
        warnings.filterwarnings("ignore", message=".*gave no molecule and are left out")
        try:
            if molecules is not None:
                return GivenTable(molecules, table, options, memory)
            return CSVDataset.from_table(
                table,
                "table.csv",
                folder,
                num_conformers=options.num_conformers,
                add_2d=False,
                seed=options.seed,
                recipe=options.recipe,
            )
        except ValueError as error:
            raise InputError(f"{name}: {error}") from None


class GivenTable(CSVDataset):
    """A table of molecules in memory; items have ``atom_map``, -1 where it is not known.

    Args:
        molecules: The molecules.
        table: Their targets.
        options: How molecules are made.
        cache: Cache of their conformers. default: none.
    """

    def __init__(
        self,
        molecules: Molecules,
        table: Table,
        options: Options,
        cache: FeatureCache | None = None,
    ) -> None:
        self._source = molecules, cache
        made = {"num_conformers": options.num_conformers, "add_2d": False, "seed": options.seed}
        made["recipe"] = options.recipe
        self._make(table, "table.csv", None, made)
        self.recipe["source"] = molecules.source
        del self._source

    def _molecules(
        self, smiles: list[str], options: Options, workers: int | None, folder: Path | None
    ) -> Stored:
        molecules, cache = self._source
        rows = molecules.rows(options, cache)
        found = joined(rows, smiles, options)
        kept = [row.atom_map for row in rows if row.z is not None]
        if kept:
            found.data.atom_map = torch.from_numpy(np.concatenate(kept))  # [N]
            found.slices["atom_map"] = found.slices["z"]
        return found
