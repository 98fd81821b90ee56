"""What every scenario starts from: measured solubilities, small weights, and a fitted model.

Scenarios go through the public door alone: the command ``molae`` and public names.
"""

from pathlib import Path
from typing import NamedTuple

import pytest
from tables_of_users import write_rows

from molae_pyg.cli import main

#: Measured solubilities in water at 25 °C, log mol/l.
SOLUBILITY = {
    "c1ccccc1": -1.64, "Cc1ccccc1": -2.21, "CCc1ccccc1": -2.77, "Cc1ccccc1C": -2.80,
    "Fc1ccccc1": -1.80, "Clc1ccccc1": -2.38, "Brc1ccccc1": -2.55, "Oc1ccccc1": 0.00,
    "Nc1ccccc1": -0.41, "Cc1ccccc1O": -0.62, "Oc1ccccc1O": 0.62, "O=Cc1ccccc1": -1.19,
    "NC(=O)c1ccccc1": -0.96, "O=C1CNC(=O)N1": -0.40, "COc1ccccc1": -1.85, "CC(=O)Nc1ccccc1": -1.33,
    "Clc1ccc(Cl)cc1": -3.27, "Clc1cccc(Cl)c1Cl": -4.00, "CCCCCC": -3.84, "CCCCCCC": -4.53,
    "CC1CCCCC1": -3.85, "C1CCCCC1": -3.10, "C1CCC=CC1": -2.59, "CCCCO": 0.00,
    "CCCCCO": -0.60, "CCCCCCO": -1.24, "CC(C)CO": 0.10, "CCC(C)(C)O": 0.15,
    "CCCOC(=O)CC": -0.82, "CCOC(C)=O": -0.04, "CCCCBr": -2.37, "CCCCCl": -2.03,
    "ClCCCl": -1.06, "CC(Cl)(Cl)Cl": -2.00, "c1ccncc1": 0.76, "CCc1ccccn1": 0.51,
}  # fmt: skip


class Said(NamedTuple):
    """What a command answered."""

    code: int
    out: str
    err: str


@pytest.fixture
def molae(capfd):
    """Returns a function that runs the command and returns what it and RDKit said."""

    def run(*words: object) -> Said:
        capfd.readouterr()
        code = main([str(word) for word in words])
        return Said(code, *capfd.readouterr())

    return run


@pytest.fixture(scope="session")
def solubility(tmp_path_factory) -> Path:
    """A table with a name, SMILES, a number, two classes and a batch."""
    path = tmp_path_factory.mktemp("tables") / "solubility.csv"
    rows = [
        [f"compound {number}", smiles, value, "yes" if value > -2 else "no", "abc"[number % 3]]
        for number, (smiles, value) in enumerate(SOLUBILITY.items())
    ]
    write_rows(path, ["name", "smiles", "logS", "soluble", "batch"], rows)
    return path


@pytest.fixture(scope="session")
def quick(weights) -> tuple[object, ...]:
    """Flags of a training that takes a few seconds."""
    return ("--folds", 3, "--split", "random", "--features", "none", "--weights", weights)


@pytest.fixture(scope="session")
def model(tmp_path_factory, solubility, quick) -> Path:
    """The folder of a model of a number and two classes, trained by the command."""
    folder = tmp_path_factory.mktemp("models") / "solubility"
    words = ["train", solubility, folder, "--targets", "logS,soluble", *quick]
    assert main([str(word) for word in words]) == 0
    return folder
