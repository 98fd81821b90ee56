"""MoleculeNet, read from local files or downloaded."""

import gzip
import hashlib
import os
import tempfile
import warnings
from pathlib import Path
from typing import NamedTuple, Unpack

from torch_geometric.data import download_url

from molae_pyg.datasets.table import MoleculeTable, TableSettings
from molae_pyg.metrics import TaskType
from molae_pyg.tables.reading import Table, columns_of, read_table

# The targets of QM8; DeepChem's file holds the four of PBE0 twice.
QM8 = tuple(
    f"{which}-{theory}" for theory in ("CC2", "PBE0", "CAM") for which in ("E1", "E2", "f1", "f2")
)
_ESOL = "measured log solubility in mols per litre"  # its column

#: Checksums of the known copies of files, unpacked and without carriage returns.
_SHA256 = {
    "delaney-processed.csv": "8c06a76f0c6487d29ab0f903e6a7a7139f189ab3c1178f159c8be8964602f189",
    "SAMPL.csv": "a4fbf3b28fe2e604d6bd7ea0e20b4494ff732400a80f58d1b393677cfbc1b06c",
    "Lipophilicity.csv": "3d2a409dc8bdf620876bb7257faf4996df29a19dd0244d0b4a6a8064c306cded",
    "qm7.csv": "eb793e3172c4a74cfb74ef805e6cdea79d1db16fd1f40a42f459297ad6457548",
    "bace.csv": "894a1efd23d2c391c6f6ee0fb5f719bf9d6633a6b534ec02472fa11e1d5862a3",
    "BBBP.csv": "6aecd84110e8c0549bc4e2e486c52267d4e775178fca8999f5465029e31e75bb",
    "clintox.csv.gz": "9999816e760dd838358b5d88e81cea2fc062be4458ffa412ceecdba4f88a67b6",
    "sider.csv.gz": "71efc6ac4ca82d6545bc512509863281be0f17234afd7adaf71a71899988302e",
    "tox21.csv.gz": "7d7e7facd853a63e79ddce4e9c3fcb7a0d83a1c300b603031c0f2c64fbe77761",
}


class Source(NamedTuple):
    """File of a data set of MoleculeNet, the meaning of its columns, and its score."""

    #: Name of the download.
    file: str
    #: None: all columns but the SMILES and mol_id.
    target_columns: tuple[str, ...] | None = None
    task_type: TaskType = "classification"
    metric: str = "roc_auc"
    smiles_column: str = "smiles"


