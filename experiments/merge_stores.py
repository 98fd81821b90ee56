"""Puts several conformer stores into one, row after row, for training on all of them.

    python experiments/merge_stores.py runs/zinc runs/fragments runs/both

Rows without a molecule come along with their reasons. Called again after a kill, it goes on.
"""

import argparse

from tqdm.auto import tqdm

from molae_pyg.datasets import ConformerStore, StoreWriter


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("stores", nargs="+", help="folders of complete stores")
    parser.add_argument("output", help="folder to write")
    return parser.parse_args()


def main() -> None:
    args = parse_args()
    stores = [ConformerStore(folder) for folder in args.stores]
    total, row = sum(store.num_rows for store in stores), 0
    meta = {"merged": [{"num_rows": store.num_rows, **store.meta} for store in stores]}
    with StoreWriter(args.output, meta) as writer, tqdm(total=total, unit="row") as bar:
        for store in stores:
            molecules = iter(range(len(store)))  # in the order of their rows
            for outcome in store.rows():
                item = next(molecules) if outcome.status in ("3d", "2d") else None
                if not writer.is_done(row):
                    if item is None:
                        writer.add(row, outcome.status, outcome.reason)
                    else:
                        data = store[item]
                        writer.add(
                            row, outcome.status, outcome.reason,
                            data.smiles, data.z.numpy(), data.conformers.numpy(),
                        )  # fmt: skip
                row += 1
                bar.update()
        writer.finish(row)
    merged = ConformerStore(args.output)
    print(f"{len(merged)} molecules of {merged.num_rows} rows written to {args.output}")


if __name__ == "__main__":
    main()
