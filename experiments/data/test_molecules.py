"""Writes the test molecules of data sets, which pre-training has to leave out.

    python experiments/data/test_molecules.py                # those of experiments/transfer.py
    molae prepare ... --exclude test_molecules.smi

The file has one SMILES a line, each once: the test parts of the scaffold splits of moleculenet.py
(one for all seeds, and one with stereochemistry) and transfer.py (one for each seed), or all rows,
as each is a test row of cross-validation. Only the tables are read; no conformers are needed.
"""

import argparse

from rdkit import rdBase

from molae_pyg.chem.parsing import parse_smiles
from molae_pyg.datasets import MoleculeNet
from molae_pyg.durable import write_durably
from molae_pyg.evaluation.config import CONFIGS, read_yaml
from molae_pyg.splits import scaffold_split

CONFIG = CONFIGS / "transfer.yaml"


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--datasets", nargs="+", help="names of data sets; default: those of transfer.yaml"
    )
    parser.add_argument("--root", default="data", help="folder of the data sets; default: data")
    parser.add_argument(
        "--seeds", type=int, default=3, help="number of seeds, as given to transfer.py; default: 3"
    )
    parser.add_argument(
        "--all-rows", action="store_true", help="write all rows, not only test parts"
    )
    parser.add_argument(
        "--output", default="test_molecules.smi", help="file to write; default: test_molecules.smi"
    )
    return parser.parse_args()


def is_readable(smiles: str) -> bool:
    """Whether the data set keeps the row."""
    try:
        parse_smiles(smiles)
    except ValueError:
        return False
    return True


def read_smiles(root: str, name: str) -> list[str]:
    """Returns the readable SMILES of a data set, as they are in its table."""
    with rdBase.BlockLogs():
        return [text for text in MoleculeNet.read(root, name).smiles if is_readable(text)]


def read_test_parts(root: str, name: str, seeds: int) -> list[str]:
    """Returns the SMILES in the test parts of a data set."""
    smiles = read_smiles(root, name)
    splits = [scaffold_split(smiles, seed=seed) for seed in (None, *range(seeds))]
    splits.append(scaffold_split(smiles, chirality=True))
    return [smiles[row] for split in splits for row in split.test]


def main() -> None:
    args = parse_args()
    found: dict[str, None] = {}  # in order, each once
    for name in args.datasets or read_yaml(CONFIG)["datasets"]:
        if args.all_rows:
            molecules = dict.fromkeys(read_smiles(args.root, name))
        else:
            molecules = dict.fromkeys(read_test_parts(args.root, name, args.seeds))
        found |= molecules
        print(f"{name:10}{len(molecules):6} molecules", flush=True)
    write_durably(args.output, "".join(f"{smiles}\n" for smiles in found).encode())
    print(f"{len(found)} different SMILES written to {args.output}")


if __name__ == "__main__":
    main()
