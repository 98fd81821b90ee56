"""MoleculeNet, read from files at hand or downloaded."""

import os
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Literal, NamedTuple

from torch_geometric.data import Data, download_url

from molae_pyg.datasets.reading import Table, read_table
from molae_pyg.datasets.table import MoleculeTable
from molae_pyg.metrics import TaskType


class Source(NamedTuple):
    """Where a data set of MoleculeNet is found, what its columns mean, and its score."""

    file: str  # as it is downloaded
    smiles_column: str
    target_columns: tuple[str, ...] | None  # None: every other column
    task_type: TaskType
    metric: str


class MoleculeNet(MoleculeTable):
    r"""The data sets of `"MoleculeNet: A Benchmark for Molecular Machine Learning"
    <https://arxiv.org/abs/1703.00564>`_, with conformers.

    ========= ======= ==================================================== ==============
    name      rows    target                                               task
    ========= ======= ==================================================== ==============
    esol      1,128   log10 of the solubility in water in mol/L, measured  regression
    freesolv  642     hydration free energy in kcal/mol, measured          regression
    lipo      4,200   octanol/water log D at pH 7.4, measured              regression
    bace      1,513   inhibits human beta-secretase 1                      classification
    bbbp      2,050   passes the blood-brain barrier                       classification
    clintox   1,484   approved by the FDA; failed a trial for toxicity     classification
    sider     1,427   side effects in 27 organ classes                     classification
    qm7       6,830   atomisation energy in kcal/mol, computed             regression
    ========= ======= ==================================================== ==============

    The file is looked for as ``<root>/<file>``, as ``<root>/<name>/raw/<file>`` (where PyTorch
    Geometric keeps it), as ``$MOLAE_DATA/moleculenet/<file>`` and as
    ``$MOLAE_DATA/<name>/<file>``, each plain and as ``.gz``, and otherwise downloaded. Items and
    attributes are those of :class:`~molae_pyg.datasets.MoleculeTable`; :obj:`dataset.metric` is
    the score that is published for the data set (MAE for qm7). Rows whose SMILES RDKit rejects
    (11 in bbbp, 4 in clintox) are left out and listed in :obj:`dataset.report`; duplicates are
    kept.

    Args:
        root: Folder for the file and, in ``<root>/processed``, the conformer cache.
        name: Name of the data set, in any case.
        num_conformers: 3D conformers a molecule. (default: :obj:`10`)
        add_2d: Whether to add a flat conformer. (default: :obj:`True`)
        seed: Seed of the conformers. (default: :obj:`0`)
        max_atoms: Larger molecules are cropped to so many atoms. (default: :obj:`None`)
        on_error: ``"skip"`` or ``"raise"``. (default: :obj:`"skip"`)
        workers: Processes to make them with. (default: :obj:`None`, the featurizer's choice)
        transform: Applied to every item on access. (default: :obj:`None`)

    Raises:
        ValueError: If the name is unknown or the file has not the columns expected.
        FileNotFoundError: If the file is neither at hand nor to be downloaded.
    """

    url = "https://deepchemdata.s3-us-west-1.amazonaws.com/datasets/{}"

    sources = {  # noqa: RUF012 (a constant)
        "esol": Source(
            "delaney-processed.csv",
            "smiles",
            ("measured log solubility in mols per litre",),
            "regression",
            "rmse",
        ),
        "freesolv": Source("SAMPL.csv", "smiles", ("expt",), "regression", "rmse"),
        "lipo": Source("Lipophilicity.csv", "smiles", ("exp",), "regression", "rmse"),
        "bace": Source("bace.csv", "mol", ("Class",), "classification", "roc_auc"),
        "bbbp": Source("BBBP.csv", "smiles", ("p_np",), "classification", "roc_auc"),
        "clintox": Source(
            "clintox.csv.gz", "smiles", ("FDA_APPROVED", "CT_TOX"), "classification", "roc_auc"
        ),
        "sider": Source("sider.csv.gz", "smiles", None, "classification", "roc_auc"),
        "qm7": Source("qm7.csv", "smiles", ("u0_atom",), "regression", "mae"),
    }

    def __init__(
        self,
        root: str | Path,
        name: str,
        num_conformers: int = 10,
        add_2d: bool = True,
        seed: int = 0,
        max_atoms: int | None = None,
        on_error: Literal["raise", "skip"] = "skip",
        workers: int | None = None,
        transform: Callable[[Data], Data] | None = None,
    ) -> None:
        self.name = name.lower()
        table = self.read(root, name)
        super().__init__(
            table.smiles,
            table.y,
            table.task_names,
            self.sources[self.name].task_type,
            root=root,
            num_conformers=num_conformers,
            add_2d=add_2d,
            seed=seed,
            max_atoms=max_atoms,
            on_error=on_error,
            workers=workers,
            transform=transform,
        )
        self.metric = self.sources[self.name].metric

    @classmethod
    def read(cls, root: str | Path, name: str) -> Table:
        """Reads SMILES and targets of every row, without making conformers."""
        if name.lower() not in cls.sources:
            raise ValueError(f"unknown data set {name!r}; there are {list(cls.sources)}")
        source = cls.sources[name.lower()]
        path = cls._find(Path(root).expanduser().absolute(), name.lower(), source.file)
        return read_table(path, source.smiles_column, source.target_columns)

    @classmethod
    def _find(cls, root: Path, name: str, file: str) -> Path:
        folders = [root, root / name / "raw"]
        if "MOLAE_DATA" in os.environ:
            shared = Path(os.environ["MOLAE_DATA"]).absolute()
            folders += [shared / "moleculenet", shared / name]
        plain = file.removesuffix(".gz")
        for folder in folders:
            for path in (folder / plain, folder / f"{plain}.gz"):
                if path.is_file():
                    return path
        return cls._fetch(root / name / "raw" / file)

    @classmethod
    def _fetch(cls, path: Path) -> Path:
        url, plain = cls.url.format(path.name), str(path).removesuffix(".gz")
        path.parent.mkdir(parents=True, exist_ok=True)
        # downloaded beside its place and then moved, so that a broken download is never read
        with tempfile.TemporaryDirectory(dir=path.parent) as folder:
            try:
                downloaded = download_url(url, folder)
            except OSError as error:  # urllib's errors and the file system's
                raise FileNotFoundError(
                    f"could not download {url}; put the file at {plain} (or {plain}.gz), or under "
                    "moleculenet/ in the folder that the environment variable MOLAE_DATA names"
                ) from error
            os.replace(downloaded, path)
        return path
