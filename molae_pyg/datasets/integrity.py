"""Counts of what a data set is made of, and of what is wrong with it."""

from collections import defaultdict
from dataclasses import asdict, dataclass
from itertools import pairwise

import numpy as np
from rdkit import Chem, rdBase

from molae_pyg.chem.smiles import plain_mol, rdkit_errors
from molae_pyg.datasets.table import MoleculeTable


@dataclass(frozen=True)
class Integrity:
    """Counts of the rows of a data set; those of molecules say so."""

    #: Rows of the source.
    rows: int
    #: SMILES that RDKit cannot read.
    invalid: int
    #: Rows with 3D conformers.
    conformers_3d: int
    #: Rows in which the flat layout replaces conformers.
    conformers_2d: int
    #: Rows without coordinates.
    conformers_failed: int
    #: Rows with atoms of elements outside the vocabulary.
    out_of_vocabulary: int
    #: Rows from which atoms were cropped.
    cropped: int
    #: Rows of more than one fragment: salts, mixtures.
    multi_fragment: int
    #: Rows with the molecule of an earlier row (equal canonical isomeric SMILES).
    duplicates: int
    #: Molecules whose rows have different labels.
    contradicting: int
    #: Share of labels that are missing, over all tasks.
    missing_labels: float

    def __str__(self) -> str:
        width = max(map(len, asdict(self)))
        return "\n".join(
            f"{name.replace('_', ' '):{width}}  {value:>9,.4g}"
            if isinstance(value, float)
            else f"{name.replace('_', ' '):{width}}  {value:>9,}"
            for name, value in asdict(self).items()
        )


def check_integrity(dataset: MoleculeTable) -> Integrity:
    """Counts what a reader of a score should know about its molecules.

    Fragments, duplicates and labels are those of the rows with a molecule. Labels contradict if
    they differ at all, in any task. A molecule whose SMILES RDKit cannot read by default counts as
    one fragment and equals those of the same string.

    Args:
        dataset: The whole data set, not a subset.
    """
    report, counts = dataset.report, dataset.report.counts
    y = dataset.y.numpy()  # [n, T]
    places = defaultdict(list)
    fragments = 0
    with rdBase.BlockLogs():
        for place, smiles in enumerate(dataset.smiles):
            key, num_fragments = _key_and_fragments(smiles)
            fragments += num_fragments > 1
            places[key].append(place)
    repeated = [rows for rows in places.values() if len(rows) > 1]
    return Integrity(
        rows=len(report),
        invalid=counts["invalid"],
        conformers_3d=counts["3d"],
        conformers_2d=counts["2d"],
        conformers_failed=counts["failed"],
        out_of_vocabulary=sum(number > 0 for number in report.num_unknown),
        cropped=sum(number > 0 for number in report.num_cropped),
        multi_fragment=fragments,
        duplicates=sum(len(rows) - 1 for rows in repeated),
        contradicting=sum(_contradict(y[rows]) for rows in repeated),
        missing_labels=round(float(np.isnan(y).mean()), 4),
    )


def _key_and_fragments(smiles: str) -> tuple[str, int]:
    try:
        with rdkit_errors():
            mol = plain_mol(smiles)
            return Chem.MolToSmiles(mol), len(Chem.GetMolFrags(mol))
    except ValueError:
        return smiles, 1


def _contradict(y: np.ndarray) -> bool:
    """Returns whether two of the rows ``[m, T]`` have different known labels in a task."""
    known = (np.sort(column[~np.isnan(column)]) for column in y.T)
    return any(low != high for column in known for low, high in pairwise(column))
