"""A fitted model of atom targets: a list of values with intervals for each molecule."""

from collections.abc import Sequence
from pathlib import Path
from typing import NoReturn

import numpy as np
import pandas as pd
from torch_geometric.data import Data
from tqdm.auto import tqdm

from molae_pyg import checkpoint
from molae_pyg.chem.options import InputError
from molae_pyg.models import MolAEEncoder
from molae_pyg.tables.atom_lists import AtomTable, Records, num_atoms_of
from molae_pyg.workflow.atoms.features import Atoms, atom_features
from molae_pyg.workflow.atoms.scores import (
    ATOM_BASELINES,
    AtomIntervals,
    intervals_out_of_fold,
)
from molae_pyg.workflow.features import ENCODER, read_arrays
from molae_pyg.workflow.model import FittedModel
from molae_pyg.workflow.scores import MODEL

#: File with the atoms of the training molecules and their values.
ATOMS_FILE = "atoms.npz"
_AT_ONCE = 500  # molecules whose features are in memory together


class AtomModel(FittedModel):
    """The model of a folder that ``molae train`` has made for values of atoms.

    Its targets have the kind ``"atom"``. Beside the attributes of
    :class:`~molae_pyg.workflow.FittedModel`, of which ``smiles``, ``rows`` and ``fold`` are those
    of molecules and ``predictions`` are those of atoms, ``[N, T]``, it has

    Attributes:
        atoms: Atoms of the training molecules.
        values: Their values ``[N, T]``, NaN = missing.
    """

    def __init__(self, folder: str | Path):
        arrays = read_arrays(Path(folder) / ATOMS_FILE)
        self.values = arrays.pop("y")
        self.atoms = Atoms(**arrays)
        super().__init__(folder)

    @property
    def atom_fold(self) -> np.ndarray:
        """Fold of each atom ``[N]``."""
        return self.fold[self.atoms.molecule]

    def predict(
        self, molecules: Sequence[str] | Records | AtomTable, alpha: float = 0.1
    ) -> pd.DataFrame:
        """Predicts the atoms of molecules.

        Args:
            molecules: SMILES ``[n]``, records or a table.
            alpha: Share of true values that may be outside the intervals. default: 0.1.

        Returns:
            One row for each molecule. ``T_predicted``, ``T_low`` and ``T_high`` are arrays with an
            entry for each atom of the record, in its order; NaN for hydrogens. A molecule without
            a prediction has None. ``molae_status``, ``molae_reason`` and ``molae_similarity`` are
            those of :meth:`FittedModel.predict`.
        """
        records = records_of(molecules)
        outcomes = self.molecules(records.smiles, True)
        number = len(records.smiles)
        columns = {
            f"{target.name}_{end}": np.full(number, None, object)
            for target in self.targets
            for end in ("predicted", "low", "high")
        }
        kept = outcomes.kept.tolist()
        for start in range(0, len(kept), _AT_ONCE):
            rows = kept[start : start + _AT_ONCE]
            some = outcomes.molecules[start : start + _AT_ONCE]
            atoms = Atoms.of(some, records, rows)
            predicted = self._of_molecules(some).mean(0)  # [N, T]
            for task, target in enumerate(self.targets):
                values = predicted[:, task]
                half = self._half_widths(task, atoms.z, alpha)
                for end, array in zip(
                    ("predicted", "low", "high"),
                    (values, values - half, values + half),
                    strict=True,
                ):
                    columns[f"{target.name}_{end}"][rows] = lists_of(array, atoms, records, rows)
        similarity = np.full(number, np.nan)
        similarity[kept] = self.similarity([records.smiles[row] for row in kept])
        columns |= {"molae_status": outcomes.status, "molae_reason": outcomes.reason}
        return pd.DataFrame(columns | {"molae_similarity": similarity})

    def fold_predict(self, molecules: Sequence[str]) -> NoReturn:
        raise InputError(f"{self.folder} predicts atoms, whose number differs: use predict")

    def explain(self, molecules: Sequence[str]) -> NoReturn:
        """Raises InputError: there is no one value of a molecule to which atoms add."""
        raise InputError(
            f"{self.folder} predicts a value of each atom. An explanation says what each atom adds "
            "to one value of the molecule, which such a model does not have: use molae predict"
        )

    @property
    def oof(self) -> pd.DataFrame:
        """Out-of-fold predictions of the training atoms, one row an atom.

        The columns are ``row`` (in the table), ``atom`` (place in the record), ``z``,
        ``molae_fold`` and, for each target T, ``T_label``, ``T_predicted``, ``T_low``, ``T_high``.

        Raises:
            ValueError: If there is one fold only.
        """
        if not self.predictions:
            raise InputError("a model of one fold has no out-of-fold predictions")
        atoms, fold = self.atoms, self.atom_fold
        columns = {"row": self.rows[atoms.molecule], "atom": atoms.place, "z": atoms.z}
        columns["molae_fold"] = fold
        for task, target in enumerate(self.targets):
            found = self.predictions[MODEL][:, task]
            error = np.abs(found - self.values[:, task])
            half = intervals_out_of_fold(error, atoms.z, atoms.molecule, fold, 0.1)
            columns[f"{target.name}_label"] = self.values[:, task]
            columns[f"{target.name}_predicted"] = found
            columns |= {f"{target.name}_low": found - half, f"{target.name}_high": found + half}
        return pd.DataFrame(columns)

    def _half_widths(self, task: int, z: np.ndarray, alpha: float) -> np.ndarray:
        if not self.predictions:
            return np.full(len(z), np.nan)
        error = np.abs(self.predictions[MODEL][:, task] - self.values[:, task])
        return AtomIntervals(error, self.atoms.z, self.atoms.molecule)(z, alpha)

    def _of_molecules(self, molecules: Sequence[Data]) -> np.ndarray:
        """Returns the predictions of each fold ``[F, N, T]``."""
        blocks = list(dict.fromkeys(name for model in self.models for name in model.blocks))
        encoder = None
        if ENCODER in blocks:
            encoder = checkpoint.load(MolAEEncoder, self.folder / "encoder").eval()
        features = atom_features(blocks, molecules, encoder)
        bar = tqdm(self.models, "predicting", leave=False, delay=2, disable=None)
        return np.stack([model.predict(features, molecules) for model in bar])

    def _out_of_fold(self) -> dict[str, np.ndarray]:
        found = {name: np.full(self.values.shape, np.nan) for name in (MODEL, *ATOM_BASELINES)}
        for fold in range(self.num_folds):
            arrays = read_arrays(self.folder / f"fold-{fold}" / "predicted.npz")
            for name, predicted in found.items():
                predicted[arrays["rows"]] = arrays[name]
        return found


def records_of(molecules: Sequence[str] | Records | AtomTable) -> Records:
    """Returns the records of a table, or those of SMILES."""
    if isinstance(molecules, AtomTable):
        return molecules.records
    if isinstance(molecules, Records):
        return molecules
    return Records(list(molecules), [None] * len(molecules))


def lists_of(
    values: np.ndarray, atoms: Atoms, records: Records, rows: Sequence[int]
) -> list[np.ndarray]:
    """Returns the values ``[N]`` molecule by molecule, in the order of the records.

    Args:
        values: Values of the atoms.
        atoms: The atoms.
        records: All records.
        rows: Record of each molecule.
    """
    lists = [np.full(num_atoms_of(records, row), np.nan) for row in rows]
    ends = np.bincount(atoms.molecule, minlength=len(rows)).cumsum()[:-1]
    parts = zip(np.split(values, ends), np.split(atoms.place, ends), lists, strict=True)
    for part, place, found in parts:
        known = place >= 0
        found[place[known]] = part[known]
    return lists
