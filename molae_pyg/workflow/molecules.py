"""Molecules of a fit or a prediction: SMILES, RDKit molecules, or ``Data`` with coordinates."""

from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from rdkit import Chem, rdBase
from torch_geometric.data import Data
from tqdm.auto import tqdm

from molae_pyg.chem.featurizer import rows_of
from molae_pyg.chem.graph import put_graph, read_graph
from molae_pyg.chem.options import Options, kept_atoms
from molae_pyg.chem.parsing import Molecule as Read
from molae_pyg.chem.parsing import read_mol
from molae_pyg.chem.rows import Row, parse
from molae_pyg.chem.smiles import sanitised
from molae_pyg.datasets.table_storage import as_stored
from molae_pyg.fingerprint import digest
from molae_pyg.inference.graphs import fits
from molae_pyg.inference.molecules import Checker
from molae_pyg.tables.reading import Table
from molae_pyg.workflow.feature_cache import FeatureCache

#: What is accepted as a molecule.
Molecule = str | Chem.Mol | Data

#: What a sentence says of the values of ``Molecules.source``.
SOURCES = {"smiles": "made from SMILES", "data": "given", "smiles, data": "given for some"}
NO_SMILES = "it has no smiles, which descriptors and fingerprints need"


class Molecules(NamedTuple):
    """Molecules before their coordinates are made; :meth:`of` makes them."""

    #: SMILES of each row; empty if it is not known.
    smiles: list[str]
    #: Rows whose coordinates are given or that are no molecule; None: they are to be made.
    given: list[Row | None]
    #: Cells of the columns beside each molecule, see :mod:`~molae_pyg.workflow.extra`.
    extra: Sequence[Sequence[str]] = ()

    @classmethod
    def of(cls, molecules: "Iterable[Molecule] | Table | Molecules") -> "Molecules":
        """Reads molecules.

        The coordinates of ``Data`` and of RDKit molecules with 3D conformers are used as they are.
        The encoder sees the graph of RDKit molecules, and of ``Data`` whose ``smiles`` belong to
        their atoms, see :class:`~molae_pyg.inference.graphs.Graphs`; of others the coordinates.

        Args:
            molecules: SMILES, RDKit molecules and ``Data`` in any mixture, or a table.
        """
        if isinstance(molecules, Molecules):
            return molecules
        items = molecules.smiles if isinstance(molecules, Table) else listed(molecules)
        with rdBase.BlockLogs():
            pairs = [_read(item) for item in items]
        return cls([smiles for smiles, _ in pairs], [row for _, row in pairs])

    @property
    def has_smiles(self) -> bool:
        """Whether each molecule with given coordinates has a SMILES."""
        return all(row is None or row.z is None or row.smiles for row in self.given)

    @property
    def source(self) -> str:
        """Where coordinates come from: ``"smiles"``, ``"data"`` or ``"smiles, data"``."""
        kinds = {"smiles" if row is None else "data" for row in self.given if _is_usable(row)}
        return ", ".join(sorted(kinds, reverse=True))

    def fingerprint(self) -> str:
        """Returns a checksum of the atoms and coordinates that are given."""
        return digest([row and (row.z, row.conformers, row.atom_map) for row in self.given])

    def keys(self, kept: Iterable[int]) -> list[str | None]:
        """Returns what the features of rows are cached by; None: they have coordinates."""
        return [self.smiles[row] if self.given[row] is None else None for row in kept]

    def with_places(self) -> "Molecules":
        """Returns the molecules, as invalid those whose atoms have no place in a SMILES."""
        reason = "its atoms have no place in a SMILES: smiles and atom_map are needed, or a Mol"
        given = [
            Row("invalid", reason)
            if row and row.z is not None and (row.atom_map < 0).all()
            else row
            for row in self.given
        ]
        return self._replace(given=given)

    def rows(
        self, options: Options, cache: FeatureCache | None = None, workers: int | None = None
    ) -> list[Row]:
        """Returns a row with atoms and conformers of each molecule.

        Args:
            options: How molecules are made. Of given conformers as many are taken, in turn if there
                are fewer.
            cache: Cache of rows that are made from SMILES. default: none.
            workers: Number of processes that make conformers. default: one a core.
        """
        texts = [s for s, row in zip(self.smiles, self.given, strict=True) if row is None]
        distinct = list(dict.fromkeys(texts))
        known = {} if cache is None else cache.rows(distinct)
        missing = [text for text in distinct if text not in known]
        made = rows_of(missing, options, workers)
        bar = tqdm(made, "conformers", len(missing), unit="mol", delay=1.0, disable=None)
        new = {text: as_stored(row) for text, row in zip(missing, bar, strict=True)}
        if cache is not None:
            cache.keep_rows(new)
        known |= new
        return [
            known[text] if row is None else _by_options(row, options)
            for text, row in zip(self.smiles, self.given, strict=True)
        ]


