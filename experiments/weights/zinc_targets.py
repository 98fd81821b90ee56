"""Targets of the ready ZINC conformers: python zinc_targets.py SOURCE TARGET STEP FIRST."""

import os
import sys
import time
from pathlib import Path

import numpy as np
from chemistry import descriptors, morgan
from rdkit import Chem

from molae_pyg.chem.graph import mol_graph

source, target = Path(sys.argv[1]), Path(sys.argv[2])
target.mkdir(parents=True, exist_ok=True)
step, first = (int(a) for a in sys.argv[3:5])
for path in sorted(source.glob("part*.npz"))[first::step]:
    out = target / path.name
    if out.exists():
        continue
    start = time.time()
    part = np.load(path)
    desc, bits, atom, bond, kind, m = [], [], [], [], [], []
    ends = part["n"].cumsum()
    for k, smiles in enumerate(part["smiles"]):
        mol = Chem.MolFromSmiles(str(smiles))
        z = [a.GetAtomicNum() for a in mol.GetAtoms()]
        assert z == part["z"][ends[k] - part["n"][k] : ends[k]].tolist(), (path, k)
        graph = mol_graph(mol)
        desc.append(descriptors(mol))
        bits.append(morgan(mol))
        atom.append(graph.atom)
        bond.append(graph.bond_index.T)
        kind.append(graph.bond_type)
        m.append(len(graph.bond_type))
    temporary = out.with_suffix(".tmp.npz")
    np.savez(
        temporary,
        row=part["row"],
        n=part["n"],
        m=np.array(m, np.uint8),
        desc=np.array(desc),
        bits=np.array(bits),
        atom=np.concatenate(atom),
        bond=np.concatenate(bond).astype(np.uint8),
        kind=np.concatenate(kind),
    )
    os.replace(temporary, out)
    print(path.name, len(desc), f"{time.time() - start:.1f} s", flush=True)