class MoleculeNet(MoleculeTable):
    r"""The data sets of `"MoleculeNet: A Benchmark for Molecular Machine Learning"
    <https://arxiv.org/abs/1703.00564>`_, with conformers.

    ========= ======= ==================================================== ==============
    name      rows    target                                               task
    ========= ======= ==================================================== ==============
    esol      1,128   log10 of the solubility in water in mol/L, measured  regression
    freesolv  642     hydration free energy in kcal/mol, measured          regression
    lipo      4,200   octanol/water log D at pH 7.4, measured              regression
    qm7       6,830   atomisation energy in kcal/mol, computed             regression
    qm8       21,786  12 excitation energies and oscillator strengths      regression
    qm9       133,885 HOMO, LUMO and their gap in Hartree, computed        regression
    bace      1,513   inhibits human beta-secretase 1                      classification
    bbbp      2,050   passes the blood-brain barrier                       classification
    clintox   1,484   approved by the FDA; failed a trial for toxicity     classification
    sider     1,427   side effects in 27 organ classes                     classification
    tox21     7,831   12 assays of toxicity                                classification
    toxcast   8,576   617 assays of toxicity                               classification
    hiv       41,127  inhibits replication of HIV                          classification
    muv       93,087  17 assays, chosen for virtual screening              classification
    pcba      437,929 128 assays of PubChem                                classification
    ========= ======= ==================================================== ==============

    The file is searched as ``<root>/<file>``, as ``<root>/<name>/raw/<file>`` (where PyTorch
    Geometric keeps it), as ``$MOLAE_DATA/moleculenet/<file>`` and as
    ``$MOLAE_DATA/<name>/<file>``, each plain and as ``.gz``. If there is none, it is downloaded.
    Items, attributes and settings are those of :class:`~molae_pyg.datasets.MoleculeTable`;
    :obj:`dataset.metric` is the score that is published for the data set (MAE for qm7, qm8 and
    qm9). Rows whose SMILES RDKit rejects (11 in bbbp, 4 in clintox, 8 in tox21, 7 in hiv) are left
    out and listed in :obj:`dataset.report`; duplicates are kept. toxcast has 8,576 rows in the copy
    that chemprop cleaned, and more in others. Molecules and labels of the other files may also
    differ between copies: the checksums of nine files are known, and a file with another checksum
    is read with a warning.

    Args:
        root: Folder of the file and, in ``<root>/conformers``, of the conformers.
        name: Name of the data set, in any case.
        settings: Keyword arguments such as ``num_conformers``, ``add_2d`` and ``seed``, see
            :class:`~molae_pyg.datasets.MoleculeTable`.

    Raises:
        ValueError: If the name is unknown, or the file lacks an expected column.
        FileNotFoundError: If the file is not found and cannot be downloaded.
    """

    url = "https://deepchemdata.s3-us-west-1.amazonaws.com/datasets/{}"

    sources = {  # noqa: RUF012 (a constant)
        "esol": Source("delaney-processed.csv", (_ESOL,), "regression", "rmse"),
        "freesolv": Source("SAMPL.csv", ("expt",), "regression", "rmse"),
        "lipo": Source("Lipophilicity.csv", ("exp",), "regression", "rmse"),
        "qm7": Source("qm7.csv", ("u0_atom",), "regression", "mae"),
        "qm8": Source("qm8.csv", QM8, "regression", "mae"),
        "qm9": Source("qm9.csv", ("homo", "lumo", "gap"), "regression", "mae"),
        "bace": Source("bace.csv", ("Class",), smiles_column="mol"),
        "bbbp": Source("BBBP.csv", ("p_np",)),
        "clintox": Source("clintox.csv.gz", ("FDA_APPROVED", "CT_TOX")),
        "sider": Source("sider.csv.gz"),
        "tox21": Source("tox21.csv.gz"),
        "toxcast": Source("toxcast_data.csv.gz"),
        "hiv": Source("HIV.csv", ("HIV_active",)),
        "muv": Source("muv.csv.gz"),
        "pcba": Source("pcba.csv.gz"),
    }

    def __init__(
        self,
        root: str | Path,
        name: str,
        **settings: Unpack[TableSettings],
    ) -> None:
        self.name = name.lower()
        table = self.read(root, name)
        super().__init__(
            table.smiles,
            table.y,
            table.task_names,
            self.sources[self.name].task_type,
            root=root,
            **settings,
        )
        self.metric = self.sources[self.name].metric

    @classmethod
    def read(cls, root: str | Path, name: str) -> Table:
        """Reads SMILES and targets of every row, without making conformers."""
        if name.lower() not in cls.sources:
            raise ValueError(f"unknown data set {name!r}; there are {list(cls.sources)}")
        source = cls.sources[name.lower()]
        path = cls._find(Path(root).expanduser().absolute(), name.lower(), source.file)
        if _SHA256.get(source.file) not in (None, checksum(path)):
            warnings.warn(
                f"{path} is not the known copy of {name}: its molecules or labels may differ from "
                "those of published splits and scores",
                stacklevel=2,
            )
        targets = source.target_columns or [
            column for column in columns_of(path) if column not in (source.smiles_column, "mol_id")
        ]
        # Of columns that QM8 has twice, the second are of another basis set.
        return read_table(path, source.smiles_column, targets, source.task_type, repeated="first")

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
        # Downloaded to another folder and then moved, so that a broken download is never read.
        with tempfile.TemporaryDirectory(dir=path.parent) as folder:
            try:
                downloaded = download_url(url, folder)
            except OSError as error:  # urllib's errors and the file system's
                raise FileNotFoundError(
                    f"could not download {url}; put the file at {plain} (or {plain}.gz), or into "
                    "moleculenet/ in the folder that the environment variable MOLAE_DATA names"
                ) from error
            os.replace(downloaded, path)
        return path


def checksum(path: Path) -> str:
    """Returns the SHA-256 of a file, unpacked and without carriage returns."""
    opened = gzip.open if path.suffix == ".gz" else open
    with opened(path, "rb") as file:
        return hashlib.sha256(file.read().replace(b"\r", b"")).hexdigest()