#: What :meth:`Molecules.of` takes.
AnyMolecules = Iterable[Molecule] | Table | Molecules


def listed(molecules: Iterable[Molecule]) -> list[Any]:
    """Returns all molecules of a list, array, column, data set or other iterable."""
    if isinstance(molecules, str | Chem.Mol | Data):
        kind = type(molecules).__name__
        raise ValueError(f"a sequence of molecules is needed, not one {kind}: give a list")
    if isinstance(molecules, torch.utils.data.Dataset):
        return [molecules[row] for row in range(len(molecules))]
    return list(molecules)


def _read(item: Any) -> tuple[str, Row | None]:
    """Returns the SMILES of a molecule, and its row unless its coordinates are to be made."""
    if isinstance(item, str):
        return str(item), None
    if not isinstance(item, Chem.Mol | Data):
        return "", Row("invalid", f"a SMILES string is needed, not {type(item).__name__}")
    try:
        row = _of_mol(item) if isinstance(item, Chem.Mol) else _of_data(item)
    except ValueError as error:
        return "", Row("invalid", str(error))
    return (row.smiles, None) if row.z is None else (row.smiles, row)


def _of_mol(mol: Chem.Mol) -> Row:
    """Returns the row of an RDKit molecule; without atoms if it has no 3D conformer."""
    read = read_mol(mol, canonical=True)
    return row_of_given(read) if read.given else Row("3d", smiles=read.smiles)


def row_of_given(read: Read) -> Row:
    """Returns the row of a molecule with coordinates, whose atoms are in canonical order."""
    number = sanitised(read.smiles).GetNumAtoms()  # the other atoms are hydrogens, at the end
    place = np.arange(len(read.numbers))
    place[number:] = -1
    conformers = np.stack(read.given, axis=1)  # [n, K, 3]
    return Row("3d", read.note, read.smiles, read.numbers, conformers, place, conformers.shape[1])


def _of_data(data: Data) -> Row:
    """Returns the row of a ``Data``, whose coordinates are used."""
    Checker("X", held_out=False)(0, data)
    conformers = data.conformers if "conformers" in data else data.pos[:, None]  # [n, K, 3]
    z = data.z.cpu().numpy().astype(np.int64)
    conformers = conformers.detach().cpu().numpy().astype(np.float32)
    place, smiles = np.full(len(z), -1), data.get("smiles") or ""
    if smiles:
        parse(smiles, True, Options().time_limit)
        atom_map = data.get("atom_map")
        atom_map = None if atom_map is None else atom_map.cpu().numpy().astype(np.int64)
        place = _places(smiles, z, conformers[:, 0], atom_map)
    return Row("3d", "", smiles, z, conformers, place, conformers.shape[1])


def _places(smiles: str, z: np.ndarray, pos: np.ndarray, atom_map: np.ndarray | None) -> np.ndarray:
    """Returns the place of each atom in a SMILES ``[n]``; -1: it is not known, or a hydrogen.

    Places are known if the elements are those of the SMILES and its bonds as long as bonds are.

    Args:
        smiles: The SMILES.
        z: Atomic numbers ``[n]``.
        pos: Coordinates in Å ``[n, 3]``.
        atom_map: Place of each atom ``[n]``; None: heavy atoms in the order of a table.
    """
    found = np.full(len(z), -1)
    if atom_map is None:
        molecule = parse(smiles, True, Options().time_limit)
        rows, place = kept_atoms(z, Options())[0], molecule.atom_map
        place = place[kept_atoms(molecule.numbers, Options())[0]]
    else:
        rows = np.flatnonzero(atom_map >= 0)
        place = atom_map[rows]
    data = Data(z=torch.from_numpy(z[rows]), pos=torch.from_numpy(pos[rows]), smiles=smiles)
    try:
        put_graph(data, read_graph(smiles), torch.from_numpy(place))
    except ValueError:  # other atoms
        return found
    if fits(data):
        found[rows] = place
    return found


def _by_options(row: Row, options: Options) -> Row:
    """Takes atoms and conformers of a given row as the options say."""
    if row.z is None:
        return row
    kept, num_cropped, notes = kept_atoms(row.z, options)
    chosen = [k % row.conformers.shape[1] for k in range(options.count)]
    return row._replace(
        reason="; ".join(filter(None, [row.reason, *notes])),
        z=row.z[kept],
        conformers=row.conformers[kept][:, chosen],
        atom_map=row.atom_map[kept],
        num_distinct=min(row.num_distinct, options.count),
        num_cropped=num_cropped,
    )


def _is_usable(row: Row | None) -> bool:
    return row is None or row.z is not None
