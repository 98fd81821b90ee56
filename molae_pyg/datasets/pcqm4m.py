"""PCQM4Mv2 of OGB's Large-Scale Challenge, on RDKit conformers."""

import pickle
import zipfile
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor
from torch_geometric.data import Data

from molae_pyg.chem.options import RECIPE_VERSION, Options
from molae_pyg.datasets.ogb_mol import downloaded, import_ogb, ogb_folder
from molae_pyg.datasets.table_storage import prepared
from molae_pyg.fingerprint import digest
from molae_pyg.store.dataset import ConformerStore
from molae_pyg.store.safe_pickle import UnsafePickleError, loads
from molae_pyg.tables.reading import read_table

Part = Literal["train", "valid", "test-dev", "test-challenge"]
NAME = "pcqm4m-v2"
TABLE = Path("raw", "data.csv.gz")
SPLIT = "split_dict.pt"
URL = "https://dgl-data.s3-accelerate.amazonaws.com/dataset/OGB-LSC/pcqm4m-v2.zip"


class PCQM4Mv2(torch.utils.data.Dataset):
    r"""A part of `PCQM4Mv2 <https://ogb.stanford.edu/docs/lsc/pcqm4mv2/>`_: 3.7 million molecules
    and, for training and validation, the gap between HOMO and LUMO in eV.

    The conformers are RDKit's, because there are no others at test time. They are made once, in a
    conformer store ``<root>/conformers/pcqm4m-v2-...`` of all parts, whose name has the settings
    and the versions of the recipe and of RDKit. An interrupted run resumes. Molecules stay on the
    disk.

    Items are :obj:`Data` with ``z [n]``, ``conformers [n, K, 3]`` in Å, ``smiles``, ``row`` and
    ``y [1, 1]`` in eV (NaN = missing), as :func:`~molae_pyg.training.finetune` takes them.

    Args:
        root: Folder; OGB's files are searched in ``<root>/pcqm4m-v2`` and in
            ``$MOLAE_DATA/ogb/pcqm4m-v2``, and downloaded if there are none.
        part: ``"train"``, ``"valid"``, ``"test-dev"`` or ``"test-challenge"``.
        num_conformers: Number of 3D conformers of a molecule. (default: :obj:`1`)
        add_2d: Whether to append a 2D conformer (z = 0). (default: :obj:`False`)
        seed: Seed of the conformers. (default: :obj:`0`)
        time_limit: Seconds for a molecule; the rules allow ten. (default: :obj:`5.0`)
        workers: Number of processes that make conformers. (default: :obj:`None`, one per core)
        transform: Function that is applied to every item on access. (default: :obj:`None`)
        recipe: How conformers are made, see :func:`~molae_pyg.chem.from_smiles`. (default:
            :obj:`"published"`)

    Attributes:
        official_rows: Rows of the table in OGB's part, in OGB's order.
        num_rows: Their number, rows without a molecule included.
        recipe: What the atoms and coordinates depend on.

    Raises:
        FileNotFoundError: If the files are missing and cannot be downloaded.
        ValueError: If there is no such part, or the split cannot be read safely or does not fit
            the table.
    """

    task_names = ("homolumogap",)
    task_type = "regression"
    task_types = ("regression",)
    metric = "mae"

    def __init__(
        self,
        root: str | Path,
        part: Part,
        num_conformers: int = 1,
        add_2d: bool = False,
        seed: int = 0,
        time_limit: float = 5.0,
        workers: int | None = None,
        transform: Callable[[Data], Data] | None = None,
        recipe: str = "published",
    ) -> None:
        folder = find_pcqm4m(root)
        rows = read_pcqm4m_split(folder)
        if part not in rows:
            raise ValueError(f"unknown part {part!r}; there are {list(rows)}")
        table = folder / TABLE
        made = {"seed": seed, "time_limit": time_limit, "recipe": recipe}
        options = Options(num_conformers, add_2d, **made)
        store = Path(root, "conformers", f"{NAME}-{_recipe_name(options)}")
        whole, self._gap = _load(table, store, options, workers)
        _check_split(rows, whole.num_rows, folder / SPLIT)
        self.part = part
        self.recipe = options.to_dict()
        self.transform = transform
        self.official_rows = rows[part]  # [n]
        self.num_rows = len(self.official_rows)
        item = np.full(whole.num_rows, -1)  # of a row
        item[whole.molecule_rows] = np.arange(len(whole))
        chosen = item[self.official_rows]
        self._place = np.flatnonzero(chosen >= 0)  # of an item among the official rows
        self.store = whole[chosen[self._place]]

    @property
    def y(self) -> Tensor:
        """The gaps of the items in eV ``[n, 1]``, NaN in the test parts."""
        return self._gap[self.official_rows[self._place]].view(-1, 1)

    def official(self, predicted: np.ndarray, prior: float) -> np.ndarray:
        """Returns the predictions of all rows of the part ``[rows]``, for OGB's evaluator.

        Args:
            predicted: Predictions of the items, in order, ``[n]`` or ``[n, 1]``.
            prior: Prediction of rows without a molecule, such as the mean of the training gaps.
        """
        whole = np.full(self.num_rows, prior, dtype=np.float32)
        whole[self._place] = predicted.reshape(-1)
        return whole

    @property
    def num_atoms(self) -> np.ndarray:
        """Number of atoms of every item."""
        return self.store.num_atoms

    def fingerprint(self) -> str:
        """Returns a checksum of the molecules and their labels; no molecule is read."""
        return digest(self.store.digest(), self.y)

    def official_labels(self) -> np.ndarray:
        """Returns the gaps of all rows of the part in eV ``[rows]``."""
        return self._gap[self.official_rows].numpy()

    def __len__(self) -> int:
        return len(self.store)

    def __getitem__(self, index: int) -> Data:
        data = self.store[int(index)]
        data.y = self._gap[data.row].view(1, 1)
        return data if self.transform is None else self.transform(data)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.part}, {len(self)})"


