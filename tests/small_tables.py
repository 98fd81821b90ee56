"""A small table with a bad row, a repeated molecule and missing labels."""

import warnings

from molae_pyg.datasets import MoleculeTable

NAN = float("nan")
SMILES = ["CCO", "c1ccccc1", "C1CC", "CCO", "CN"]  # row 2 cannot be read, row 3 repeats row 0
Y = [[0.5, NAN], [1.0, -1.0], [2.0, 2.0], [0.25, 3.0], [NAN, 4.0]]


def make(root=None, smiles=SMILES, y=Y, **settings) -> MoleculeTable:
    settings = {"num_conformers": 2, "workers": 1, **settings}
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*gave no molecule")
        return MoleculeTable(smiles, y, root=root, **settings)
