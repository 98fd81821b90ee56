"""Puts several conformer stores into one, row after row, for training on all of them.

    python -m molae_pyg.store.merge runs/zinc runs/fragments runs/both

Rows without a molecule come along with their reasons. Molecules of --exclude, compared by canonical
SMILES without stereochemistry, isotopes and atom labels, are left out and counted. Called again
after a kill, it resumes.
"""

import argparse

from rdkit import RDLogger
from tqdm.auto import tqdm

from molae_pyg.chem.parsing import identity
from molae_pyg.chem.smiles import plain_mol
from molae_pyg.durable import sha256_of
from molae_pyg.store import ConformerStore, StoreWriter
from molae_pyg.tables.reading import read_smiles


def compound(smiles: str) -> str:
    """What ``molae prepare --exclude`` compares; "" if the SMILES cannot be read."""
    try:
        return identity(plain_mol(smiles))
    except ValueError:
        return ""


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("stores", nargs="+", help="folders of complete stores")
    parser.add_argument("output", help="folder to write")
    parser.add_argument("--exclude", help="file of SMILES that must not be in the result")
    return parser.parse_args()


def main() -> None:
    args = parse_args()
    stores = [ConformerStore(folder) for folder in args.stores]
    total, row = sum(store.num_rows for store in stores), 0
    meta = {"merged": [{"content": store.digest(), **store.meta} for store in stores]}
    left_out = set()
    if args.exclude:
        RDLogger.DisableLog("rdApp.*")
        meta["excluded"] = sha256_of(args.exclude)
        smiles = tqdm(read_smiles(args.exclude), "exclusions", unit="mol", delay=1.0, disable=None)
        left_out = {compound(text) for text in smiles} - {""}
    bar = tqdm(total=total, unit="row", disable=None)
    with StoreWriter(args.output, meta) as writer, bar:
        for store in stores:
            molecules = iter(range(len(store)))  # in the order of their rows
            for outcome in store.rows():
                item = next(molecules) if outcome.status in ("3d", "2d") else None
                if not writer.is_done(row):
                    if item is None:
                        writer.add(row, outcome.status, outcome.reason)
                    else:
                        data = store[item]
                        if left_out and compound(data.smiles) in left_out:
                            writer.add(row, "excluded", f"in {args.exclude}", data.smiles)
                        else:
                            writer.add(
                                row, outcome.status, outcome.reason,
                                data.smiles, data.z.numpy(), data.conformers.numpy(),
                            )  # fmt: skip
                row += 1
                bar.update()
        writer.finish(row)
    merged = ConformerStore(args.output)
    print(f"{len(merged)} molecules of {merged.num_rows} rows written to {args.output}")
    print(merged.outcomes())


if __name__ == "__main__":
    main()