def pcqm4m_evaluator() -> Any:
    """Returns OGB's ``PCQM4Mv2Evaluator``, for the MAE and the files of test predictions."""
    return import_ogb("ogb.lsc").PCQM4Mv2Evaluator()


def find_pcqm4m(root: str | Path) -> Path:
    """Returns the folder with OGB's files, which is downloaded if there is none."""
    return ogb_folder(root, NAME, TABLE) or downloaded(URL, Path(root, NAME), NAME)


def read_pcqm4m_split(folder: Path) -> dict[str, np.ndarray]:
    """Reads the rows of every part from ``split_dict.pt`` without running anything in it.

    Raises:
        ValueError: If the file holds anything but named arrays or tensors.
    """
    path = folder / SPLIT
    try:
        found = torch.load(path, weights_only=True)  # if it holds tensors
    except pickle.UnpicklingError:  # it holds NumPy's arrays
        try:
            with zipfile.ZipFile(path) as file:
                (pickled,) = (name for name in file.namelist() if name.endswith("data.pkl"))
                found = loads(file.read(pickled))
        except (zipfile.BadZipFile, UnsafePickleError) as error:
            raise ValueError(f"{path} is not a table of row numbers: {error}") from None
    if not isinstance(found, dict) or not found:
        raise ValueError(f"{path} is not a table of row numbers")
    parts = {str(name): np.asarray(rows) for name, rows in found.items()}
    for name, rows in parts.items():
        if rows.ndim != 1 or (rows.size and rows.dtype.kind not in "iu"):
            raise ValueError(f"{path}: {name} is not a list of row numbers")
    return {name: rows.astype(np.int64) for name, rows in parts.items()}


def _check_split(parts: dict[str, np.ndarray], num_rows: int, path: Path) -> None:
    """Raises an error if the table lacks a row, or a row is in the parts twice."""
    every = np.concatenate([np.zeros(0, np.int64), *parts.values()])
    outside = every[(every < 0) | (every >= num_rows)]
    if len(outside):
        raise ValueError(
            f"{path} has row {outside[0]}, the table has {num_rows} rows: they do not belong "
            "together, or the table is cut; download both again"
        )
    if len(np.unique(every)) < len(every):
        raise ValueError(f"{path} has a row twice, in one part or in two: download it again")


def _recipe_name(options: Options) -> str:
    """Returns the settings and the versions of the recipe and of RDKit, for the name of a store."""
    from rdkit import rdBase

    kinds = "2d" if options.add_2d else "3d"
    recipe = f"recipe{RECIPE_VERSION}-rdkit{rdBase.rdkitVersion}"
    if "recipe" in options.to_dict():
        recipe = f"{options.recipe}-{recipe}"
    return f"{options.num_conformers}-{kinds}-{options.seed}-{options.time_limit}-{recipe}"


@lru_cache(maxsize=1)  # the same for all parts
def _load(
    table: Path,
    store: Path,
    options: Options,
    workers: int | None,
) -> tuple[ConformerStore, Tensor]:
    """Returns the molecules of the table, which are made if needed, and its gaps in eV."""
    whole = prepared(table, store, options, workers)
    gap = read_table(table, "smiles", "homolumogap").y[:, 0]
    if len(gap) != whole.num_rows:
        raise ValueError(
            f"{table} has {len(gap)} rows, its conformers in {store} have {whole.num_rows}: delete "
            "the folder of conformers, and they are made again"
        )
    return whole, gap
