"""Writes a table with the partial charges of all heavy atoms, to learn them by molae train.

    python experiments/data/atom_charges.py molecules.csv charges.csv
    pip install tblite
    python experiments/data/atom_charges.py molecules.csv charges.csv --method gfn2-xtb

The charges are computed, not measured: "gasteiger" is RDKit's method, which sees the graph alone;
"gfn2-xtb" is a semi-empirical quantum method (tblite), on one MMFF conformer with hydrogens. A
charge that cannot be computed is null.
"""

import argparse
import csv
import json
from collections.abc import Callable

import numpy as np
from rdkit import Chem, rdBase
from rdkit.Chem import rdDistGeom, rdForceFieldHelpers, rdPartialCharges
from tqdm.auto import tqdm

from molae_pyg.tables.reading import read_smiles

_BOHR = 0.529177210903  # Å


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("molecules", help="file with SMILES")
    parser.add_argument("out", help=".csv to write, with the columns smiles and charge")
    parser.add_argument("--method", choices=METHODS, default="gasteiger", help="default: gasteiger")
    return parser.parse_args()


def main() -> None:
    args = parse_args()
    method, number = METHODS[args.method], 0
    with open(args.out, "w", newline="") as file, rdBase.BlockLogs():
        writer = csv.writer(file)
        writer.writerow(["smiles", "charge"])
        for smiles in tqdm(read_smiles(args.molecules), "charges", disable=None):
            mol = Chem.MolFromSmiles(smiles)
            charges = None if mol is None else method(mol)
            if charges is None:
                continue
            finite = [round(q, 4) if np.isfinite(q) else None for q in charges]
            writer.writerow([smiles, json.dumps(finite[: mol.GetNumAtoms()])])
            number += 1
    print(f"{args.out} has the charges of {number:,} molecules")


def _gasteiger(mol: Chem.Mol) -> list[float]:
    rdPartialCharges.ComputeGasteigerCharges(mol)
    return [atom.GetDoubleProp("_GasteigerCharge") for atom in mol.GetAtoms()]


def _gfn2(mol: Chem.Mol) -> list[float] | None:
    """Mulliken charges of an MMFF conformer; None: it has none, or tblite does not converge."""
    from tblite.interface import Calculator

    mol = Chem.AddHs(mol)
    if rdDistGeom.EmbedMolecule(mol, randomSeed=7) != 0:
        return None
    if rdForceFieldHelpers.MMFFOptimizeMolecule(mol, maxIters=500) < 0:
        return None
    numbers = np.array([atom.GetAtomicNum() for atom in mol.GetAtoms()])
    pos, charge = mol.GetConformer().GetPositions() / _BOHR, Chem.GetFormalCharge(mol)
    calculator = Calculator("GFN2-xTB", numbers, pos, charge=charge)
    calculator.set("verbosity", 0)
    try:
        return calculator.singlepoint().get("charges").tolist()
    except RuntimeError:
        return None


METHODS: dict[str, Callable[[Chem.Mol], list[float] | None]] = {
    "gasteiger": _gasteiger,
    "gfn2-xtb": _gfn2,
}

if __name__ == "__main__":
    main()
