"""Makes a conformer store from finished conformers in NumPy files.

    python experiments/data/zinc_store.py $MOLAE_DATA/pretrain/conformers runs/zinc

The files are part*.npz with one conformer for each molecule, in the arrays n (number of atoms), z
(atomic numbers, end to end), pos (in 0.001 Å, end to end), smiles (canonical, atoms in the order of
z) and failed (rows without a conformer). Molecules of --exclude get the status "excluded"; they are
compared by canonical SMILES without stereochemistry, isotopes and atom labels.
"""

import argparse
from pathlib import Path

import numpy as np
from rdkit import RDLogger
from tqdm.auto import tqdm

from molae_pyg.durable import sha256_of
from molae_pyg.store import ConformerStore, StoreWriter
from molae_pyg.store.merge import key_of
from molae_pyg.tables.reading import read_smiles


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("conformers", type=Path, help="folder of part*.npz")
    parser.add_argument("store", help="folder to write")
    parser.add_argument("--exclude", help="file of SMILES that must not be in the store")
    args = parser.parse_args()
    RDLogger.DisableLog("rdApp.*")
    excluded = read_smiles(args.exclude) if args.exclude else []
    left_out = {key_of(smiles) for smiles in excluded} - {""}
    parts = sorted(args.conformers.glob("part*.npz"))
    if not parts:
        raise SystemExit(f"{args.conformers} has no part*.npz")

    row = 0
    meta = {
        "parts": [sha256_of(part) for part in parts],
        "excluded": sha256_of(args.exclude) if args.exclude else None,
    }
    with StoreWriter(args.store, meta) as writer:
        for part in tqdm(parts, unit="file", disable=None):
            arrays = dict(np.load(part))  # no pickles in them
            last = np.cumsum(arrays["n"], dtype=np.int64)
            for i, smiles in enumerate(arrays["smiles"].tolist()):
                if not writer.is_done(row):
                    atoms = slice(last[i] - arrays["n"][i], last[i])
                    pos = arrays["pos"][atoms, None].astype(np.float32) / 1000  # [n, 1, 3], Å
                    if left_out and key_of(smiles) in left_out:
                        writer.add(row, "excluded", f"in {args.exclude}", smiles)
                    else:
                        writer.add(row, "3d", "", smiles, arrays["z"][atoms], pos)
                row += 1
            for source_row in arrays["failed"].tolist():
                if not writer.is_done(row):
                    writer.add(row, "failed", f"no conformer for row {source_row} of the source")
                row += 1
        writer.finish(row)
    print(ConformerStore(args.store).outcomes())


if __name__ == "__main__":
    main()
