"""Writes the test molecules of data sets, to be kept out of pre-training.

    python experiments/test_molecules.py                # those of experiments/transfer.py
    molae prepare ... --exclude test_molecules.smi

One SMILES a line, each once: the test parts of the scaffold split that moleculenet.py and
transfer.py make. Only the tables are read; no conformers are needed.
"""

import argparse
from pathlib import Path

import yaml
from rdkit import rdBase

from molae_pyg.chem.parsing import parse_smiles
from molae_pyg.datasets import MoleculeNet
from molae_pyg.splits import scaffold_split

CONFIG = Path(__file__).parent / "configs" / "transfer.yaml"


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--datasets", nargs="+", help="names; default: those of transfer.yaml")
    parser.add_argument("--root", default="data", help="folder of data files")
    parser.add_argument("--output", default="test_molecules.smi", help="file of results")
    return parser.parse_args()


def is_readable(smiles: str) -> bool:
    """Whether the data set keeps the row."""
    try:
        parse_smiles(smiles)
    except ValueError:
        return False
    return True


def read_test_part(root: str, name: str) -> list[str]:
    """The SMILES in the test part of a data set, as its table has them."""
    with rdBase.BlockLogs():
        smiles = [text for text in MoleculeNet.read(root, name).smiles if is_readable(text)]
    return [smiles[row] for row in scaffold_split(smiles).test]


def main() -> None:
    args = parse_args()
    found: dict[str, None] = {}  # in order, each once
    for name in args.datasets or yaml.safe_load(CONFIG.read_text())["datasets"]:
        molecules = read_test_part(args.root, name)
        found |= dict.fromkeys(molecules)
        print(f"{name:10}{len(molecules):6} test molecules")
    Path(args.output).write_text("".join(f"{smiles}\n" for smiles in found))
    print(f"{len(found)} different SMILES written to {args.output}")


if __name__ == "__main__":
    main()
