"""Measured activities that are part of RDKit."""

from pathlib import Path
from typing import Unpack

import pandas as pd
import torch

from molae_pyg.datasets.table import MoleculeTable, TableSettings
from molae_pyg.tables.reading import Table


class ChEMBLActivities(MoleculeTable):
    r"""The 1,017 aryl sulfonamides of CHEMBL2321810 with their measured activity.

    A lead optimisation series (one scaffold, one activity) from `ChEMBL
    <https://doi.org/10.1093/nar/gkr777>`_. RDKit contains it as the example of its Free-Wilson
    analysis, so nothing is downloaded. The files give the activity as a number from 4.27 to 9.22,
    probably :math:`-\log_{10}` of a molar concentration (such as a pIC50). They do not name the
    assay or the target, and they do not say which values are bounds. 55 compounds have exactly 6.00
    and 30 have exactly 5.00; some of these are probably measurements cut off there.

    Structures and activities are joined on the compound number, one to one. Every compound has
    both, none is a duplicate or a salt, and none is left out.

    Items, attributes and settings are those of :class:`~molae_pyg.datasets.MoleculeTable`; the
    only task is called ``Act``.

    Args:
        root: Folder of the conformers, ``<root>/conformers``. (default: :obj:`None`, they are kept
            in memory only)
        settings: Keyword arguments such as ``num_conformers``, ``add_2d`` and ``seed``, see
            :class:`~molae_pyg.datasets.MoleculeTable`.

    Raises:
        FileNotFoundError: If RDKit was installed without its Contrib folder.
    """

    name = "CHEMBL2321810"

    def __init__(
        self,
        root: str | Path | None = None,
        **settings: Unpack[TableSettings],
    ) -> None:
        table = self.read()
        super().__init__(
            table.smiles,
            table.y,
            table.task_names,
            "regression",
            root=root,
            **settings,
        )

    @classmethod
    def read(cls) -> Table:
        """Reads SMILES and activities of every compound, without making conformers."""
        from rdkit import RDConfig

        folder = Path(RDConfig.RDContribDir) / "FreeWilson" / "data"
        structures, activities = folder / f"{cls.name}.smi", folder / f"{cls.name}_act.csv"
        for path in (structures, activities):
            if not path.is_file():
                raise FileNotFoundError(
                    f"{path} is missing: this RDKit came without its Contrib folder; "
                    "the RDKit wheels on PyPI have it"
                )
        joined = pd.merge(
            pd.read_csv(structures, sep=r"\s+", names=["smiles", "Name"]),
            pd.read_csv(activities),
            on="Name",
            validate="one_to_one",
        )
        y = torch.tensor(joined["Act"].to_numpy(), dtype=torch.float).view(-1, 1)  # [n, 1]
        return Table(joined["smiles"].tolist(), y, ["Act"], ["regression"])
