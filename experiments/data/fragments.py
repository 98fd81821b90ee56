"""Writes small molecules that larger ones are made of: their BRICS fragments, with hydrogens.

    python experiments/data/fragments.py $MOLAE_DATA/pretrain/zinc250k.smi.gz fragments.smi

Drug-like molecules alone do not show a model what methanol or toluene looks like. Bonds are cut
repeatedly by the rules of BRICS (Degen et al. 2008). Each piece with at most --most heavy atoms,
also one that can be cut further, gets hydrogens where it was cut. Every fragment is written once.
"""

import argparse
from concurrent.futures import ProcessPoolExecutor
from itertools import islice

from rdkit import Chem, RDLogger
from rdkit.Chem import BRICS
from tqdm.auto import tqdm

from molae_pyg.chem.smiles import plain_mol
from molae_pyg.durable import write_durably
from molae_pyg.tables.reading import read_smiles

LEAST = 2  # heavy atoms: the cloze test drops one and keeps one


def fragments(smiles: str, most: int) -> set[str]:
    """Returns the canonical SMILES of the fragments of a molecule."""
    RDLogger.DisableLog("rdApp.*")
    try:
        mol = plain_mol(smiles)
    except ValueError:
        return set()
    Chem.RemoveStereochemistry(mol)
    found = set()
    for piece in BRICS.BRICSDecompose(mol, keepNonLeafNodes=True, returnMols=True):
        bare = Chem.RWMol(piece)
        for atom in bare.GetAtoms():
            if atom.GetAtomicNum() == 0:  # where a bond was cut
                atom.SetAtomicNum(1)
                atom.SetIsotope(0)
        whole = Chem.RemoveHs(bare.GetMol())
        if LEAST <= whole.GetNumHeavyAtoms() <= most:
            found.add(Chem.MolToSmiles(whole))
    return found


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("molecules", help="file of SMILES")
    parser.add_argument("output", help="file to write, one SMILES a line")
    parser.add_argument(
        "--most", type=int, default=15, help="largest number of heavy atoms; default: 15"
    )
    parser.add_argument("--first", type=int, help="number of molecules to read; default: all")
    parser.add_argument("--workers", type=int, help="number of processes; default: one a core")
    return parser.parse_args()


def main() -> None:
    args = parse_args()
    smiles = list(islice(read_smiles(args.molecules), args.first))
    found: set[str] = set()
    with ProcessPoolExecutor(args.workers) as pool:
        pieces = pool.map(fragments, smiles, [args.most] * len(smiles), chunksize=256)
        for some in tqdm(pieces, "fragments", len(smiles), unit="mol", disable=None):
            found |= some
    write_durably(args.output, "".join(f"{one}\n" for one in sorted(found)).encode())
    print(f"{len(found)} fragments of {len(smiles)} molecules written to {args.output}")


if __name__ == "__main__":
    main()
