"""MoleculeNet sets with one conformer (two of FreeSolv, ESOL, BACE), graphs, descriptors, splits.

python probe_sets.py TARGET [NAME ...]
"""

import sys
import time
import warnings
from pathlib import Path

import numpy as np
from chemistry import descriptors, morgan
from conformer import flat_layout, timed
from rdkit import Chem

from molae_pyg.chem.graph import mol_graph
from molae_pyg.datasets import MoleculeNet
from molae_pyg.splits import random_split, scaffold_split

warnings.simplefilter("ignore")
NAMES = ["freesolv", "esol", "bace", "bbbp", "clintox", "sider", "lipo", "qm7", "tox21"]
TWICE = {"freesolv", "esol", "bace"}


def splits(smiles):
    """Five splits (fit, choose, report) of the rows that no final test holds.

    By scaffold, or at random where too few scaffolds are left (FreeSolv: half has none).
    """
    final = scaffold_split(smiles), scaffold_split(smiles, chirality=True)
    test = np.union1d(final[0].test, final[1].test)
    rest = np.setdiff1d(np.arange(len(smiles)), test)
    parts = np.full((5, len(smiles)), 3, np.uint8)  # 0 fit, 1 choose, 2 report, 3 never
    kept = [smiles[i] for i in rest]
    try:
        found = [scaffold_split(kept, (0.7, 0.15, 0.15), seed=seed) for seed in range(5)]
    except ValueError:
        found = [random_split(len(kept), (0.7, 0.15, 0.15), seed=seed) for seed in range(5)]
    for seed, split in enumerate(found):
        for k, rows in enumerate(split):
            parts[seed, rest[rows]] = k
    return parts


def main(target, names):
    target.mkdir(parents=True, exist_ok=True)
    for name in names:
        out = target / f"{name}.npz"
        if out.exists():
            continue
        start = time.time()
        data = MoleculeNet(target / "raw", name, num_conformers=0, add_2d=True, workers=1)
        smiles, y = list(data.smiles), np.asarray(data.y, np.float32)
        found = {
            k: []
            for k in ["n", "m", "z", "pos", "pos2", "atom", "bond", "kind", "desc", "bits", "how"]
        }
        for text in smiles:
            mol = Chem.MolFromSmiles(Chem.MolToSmiles(Chem.MolFromSmiles(text)))
            pos, how = timed(mol, "published", 1, 20), 0
            if pos is None:
                pos, how = flat_layout(mol), 1
            graph = mol_graph(mol)
            found["n"].append(mol.GetNumAtoms())
            found["m"].append(len(graph.bond_type))
            found["z"].append([a.GetAtomicNum() for a in mol.GetAtoms()])
            found["pos"].append((pos * 1000).round().astype(np.int16))
            if name in TWICE:
                other = timed(mol, "published", 2, 20)
                found["pos2"].append(
                    ((pos if other is None else other) * 1000).round().astype(np.int16)
                )
            found["atom"].append(graph.atom)
            found["bond"].append(graph.bond_index.T)
            found["kind"].append(graph.bond_type)
            found["desc"].append(descriptors(mol))
            found["bits"].append(morgan(mol))
            found["how"].append(how)
        flat = {k: np.concatenate(found[k]) for k in ("z", "pos", "atom", "bond", "kind")}
        if found["pos2"]:
            flat["pos2"] = np.concatenate(found["pos2"])
        np.savez_compressed(
            out,
            **flat,
            **{k: np.array(found[k]) for k in ("n", "m", "desc", "bits", "how")},
            y=y,
            parts=splits(smiles),
            metric=data.metric,
            task=data.task_type,
            smiles=smiles,
        )
        print(
            name,
            len(smiles),
            y.shape,
            "flat",
            sum(found["how"]),
            f"{time.time() - start:.0f} s",
            flush=True,
        )


main(Path(sys.argv[1]), sys.argv[2:] or NAMES)
